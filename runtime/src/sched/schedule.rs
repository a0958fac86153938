//! The scheduler loop of an M: find a G, run it, see how it stopped. Go: schedule, execute,
//! findRunnable, park_m, goexit0.

use std::sync::atomic::{Ordering, fence};

use super::g::{GRef, RawJoinWaker, Runnable, Stopped};
use super::idle::{CHAOS, Counts, LOCKED, SITES, SURPLUS, WANTED};
use super::m::M;
use super::p::P;
use super::spans;
use super::stats::{add, bump};
use super::status::{Complete, Park, Start};
use super::trace::{self, Kind};
use super::wait::WaitReason;
use crate::util::clock::{self, NEVER};

/// With timers pending, the clock is read every so many dispatches: 31 ns each time would double
/// the price of a yield.
const CLOCK_TICK: u32 = 8;
/// But at every dispatch, once that many took longer than this, in nanoseconds.
const CLOCK_SLOW: u64 = 500_000;

/// What came of a look at the unusual (`M::see_to`).
enum Errand {
    /// Go on.
    Done,
    /// From the top: the P may be gone.
    Changed,
    /// Run this.
    Run(Runnable),
    /// This thread's time is over.
    End,
}

impl M {
    /// A worker's life.
    pub(super) fn run(&self) {
        self.take_nextp(); // a new worker comes with a P
        while let Some(g) = self.findrunnable() {
            self.execute(g);
        }
    }

    /// The next G to run. Sleeps while there is none; None when the runtime ends.
    fn findrunnable(&self) -> Option<Runnable> {
        loop {
            self.run_foreign();
            if let Some(p) = self.p() {
                let counts = self.sched().idle.counts();
                if !counts.is_calm() {
                    match self.see_to(p, counts) {
                        Errand::Done => {}
                        Errand::Changed => continue,
                        Errand::Run(g) => return Some(g),
                        Errand::End => return None,
                    }
                }
                self.run_timers(p);
                let found = self
                    .fair(p) // every 61st time, the queues that the others could starve
                    .or_else(|| self.pop(p)) // woken last, spawned last, woken first
                    .or_else(|| self.look_around(p));
                if let Some(g) = found {
                    if !counts.is_calm() {
                        self.found();
                        if counts.has(SITES) && self.avoids(&g) {
                            self.start_elsewhere(g);
                            continue;
                        }
                    }
                    return Some(g);
                }
            } else if let Some(g) = self.next_beside() {
                return Some(g); // it needs no P
            } else if self.is_over() {
                return None;
            }
            if !self.run_foreign() && !self.rest() {
                return None;
            }
        }
    }

    /// The queues of this P are empty.
    #[inline(never)]
    fn look_around(&self, p: &P) -> Option<Runnable> {
        let found = self
            .visit(p) // inbox, global queue
            .or_else(|| self.netpoll(p)) // ready sockets
            .or_else(|| self.steal(p))?; // other Ps
        self.found();
        Some(found)
    }

    /// What else there is to do before a dispatch.
    fn see_to(&self, p: &P, counts: Counts) -> Errand {
        let errand = if counts.is_unusual() { self.run_errand(p, counts) } else { Errand::Done };
        if matches!(errand, Errand::Done) && counts.is_hungry() {
            self.show(p); // somebody would like to help
        }
        errand
    }

    #[cold]
    fn run_errand(&self, p: &P, counts: Counts) -> Errand {
        if counts.is_closing() {
            self.sched().drain_p(p); // what lives on some thread has to end there
            self.releasep();
            return Errand::End;
        }
        if counts.has(LOCKED) && self.is_locked() {
            self.run_timers(p);
            if let Some(g) = self.next_locked(p) {
                return Errand::Run(g);
            }
            return if self.is_over() { Errand::End } else { Errand::Changed };
        }
        let surplus = counts.has(SURPLUS) && self.sched().is_surplus(p);
        if surplus || counts.has(WANTED) && self.may_give_p(p) {
            self.found(); // who is given the P searches in turn
            self.handoffp(); // to an M that cannot do without, or for good
            return Errand::Changed;
        }
        if counts.wants_fair_turn() {
            self.hasten_fair_turn(p);
        }
        Errand::Done
    }

