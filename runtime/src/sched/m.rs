//! M: a thread that runs Gs. Go: m.
//!
//! Workers are Ms for life; a plain thread is one for the length of a
//! `block_on`. Ms are kept by their scheduler and never freed before it, so a
//! stale pointer to one is harmless.
//!
//! How it enters the core, and how others keep it out: `bracket.rs`.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use super::Sched;
use super::bracket;
use super::g::{G, GRef, Runnable};
use super::p::P;
use super::steal::{Neighbour, Profit};
use super::trace::{self, Kind};
use crate::stack::pool::LocalPool;
use crate::stack::sample::Root;
use crate::util::note::Note;
use crate::util::opaque;
use crate::util::ring::Ring;

thread_local! {
    /// The M that this thread is at the moment, or null.
    static CURRENT: Cell<*const M> = const { Cell::new(std::ptr::null()) };
}

/// The M of the calling thread, if it is one.
///
/// Not inlined, and opaque (`util::opaque`): a goroutine that migrates would otherwise go on with
/// the address of the thread-local that the compiler found before the switch (T7).
#[inline(never)]
pub(crate) fn current<'a>() -> Option<&'a M> {
    opaque();
    // `const` and without a destructor: this cannot fail, also while the thread is torn down.
    let m = CURRENT.get();
    // SAFETY: a thread's M is set for the length of `M::scoped`, which outlives every call from
    // inside it; the reference is not kept by callers.
    unsafe { m.as_ref() }
}

/// Whether the calling thread is inside `sched`, at any depth: it would wait for itself.
pub(crate) fn is_within(sched: &Sched) -> bool {
    let mut m = current();
    while let Some(here) = m {
        if std::ptr::eq(here.sched(), sched) {
            return true;
        }
        m = here.outer();
    }
    false
}

/// See the module. The `Cell`s are the M's own thread's. The first line has what each dispatch
/// touches.
#[repr(C, align(128))]
pub(crate) struct M {
    /// Not 0: the M is inside the core.
    pub(super) in_rt: AtomicU32,
    /// What an entry has to see to: [`THIEF`], [`FENCE`].
    pub(super) revoke: AtomicU32,
    sched: NonNull<Sched>,
    /// Written by the M inside the core, or by the thief that takes it.
    p: AtomicPtr<P>,
    /// The running G, for dumps. Go: curg.
    curg: AtomicPtr<G>,
    /// The one of the residents that was woken last, by this thread.
    pub(super) local_next: Cell<Option<GRef>>,
    /// Whether there are wakers in `foreign`.
    pub(super) has_foreign: Cell<bool>,
    /// The running G called `yield_now`.
    yielded: Cell<bool>,
    /// Counted in `Idle` as looking for work. Go: spinning.
    pub(super) spinning: Cell<bool>,
    /// Whose turn it is: the residents', or the woken queue of the P.
    pub(super) residents_first: Cell<bool>,
    /// The running G should yield (`preempt.rs`).
    pub(super) preempt: AtomicU8,
    pub(super) id: u32,
    /// How many Gs live here.
    pub(super) residents: AtomicUsize,
    /// Woken Gs that must run on this M.
    pub(super) inbox: AtomicPtr<G>,
    /// The residents that are runnable, but for `local_next`.
    pub(super) local_runq: RefCell<VecDeque<Runnable>>,
    /// The P that this M was woken to hold. Go: nextp.
    pub(super) nextp: AtomicPtr<P>,
    /// The next M in the idle list; under its lock.
    pub(super) note: Note,
    /// The thread's ring of events, once it has recorded one as this M (`trace.rs`).
    pub(super) ring: Cell<Option<&'static Ring>>,
    /// Dispatches of the P when this M got it.
    acquired_at: Cell<u64>,
    pub(super) profit: Cell<Profit>,
    pub(super) neighbour: Cell<Neighbour>,
    /// The P was taken while a G ran here, which still runs (`handoff.rs`).
    pub(super) detached: AtomicBool,
    /// And it was asleep in the kernel then.
    pub(super) asleep: AtomicBool,
    /// Announced system calls so far. Go: syscalltick.
    syscalls: AtomicU32,
    /// Who is in one (`caller`), or 0.
    in_syscall: AtomicUsize,
    /// The G that this M was woken to run without a P (`blocking.rs`).
    nextg: AtomicPtr<G>,
    /// It is one of `spawn_blocking`, and there may be more.
    pub(super) serves: Cell<bool>,
    /// It was woken for one goroutine that should not disturb others (`sites.rs`).
    pub(super) private: Cell<bool>,
    /// Where that one was spawned, and when it began here; until it stops for the first time.
    pub(super) private_since: Cell<Option<(&'static Location<'static>, u64)>>,
    /// How many goroutines are locked to this thread (`lock.rs`).
    pub(super) locked: Cell<u32>,
    /// A goroutine has ended while it was locked: the thread ends with its last resident.
    pub(super) condemned: Cell<bool>,
    /// There were enough idle Ms when this one went to sleep.
    pub(super) is_spare: Cell<bool>,
    /// The thread ends although the runtime goes on.
    pub(super) ends: Cell<bool>,
    /// Where the thread of an outside M sleeps; all Ms of one thread share it.
    pub(super) sleeper: Mutex<Arc<Note>>,
    /// Enlisted as idle: who queues something here must see to it that this M gets a P.
    pub(super) resting: AtomicBool,
    /// This worker's thread blocks inside a poll and sleeps on its `sleeper`.
    pub(super) nested: AtomicU32,
    /// Its thread (`util::thread_id`): of a worker from its start on, of others when they doze.
    pub(super) thread: AtomicU32,
    /// Where the frames of what it polls begin (`stack::sample`).
    pub(super) root: AtomicUsize,
    /// Where its `block_on` was called, while it is in one.
    called_at: AtomicPtr<Location<'static>>,
    /// Odd while the thread sleeps in `doze`.
    pub(super) dozes: AtomicU32,
    /// Wakers of others that the poller or the timers found.
    pub(super) foreign: RefCell<Vec<Waker>>,
    /// Stacks for the goroutines that begin here.
    pub(crate) stacks: RefCell<LocalPool>,
    /// Local tasks that live here, by address, with a reference each.
    pub(super) locals: RefCell<HashSet<*const ()>>,
    /// Belongs to a `block_on`, not to a worker.
    pub(super) outside: Cell<bool>,
    /// The M that this thread was before.
    outer: Cell<*const M>,
}

