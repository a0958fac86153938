//! A G whose body is a future: polled on the M's own stack.

use std::alloc::Layout;
use std::any::Any;
use std::cell::UnsafeCell;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::waker;
use crate::join::JoinError;
use crate::sched::g::{G, GRef, Stopped, VTable};
use crate::sched::heap::Class;

/// The cell of a task. What the body holds follows from the status word and
/// the handle: the future until it ends, then the output until it is taken.
#[repr(C)]
struct Task<F: Future> {
    g: G,
    body: UnsafeCell<Body<F>>,
}

union Body<F: Future> {
    _future: ManuallyDrop<F>,
    _output: ManuallyDrop<Result<F::Output, JoinError>>,
}

/// The operations of a task whose future is `F`.
pub(crate) struct Ops<F>(std::marker::PhantomData<F>);

impl<F: Future> Ops<F> {
    /// The cell's size class.
    pub(crate) const CLASS: Class = Class::of(Self::LAYOUT);
    /// The cell's layout.
    pub(crate) const LAYOUT: Layout = Layout::new::<Task<F>>();

    /// See `VTable`.
    pub(crate) const VTABLE: &'static VTable = &VTable {
        resume: Self::resume,
        cancel: Self::cancel,
        is_goroutine: false,
        drop_output: Self::drop_output,
        take_output: Self::take_output,
        type_name: std::any::type_name::<F>,
    };

    /// Writes the body of a new task.
    ///
    /// # Safety
    /// `g` is of `CLASS`, has not been published, and the caller has it alone.
    #[inline(always)]
    pub(crate) unsafe fn write(g: GRef, future: F) {
        // SAFETY: the cell is the caller's and large enough.
        unsafe { Self::future(g).write(future) };
    }

    fn body(g: GRef) -> *mut Body<F> {
        let task = g.cell().cast::<Task<F>>().as_ptr();
        // SAFETY: only the address is computed, inside the cell.
        unsafe { UnsafeCell::raw_get(&raw const (*task).body) }
    }

    fn future(g: GRef) -> *mut F {
        Self::body(g).cast()
    }

    fn output(g: GRef) -> *mut Result<F::Output, JoinError> {
        Self::body(g).cast()
    }

    unsafe fn resume(g: GRef) -> Stopped {
        // SAFETY: the caller owns the body, which is still the future; it does not move, and is
        // dropped in place.
        let future = unsafe { Pin::new_unchecked(&mut *Self::future(g)) };
        let waker = waker::borrowed(g);
        let mut cx = Context::from_waker(&waker);
        let ended = match catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx))) {
            Ok(Poll::Pending) => return Stopped::Parked,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(payload) => Err(panicked(g, payload)),
        };
        // SAFETY: as above.
        unsafe { Self::end(g, ended) };
        Stopped::Done
    }

    unsafe fn cancel(g: GRef) -> Stopped {
        // SAFETY: the caller owns the body, which is still the future.
        unsafe { Self::end(g, Err(JoinError::cancelled(g.id()))) };
        Stopped::Done
    }

    /// Drops the future and stores what it came to. A panic in its drop counts as its panic.
    ///
    /// # Safety
    /// The caller owns the body, which is still the future.
    unsafe fn end(g: GRef, mut ended: Result<F::Output, JoinError>) {
        if std::mem::needs_drop::<F>() {
            // SAFETY: the future is not used again.
            let drop = || unsafe { Self::future(g).drop_in_place() };
            match catch_unwind(AssertUnwindSafe(drop)) {
                Err(payload) if ended.as_ref().is_err_and(JoinError::is_panic) => {
                    drop_quietly(payload); // the first panic is the one to report
                }
                Err(payload) => {
                    // The output, if there is one, is lost to the panic, and may panic in turn.
                    let output = std::mem::replace(&mut ended, Err(panicked(g, payload)));
                    quietly(g, AssertUnwindSafe(|| std::mem::drop(output)));
                }
                Ok(()) => {}
            }
        }
        // SAFETY: the body is the caller's, and empty now.
        unsafe { Self::output(g).write(ended) };
    }

    unsafe fn drop_output(g: GRef) {
        // SAFETY: the caller owns the output, which is there.
        quietly(g, AssertUnwindSafe(|| unsafe { Self::output(g).drop_in_place() }));
    }

    unsafe fn take_output(g: GRef, to: *mut ()) {
        // SAFETY: the caller owns the output, which is there, and passes a place for it.
        unsafe { Self::output(g).copy_to_nonoverlapping(to.cast(), 1) };
    }
}

#[cold]
pub(super) fn panicked(g: GRef, payload: Box<dyn Any + Send>) -> JoinError {
    if g.sched().config.abort_on_panic {
        std::process::abort();
    }
    JoinError::panicked(g.id(), payload)
}

/// Runs a destructor of `g` that nobody waits for.
pub(super) fn quietly(g: GRef, f: impl FnOnce() + std::panic::UnwindSafe) {
    if let Err(payload) = catch_unwind(f) {
        if g.sched().config.abort_on_panic {
            std::process::abort();
        }
        drop_quietly(payload);
    }
}

/// Drops a panic's payload, whose own drop may panic: then that payload is leaked, as std does.
pub(crate) fn drop_quietly(payload: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}
