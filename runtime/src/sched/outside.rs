//! Threads that are not workers: spawning from anywhere, and `block_on`.
//!
//! While `block_on` runs, its thread is an M. It runs the root future and the
//! local tasks that live on it, and nothing else, so other work cannot delay
//! them. For each poll of the root it holds an idle P if there is one, so that
//! its spawns are local; when it has nothing to do it hands that P, and what it
//! has queued, to a worker, and sleeps on its note.

use std::alloc::Layout;
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::Sched;
use super::g::{GRef, Runnable, VTable};
use super::heap::Class;
use super::m::{self, M};
use super::p::P;
use super::spans;
use super::stats::bump;
use super::status::{Status, Wake as Woken};
use super::timers::{Closed, TimerId, Timers};
use super::trace::{self, Kind};
use crate::stack::Hold;
use crate::util::note::Note;
use crate::util::opaque;

/// Local tasks run between two looks at the root.
const LOCAL_BATCH: usize = 61;

/// What a new G's header says.
pub(crate) struct NewG<'a> {
    pub(crate) vtable: &'static VTable,
    pub(crate) class: Class,
    pub(crate) layout: Layout,
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) name: Option<&'a str>,
    pub(crate) span: spans::Fresh,
}

impl Sched {
    /// A cell for a G that this thread, which holds no P here, is about to create. Go: newproc.
    /// The caller writes the body, then calls `submit`.
    #[cold]
    pub(crate) fn newproc(&self, new: &NewG<'_>) -> GRef {
        self.make(new, std::ptr::null())
    }

    /// Publishes and queues a G from `newproc`.
    ///
    /// # Safety
    /// The body has been written; it may run on any thread. Called once.
    #[cold]
    pub(crate) unsafe fn submit(&self, g: GRef) {
        g.status().publish(Status::spawned());
        // SAFETY: just made.
        self.inject(unsafe { Runnable::claim(g) });
    }

    fn make(&self, new: &NewG<'_>, home: *const M) -> GRef {
        // Relaxed twice: uniqueness, statistics.
        let id = new.span.id().unwrap_or_else(|| self.ids.fetch_add(1, Ordering::Relaxed));
        self.outside.spawns_of(new.vtable).fetch_add(1, Ordering::Relaxed);
        let cell = self.alloc_outside(new);
        // SAFETY: the cell is fresh and of the class.
        let g = unsafe { GRef::init(cell, self, new, id, home) };
        self.tag(g, new.name);
        trace::created(g);
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
        if first || self.is_paused() {
            fence(Ordering::SeqCst); // TimerFence: armed before the look at who is idle
            if self.idle.counts().procs > 0 {
                self.watch_timers();
            }
        }
        Ok((timers, id))
    }

    /// Spreads threads without a P over the heaps.
    #[inline(never)]
    fn some_timers(&self) -> &'static Timers {
        opaque();
        thread_local!(static LUCK: Cell<usize> = const { Cell::new(0) });
        let n = LUCK.try_with(|luck| luck.replace(luck.get() + 1)).unwrap_or(0);
        self.ps.at(n % self.ps.procs().min(self.ps.len())).timers
    }

    /// Runs the due timers of all Ps. True if there were any.
    pub(super) fn run_all_timers(&self, m: &M) -> bool {
        let Some(earliest) = self.earliest_timer() else { return false };
        let now = self.now();
        if earliest > now {
            return false;
        }
        let fired = |p: &P| p.timers.fire(now, |waker| m.ready_waker(waker));
        let fired = self.ps.iter().map(fired).sum();
        m.count_fired(fired);
        fired > 0
    }

    /// Runs a future to its end on the calling thread. See the module.
    #[track_caller]
    pub(crate) fn block_on<F: Future>(self: &Arc<Sched>, future: F) -> F::Output {
        let at = Location::caller();
        let _held = Hold::here(); // the wait is this thread's, as `m::current` is
        match m::current() {
            // The thread blocks, so its P goes to somebody else; what lives here goes on.
            Some(m) if m.is_outside() && m.is_of(self) => m.enter().nested(|m| m.run_root(future)),
            outer => {
                let Some(outer) = outer else { return self.block_on_outside(future, at) };
                outer.without_p(|| {
                    if outer.is_outside() {
                        self.block_on_outside(future, at)
                    } else {
                        outer.nesting(|| self.block_on_outside(future, at))
                    }
                })
            }
        }
    }

    fn block_on_outside<F: Future>(
        self: &Arc<Sched>,
        future: F,
        at: &'static Location<'static>,
    ) -> F::Output {
        let m = self.take_outside_m();
        m.set_outside();
        m.set_called_at(Some(at));
        let output = m.scoped(|| {
            let output = catch_unwind(AssertUnwindSafe(|| m.run_root(future)));
            m.drop_locals();
            m.forget_request();
            output
        });
        m.set_called_at(None);
        self.put_outside_m(m);
        output.unwrap_or_else(|payload| resume_unwind(payload))
    }
}