// SAFETY: the Cells are touched by the M's own thread only (`current`, `Sched::run_worker` and
// `block_on` hand out `&M` to no other), or by one that has locked it out (`lock_out`), or before
// it wakes (`set_nextg`); the rest is atomic.
unsafe impl Sync for M {}
// SAFETY: an M is created by one thread and then run by another.
unsafe impl Send for M {}

/// Makes the thread the M that it was.
struct Restore(*const M);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

impl M {
    pub(super) fn new(id: u32, sched: &Sched) -> M {
        M {
            in_rt: AtomicU32::new(0),
            revoke: bracket::revoke(),
            id,
            sched: NonNull::from(sched),
            p: AtomicPtr::default(),
            nextp: AtomicPtr::default(),
            note: Note::default(),
            curg: AtomicPtr::default(),
            spinning: Cell::new(false),
            ring: Cell::new(None),
            acquired_at: Cell::new(0),
            yielded: Cell::new(false),
            profit: Cell::new(Profit::default()),
            neighbour: Cell::new(Neighbour::default()),
            detached: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            syscalls: AtomicU32::new(0),
            in_syscall: AtomicUsize::new(0),
            preempt: AtomicU8::new(0),
            nextg: AtomicPtr::default(),
            serves: Cell::new(false),
            private: Cell::new(false),
            private_since: Cell::default(),
            locked: Cell::new(0),
            condemned: Cell::new(false),
            is_spare: Cell::new(false),
            ends: Cell::new(false),
            residents: AtomicUsize::new(0),
            inbox: AtomicPtr::default(),
            sleeper: Mutex::default(),
            local_runq: RefCell::default(),
            local_next: Cell::default(),
            residents_first: Cell::new(false),
            resting: AtomicBool::new(false),
            nested: AtomicU32::new(0),
            thread: AtomicU32::new(0),
            root: AtomicUsize::new(0),
            called_at: AtomicPtr::default(),
            dozes: AtomicU32::new(0),
            foreign: RefCell::default(),
            has_foreign: Cell::new(false),
            stacks: RefCell::default(),
            locals: RefCell::default(),
            outside: Cell::new(false),
            outer: Cell::new(std::ptr::null()),
        }
    }

