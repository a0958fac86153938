//! What both sides of a coroutine share, on the body's own stack: no other memory is needed.
//!
//! ```text
//!   slot end ─▶ ┌──────────────────────┐
//!               │ colour, Plate        │  whose stack it is, for the fault handler
//!               ├──────────────────────┤
//!               │ Head                 │  the way to the other side, what is being sent
//!               │ the closure          │  until it begins
//!               ├──────────────────────┤
//!               │ frames               │
//! ```
//!
//! What a side sends stays in its own frame; its address goes over, and the other side takes the
//! value out of there before it does anything else.
//!
//! # What is checked at a switch
//!
//! On the usual path four words: the phase, the unwind flag, the holds on the plate and the address
//! of the caller's frame, which must lie in this very slot; and two words of the process, whether
//! anybody panics and whether anybody holds a thread lock. No thread-local is read. All else is on
//! the slow path, where the stacks are followed downwards: from a frame to its slot, from there to
//! the coroutine's head, from there to the frame that resumed it. That is how the yielder of an
//! outer coroutine may be used on the stack of an inner one, and nowhere else.

use std::any::Any;
use std::cell::Cell;
use std::io;
use std::panic::{Location, resume_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::os_thread as locks;
use crate::os_thread::Locks;
use crate::stack::switch::{self, Ctx, Entry};
use crate::stack::{self, Owner, Plate, SizeClass, Slot, StackSlot, arena};
use crate::task::goroutine;
use crate::util::fatal::throw;

/// A larger closure is boxed: the page at the top of a stack is the only one that is always warm.
pub(super) const LARGE: usize = 1024;
/// A higher alignment too: the slots are aligned to more, but their colours are not.
pub(super) const ALIGN: usize = 128;

/// Where a coroutine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    New,
    Suspended,
    Running,
    Done,
}

/// See the module. Only the thread of the coroutine touches it.
pub(super) struct Head {
    /// The side that waits: the body, or while that runs, its resumer.
    peer: Cell<Option<Ctx>>,
    /// What the side that switched last has sent.
    mail: Cell<*const ()>,
    phase: Cell<Phase>,
    /// The body is to be unwound, not resumed.
    unwinding: Cell<bool>,
    /// The resumer was panicking.
    panicking: Cell<bool>,
    /// What the body borrows ends soon: it must not be forgotten.
    is_scoped: bool,
    /// An address in the frame of the resumer.
    resumer: Cell<usize>,
    stack: StackSlot,
    /// At the creation, if there were any.
    locks: Locks,
    drop_closure: unsafe fn(NonNull<Head>),
}

/// The payload that unwinds a body: the address of its head.
pub(super) struct Unwind(usize);

impl Unwind {
    /// Whether a caught panic is the unwinding of this coroutine.
    pub(super) fn is_of(payload: &(dyn Any + Send), head: NonNull<Head>) -> bool {
        payload.downcast_ref::<Unwind>().is_some_and(|unwind| unwind.0 == head.addr().get())
    }
}

/// How a frame stands to a coroutine.
enum Reach {
    /// It is the body's, or of an inner coroutine that the body runs.
    Body,
    /// The same, but inside the poll of a future that somebody in between waits for.
    Held,
    /// Somebody else's.
    Foreign,
}

/// Who waits for the coroutine on whose stack the flow `ctx` is suspended, if it is one.
///
/// # Safety
/// Whoever runs the coroutine is suspended too, and stays so while the result lives.
pub(crate) unsafe fn resumer_of<'a>(ctx: &Ctx) -> Option<&'a Ctx> {
    let slot = arena::slot_of(switch::saved(ctx).addr())?;
    // SAFETY: somebody is on that stack, suspended, so it has its plate.
    let Owner::Coroutine(_) = (unsafe { (*slot.plate()).owner() }) else { return None };
    // SAFETY: and so it has its head, which nobody touches meanwhile.
    unsafe { (*Head::at(slot).as_ref().peer.as_ptr()).as_ref() }
}

impl Head {
    /// Writes a coroutine onto a stack from the pool.
    ///
    /// `entry` is for bodies of type `F`, of at most `LARGE` bytes and `ALIGN`.
    #[inline]
    pub(super) fn new<F>(
        created_at: &'static Location<'static>,
        is_scoped: bool,
        body: F,
        entry: Entry,
    ) -> io::Result<NonNull<Head>> {
        prepare()?;
        let stack = goroutine::take_stack(SizeClass::DEFAULT)?;
        let (plate, limit) = (stack.plate(), stack.limit());
        let at = Head::at(*stack);
        // SAFETY: the stack is ours alone, and much larger than all this.
        unsafe {
            plate.write(Plate::of_coroutine(created_at));
            let closure = Head::closure_of::<F>(at);
            closure.write(body);
            let peer = switch::make(closure.as_ptr().cast(), limit, entry);
            at.write(Head {
                peer: Cell::new(Some(peer)),
                mail: Cell::new(std::ptr::null()),
                phase: Cell::new(Phase::New),
                unwinding: Cell::new(false),
                panicking: Cell::new(false),
                is_scoped,
                resumer: Cell::new(0),
                stack,
                locks: record_locks(),
                drop_closure: |head| Head::closure_of::<F>(head).drop_in_place(),
            });
        }
        Ok(at)
    }