    /// Runs one G until it stops.
    #[inline]
    pub(super) fn execute(&self, g: Runnable) {
        if !self.may_run(&g) {
            // A P that was handed over brought it along.
            return self.push_woken(g);
        }
        let counts = self.sched().idle.counts();
        if counts.is_watched() {
            self.execute_watched(g, counts)
        } else {
            self.dispatch::<false>(g)
        }
    }

    /// The same while somebody records, while the runtime ends, or in chaos mode: there every fourth
    /// dispatch is put off, to the tail of a queue, and so other orders come about than those that
    /// the machine happens to make.
    #[cold]
    fn execute_watched(&self, g: Runnable, counts: Counts) {
        // SAFETY: this M holds the P, inside the core.
        let put_off = |p: &P| unsafe { p.local() }.rng.below(4) == 0;
        if counts.has(CHAOS) && self.p().is_some_and(put_off) {
            return self.push_woken(g);
        }
        if counts.is_closing() && self.p().is_some() && g.g().home().is_none() {
            // It has stopped after the end began, and was stolen by an M that did not know yet.
            let _ = g.g().status().abort();
        }
        self.dispatch::<true>(g);
    }

    /// There are two of it, so that the hooks cost nothing while nobody records.
    #[inline(always)]
    fn dispatch<const WATCHED: bool>(&self, g: Runnable) {
        let g = g.into_g();
        match g.status().start() {
            Start::Run => {}
            Start::RunSampled => self.note_latency(g),
            Start::Cancel => return self.cancel(g),
        }
        if let Some(p) = self.p() {
            g.set_last_p(p.id);
            bump(&p.counters.dispatches);
            self.begin_slice_at(p);
        }
        if WATCHED {
            trace::starts(self, g);
        }
        g.set_reason(WaitReason::Other); // until a wait says more
        self.set_curg(Some(g));
        self.leave();
        spans::enter(self, g);
        // SAFETY: this M owns the G (it was Runnable) and has left the core.
        let stopped = unsafe { (g.vtable().resume)(g) };
        spans::exit(self, g, stopped);
        self.reenter();
        self.set_curg(None);
        self.end_slice(Some(g));
        if WATCHED {
            trace::stops(self, g, stopped);
        }
        self.stopped(g, stopped);
    }

    pub(super) fn may_run(&self, g: &Runnable) -> bool {
        g.g().home().is_none_or(|home| std::ptr::eq(home, self))
    }

    #[inline]
    fn stopped(&self, g: GRef, stopped: Stopped) {
        match stopped {
            // The status word stays as it is: the G was owned and goes on to be.
            Stopped::Parked if self.take_yielded() => self.requeue(g),
            Stopped::Parked => self.park(g),
            Stopped::Done => {
                self.take_yielded(); // of a wait that it did not wait for
                self.complete(g);
            }
            Stopped::Returned => {}
        }
    }

    #[inline]
    fn park(&self, g: GRef) {
        g.set_since(self.sched().coarse_now());
        match g.status().park() {
            Park::Parked => {}
            Park::Notified => self.requeue(g),
            Park::Orphan => self.end_orphan(g),
        }
    }

    /// The running goroutine, which has frames of C on this stack, waits; from here on this thread
    /// runs others.
    pub(crate) fn park_inside(&self, g: GRef) {
        spans::exit(self, g, Stopped::Parked);
        self.reenter();
        self.set_curg(None);
        self.end_slice(Some(g));
        trace::stops(self, g, Stopped::Parked);
        self.stopped(g, Stopped::Parked);
    }

    /// It goes on: its frames are the topmost again.
    pub(crate) fn go_on_inside(&self, g: GRef) {
        trace::starts(self, g);
        self.set_curg(Some(g));
        self.begin_slice();
        self.leave();
        spans::enter(self, g);
    }

