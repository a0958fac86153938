//! A G whose body is a future: polled on the M's own stack.

use std::alloc::Layout;
use std::any::Any;
use std::cell::UnsafeCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use super::waker;
use crate::join::JoinError;
use crate::sched::g::{G, GRef, Stopped, VTable};
use crate::sched::heap::Class;

/// The cell of a task.
#[repr(C)]
struct Task<F: Future> {
    g: G,
    stage: UnsafeCell<Stage<F>>,
}

/// What the body is at the moment.
enum Stage<F: Future> {
    Running(F),
    Ended(Result<F::Output, JoinError>),
    Taken,
}

/// The operations of a task whose future is `F`.
pub(crate) struct Ops<F>(std::marker::PhantomData<F>);

impl<F: Future> Ops<F> {
    /// The cell's size class.
    pub(crate) const CLASS: Class = Class::of(Layout::new::<Task<F>>());

    /// See `VTable`.
    pub(crate) const VTABLE: &'static VTable = &VTable {
        resume: Self::resume,
        cancel: Self::cancel,
        drop_output: Self::drop_output,
        take_output: Self::take_output,
        type_name: std::any::type_name::<F>,
    };

    /// Writes the body into a fresh cell of `CLASS`.
    #[inline]
    pub(crate) fn write(cell: NonNull<u8>, future: F) {
        let task = cell.cast::<Task<F>>().as_ptr();
        // SAFETY: the cell is fresh, and large enough for the class.
        unsafe { (&raw mut (*task).stage).write(UnsafeCell::new(Stage::Running(future))) };
    }

    /// The body.
    ///
    /// # Safety
    /// `g` is a task of this type, the caller owns its body, and has no other reference to it.
    unsafe fn stage<'a>(g: GRef) -> &'a mut Stage<F> {
        // SAFETY: the contract above.
        unsafe { &mut *(*g.cell().cast::<Task<F>>().as_ptr()).stage.get() }
    }

    unsafe fn resume(g: GRef) -> Stopped {
        // SAFETY: the caller owns the G.
        let stage = unsafe { Self::stage(g) };
        let Stage::Running(future) = stage else { unreachable!("the body has ended") };
        let waker = waker::borrowed(g);
        let mut cx = Context::from_waker(&waker);
        // SAFETY: the cell does not move, and the future is dropped in place.
        let future = unsafe { Pin::new_unchecked(future) };
        let ended = match catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx))) {
            Ok(Poll::Pending) => return Stopped::Parked,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(payload) => Err(panicked(g, payload)),
        };
        replace(g, stage, ended);
        Stopped::Done
    }

    unsafe fn cancel(g: GRef) {
        // SAFETY: the caller owns the G.
        let stage = unsafe { Self::stage(g) };
        replace(g, stage, Err(JoinError::cancelled(g.id())));
    }

    unsafe fn drop_output(g: GRef) {
        // SAFETY: the caller owns the output.
        let stage = unsafe { Self::stage(g) };
        let output = std::mem::replace(stage, Stage::Taken);
        quietly(AssertUnwindSafe(|| drop(output)));
    }

    unsafe fn take_output(g: GRef, to: *mut ()) {
        // SAFETY: the caller owns the output, and passes a place for it.
        let stage = unsafe { Self::stage(g) };
        let Stage::Ended(output) = std::mem::replace(stage, Stage::Taken) else {
            panic!("JoinHandle polled after it was ready");
        };
        // SAFETY: as above.
        unsafe { to.cast::<Result<F::Output, JoinError>>().write(output) };
    }
}

/// Drops the future in place and stores what it came to.
#[inline]
fn replace<F: Future>(g: GRef, stage: &mut Stage<F>, ended: Result<F::Output, JoinError>) {
    if std::mem::needs_drop::<F>() {
        return replace_dropping(g, stage, ended);
    }
    // SAFETY: a future without a destructor may be overwritten.
    unsafe { std::ptr::write(stage, Stage::Ended(ended)) };
}

/// As `replace`. A panic in the future's drop counts as its panic.
fn replace_dropping<F: Future>(
    g: GRef,
    stage: &mut Stage<F>,
    mut ended: Result<F::Output, JoinError>,
) {
    struct Overwrite<'a, F: Future>(&'a mut Stage<F>);
    impl<F: Future> Drop for Overwrite<'_, F> {
        fn drop(&mut self) {
            // SAFETY: the old value has just been dropped, or its drop has panicked; it must not
            // be dropped again.
            unsafe { std::ptr::write(self.0, Stage::Taken) };
        }
    }
    let dropped = catch_unwind(AssertUnwindSafe(|| {
        let place = Overwrite(stage);
        // SAFETY: `place` overwrites the value without dropping it again.
        unsafe { std::ptr::drop_in_place(&raw mut *place.0) };
    }));
    if let Err(payload) = dropped {
        let error = panicked(g, payload);
        // The output, if there is one, is lost to the panic, and may panic in turn.
        let output = std::mem::replace(&mut ended, Err(error));
        quietly(AssertUnwindSafe(|| drop(output)));
    }
    *stage = Stage::Ended(ended);
}

#[cold]
fn panicked(g: GRef, payload: Box<dyn Any + Send>) -> JoinError {
    if g.sched().config.abort_on_panic {
        std::process::abort();
    }
    JoinError::panicked(g.id(), payload)
}

fn quietly(f: impl FnOnce() + std::panic::UnwindSafe) {
    if let Err(payload) = catch_unwind(f) {
        drop_quietly(payload);
    }
}

/// Drops a panic's payload, whose own drop may panic: then that payload is leaked, as std does.
pub(crate) fn drop_quietly(payload: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}
