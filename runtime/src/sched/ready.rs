//! How a woken G gets into a queue, and how a dead one's memory goes back: the ways into the core
//! from wakers, timers, the poller and handles. Go: ready, goready.

use std::task::Waker;

use super::Sched;
use super::g::{GRef, Runnable};
use super::latency;
use super::m::{self, M};
use super::status::{DropRef, Wake};
use super::trace;
use crate::task::waker;

impl M {
    /// Wakes a joiner: back to the P where it ran last, if that is running; its children's
    /// cells are in that core's cache.
    pub(super) fn wake(&self, waker: Waker) {
        let Some(g) = waker::into_g(waker, |foreign| {
            self.leave();
            waker::wake_quietly(foreign);
            self.reenter();
        }) else {
            return;
        };
        match g.status().wake_by_val() {
            Wake::Nothing => {}
            Wake::Free => self.free_any(g),
            Wake::Queue => {
                trace::woken(Some(self), g);
                // SAFETY: the wake gave the G to this M.
                let joiner = unsafe { Runnable::claim(g) };
                let here = self.p().map(|p| p.id);
                // Only an M with a P: the runtime may end beside one that has none, and nobody would
                // look into that inbox again.
                let last = here.and_then(|_| self.sched().ps.get(g.last_p() as usize));
                match last.filter(|p| Some(p.id) != here && p.is_held()) {
                    Some(p) if std::ptr::eq(g.sched(), self.sched()) && g.home().is_none() => {
                        p.push_inbox(joiner);
                        self.sched().wakep_foreign();
                    }
                    _ => self.ready_joiner(joiner),
                }
            }
        }
    }

    /// Whether tasks run elsewhere and this M has no other to run: then it is worth waiting a little
    /// for what one of those holds. Go: sync_runtime_canSpin.
    pub(crate) fn may_spin(&self) -> bool {
        let idle = self.sched().idle.counts();
        if self.sched().ps.len() <= idle.procs + idle.spinning + 1 {
            return false;
        }
        let m = self.enter();
        // SAFETY: this M holds the P, inside the core.
        m.p().is_none_or(|p| p.inbox_is_empty() && unsafe { p.local() }.is_empty())
    }

    fn ready_joiner(&self, g: Runnable) {
        match self.p() {
            Some(p) if std::ptr::eq(g.g().sched(), self.sched()) && self.may_run(&g) => {
                self.sample(g.g());
                // SAFETY: this M holds the P, inside the core.
                if unsafe { p.local() }.push_joiner(g) {
                    self.sched().wakep();
                }
            }
            _ => ready_from(Some(self), g),
        }
    }

    /// Makes a woken G runnable: it runs next, for its data is warm. Go: ready.
    fn ready(&self, g: Runnable) {
        let Some(p) = self.p() else { return self.sched().inject(g) };
        // SAFETY: this M holds the P, inside the core.
        let local = unsafe { p.local() };
        local.sample(g.g());
        let two = local.push_next(g);
        p.counters.set_hidden(local.hidden());
        if two {
            return self.sched().wakep();
        }
        local.lone_wakes += 1;
        if local.lone_wakes >> self.sched().idle.lone_shift() != 0 {
            local.lone_wakes = 0;
            self.sched().wakep();
        }
    }

    pub(super) fn push_woken(&self, g: Runnable) {
        self.sample(g.g());
        if let Some(home) = g.g().home() {
            return if std::ptr::eq(home, self) {
                self.push_resident_last(g);
            } else {
                home.push_resident(g);
            };
        }
        let Some(p) = self.p() else { return self.sched().inject(g) };
        // SAFETY: this M holds the P, inside the core.
        unsafe { p.local() }.shared.woken.push(g);
    }

    /// Wakes the foreign wakers that the poller and the timers gave to `ready_waker`. They are user
    /// code and may block this thread, which hands its P over then: no caller keeps one across this.
    pub(super) fn run_foreign(&self) -> bool {
        self.has_foreign.get() && self.run_foreign_slow()
    }

    #[cold]
    fn run_foreign_slow(&self) -> bool {
        self.found(); // it may be for long, and others rely on who searches
        loop {
            let next = self.foreign.borrow_mut().pop();
            let Some(waker) = next else {
                self.has_foreign.set(false);
                return true;
            };
            self.leave();
            waker::wake_quietly(waker);
            self.reenter();
        }
    }