    /// The head on the stack in this slot.
    fn at(slot: Slot) -> NonNull<Head> {
        let at = slot.plate().cast::<Head>().wrapping_sub(1);
        // SAFETY: an address inside a slot.
        unsafe { NonNull::new_unchecked(at) }
    }

    fn closure_of<F>(head: NonNull<Head>) -> NonNull<F> {
        let align = if align_of::<F>() > 16 { align_of::<F>() } else { 16 };
        let at = head.as_ptr().map_addr(|addr| (addr - size_of::<F>()) & !(align - 1));
        // SAFETY: an address inside a slot.
        unsafe { NonNull::new_unchecked(at.cast()) }
    }

    /// Where the closure lies until it begins.
    pub(super) fn closure<F>(&self) -> *mut F {
        Head::closure_of::<F>(NonNull::from(self)).as_ptr()
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(super) fn mail(&self) -> *const () {
        self.mail.get()
    }

    pub(super) fn set_peer(&self, peer: Ctx) {
        self.peer.set(Some(peer));
    }

    pub(super) fn set_unwinding(&self) {
        self.unwinding.set(true);
    }

    /// Whether the body stands still.
    #[inline(always)]
    pub(super) fn may_resume(&self) -> bool {
        matches!(self.phase(), Phase::New | Phase::Suspended)
    }

    /// To the body, which takes `mail` out of the caller's frame; returns when it yields or ends.
    #[inline(always)]
    pub(super) fn switch_in(&self, mail: *const ()) {
        self.check_locks();
        self.mail.set(mail);
        self.phase.set(Phase::Running);
        self.panicking.set(thread::panicking());
        self.resumer.set(stack::here());
        let body = self.peer.take().expect("who waits is known");
        // SAFETY: the body's flow, suspended on the stack that the head lies on.
        let (body, _) =
            unsafe { switch::switch(body, std::ptr::from_ref(self).expose_provenance()) };
        self.peer.set(Some(body));
    }

    /// To the resumer, which takes `mail` out of the caller's frame; returns when it resumes.
    #[inline(always)]
    pub(super) fn switch_out(&self, mail: *const ()) {
        self.mail.set(mail);
        self.phase.set(Phase::Suspended);
        let resumer = self.peer.take().expect("who waits is known");
        // SAFETY: the resumer's flow, suspended in `switch_in`, which keeps the one that it gets.
        let (resumer, _) = unsafe { switch::switch(resumer, 0) };
        self.peer.set(Some(resumer));
        if self.unwinding.get() {
            self.unwind();
        }
    }

    /// Leaves the body's stack for good.
    pub(super) fn leave(&self, mail: *const ()) -> ! {
        self.check_locks();
        self.mail.set(mail);
        self.phase.set(Phase::Done);
        let resumer = self.peer.take().expect("who waits is known");
        // SAFETY: as in `switch_out`. It never comes back.
        unsafe { switch::switch(resumer, 0) };
        std::process::abort()
    }

    #[cold]
    fn unwind(&self) -> ! {
        resume_unwind(Box::new(Unwind(std::ptr::from_ref(self).addr())))
    }

    /// Whether the body can be unwound here and now.
    pub(super) fn can_unwind(&self) -> bool {
        if cfg!(not(panic = "unwind")) {
            return false;
        }
        // The process is busy with another failure already.
        let mismatch = locks::any() && thread::panicking() && !self.locks_match(locks::locks());
        if mismatch {
            eprintln!(
                "gort: a coroutine cannot be unwound, since OS thread locking does not match \
                 locking at its creation; its stack is leaked"
            );
        }
        !mismatch
    }

    /// Nobody has the coroutine any more, but its stack must stay.
    pub(super) fn forget(&self) {
        if self.is_scoped {
            throw(
                format_args!(""),
                format_args!("coro: a coroutine that borrows cannot be unwound"),
            );
        }
    }

    /// Gives the stack back.
    ///
    /// # Safety
    /// The body has ended, or never begun and is gone; nobody has the head any more.
    pub(super) unsafe fn release(head: NonNull<Head>) {
        // SAFETY: the head is the caller's, and is not used again.
        let Head { stack, locks, .. } = unsafe { head.read() };
        if locks.is_locked() {
            locks::unnote();
        }
        goroutine::put_stack(stack);
    }

    /// Drops a body that has not begun, and gives the stack back.
    ///
    /// # Safety
    /// It has not begun, and nobody has the head any more.
    pub(super) unsafe fn discard(head: NonNull<Head>) {
        struct Release(NonNull<Head>);
        impl Drop for Release {
            fn drop(&mut self) {
                // SAFETY: the closure is gone, or is what panics.
                unsafe { Head::release(self.0) };
            }
        }
        let release = Release(head);
        // SAFETY: the closure is there, and is not used again.
        unsafe { (release.0.as_ref().drop_closure)(head) };
    }

    fn plate(&self) -> &Plate {
        // SAFETY: it lies right above the head, as long as that.
        unsafe { &*std::ptr::from_ref(self).wrapping_add(1).cast::<Plate>() }
    }

    #[inline(always)]
    fn check_locks(&self) {
        if locks::any() {
            self.check_locks_slow();
        }
    }

    #[cold]
    fn check_locks_slow(&self) {
        let now = locks::locks();
        if !self.locks_match(now) {
            self.locks_differ(now);
        }
    }

    /// Go's rule: if there were locks, or are, they are the same.
    fn locks_match(&self, now: Locks) -> bool {
        now == self.locks || !(now.is_locked() || self.locks.is_locked())
    }

    #[cold]
    fn locks_differ(&self, now: Locks) -> ! {
        let created = self.locks;
        throw(
            format_args!(
                "coro: got thread {:#x}, want {:#x}\n\
                 coro: got lock internal {}, want {}\n\
                 coro: got lock external {}, want {}",
                now.thread, created.thread, now.int, created.int, now.ext, created.ext,
            ),
            format_args!("coro: OS thread locking must match locking at coroutine creation"),
        );
    }

    /// Whether the caller may yield; see the module.
    #[inline(always)]
    #[track_caller]
    pub(super) fn check_yield(&self) {
        let usual = self.phase() == Phase::Running
            && self.stack.holds(stack::here())
            && !self.plate().is_held()
            && !self.unwinding.get()
            && !thread::panicking()
            && !locks::any();
        if !usual {
            self.check_yield_slow();
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn check_yield_slow(&self) {
        if self.phase() != Phase::Running {
            panic!("`yield_` of a coroutine that does not run");
        }
        match self.reach() {
            Reach::Body => {}
            Reach::Held => panic!(
                "`yield_` inside the poll of a future that the coroutine's body waits for: the \
                 wait belongs to the goroutine or the thread that began it"
            ),
            Reach::Foreign => {
                self.check_locks();
                panic!("`yield_` by another goroutine than the one that runs the coroutine's body");
            }
        }
        if thread::panicking() && !self.panicking.get() {
            throw(format_args!(""), format_args!("coro: yield while the stack is unwound"));
        }
        if self.unwinding.get() {
            self.unwind();
        }
        self.check_locks();
    }

    /// How the caller's frame stands to this coroutine, which is running.
    fn reach(&self) -> Reach {
        let mut frame = stack::here();
        let mut held = false;
        while !self.stack.holds(frame) {
            let Some(slot) = arena::slot_of(frame) else { return Reach::Foreign };
            // SAFETY: somebody is on the stack, suspended in a resume or calling this.
            let plate = unsafe { &*slot.plate() };
            let Owner::Coroutine(_) = plate.owner() else { return Reach::Foreign };
            held |= plate.is_held();
            // SAFETY: as above; the owner is a coroutine.
            frame = unsafe { Head::at(slot).as_ref() }.resumer.get();
        }
        if held || self.plate().is_held() { Reach::Held } else { Reach::Body }
    }
}

/// The locks of the creator.
#[inline(always)]
fn record_locks() -> Locks {
    if locks::any() { record_locks_slow() } else { Locks::NONE }
}

#[cold]
fn record_locks_slow() -> Locks {
    let now = locks::locks();
    if !now.is_locked() {
        return Locks::NONE;
    }
    locks::note();
    now
}

/// Outside of workers nobody has prepared for stacks yet.
#[inline(always)]
fn prepare() -> io::Result<()> {
    static READY: AtomicBool = AtomicBool::new(false);
    switch::init_m();
    // Acquire: pairs with the Release below: the handler is there.
    if READY.load(Ordering::Acquire) {
        return Ok(());
    }
    goroutine::init()?;
    READY.store(true, Ordering::Release); // Release: see above
    Ok(())
}

#[cold]
#[track_caller]
pub(super) fn resumed_inside() -> ! {
    panic!("`resume` of a coroutine inside itself")
}
