//! Threads that are not workers: spawning from anywhere, and `block_on`.
//!
//! While `block_on` runs, its thread is an M. It runs the root future and the
//! local tasks that live on it, and nothing else, so other work cannot delay
//! them. For each poll of the root it holds an idle P if there is one, so that
//! its spawns are local; when it has nothing to do it hands that P, and what it
//! has queued, to a worker, and sleeps on its note.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::{Context, Poll, Wake, Waker};

use super::Sched;
use super::g::{GRef, Runnable, VTable};
use super::heap::Class;
use super::m::{self, M};
use super::stats::bump;
use super::status::{Status, Wake as Woken};
use super::timers::{Closed, TimerId, Timers};
use crate::util::clock;

/// Local tasks run between two looks at the root.
const LOCAL_BATCH: usize = 61;

/// A new G: its body is written by `write` before it is published.
pub(crate) struct NewG {
    pub(crate) vtable: &'static VTable,
    pub(crate) class: Class,
    pub(crate) spawned_at: &'static Location<'static>,
}

impl Sched {
    /// Creates a G and queues it. Go: newproc. The runtime is not closing.
    ///
    /// # Safety
    /// `write` initialises the body for `vtable` in the cell, which is of `class`; the body may
    /// run on any thread.
    pub(crate) unsafe fn newproc(&self, new: &NewG, write: impl FnOnce(NonNull<u8>)) -> GRef {
        match m::current() {
            Some(m) if std::ptr::eq(m.sched(), self) => {
                // SAFETY: passed on.
                unsafe { m.enter().newproc(new, write) }
            }
            // SAFETY: passed on.
            _ => unsafe { self.newproc_outside(new, write) },
        }
    }

    /// # Safety
    /// As `newproc`.
    #[cold]
    unsafe fn newproc_outside(&self, new: &NewG, write: impl FnOnce(NonNull<u8>)) -> GRef {
        // SAFETY: passed on.
        let g = unsafe { self.make(new, std::ptr::null(), write) };
        // SAFETY: just made.
        self.inject(unsafe { Runnable::claim(g) });
        g
    }

    /// # Safety
    /// As `newproc`; with a `home`, the body may be bound to that M's thread.
    unsafe fn make(&self, new: &NewG, home: *const M, write: impl FnOnce(NonNull<u8>)) -> GRef {
        // Relaxed twice: uniqueness, statistics.
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        self.outside.spawns.fetch_add(1, Ordering::Relaxed);
        let cell = self.heap.alloc(new.class);
        // SAFETY: the cell is fresh and of the class.
        let g =
            unsafe { GRef::init(cell, self, new.vtable, id, new.class, home, new.spawned_at) };
        write(cell);
        g.status().publish(Status::spawned());
        g
    }

    /// Arms a timer at this thread's P, or at some P.
    pub(crate) fn arm_timer(
        &self,
        when: u64,
        waker: &Waker,
    ) -> Result<(&'static Timers, TimerId), Closed> {
        let here = m::current().filter(|m| std::ptr::eq(m.sched(), self)).and_then(M::p);
        let timers = here.map_or_else(|| self.some_timers(), |p| p.timers);
        let (id, first) = timers.arm(when, waker)?;
        if first {
            fence(Ordering::SeqCst); // TimerFence: armed before the look at who is idle
            if self.idle.counts().procs > 0 {
                self.netpoll.wake_at(clock::instant(when));
            }
        }
        Ok((timers, id))
    }

    /// Spreads threads without a P over the heaps.
    fn some_timers(&self) -> &'static Timers {
        thread_local!(static LUCK: Cell<usize> = const { Cell::new(0) });
        let n = LUCK.try_with(|luck| luck.replace(luck.get() + 1)).unwrap_or(0);
        self.ps[n % self.ps.len()].timers
    }

    /// Runs the due timers of all Ps. True if there were any.
    pub(super) fn run_all_timers(&self, m: &M) -> bool {
        let Some(earliest) = self.earliest_timer() else { return false };
        let now = clock::now();
        if earliest > now {
            return false;
        }
        let mut any = false;
        for p in &self.ps {
            any |= p.timers.fire(now, |waker| m.ready_waker(waker));
        }
        any
    }

    /// Runs a future to its end on the calling thread. See the module.
    pub(crate) fn block_on<F: Future>(self: &Arc<Sched>, future: F) -> F::Output {
        match m::current() {
            // The thread blocks, so its P goes to somebody else; what lives here goes on.
            Some(m) if m.is_outside() && std::ptr::eq(m.sched(), &**self) => {
                let entered = m.enter();
                m.handoffp();
                let output = m.run_root(future);
                drop(entered);
                output
            }
            outer => {
                if let Some(m) = outer {
                    m.enter().handoffp();
                }
                let m = self.take_outside_m();
                m.set_outside();
                let output = m.scoped(|| {
                    let output = catch_unwind(AssertUnwindSafe(|| m.run_root(future)));
                    m.drop_locals();
                    output
                });
                self.put_outside_m(m);
                output.unwrap_or_else(|payload| resume_unwind(payload))
            }
        }
    }
}