    fn push_foreign(&self, waker: Waker) {
        self.foreign.borrow_mut().push(waker);
        self.has_foreign.set(true);
    }

    /// Queues what the poller or the timers woke, in their order, behind what is queued already. A
    /// foreign waker waits for `run_foreign`.
    pub(super) fn ready_waker(&self, waker: Waker) {
        let Some(g) = waker::into_g(waker, |foreign| self.push_foreign(foreign)) else { return };
        match g.status().wake_by_val() {
            Wake::Nothing => {}
            Wake::Free => self.free_any(g),
            Wake::Queue => {
                trace::woken(Some(self), g);
                // SAFETY: the wake gave the G to this M.
                let g = unsafe { Runnable::claim(g) };
                if std::ptr::eq(g.g().sched(), self.sched()) {
                    self.push_woken(g);
                } else {
                    ready_from(None, g);
                }
            }
        }
    }

    /// As `ready_waker`, for a batch; wakes one helper if there is more than this M can start on.
    pub(super) fn ready_wakers(&self, wakers: Vec<Waker>) {
        let many = wakers.len() > 1;
        for waker in wakers {
            self.ready_waker(waker);
        }
        if many {
            self.sched().wakep();
        }
    }

    /// One more P-less way to let go of a reference; frees the G if it was the last.
    pub(super) fn drop_ref(&self, g: GRef) {
        match g.status().drop_ref() {
            DropRef::Nothing => {}
            DropRef::Free => self.free(g),
            DropRef::Queue => unreachable!("a G that has ended is not queued"),
        }
    }

    /// Frees a cell of this scheduler.
    pub(super) fn free(&self, g: GRef) {
        match self.p() {
            // SAFETY: this M holds the P, inside the core.
            Some(p) => unsafe { p.local() }.cache.free(&self.sched().heap, g),
            None => self.sched().free_outside(g),
        }
    }

    fn free_any(&self, g: GRef) {
        if std::ptr::eq(g.sched(), self.sched()) { self.free(g) } else { g.sched().free_outside(g) }
    }
}

/// Queues a G that a wake has just claimed, from any thread. Go: goready.
pub(crate) fn ready(g: Runnable) {
    let m = m::current();
    trace::woken(m, g.g());
    match m {
        Some(m) => ready_from(Some(&m.enter()), g),
        None => ready_from(None, g),
    }
}

fn ready_from(m: Option<&M>, g: Runnable) {
    let (sched, home) = (g.g().sched(), g.g().home());
    let Some(m) = m.filter(|m| m.is_of(sched)) else {
        // The G keeps the scheduler; but once it is queued others may run it to its end, and the
        // runtime with it, while this thread is not through with the queue yet.
        let sched = sched.arc();
        return match home {
            Some(home) => home.push_resident(g),
            None => sched.inject(g),
        };
    };
    match home {
        Some(home) if std::ptr::eq(m, home) => {
            home.sample(g.g());
            home.push_resident_next(g);
        }
        Some(home) => home.push_resident(g),
        None => m.ready(g),
    }
}

/// Frees a dead cell, from any thread.
pub(crate) fn free(g: GRef) {
    let sched = g.sched();
    match m::current() {
        Some(m) if std::ptr::eq(m.sched(), sched) => m.enter().free(g),
        _ => sched.free_outside(g),
    }
}

/// Lets a reference go, from any thread.
pub(crate) fn drop_ref(g: GRef) {
    match g.status().drop_ref() {
        DropRef::Nothing => {}
        DropRef::Free => free(g),
        // SAFETY: `drop_ref` gave the G to this thread.
        DropRef::Queue => ready(unsafe { Runnable::claim(g) }),
    }
}

impl Sched {
    /// Queues a G from a thread that holds no P here.
    #[cold]
    pub(super) fn inject(&self, g: Runnable) {
        latency::sample_outside(g.g());
        self.global.push(g);
        self.idle.want_fair_turn();
        self.wakep_foreign();
        if self.idle.counts().is_closing() {
            self.drain_if_closed();
        }
    }
}
