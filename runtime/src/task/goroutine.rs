//! A G whose body has a stack of its own: it may wait anywhere, in any call depth.
//!
//! ```text
//!   M's system stack (g0)                the goroutine's stack
//!   execute                              top: where its cell is, for the fault handler
//!    └ resume ── switch(RUN) ─────────▶  entry ─ catch_unwind ─ closure
//!         ◀───── switch(PARKED) ───────       └ wait ─ poll is Pending ─ park
//!      (status: park, or queue again)
//!         ────── switch ──────────────▶          └ polls again
//!         ◀───── switch(DONE) ─────────  the output is in the cell
//!      (the stack goes back to the pool)
//! ```
//!
//! The header, the closure and the output live in a cell like a task's, and the
//! stack is taken when the goroutine *begins*, from the M where it begins. So
//! a thousand goroutines that run to their end one after the other use one
//! stack, hot in the cache, and a handle that is kept does not keep a stack.
//!
//! Parking is the return of `resume`: the status word leaves OWNED on g0,
//! after the switch is complete (T2). A wait is a loop around a future's poll
//! with the goroutine's own waker, so a wake that comes too early is harmless.
//!
//! `abort` ends a wait by a panic with a private payload, raised by the wait
//! itself when it is resumed. Destructors run; one that waits blocks the thread
//! instead of switching, because the panic count is the thread's (T9).
//!
//! No stack is freed before its goroutine has left it for good.

use std::alloc::Layout;
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::future::{Future, poll_fn};
use std::io;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll};

use super::future::{panicked, quietly};
use super::system::{Callback, DONE, PARKED, RETURNED, serve};
use super::waker;
use crate::join::JoinError;
use crate::sched::g::{G, GRef, Stopped, VTable};
use crate::sched::heap::Class;
use crate::sched::m::{self, M};
use crate::sched::preempt::must_yield;
use crate::sched::spans::{self, Op};
use crate::stack::fault::FaultWriter;
use crate::stack::sample::Root;
use crate::stack::switch::{self, Ctx, Transfer};
use crate::stack::{self, Hold, Owner, Plate, SizeClass, Slot, StackCell, StackSlot, fault, pool};

/// The cell of a goroutine.
#[repr(C)]
struct Goroutine<F: FnOnce() -> T, T> {
    g: G,
    control: Control,
    body: UnsafeCell<Body<F, T>>,
}

/// What resume and park share. Only the owner touches it: g0 while the goroutine is suspended, the
/// goroutine while it runs.
pub(super) struct Control {
    /// Where the goroutine goes on, while it is suspended.
    pub(super) ctx: Cell<Option<Ctx>>,
    /// Where its M goes on, while it runs.
    pub(super) g0: Cell<Option<Ctx>>,
    /// The innermost callback from C that it is in; see `system`.
    pub(super) callback: Cell<*const Callback>,
    stack: StackCell,
    /// Waits that are under way, one inside the poll of the other.
    waits: Cell<u32>,
    locks: LockCounts,
}

/// How often a goroutine is locked to its thread. Go: lockedExt, lockedInt.
#[derive(Default)]
pub(crate) struct LockCounts {
    /// By guards (`lock_os_thread`).
    pub(crate) ext: LockCount,
    /// By C frames that it has on its thread's stack (`ffi::callback`).
    pub(crate) int: LockCount,
}

/// One of them: the goroutine's own, and for dumps.
#[derive(Default)]
pub(crate) struct LockCount(AtomicU16);

impl LockCount {
    pub(crate) fn get(&self) -> u16 {
        self.0.load(Ordering::Relaxed) // Relaxed: a goroutine's moves between threads are ordered
    }

    /// Only the goroutine itself.
    pub(crate) fn set(&self, count: u16) {
        self.0.store(count, Ordering::Relaxed); // Relaxed: as above
    }
}

impl LockCounts {
    /// Whether it is locked.
    pub(crate) fn any(&self) -> bool {
        self.ext.get() != 0 || self.int.get() != 0
    }
}

/// The counts of the goroutine `g`, which calls; for dumps, those of any.
pub(crate) fn locks<'a>(g: GRef) -> &'a LockCounts {
    &control(g).locks
}

union Body<F: FnOnce() -> T, T> {
    _closure: ManuallyDrop<F>,
    _output: ManuallyDrop<Result<T, JoinError>>,
}

