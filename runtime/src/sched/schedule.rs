//! The scheduler loop of an M: find a G, run it, see how it stopped. Go: schedule, execute,
//! findRunnable, park_m, goexit0.

use std::sync::atomic::{Ordering, fence};
use std::task::Waker;

use super::Sched;
use super::g::{GRef, RawJoinWaker, Runnable, Stopped};
use super::m::{self, M};
use super::p::P;
use super::stats::bump;
use super::status::{Complete, DropRef, Park, Start, Wake};
use crate::task::waker;
use crate::util::clock::{self, NEVER};

/// With timers pending, the clock is read every so many dispatches: 31 ns each time would double
/// the price of a yield.
const CLOCK_TICK: u32 = 8;
/// But at every dispatch, once that many took longer than this, in nanoseconds.
const CLOCK_SLOW: u64 = 500_000;

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
                if counts.is_closing() {
                    self.releasep();
                    return None;
                }
                if counts.wants_fair_turn() {
                    self.hasten_fair_turn(p);
                }
                if counts.is_p_wanted() && self.may_give_p(p) {
                    self.handoffp(); // to an M that cannot do without
                    continue;
                }
                if counts.is_hungry() {
                    self.show(p); // somebody would like to help
                }
                self.run_timers(p);
                let found = self
                    .fair(p) // every 61st time, the queues that the others could starve
                    .or_else(|| self.pop(p)) // woken last, spawned last, woken first
                    .or_else(|| self.visit(p)) // inbox, global queue
                    .or_else(|| self.netpoll(p)) // ready sockets
                    .or_else(|| self.steal(p)); // other Ps
                if let Some(g) = found {
                    self.found();
                    return Some(g);
                }
            }
            if !self.run_foreign() && !self.rest() {
                return None;
            }
        }
    }

    /// Runs one G until it stops.
    pub(super) fn execute(&self, g: Runnable) {
        if !self.may_run(&g) {
            // A P that was handed over brought it along.
            return self.push_woken(g);
        }
        if self.sched().config.chaos.is_some() && self.chaos_delays() {
            return self.push_woken(g);
        }
        let g = g.into_g();
        if g.vtable().is_goroutine && !self.sched().config.migrate {
            g.set_home(self);
        }
        if g.status().start() == Start::Cancel {
            return self.cancel(g);
        }
        if let Some(p) = self.p() {
            g.set_last_p(p.id);
            bump(&p.counters.dispatches);
        }
        self.begin_slice();
        self.set_curg(Some(g));
        self.leave();
        // SAFETY: this M owns the G (it was Runnable) and has left the core.
        let stopped = unsafe { (g.vtable().resume)(g) };
        self.reenter();
        self.set_curg(None);
        self.end_slice(Some(g));
        self.stopped(g, stopped);
    }

    /// Chaos mode: every fourth dispatch is put off, to the tail of a queue, and so other orders
    /// come about than those that the machine happens to make.
    #[cold]
    fn chaos_delays(&self) -> bool {
        // SAFETY: this M holds the P, inside the core.
        self.p().is_some_and(|p| unsafe { p.local() }.rng.below(4) == 0)
    }

    fn may_run(&self, g: &Runnable) -> bool {
        g.g().home().is_none_or(|home| std::ptr::eq(home, self))
    }

    fn stopped(&self, g: GRef, stopped: Stopped) {
        match stopped {
            Stopped::Done => {
                self.take_yielded(); // of a wait that it did not wait for
                self.complete(g);
            }
            // The status word stays as it is: the G was owned and goes on to be.
            Stopped::Parked if self.take_yielded() => self.requeue(g),
            Stopped::Parked => match g.status().park() {
                Park::Parked => {}
                Park::Notified => self.requeue(g),
                Park::Orphan => self.end_orphan(g),
            },
        }
    }

    /// Nobody can wake or join this G any more: its next dispatch cancels it.
    #[cold]
    fn end_orphan(&self, g: GRef) {
        if g.status().is_aborting() {
            // A goroutine that cannot be unwound: it stays as it is until the runtime ends.
            g.status().add_ref();
            return self.stopped(g, Stopped::Parked);
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
    fn cancel(&self, g: GRef) {
        self.set_curg(Some(g));
        self.leave();
        // SAFETY: this M owns the G and has left the core.
        let stopped = unsafe { (g.vtable().cancel)(g) };
        self.reenter();
        self.set_curg(None);
        self.stopped(g, stopped);
    }

    /// The body has ended, its output is stored: wakes the joiner, lets go of the G.
    fn complete(&self, g: GRef) {
        match self.p() {
            Some(p) => bump(p.counters.ends_of(g.vtable())),
            // Relaxed: statistics.
            None => {
                self.sched().outside.ends_of(g.vtable()).fetch_add(1, Ordering::Relaxed);
            }
        }
        self.sched().forget_name(g);
        if self.is_outside() && g.home().is_some() {
            self.forget_local(g);
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

    /// Wakes a joiner: back to the P where it ran last, if that is running; its children's
    /// cells are in that core's cache.
    fn wake(&self, waker: Waker) {
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

    fn ready_joiner(&self, g: Runnable) {
        match self.p() {
            Some(p) if std::ptr::eq(g.g().sched(), self.sched()) && self.may_run(&g) => {
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

    fn push_woken(&self, g: Runnable) {
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

    /// Searching has paid: the next one may search. Go: resetspinning.
    fn found(&self) {
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

    pub(super) fn pop(&self, p: &P) -> Option<Runnable> {
        // SAFETY: this M holds the P, inside the core.
        let local = unsafe { p.local() };
        let hot = self.pop_resident_next().or_else(|| local.pop_hot());
        if hot.is_some() {
            return hot;
        }
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

    /// Another M has something that only it can run, and no P. An M in the same position keeps
    /// its own until its next fair turn; then they take turns.
    #[cold]
    fn may_give_p(&self, p: &P) -> bool {
        // SAFETY: this M holds the P, inside the core.
        !self.has_residents() || unsafe { p.local() }.is_fair_turn_next()
    }

    #[cold]
    fn fair_slow(&self, p: &P) -> Option<Runnable> {
        let sched = self.sched();
        self.poll_once(p);
        // SAFETY: this M holds the P, inside the core.
        let local = unsafe { p.local() };
        p.drain_inbox(local);
        // A whole share, or a full global queue would be served at the rate of these turns.
        match sched.global.pop_batch(&local.shared, sched.ps.len()) {
            Some(g) => local.shared.woken.push(g),
            None => sched.idle.clear_fair_turn(),
        }
        // Relaxed: a hint.
        let slow = p.counters.slow.load(Ordering::Relaxed);
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
        sched.global.pop_batch(&local.shared, sched.ps.len())
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
        sched.netpoll.try_poll(&mut |waker| self.ready_waker(waker)).unwrap_or(0)
    }

    /// Runs this P's due timers, if it is time to look at the clock.
    #[inline]
    fn run_timers(&self, p: &P) {
        if p.timers.earliest() != NEVER {
            self.run_timers_slow(p);
        }
    }

    fn run_timers_slow(&self, p: &P) {
        // SAFETY: this M holds the P, inside the core.
        let local = unsafe { p.local() };
        if local.clock_in > 0 && !local.is_empty() {
            local.clock_in -= 1;
            return;
        }
        let now = clock::now();
        let slow = now - local.clock_at > CLOCK_SLOW;
        local.clock_in = if slow { 0 } else { CLOCK_TICK };
        local.clock_at = now;
        p.timers.fire(now, |waker| self.ready_waker(waker));
    }

    /// One more P-less way to let go of a reference; frees the G if it was the last.
    fn drop_ref(&self, g: GRef) {
        match g.status().drop_ref() {
            DropRef::Nothing => {}
            DropRef::Free => self.free(g),
            DropRef::Queue => unreachable!("a G that has ended is not queued"),
        }
    }

    /// Frees a cell of this scheduler.
    fn free(&self, g: GRef) {
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
    match m::current() {
        Some(m) => ready_from(Some(&m.enter()), g),
        None => ready_from(None, g),
    }
}

fn ready_from(m: Option<&M>, g: Runnable) {
    let sched = g.g().sched();
    if let Some(home) = g.g().home() {
        if m.is_some_and(|m| std::ptr::eq(m, home)) {
            home.push_resident_next(g);
        } else {
            home.push_resident(g);
        }
    } else {
        match m.filter(|m| std::ptr::eq(m.sched(), sched)) {
            Some(m) => m.ready(g),
            None => sched.inject(g),
        }
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
        self.global.push(g);
        self.idle.want_fair_turn();
        self.wakep_foreign();
        if self.idle.counts().is_closing() {
            self.drain_if_closed();
        }
    }
}