/// Wakes the thread of a `block_on`.
struct Root {
    sleeper: Arc<Note>,
    ready: AtomicBool,
}

impl Wake for Root {
    fn wake(self: Arc<Root>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Root>) {
        // Release: pairs with the Acquire in `run_root`.
        self.ready.store(true, Ordering::Release);
        self.sleeper.wake();
    }
}

impl M {
    /// As `Sched::newproc`, from this M's P if it holds one.
    #[inline]
    pub(crate) fn newproc(&self, new: &NewG<'_>) -> GRef {
        let sched = self.sched();
        let Some(p) = self.p() else { return sched.newproc(new) };
        // SAFETY: this M holds the P, inside the core.
        let local = unsafe { p.local() };
        let cell = local.cache.alloc(&sched.heap, new.class, new.layout);
        let id = new.span.id().unwrap_or_else(|| local.new_id(&sched.ids));
        bump(p.counters.spawns_of(new.vtable));
        // SAFETY: the cell is fresh and of the class.
        let g = unsafe { GRef::init(cell, sched, new, id, std::ptr::null()) };
        sched.tag(g, new.name);
        g
    }

    /// Publishes and queues a G from `newproc`.
    ///
    /// # Safety
    /// As `Sched::submit`.
    #[inline]
    pub(crate) unsafe fn submit(&self, g: GRef) {
        let sched = self.sched();
        // SAFETY: passed on.
        let Some(p) = self.p() else { return unsafe { sched.submit(g) } };
        g.status().publish(Status::spawned());
        // SAFETY: this M holds the P, inside the core.
        let local = unsafe { p.local() };
        let counts = sched.idle.counts();
        if counts.is_traced() {
            trace::created_here(g);
        }
        let hungry = !counts.is_calm() && counts.is_hungry();
        local.sample(g);
        // SAFETY: just made.
        local.push_fresh(unsafe { Runnable::claim(g) }, hungry);
        p.counters.set_hidden(local.hidden());
        if hungry {
            sched.wakep();
        }
    }

    /// A cell for a G that stays on this thread.
    pub(crate) fn newproc_local(&self, new: &NewG<'_>) -> GRef {
        self.count_resident();
        self.sched().make(new, self)
    }

    /// Publishes and queues a G from `newproc_local`.
    ///
    /// # Safety
    /// As `Sched::submit`, but the body may be bound to this thread.
    pub(crate) unsafe fn submit_local(&self, g: GRef) {
        g.status().publish(Status::spawned());
        if self.is_outside() {
            g.status().add_ref(); // the list's
            self.locals.borrow_mut().insert(g.as_raw());
        }
        // SAFETY: just made.
        self.push_resident_last(unsafe { Runnable::claim(g) });
    }