/// The payload of the panic that ends an aborted goroutine.
struct Aborted;

/// Whether a caught panic is the end of an aborted goroutine.
pub(crate) fn is_abort(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Aborted>()
}

/// Everything before the body, which does not depend on the closure's type.
#[repr(C)]
struct Head {
    g: G,
    control: Control,
}

pub(super) fn control<'a>(g: GRef) -> &'a Control {
    // SAFETY: every goroutine's cell begins like `Head`, and is kept by the reference.
    unsafe { &(*g.cell().cast::<Head>().as_ptr()).control }
}

/// The operations of a goroutine whose closure is `F`.
pub(crate) struct Ops<F, T>(std::marker::PhantomData<(F, T)>);

impl<F: FnOnce() -> T, T> Ops<F, T> {
    /// The cell's size class.
    pub(crate) const CLASS: Class = Class::of(Self::LAYOUT);
    /// The cell's layout.
    pub(crate) const LAYOUT: Layout = Layout::new::<Goroutine<F, T>>();

    /// See `VTable`.
    pub(crate) const VTABLE: &'static VTable = &VTable {
        resume: Self::resume,
        cancel: Self::cancel,
        is_goroutine: true,
        drop_output: Self::drop_output,
        take_output: Self::take_output,
        type_name: std::any::type_name::<F>,
    };

    /// Writes the body of a new goroutine.
    ///
    /// # Safety
    /// `g` is of `CLASS`, has not been published, and the caller has it alone.
    #[inline(always)]
    pub(crate) unsafe fn write(g: GRef, stack: Option<StackSlot>, closure: F) {
        let control = Control {
            ctx: Cell::new(None),
            g0: Cell::new(None),
            callback: Cell::new(std::ptr::null()),
            stack: StackCell::new(stack),
            waits: Cell::new(0),
            locks: LockCounts::default(),
        };
        let cell = g.cell().cast::<Goroutine<F, T>>().as_ptr();
        // SAFETY: the cell is the caller's and large enough.
        unsafe {
            (&raw mut (*cell).control).write(control);
            Self::closure(g).write(closure);
        }
    }

    fn body(g: GRef) -> *mut Body<F, T> {
        let cell = g.cell().cast::<Goroutine<F, T>>().as_ptr();
        // SAFETY: only the address is computed, inside the cell.
        unsafe { UnsafeCell::raw_get(&raw const (*cell).body) }
    }

    fn closure(g: GRef) -> *mut F {
        Self::body(g).cast()
    }

    fn output(g: GRef) -> *mut Result<T, JoinError> {
        Self::body(g).cast()
    }

    unsafe fn resume(g: GRef) -> Stopped {
        let control = control(g);
        let ctx = match control.ctx.take() {
            Some(ctx) => ctx,
            None => match begin(g, control, Self::entry) {
                Ok(ctx) => ctx,
                Err(error) => {
                    let at = g.spawned_at();
                    let text = format!("gort: cannot start the goroutine of {at}: {error}");
                    // SAFETY: the caller owns the body, which is still the closure.
                    unsafe { Self::refuse(g, JoinError::panicked(g.id(), Box::new(text))) };
                    return Stopped::Done;
                }
            },
        };
        // SAFETY: the context is the goroutine's, suspended, and its stack is in `control`.
        let (ctx, word) = unsafe { serve(g, ctx, g.as_raw().expose_provenance()) };
        if word == DONE {
            give_back(control);
            return Stopped::Done;
        }
        control.ctx.set(Some(ctx));
        if word == RETURNED { returned(control) } else { Stopped::Parked }
    }

    unsafe fn cancel(g: GRef) -> Stopped {
        if has_begun(g) {
            // SAFETY: passed on. The wait finds the abort in the status word.
            return unsafe { Self::resume(g) };
        }
        // SAFETY: the caller owns the body, which is still the closure.
        unsafe { Self::refuse(g, JoinError::cancelled(g.id())) };
        give_back(control(g));
        Stopped::Done
    }

    /// Ends a goroutine that has not begun.
    ///
    /// # Safety
    /// The caller owns the body, which is still the closure.
    unsafe fn refuse(g: GRef, error: JoinError) {
        // The closure's destructor runs on the M's stack, and may not wait as a goroutine.
        if let Some(m) = m::current() {
            m.set_curg(None);
        }
        // SAFETY: the closure is not used again; the body is the caller's, and empty then.
        unsafe {
            quietly(g, AssertUnwindSafe(|| Self::closure(g).drop_in_place()));
            Self::output(g).write(Err(error));
        }
    }

    /// The first function on the stack.
    extern "C" fn entry(Transfer { context, data }: Transfer) -> ! {
        let g = GRef::from_raw(std::ptr::with_exposed_provenance(data));
        control(g).g0.set(Some(context));
        // SAFETY: the goroutine owns its body, which is still the closure.
        let closure = unsafe { Self::closure(g).read() };
        let ended = match catch_unwind(AssertUnwindSafe(closure)) {
            Ok(output) => Ok(output),
            Err(payload) if is_abort(&*payload) => Err(JoinError::cancelled(g.id())),
            Err(payload) => Err(panicked(g, payload)),
        };
        // SAFETY: as above; the body is empty now.
        unsafe { Self::output(g).write(ended) };
        let g0 = control(g).g0.take().expect("its M waits for it");
        // SAFETY: the M's flow, suspended in `resume`. It never comes back.
        unsafe { switch::switch(g0, DONE) };
        std::process::abort()
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

/// A callback from C that has parked on the way is done.
#[cold]
fn returned(control: &Control) -> Stopped {
    // SAFETY: it waits for this, in `on_goroutine_stack`.
    unsafe { &*control.callback.get() }.set_returned();
    Stopped::Returned
}

/// Where a suspended goroutine goes on, for whoever owns it.
pub(crate) fn suspended_at<'a>(g: GRef) -> Option<&'a Ctx> {
    // SAFETY: the owner alone touches it, and it stays as it is until the goroutine is resumed.
    unsafe { (*control(g).ctx.as_ptr()).as_ref() }
}

/// Where the frames on its stack begin, if it has one: for anybody.
pub(crate) fn root(g: GRef) -> Option<Root> {
    control(g).stack.slot().map(|slot| Root(switch::root_of(slot.plate().cast())))
}

fn has_begun(g: GRef) -> bool {
    let control = control(g);
    let ctx = control.ctx.take();
    let begun = ctx.is_some();
    control.ctx.set(ctx);
    begun
}

/// Binds the goroutine to this thread, unless it may migrate, takes a stack, unless there is one
/// already, and makes it ready to run `entry`.
fn begin(g: GRef, control: &Control, entry: switch::Entry) -> io::Result<Ctx> {
    let (m, config) = (m::current(), &g.sched().config);
    if !config.migrate {
        m.into_iter().for_each(|m| m.adopt(g));
    }
    let stack = match (control.stack.take(), m) {
        (Some(stack), _) => stack,
        (None, Some(m)) => m.stacks.borrow_mut().get(config.stack_size)?,
        (None, None) => pool::get(config.stack_size)?,
    };
    let plate = stack.plate();
    // SAFETY: the stack is this goroutine's alone, and much larger than this.
    let ctx = unsafe {
        plate.write(Plate::of_goroutine(g.as_raw()));
        switch::make(plate.cast(), stack.limit(), entry)
    };
    control.stack.set(stack);
    Ok(ctx)
}

/// A stack from this M's pool.
pub(crate) fn take_stack(size: SizeClass) -> io::Result<StackSlot> {
    match m::current() {
        Some(m) => m.stacks.borrow_mut().get(size),
        None => pool::get(size),
    }
}

/// Puts the stack back; nobody is on it any more.
fn give_back(control: &Control) {
    if let Some(stack) = control.stack.take() {
        put_stack(stack);
    }
}

/// Back to this M's pool. Nobody is on it.
pub(crate) fn put_stack(stack: StackSlot) {
    match m::current() {
        Some(m) => m.stacks.borrow_mut().put(stack),
        None => pool::put(stack),
    }
}

/// The goroutine that calls, if it is one.
#[inline]
pub(crate) fn current() -> Option<GRef> {
    m::current().and_then(M::curg).filter(|g| g.vtable().is_goroutine)
}

/// Waits for `future` in the goroutine `g`, which calls: it parks while the future is pending.
#[inline]
pub(crate) fn wait<F: Future>(g: GRef, future: F) -> F::Output {
    wait_in(g, future, true)
}

/// As `wait`; an abort does not end it.
pub(crate) fn wait_to_the_end<F: Future>(g: GRef, future: F) -> F::Output {
    wait_in(g, future, false)
}

#[inline]
fn wait_in<F: Future>(g: GRef, future: F, abortable: bool) -> F::Output {
    let mut future = pin!(future);
    let control = control(g);
    if must_yield() {
        yield_here();
    }
    let _nested = Nesting::new(g, control);
    let waker = waker::borrowed(g);
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        if std::thread::panicking() {
            return wait_while_panicking(future);
        }
        if abortable {
            unwind_if_aborted(g);
        }
        park(control);
        if abortable {
            unwind_if_aborted(g);
        }
    }
}