    /// Nobody can wake or join this G any more: its next dispatch cancels it.
    #[cold]
    fn end_orphan(&self, g: GRef) {
        if g.status().is_aborting() {
            // A goroutine that cannot be unwound: it stays as it is until the runtime ends.
            g.status().add_ref();
            return self.park(g);
        }
        // It is owned, so this only sets the bits.
        let _ = g.status().abort();
        self.requeue(g);
    }

    /// To the tail of the woken queue, so that a G that always yields starves nobody (T4).
    fn requeue(&self, g: GRef) {
        // SAFETY: the G is still owned by this M.
        self.push_woken(unsafe { Runnable::claim(g) });
    }

    /// Ends a G without running it; a goroutine is unwound.
    #[cold]
    fn cancel(&self, g: GRef) {
        trace::starts(self, g);
        self.set_curg(Some(g));
        self.leave();
        spans::enter(self, g);
        // SAFETY: this M owns the G and has left the core.
        let stopped = unsafe { (g.vtable().cancel)(g) };
        spans::exit(self, g, stopped);
        self.reenter();
        self.set_curg(None);
        trace::stops(self, g, stopped);
        self.stopped(g, stopped);
    }

    /// The body has ended, its output is stored: wakes the joiner, lets go of the G.
    #[inline(never)]
    fn complete(&self, g: GRef) {
        match self.p() {
            Some(p) => bump(p.counters.ends_of(g.vtable())),
            // Relaxed: statistics.
            None => {
                self.sched().outside.ends_of(g.vtable()).fetch_add(1, Ordering::Relaxed);
            }
        }
        self.sched().untag(g);
        if g.home().is_some() {
            self.forget_resident(g);
        }
        self.finish(g, true);
    }

    fn finish(&self, g: GRef, output: bool) {
        let mut waker = RawJoinWaker::NONE;
        match g.status().complete(output, || waker = g.join_waker().copy()) {
            Complete::Nothing => {}
            // SAFETY: `complete` has given the field to this side.
            Complete::Wake => self.wake(unsafe { waker.take() }),
            Complete::WakeSlow => {
                // SAFETY: as above; the field is frozen.
                self.wake(unsafe { g.join_waker().copy().take() });
                self.drop_ref(g);
            }
            Complete::DropOutput => {
                self.leave();
                // SAFETY: nobody else wants the output, and this M still owns the G.
                unsafe { (g.vtable().drop_output)(g) };
                self.reenter();
                self.finish(g, false);
            }
            Complete::Free => self.free(g),
        }
    }

    /// Searching has paid: the next one may search. Go: resetspinning.
    pub(super) fn found(&self) {
        if self.spinning.replace(false) {
            self.sched().idle.stop_spinning();
            fence(Ordering::SeqCst); // SpinCount: a foreign submit may have relied on this M
            // SAFETY: this M holds its P, inside the core.
            let more = self.p().is_some_and(|p| !unsafe { p.local() }.is_empty());
            if more || self.sched().has_foreign_work() {
                self.sched().wakep();
            }
        }
    }

    #[cold]
    fn show(&self, p: &P) {
        // SAFETY: this M holds the P, inside the core.
        if unsafe { p.local() }.show() {
            self.sched().wakep();
        }
    }

    #[inline]
    pub(super) fn pop(&self, p: &P) -> Option<Runnable> {
        // SAFETY: this M holds the P, inside the core.
        let local = unsafe { p.local() };
        self.pop_resident_next().or_else(|| local.pop_hot()).or_else(|| self.pop_cold(p))
    }

    #[inline(never)]
    fn pop_cold(&self, p: &P) -> Option<Runnable> {
        // SAFETY: this M holds the P, inside the core.
        let local = unsafe { p.local() };
        // What lives here and what waits in the P take turns.
        if self.residents_first() {
            self.pop_resident().or_else(|| local.pop_cold())
        } else {
            local.pop_cold().or_else(|| self.pop_resident())
        }
    }

    #[inline]
    fn fair(&self, p: &P) -> Option<Runnable> {
        // SAFETY: this M holds the P, inside the core.
        if unsafe { p.local() }.is_fair_turn() { self.fair_slow(p) } else { None }
    }

