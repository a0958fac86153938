//! How an M goes to sleep and comes back: the sleeper's side of the protocol in `README.md`.

use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use gort_netpoll::Blocker;

use super::idle::SPINNING;
use super::m::M;
use super::paused::Quiet;
use super::stats::bump;
use super::trace::{self, Kind};

/// What a burst of blocking calls has started ends after so long. Half of tokio's time: a thread
/// costs 20 us to start.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

impl M {
    /// Gives the P up, for its queues are empty and there is nothing to steal, and sleeps until
    /// there is one to hold. False: the runtime ends. Go: stopm, with the tail of findRunnable.
    #[cold]
    pub(super) fn rest(&self) -> bool {
        let sched = self.sched();
        self.forget_request();
        let blocker = if self.is_locked() { None } else { sched.netpoll.blocker() };
        self.retire(blocker.is_some());
        fence(Ordering::SeqCst); // SleepFence: this M is enlisted before it looks once more
        if self.has_residents() {
            sched.wake_home(self); // as who queued it would
        } else if sched.has_work() {
            sched.wakep(); // as a producer would; it may well choose this M
        }
        match blocker {
            Some(blocker) => self.sleep_in_netpoll(blocker),
            None => self.sleep_on_note(),
        }
        // Relaxed: this M is awake; who still sees it set finds it in no list.
        self.resting.store(false, Ordering::Relaxed);
        let goes_on = !sched.idle.counts().is_closing() && !self.ends.get();
        goes_on || self.p().is_some() || self.has_nextg()
    }

    /// Enlists this M as idle, and its P; one step for those who look at the counts.
    fn retire(&self, polls: bool) {
        let sched = self.sched();
        let mut lists = sched.idle.lock();
        let mut change = 0;
        let mut to_wake = None;
        if let Some(p) = self.p() {
            // SAFETY: this M holds it, inside the core.
            debug_assert!(unsafe { p.local() }.is_empty(), "an idle P has no work (S29)");
            bump(&p.counters.parks);
            trace::event(Kind::Park, self, 0);
            p.counters.set_hidden(0);
            self.releasep();
            let wanted = if sched.is_surplus(p) { None } else { lists.next_wanting(&sched.idle) };
            match wanted {
                Some(m) => to_wake = Some((m, p)),
                None => change = sched.list_p(&mut lists, p),
            }
        }
        self.resting.store(true, Ordering::Relaxed); // Relaxed: ordered by SleepFence
        if self.spinning.replace(false) {
            change = change.wrapping_sub(SPINNING);
        }
        // SeqCst: see README, IdleCount and SpinCount.
        sched.idle.counts.fetch_add(change, Ordering::SeqCst);
        // SAFETY: the scheduler keeps its Ms.
        let me: &'static M = unsafe { &*std::ptr::from_ref(self) };
        if polls {
            lists.poller = Some(me);
        } else if self.is_locked() {
            lists.locked.push(me);
        } else {
            // One more is in the netpoller, or this M would be.
            self.is_spare.set(lists.ms.len() + 1 >= sched.ps.procs());
            lists.ms.push(me);
        }
        if let Some((m, p)) = to_wake {
            sched.wake_with(lists, m, p);
        }
    }

    fn sleep_on_note(&self) {
        let sched = self.sched();
        // The M in the netpoller sleeps until the earliest timer, and this M's P may have had it.
        sched.watch_timers();
        while !self.take_nextp() && !self.has_nextg() {
            if self.ends.get() {
                return;
            }
            if sched.idle.counts().is_closing() {
                // Whoever has taken it out of the list has given it something by then.
                sched.idle.lock().remove(self);
                self.take_nextp();
                return;
            }
            if !self.is_spare.get() {
                self.note.sleep();
            } else if !self.note.sleep_for(KEEP_ALIVE) {
                self.end_if_idle();
            }
        }
    }

    /// This M has been idle for long beside as many others as there are Ps.
    #[cold]
    fn end_if_idle(&self) {
        let mut lists = self.sched().idle.lock();
        // Whoever has taken it out of the list is just giving it something.
        self.ends.set(self.residents() == 0 && lists.remove(self));
    }

    /// Sleeps in the netpoller until the earliest timer. Go: the netpoll block in findRunnable.
    fn sleep_in_netpoll(&self, mut blocker: Blocker<'_>) {
        let sched = self.sched();
        let mut ready = Vec::new();
        loop {
            // While every P is held, their owners look after the timers.
            let timed = sched.idle.counts().procs > 0;
            let until = if timed { sched.earliest_real() } else { None };
            blocker.prepare(until.map(|when| sched.clock.real(when)));
            fence(Ordering::SeqCst); // SleepFence: pairs with RetireFence and TimerFence
            let counts = sched.idle.counts();
            if counts.is_closing() {
                sched.idle.lock().poller = None;
                self.take_nextp(); // as in `sleep_on_note`
                break;
            }
            // A timer came before the announcement, or a P went idle: these are ours to watch now.
            let earlier = |when: u64| until.is_none_or(|until| when < until);
            if counts.procs > 0 && sched.earliest_real().is_some_and(earlier) {
                continue;
            }
            // Acquire: pairs with `give`, whose `break_` may have come before `prepare`.
            if !self.nextp.load(Ordering::Acquire).is_null() {
                self.take_nextp();
                break;
            }
            if sched.clock.is_paused() {
                match self.move_time(&mut ready) {
                    Quiet::Yes => break,
                    Quiet::Unclear => {
                        std::thread::yield_now();
                        continue;
                    }
                    Quiet::No => {}
                }
            }
            // Errors of epoll_wait other than EINTR mean a broken descriptor: nothing to wait for.
            let polled = blocker.block(&mut |waker| ready.push(waker));
            assert!(polled.is_ok(), "gort: the poller failed: {polled:?}");
            if self.leave_netpoll(!ready.is_empty()) {
                break;
            }
        }
        drop(blocker);
        self.ready_wakers(ready);
    }

    /// Whether this M stops sleeping in the netpoller: it has been given a P, or there is
    /// something to do and an idle P to do it with, or what is ready must go to the global queue.
    fn leave_netpoll(&self, any_ready: bool) -> bool {
        let sched = self.sched();
        let mut lists = sched.idle.lock();
        let Some(me) = lists.poller.take() else {
            drop(lists);
            return self.take_nextp();
        };
        if any_ready || sched.is_due() {
            if let Some(p) = sched.take_p(&mut lists) {
                self.acquirep(p);
                return true;
            }
            if any_ready {
                self.resting.store(false, Ordering::Relaxed); // Relaxed: under the lock
                return true;
            }
        }
        lists.poller = Some(me);
        false
    }

    /// Takes the P that somebody gave to this M, which now counts as searching.
    pub(super) fn take_nextp(&self) -> bool {
        // Acquire: pairs with the Release in `give`.
        let p = self.nextp.swap(std::ptr::null_mut(), Ordering::Acquire);
        // SAFETY: Ps live as long as the scheduler.
        let Some(p) = (unsafe { p.as_ref() }) else { return false };
        self.acquirep(p);
        self.spinning.set(true);
        true
    }
}