/// Wakes the thread of a `block_on`.
struct Root {
    m: Arc<M>,
    ready: AtomicBool,
}

impl Wake for Root {
    fn wake(self: Arc<Root>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Root>) {
        // Release: pairs with the Acquire in `run_root`.
        self.ready.store(true, Ordering::Release);
        self.m.note.wake();
    }
}

impl M {
    /// # Safety
    /// As `Sched::newproc`.
    #[inline]
    unsafe fn newproc(&self, new: &NewG, write: impl FnOnce(NonNull<u8>)) -> GRef {
        let sched = self.sched();
        // SAFETY: passed on.
        let Some(p) = self.p() else { return unsafe { sched.newproc_outside(new, write) } };
        // SAFETY: this M holds the P, inside the core.
        let local = unsafe { p.local() };
        let cell = local.cache.alloc(&sched.heap, new.class);
        let id = local.new_id(&sched.ids);
        // SAFETY: the cell is fresh and of the class.
        let g = unsafe {
            GRef::init(cell, sched, new.vtable, id, new.class, std::ptr::null(), new.spawned_at)
        };
        write(cell);
        g.status().publish(Status::spawned());
        bump(&p.counters.spawns);
        let hungry = sched.idle.counts().is_hungry();
        // SAFETY: just made.
        local.push_fresh(unsafe { Runnable::claim(g) }, hungry);
        p.counters.set_hidden(local.hidden());
        if hungry {
            sched.wakep();
        }
        g
    }

    /// Creates a G that stays on this thread. The M is an outside one.
    ///
    /// # Safety
    /// As `Sched::newproc`, but the body may be bound to this thread.
    pub(crate) unsafe fn newproc_local(
        &self,
        new: &NewG,
        write: impl FnOnce(NonNull<u8>),
    ) -> GRef {
        // SAFETY: passed on; the home is this M.
        let g = unsafe { self.sched().make(new, self, write) };
        g.status().add_ref(); // the list's
        self.locals.borrow_mut().insert(g.as_raw());
        // SAFETY: just made.
        self.push_resident(unsafe { Runnable::claim(g) });
        g
    }

    /// Polls a root and this thread's residents until the root has ended.
    fn run_root<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let root = Arc::new(Root { m: self.arc(), ready: AtomicBool::new(true) });
        let waker = Waker::from(root.clone());
        let output = loop {
            // Acquire: pairs with the Release in `wake_by_ref`.
            let woken = root.ready.swap(false, Ordering::Acquire);
            if woken && let Poll::Ready(output) = self.poll_root(future.as_mut(), &waker) {
                break output;
            }
            if !self.run_residents() && !woken {
                self.handoffp();
                self.note.sleep();
            }
        };
        self.handoffp();
        match output {
            Ok(output) => output,
            Err(payload) => resume_unwind(payload),
        }
    }

    fn poll_root<F: Future>(
        &self,
        future: std::pin::Pin<&mut F>,
        waker: &Waker,
    ) -> Poll<std::thread::Result<F::Output>> {
        if self.p().is_none()
            && let Some(p) = self.sched().take_idle_p()
        {
            self.acquirep(p);
        }
        self.begin_slice();
        self.leave();
        let mut cx = Context::from_waker(waker);
        let polled = catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx)));
        self.reenter();
        self.end_slice(None);
        match polled {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(payload) => Poll::Ready(Err(payload)),
        }
    }

    /// Runs some of the Gs that live here. False: there was none.
    fn run_residents(&self) -> bool {
        self.take_residents(|g| self.local_runq.borrow_mut().push_back(g));
        for i in 0..LOCAL_BATCH {
            let next = self.local_runq.borrow_mut().pop_front();
            match next {
                Some(g) => self.execute(g),
                None => return i > 0,
            }
        }
        true
    }

    /// A resident has ended.
    pub(super) fn forget_local(&self, g: GRef) {
        if self.locals.borrow_mut().remove(&g.as_raw()) {
            super::schedule::drop_ref(g);
        }
    }

    /// The `block_on` ends: what lives here is cancelled, here. Destructors may spawn more.
    fn drop_locals(&self) {
        loop {
            let locals: Vec<GRef> =
                self.locals.borrow().iter().map(|p| GRef::from_raw(*p)).collect();
            if locals.is_empty() {
                return;
            }
            for g in locals {
                if g.status().abort() == Woken::Queue {
                    // SAFETY: the abort gave the G to this thread.
                    self.push_resident(unsafe { Runnable::claim(g) });
                }
            }
            // What somebody is just waking arrives in a moment.
            while !self.run_residents() && !self.locals.borrow().is_empty() {
                self.note.sleep();
            }
        }
    }

    /// Gives the P to an M that has the time, with what is queued there. Go: handoffp.
    pub(super) fn handoffp(&self) {
        let Some(p) = self.p() else { return };
        // SAFETY: this M holds the P, inside the core.
        let empty = unsafe { p.local() }.is_empty();
        p.counters.set_hidden(0);
        self.releasep();
        self.sched().put_p(p, empty);
    }
}