    /// Something waits in the global queue: its turn comes within eight dispatches, for each of
    /// these may take long.
    #[cold]
    fn hasten_fair_turn(&self, p: &P) {
        // SAFETY: this M holds the P, inside the core.
        unsafe { p.local() }.hasten_fair_turn();
    }

    /// Another M has something that only it can run, and no P. This one gives its own away after a
    /// dispatch; or at a fair turn, if it is in the same position. Then they take turns.
    fn may_give_p(&self, p: &P) -> bool {
        // SAFETY: this M holds the P, inside the core.
        let local = unsafe { p.local() };
        match self.has_residents() {
            true => self.has_dispatched(p) && local.is_fair_turn_next(),
            false => self.has_dispatched(p) || local.is_empty(),
        }
    }

    #[cold]
    fn fair_slow(&self, p: &P) -> Option<Runnable> {
        let sched = self.sched();
        self.poll_once(p);
        self.advance_under_load();
        let slow = p.counters.slow.load(Ordering::Relaxed); // Relaxed: a hint
        if slow {
            self.relieve(p);
        }
        // SAFETY: this M holds the P, inside the core.
        let local = unsafe { p.local() };
        p.drain_inbox(local);
        // A whole share, or a full global queue would be served at the rate of these turns.
        match sched.global.pop_batch(&local.shared, sched.ps.procs()) {
            Some(g) => local.shared.woken.push(g),
            None => sched.idle.clear_fair_turn(),
        }
        local.pop_fair(slow).or_else(|| self.pop_resident())
    }

    #[inline]
    pub(super) fn visit(&self, p: &P) -> Option<Runnable> {
        let sched = self.sched();
        // SAFETY: this M holds the P, inside the core.
        let local = unsafe { p.local() };
        if !p.inbox_is_empty() {
            p.drain_inbox(local);
            return local.pop();
        }
        sched.global.pop_batch(&local.shared, sched.ps.procs())
    }

    /// Polls without blocking and takes the first ready G.
    fn netpoll(&self, p: &P) -> Option<Runnable> {
        if self.poll_once(p) > 1 {
            self.sched().wakep();
        }
        self.pop(p)
    }

    fn poll_once(&self, p: &P) -> usize {
        let sched = self.sched();
        if !sched.netpoll.waiters() {
            return 0;
        }
        bump(&p.counters.netpolls);
        sched.note_netpoll();
        let ready = sched.netpoll.try_poll(&mut |waker| self.ready_waker(waker)).unwrap_or(0);
        trace::event(Kind::Netpoll, self, ready as u64);
        ready
    }

    /// Runs this P's due timers, if it is time to look at the clock.
    #[inline(always)]
    fn run_timers(&self, p: &P) {
        if p.timers.earliest() != NEVER {
            self.run_timers_slow(p);
        }
    }

    #[inline(never)]
    fn run_timers_slow(&self, p: &P) {
        // SAFETY: this M holds the P, inside the core.
        let local = unsafe { p.local() };
        // Relaxed: a hint, from sysmon. Where dispatches take long, each one looks: eight that take
        // 10 ms are too many to wait for.
        let slow = p.counters.slow.load(Ordering::Relaxed);
        if local.clock_in > 0 && !local.is_empty() && !slow {
            local.clock_in -= 1;
            return;
        }
        let now = clock::now();
        let slow = now - local.clock_at > CLOCK_SLOW;
        local.clock_in = if slow { 0 } else { CLOCK_TICK };
        local.clock_at = now;
        let fired = p.timers.fire(self.sched().clock.at(|| now), |waker| self.ready_waker(waker));
        self.count_fired(fired);
    }

    /// So many timers of `p` have fired here.
    pub(super) fn count_fired(&self, fired: usize) {
        if fired > 0 {
            if let Some(p) = self.p() {
                add(&p.counters.timers, fired as u64);
            }
            trace::event(Kind::Timers, self, fired as u64);
        }
    }
}