/// Leaves the stack until somebody wakes the goroutine.
#[inline(always)]
fn park(control: &Control) {
    let g0 = control.g0.take().expect("a running goroutine has an M");
    // SAFETY: the M's flow, suspended in `resume`, which keeps the context that it gets.
    let (g0, _) = unsafe { switch::switch(g0, PARKED) };
    control.g0.set(Some(g0));
}

/// Lets others run, if a goroutine calls; not while it panics (T9). True if it has done so.
#[cold]
pub(crate) fn yield_here() -> bool {
    let Some(g) = current().filter(|_| !std::thread::panicking()) else { return false };
    spans::note(g, Op::WakeByRef);
    m::current().expect("a goroutine has an M").set_yielded();
    park(control(g));
    true
}

fn unwind_if_aborted(g: GRef) {
    if g.status().is_aborting() && cfg!(panic = "unwind") {
        resume_unwind(Box::new(Aborted));
    }
}

/// The panic count belongs to the thread, so this thread must not run others on top of it.
#[cold]
fn wait_while_panicking<F: Future>(mut future: std::pin::Pin<&mut F>) -> F::Output {
    let sched = m::current().expect("a goroutine has an M").sched().arc();
    sched.block_on(poll_fn(|cx| future.as_mut().poll(cx)))
}