    /// Makes the calling thread this M while `f` runs, inside the core.
    pub(super) fn scoped<R>(&self, f: impl FnOnce() -> R) -> R {
        let outer = CURRENT.replace(self);
        let _restore = Restore(outer);
        self.outer.set(outer);
        self.root.store(Root::here().0, Ordering::Relaxed); // Relaxed: for stuck reports
        self.ring.set(None); // it was another thread's
        let _entered = self.enter();
        f()
    }

    /// The scheduler.
    #[inline(always)]
    pub(crate) fn sched<'a>(&self) -> &'a Sched {
        // SAFETY: Ms are kept by their scheduler.
        unsafe { self.sched.as_ref() }
    }

    /// Whether this M belongs to `sched`.
    #[inline]
    pub(crate) fn is_of(&self, sched: &Sched) -> bool {
        std::ptr::eq(self.sched.as_ptr(), sched)
    }

    /// The P that this M holds. Outside the core it may be gone the next moment.
    #[inline(always)]
    pub(super) fn p<'a>(&self) -> Option<&'a P> {
        // Relaxed: this thread's own store, or a thief's, whose Release `announce` has acquired.
        // SAFETY: Ps live as long as the scheduler, which outlives its Ms' threads.
        unsafe { self.p.load(Ordering::Relaxed).as_ref() }
    }

    /// Holds `p` from now on. Go: acquirep.
    pub(super) fn acquirep(&self, p: &P) {
        debug_assert!(self.p().is_none(), "an M holds one P at most");
        debug_assert!(!p.is_held(), "a P has one owner at most");
        self.p.store(std::ptr::from_ref(p).cast_mut(), Ordering::Relaxed); // Relaxed: as in `p`
        self.acquired_at.set(p.counters.dispatches());
        trace::event_of(Kind::Acquire, self, p);
        // Release: thieves that find this M find it ready to be locked out (`lock_out`).
        p.owner.store(std::ptr::from_ref(self).cast_mut(), Ordering::Release);
    }

    /// Holds no P any more. Go: releasep. Called by the M inside the core, or by a thief that has
    /// locked it out.
    pub(super) fn releasep(&self) {
        if let Some(p) = self.p() {
            trace::event_of(Kind::Release, self, p);
            self.p.store(std::ptr::null_mut(), Ordering::Relaxed); // Relaxed: as in `p`
            // Release: the next owner sees the queues as they are left.
            p.owner.store(std::ptr::null_mut(), Ordering::Release);
            self.forget_request(); // it was for the P's sake
        }
    }

    /// Whether anything has been dispatched here since this M got its P.
    pub(super) fn has_dispatched(&self, p: &P) -> bool {
        self.acquired_at.get() != p.counters.dispatches()
    }

    /// User code begins a short system call.
    #[inline]
    pub(super) fn begin_syscall(&self) {
        // Relaxed three times: hints for sysmon. This thread is the only writer.
        let n = self.syscalls.load(Ordering::Relaxed);
        self.syscalls.store(n.wrapping_add(1), Ordering::Relaxed);
        self.in_syscall.store(self.caller(), Ordering::Relaxed);
    }

    /// It has ended, perhaps on another thread.
    #[inline]
    pub(super) fn end_syscall(&self) {
        self.in_syscall.store(0, Ordering::Relaxed); // Relaxed: as above
    }

    /// The number of the system call that user code is in now: one that a G waits in does not
    /// count for the others on this thread.
    pub(super) fn syscall(&self) -> Option<u32> {
        // Relaxed twice: hints.
        let inside = self.in_syscall.load(Ordering::Relaxed) == self.caller();
        inside.then(|| self.syscalls.load(Ordering::Relaxed))
    }

    /// Who calls from user code: a G, or the root of a `block_on`.
    fn caller(&self) -> usize {
        self.curg().map_or(1, |g| g.as_raw().addr())
    }

    /// Gives this M, which sleeps or has no thread yet, a G to run without a P.
    pub(super) fn set_nextg(&self, g: Runnable, serves: bool) {
        self.serves.set(serves); // ordered by the store
        // Release: pairs with the Acquire in `take_nextg`.
        self.nextg.store(g.into_g().as_ptr(), Ordering::Release);
    }

    /// Whether there is such a G.
    pub(super) fn has_nextg(&self) -> bool {
        !self.nextg.load(Ordering::Relaxed).is_null() // Relaxed: `take_nextg` orders
    }