    /// Polls a root and this thread's residents until the root has ended.
    fn run_root<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let root = Arc::new(Root { sleeper: self.sleeper(), ready: AtomicBool::new(true) });
        let waker = Waker::from(root.clone());
        loop {
            self.borrowp();
            // Acquire: pairs with the Release in `wake_by_ref`.
            let woken = root.ready.swap(false, Ordering::Acquire);
            let polled =
                if woken { self.poll_root(future.as_mut(), &waker) } else { Poll::Pending };
            let ran = polled.is_pending() && self.run_residents();
            // After each round, also when there is more to do here: what else is queued at the P
            // must not wait for it.
            self.handoffp();
            match polled {
                Poll::Ready(Ok(output)) => return output,
                Poll::Ready(Err(payload)) => resume_unwind(payload),
                Poll::Pending if woken || ran || self.run_outer_residents() => {}
                Poll::Pending if self.sched().is_closing() => {
                    self.poll_while_closing(&root.sleeper)
                }
                Poll::Pending => self.doze(&root.sleeper),
            }
        }
    }

    /// A destructor waits while the runtime ends, or a callback from C, and the workers that would
    /// poll have left.
    #[cold]
    fn poll_while_closing(&self, sleeper: &Note) {
        let sched = self.sched();
        self.abort_outer_residents();
        sched.run_all_timers(self);
        sched.netpoll.try_poll(&mut |waker| self.ready_waker(waker));
        if !self.run_foreign() {
            sleeper.sleep_for(Duration::from_millis(1));
        }
    }

    /// Holds an idle P for a round, if there is one.
    fn borrowp(&self) {
        if let Some(p) = self.sched().take_idle_p(true) {
            self.acquirep(p);
        }
    }

    /// Runs `f`, which blocks, inside a poll: what the interrupted G has noted here is kept.
    fn nested<R>(&self, f: impl FnOnce(&M) -> R) -> R {
        let (g, yielded) = (self.curg(), self.take_yielded());
        self.handoffp();
        let result = f(self);
        self.handoffp(); // what has run may have come back to one
        self.set_curg(g);
        if yielded {
            self.set_yielded();
        }
        result
    }

    /// The Gs that live on this thread by an outer `block_on` go on too; the inner future may wait
    /// for one of them.
    fn run_outer_residents(&self) -> bool {
        let mut any = false;
        let mut outer = self.outer();
        while let Some(m) = outer {
            any |= m.resumed(|| m.nested(M::run_residents));
            outer = m.outer();
        }
        any
    }

    fn poll_root<F: Future>(
        &self,
        future: std::pin::Pin<&mut F>,
        waker: &Waker,
    ) -> Poll<std::thread::Result<F::Output>> {
        if let Some(p) = self.p() {
            bump(&p.counters.dispatches); // for sysmon
        }
        self.begin_slice();
        trace::event(Kind::Start, self, 0);
        self.leave();
        let mut cx = Context::from_waker(waker);
        let polled = catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx)));
        self.reenter();
        trace::root_stops(self, matches!(polled, Ok(Poll::Pending)));
        self.end_slice(None);
        match polled {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(payload) => Poll::Ready(Err(payload)),
        }
    }

    /// Runs some of the Gs that live here. False: there was none.
    fn run_residents(&self) -> bool {
        for i in 0..LOCAL_BATCH {
            match self.pop_resident() {
                Some(g) => self.execute(g),
                None => return i > 0,
            }
        }
        true
    }

    /// The runtime ends: what lives on this worker ends here, goroutines by unwinding. Returns when
    /// nothing is left, however long that takes.
    pub(super) fn drop_residents(&self) {
        while self.residents() > 0 {
            if !self.abort_residents() {
                return;
            }
            self.nesting(|| {
                while self.run_residents() {}
                // What somebody is just waking, or what waits in a destructor, arrives later.
                self.sleeper().sleep_for(Duration::from_millis(1));
            });
        }
    }

    /// Aborts what lives on this worker. False: nothing does.
    fn abort_residents(&self) -> bool {
        let mut any = false;
        self.sched().heap.for_each_live(|g| {
            if g.home().is_some_and(|home| std::ptr::eq(home, self)) {
                any = true;
                if g.status().abort() == Woken::Queue {
                    // SAFETY: the abort gave the G to this thread.
                    self.push_resident_last(unsafe { Runnable::claim(g) });
                }
            }
            super::ready::drop_ref(g);
        });
        any
    }

    /// The runtime ends, and this thread is in the middle of something that may wait for what
    /// lives on it.
    fn abort_outer_residents(&self) {
        let mut outer = self.outer();
        while let Some(m) = outer {
            if !m.is_outside() && m.sched().is_closing() {
                m.resumed(|| m.abort_residents());
            }
            outer = m.outer();
        }
    }

    /// A local task has ended.
    pub(super) fn forget_local(&self, g: GRef) {
        if self.locals.borrow_mut().remove(&g.as_raw()) {
            super::ready::drop_ref(g);
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
                self.doze(&self.sleeper());
            }
        }
    }
}