/// Counts a wait. One inside the poll of another may use up a wake that was meant for that, so it
/// wakes the goroutine when it ends: then the outer one polls again. One on the stack of a
/// coroutine holds that, for the wait is this goroutine's.
struct Nesting<'a>(GRef, &'a Control, #[expect(dead_code, reason = "held")] Hold);

impl<'a> Nesting<'a> {
    #[inline]
    fn new(g: GRef, control: &'a Control) -> Nesting<'a> {
        control.waits.set(control.waits.get() + 1);
        let at_home = control.stack.slot().is_some_and(|slot| slot.holds(stack::here()));
        Nesting(g, control, if at_home { Hold::NONE } else { Hold::here() })
    }
}

impl Drop for Nesting<'_> {
    #[inline]
    fn drop(&mut self) {
        let outer = self.1.waits.get() - 1;
        self.1.waits.set(outer);
        if outer > 0 {
            // It is running, so this only leaves the permit.
            let _ = self.0.status().wake_by_ref();
        }
    }
}

/// Prepares the process: overflows are reported.
pub(crate) fn init() -> io::Result<()> {
    fault::install(describe)
}

/// Prepares a worker's thread; the signal stack is for the thread's life.
pub(crate) fn init_thread() -> io::Result<fault::AltStack> {
    switch::init_m();
    fault::AltStack::new()
}

/// Says whose stack has overflowed. Runs in a signal handler.
fn describe(out: &mut FaultWriter, slot: Slot) {
    // SAFETY: the slot's owner was running on it, and has put its plate there.
    let (at, verb) = match unsafe { (*slot.plate()).owner() } {
        Owner::Goroutine(g) => {
            let g = GRef::from_raw(g);
            out.text("fatal error: goroutine ").number(g.id());
            g.sched().try_name_of(g, |name| {
                out.text(" `").text(name).text("`");
            });
            (g.spawned_at(), "spawned")
        }
        Owner::Coroutine(at) => {
            out.text("fatal error: coroutine");
            (at, "created")
        }
    };
    out.text(" stack overflow (stack_size ").number(slot.size() as u64);
    out.text(" bytes, ").text(verb).text(" at ").text(at.file());
    out.text(":").number(at.line().into()).text(")\n");
}