    /// Whether this M, of a worker, has no P, runs nothing and does not sleep: on its way to the
    /// list of the idle. Under its lock, or a hint.
    pub(super) fn is_coming(&self) -> bool {
        // Relaxed seven times: who goes the other way has passed that lock, or is seen a look later.
        let relaxed = Ordering::Relaxed;
        let has_something = self.curg().is_some()
            || self.p().is_some()
            || !self.nextp.load(relaxed).is_null()
            || self.has_nextg();
        let waits = self.resting.load(relaxed)
            || self.nested.load(relaxed) > 0
            || self.dozes.load(relaxed) % 2 == 1;
        !has_something && !waits && self.called_at().is_none()
    }

    /// Takes that G.
    pub(super) fn take_nextg(&self) -> Option<Runnable> {
        if !self.has_nextg() {
            return None;
        }
        // Acquire: pairs with the Release in `set_nextg`.
        let g = self.nextg.swap(std::ptr::null_mut(), Ordering::Acquire);
        // SAFETY: `set_nextg` had it as a Runnable, and the swap took it once.
        GRef::from_ptr(g).map(|g| unsafe { Runnable::claim(g) })
    }

    /// Whether this M belongs to a `block_on`: local tasks may live here.
    pub(crate) fn is_outside(&self) -> bool {
        self.outside.get()
    }

    /// Whether local tasks may be started by what runs here: a `block_on`, a goroutine, or another
    /// local task.
    pub(crate) fn is_home(&self) -> bool {
        let lives_here = |g: GRef| g.home().is_some();
        self.outside.get() || self.curg().is_some_and(lives_here)
    }

    /// The M that this thread was before it became this one.
    pub(super) fn outer<'a>(&self) -> Option<&'a M> {
        // SAFETY: `scoped` of the outer M has not returned.
        unsafe { self.outer.get().as_ref() }
    }

    /// Makes the calling thread this M, one of its outer ones, again while `f` runs.
    pub(super) fn resumed<R>(&self, f: impl FnOnce() -> R) -> R {
        let _restore = Restore(CURRENT.replace(self));
        let _entered = self.enter();
        f()
    }

    /// The running task goes to the tail of its queue when it stops.
    pub(crate) fn set_yielded(&self) {
        self.yielded.set(true);
    }

    /// Whether it has called `set_yielded`.
    pub(super) fn has_yielded(&self) -> bool {
        self.yielded.get()
    }

    pub(super) fn take_yielded(&self) -> bool {
        self.yielded.take()
    }

    /// A stretch of user code begins that may spawn.
    #[inline]
    pub(super) fn begin_slice(&self) {
        if let Some(p) = self.p() {
            self.begin_slice_at(p);
        }
    }

    /// The same, where this M is known to hold `p`.
    #[inline(always)]
    pub(super) fn begin_slice_at(&self, p: &P) {
        debug_assert!(p.is_held(), "the caller's");
        // SAFETY: this M holds the P, inside the core.
        let local = unsafe { p.local() };
        local.begin_slice();
        p.counters.set_hidden(local.hidden());
    }

    /// It has ended.
    #[inline]
    pub(super) fn end_slice(&self, g: Option<GRef>) {
        if let Some(p) = self.p() {
            // SAFETY: as above.
            unsafe { p.local() }.end_slice(g);
        }
    }

    /// Notes where the `block_on` was called that begins; or that it has ended.
    pub(super) fn set_called_at(&self, at: Option<&'static Location<'static>>) {
        let at = at.map_or(std::ptr::null(), std::ptr::from_ref);
        self.called_at.store(at.cast_mut(), Ordering::Relaxed); // Relaxed: for dumps
    }

    /// Where the `block_on` was called that it is in.
    pub(super) fn called_at(&self) -> Option<&'static Location<'static>> {
        // Relaxed: a constant is behind it.
        // SAFETY: it was stored as a reference.
        unsafe { self.called_at.load(Ordering::Relaxed).as_ref() }
    }

    /// Notes which G runs here, for wakers and dumps.
    #[inline]
    pub(crate) fn set_curg(&self, g: Option<GRef>) {
        // Relaxed: this thread reads its own; dumps want a hint.
        self.curg.store(g.map_or(std::ptr::null_mut(), GRef::as_ptr), Ordering::Relaxed);
    }

    /// The G that runs here.
    #[inline]
    pub(crate) fn curg(&self) -> Option<GRef> {
        GRef::from_ptr(self.curg.load(Ordering::Relaxed)) // Relaxed: as in `set_curg`
    }
}
