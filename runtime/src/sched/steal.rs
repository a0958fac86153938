//! Looking for work at other Ps, and deciding whether it pays.
//!
//! A stolen task costs two to four line transfers of about 100 ns each;
//! running an empty one at home costs 42. So a thief that runs dry compares
//! the time it was busy with what its loot cost. If that did not pay it waits,
//! 25 us first, doubling to 400, while it still *counts as searching*, so that
//! no producer pays for waking it. When the time is over it reads the victims'
//! dispatch counters: an average dispatch under 200 ns means tiny work, and it
//! waits again, with a real attempt only every 2nd, 4th, .. 16th time. One
//! steal that pays resets everything. That makes two Ps as fast as one on
//! empty tasks, and 1.8 times as fast on tasks of 1 us.
//!
//! What a P keeps to itself (`next`, `fresh`) is taken through the revoke
//! bracket (`bracket.rs`), when that P has dispatched nothing for 3 or 10 us: it costs
//! a membarrier, and the patience lets a pair that talks stay together (S17).
//!
//! Whoever runs dry looks at the network first, and a loaded server always
//! finds something there: then nobody would steal, and what waits at a P whose
//! thread the kernel has put aside would wait for the 4 ms until it comes back
//! (Go's order, and its 99th percentile). So where dispatches take
//! microseconds, each fair turn looks at one other P, and takes from it if it
//! stands still (`relieve`).

use std::hint::spin_loop;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::g::Runnable;
use super::idle::{CLOSING, WANTED};
use super::m::M;
use super::p::P;
use super::ps::Ps;
use super::stats::bump;
use super::trace::{self, Kind};
use crate::util::clock;

/// A searcher gives up after this. Shorter makes fork-join serial, longer buys only CPU time.
const SPIN: u64 = 10_000;
/// But after this, if everybody else is idle or searching too. It bridges the moment between the
/// end of a stolen child and its joiner's next spawn, which would otherwise find this M asleep.
const LINGER: u64 = 2_000;
/// The spawns that a P keeps to itself are taken when it has dispatched nothing for this long.
const PATIENCE: u64 = 3_000;
/// And its woken G: it will run where its waker left it what it was woken for, and the two may be
/// through with that in a moment. Go sleeps 3 us before it steals runnext, which Linux makes 60.
const PATIENCE_WOKEN: u64 = 10_000;
/// What waits at a P that has dispatched nothing for this long is taken by the busy, too. Few polls
/// take longer (tokio asks for at most 10 to 100 us), and a thread that was put aside is away for 1
/// to 4 ms.
const STANDSTILL: u64 = 50_000;
/// What a stolen G must be worth, and what a steal costs beside.
const WORTH: u64 = 200;
const TRIP: u64 = 2_000;
/// The timed wait of a thief without profit.
const BACKOFF_MIN: u64 = 25_000;
const BACKOFF_MAX: u64 = 400_000;
/// A real attempt is made every 2^n-th look at most.
const SKIP_MAX: u32 = 4;

/// What a thief remembers of its last steal. Times in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Profit {
    /// Gs taken, and when; 0 if the account is settled.
    taken: u64,
    since: u64,
    /// The current timed wait; 0 if the last steal paid.
    backoff: u64,
    /// Log2 of how many looks make one attempt.
    skip: u32,
}

/// What a look at the others' private work says.
enum Look {
    /// There is none.
    Nothing,
    /// There is some, and its owner may yet come to it.
    Wait,
    /// Its owner has stood still for long enough.
    Rob(&'static P),
}

/// A P that keeps work to itself while it dispatches nothing.
#[derive(Default)]
struct Watched {
    /// Its id, and how many dispatches it had made.
    seen: Option<(u32, u64)>,
    /// When that was seen first.
    since: u64,
}

impl Watched {
    /// One look, at `now`.
    fn look(&mut self, ps: &Ps, me: &P, now: u64) -> Look {
        // Relaxed: hints that spare the barrier.
        let keeps =
            |p: &P| p.id != me.id && p.counters.hidden.load(Ordering::Relaxed) > 0 && p.is_held();
        let Some(victim) = ps.iter().find(|p| keeps(p)) else { return Look::Nothing };
        let spawned = victim.counters.hidden.load(Ordering::Relaxed) > 1; // Relaxed: a hint
        let patience = if spawned { PATIENCE } else { PATIENCE_WOKEN };
        let seen = Some((victim.id, victim.counters.dispatches.load(Ordering::Relaxed)));
        if self.seen != seen {
            *self = Watched { seen, since: now };
        }
        if now - self.since <= patience {
            return Look::Wait;
        }
        self.since = now;
        Look::Rob(victim)
    }
}

/// The other P that a busy M keeps an eye on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Neighbour {
    at: usize,
    /// How many dispatches it had made when it was looked at first, and when that was.
    seen: u64,
    since: u64,
}

impl Neighbour {
    /// The one after `at` that is not `me`.
    fn after(at: usize, me: &P, ps: &Ps, now: u64) -> Neighbour {
        let next = |at: usize| (at + 1) % ps.len();
        let at = next(at);
        let at = if ps.at(at).id == me.id { next(at) } else { at };
        Neighbour { at, seen: ps.at(at).counters.dispatches(), since: now }
    }
}

impl M {
    /// Takes some of what waits at a P that stands still, to the queues of this one.
    #[cold]
    pub(super) fn relieve(&self, p: &P) {
        let ps = &self.sched().ps;
        if ps.len() == 1 {
            return;
        }
        let now = clock::now();
        let watch = self.neighbour.get();
        let victim = ps.at(watch.at);
        let stands = victim.counters.dispatches() == watch.seen && victim.has_waiting();
        if !stands || victim.id == p.id {
            self.neighbour.set(Neighbour::after(watch.at, p, ps, now));
        } else if now - watch.since >= STANDSTILL {
            // SAFETY: this M holds the P, inside the core.
            let local = unsafe { p.local() };
            match victim.stealers.steal_into(&local.shared) {
                Some(g) => {
                    local.shared.woken.push(g);
                    count_steal(self, p, victim);
                }
                None => drop(self.take_hidden(p, victim)),
            }
        }
    }

    /// Work from another P, or from the sources that nobody owns. Go: stealWork.
    #[cold]
    pub(super) fn steal(&self, p: &P) -> Option<Runnable> {
        let sched = self.sched();
        let procs = sched.ps.procs();
        if sched.ps.len() == 1 || !self.searches(procs) {
            return sched.run_all_timers(self).then(|| self.pop(p)).flatten();
        }
        self.settle();
        let start = clock::now();
        let mut watched = Watched::default();
        loop {
            if let Some(g) = self.steal_once(p) {
                return Some(g);
            }
            let looked = clock::now() - start;
            match watched.look(&sched.ps, p, looked) {
                Look::Rob(victim) => {
                    if let Some(g) = self.rob(p, victim) {
                        return Some(g);
                    }
                }
                Look::Wait => {}
                Look::Nothing if looked > SPIN => {
                    sched.idle.lone_wake_failed();
                    return None;
                }
                Look::Nothing => {}
            }
            // With nobody running there is nobody to wait for, but for another searcher that is
            // just finding something.
            let counts = sched.idle.counts();
            let alone = counts.procs + counts.spinning >= procs;
            if counts.is_closing() || looked > LINGER && alone {
                return None;
            }
            (0..4).for_each(|_| spin_loop());
        }
    }

    fn searches(&self, procs: usize) -> bool {
        if !self.spinning.get() {
            self.spinning.set(self.sched().idle.start_spinning(procs));
        }
        self.spinning.get()
    }

    /// One pass over all Ps, from a random one on, and over the other sources.
    fn steal_once(&self, p: &P) -> Option<Runnable> {
        let sched = self.sched();
        // A child that was stolen from here sends its joiner back here.
        if !p.inbox_is_empty() || self.has_residents() {
            return self.visit(p).or_else(|| self.pop(p));
        }
        // SAFETY: this M holds the P, inside the core.
        let local = unsafe { p.local() };
        let ps = &sched.ps;
        let len = ps.len();
        let first = local.rng.below(len);
        for i in 0..len {
            let victim = ps.at((first + i) % len);
            if victim.id == p.id {
                continue;
            }
            if let Some(g) = victim.stealers.steal_into(&local.shared) {
                let more = local.shared.len();
                count_steal(self, p, victim);
                self.took(1 + more as u64);
                return Some(g);
            }
            if !victim.inbox_is_empty() {
                victim.drain_inbox(local);
                if let Some(g) = local.pop() {
                    return Some(g);
                }
            }
        }
        if sched.run_all_timers(self) {
            return self.pop(p);
        }
        // SAFETY: as above; the timers have queued through a reference of their own.
        let local = unsafe { p.local() };
        sched.global.pop_batch(&local.shared, ps.procs())
    }

    /// Takes what a running P keeps to itself, and gives one of it.
    fn rob(&self, p: &P, victim: &P) -> Option<Runnable> {
        let n = self.take_hidden(p, victim)?;
        self.took(n);
        self.sched().idle.lone_wake_helped();
        // SAFETY: this M holds the P, inside the core.
        unsafe { p.local() }.pop()
    }

    /// Moves what a running P keeps to itself to the queues of `p`. None if that is nothing, or it
    /// cannot be had now.
    fn take_hidden(&self, p: &P, victim: &P) -> Option<u64> {
        // SAFETY: this M holds the P, inside the core.
        let local = unsafe { p.local() };
        // SAFETY: Ms live as long as the scheduler. Acquire: pairs with `acquirep`.
        let owner = unsafe { victim.owner.load(Ordering::Acquire).as_ref() }?;
        let taken = owner.lock_out(victim, 1, || {
            // SAFETY: `lock_out` runs this only while the victim's owner cannot enter the core.
            let theirs = unsafe { victim.local() };
            let n = theirs.rob(local);
            // What is left after nothing was found are marks.
            victim.counters.set_hidden(if n > 0 { theirs.hidden() } else { 0 });
            n
        });
        let n = taken.filter(|n| *n > 0)?;
        count_steal(self, p, victim);
        Some(n as u64)
    }

    /// A thief's account begins: it has so many Gs to run.
    fn took(&self, n: u64) {
        self.profit.set(Profit { taken: n, since: clock::now(), ..self.profit.get() });
    }

    /// This M has run dry. If its last steal did not pay, it waits before it looks again.
    fn settle(&self) {
        let mut profit = self.profit.get();
        if profit.taken > 0 {
            let busy = clock::now() - profit.since;
            if busy >= WORTH * profit.taken + TRIP {
                profit = Profit::default();
            } else {
                profit.backoff = (2 * profit.backoff).clamp(BACKOFF_MIN, BACKOFF_MAX);
                profit.skip = (profit.skip + 1).min(SKIP_MAX);
            }
            profit.taken = 0;
        }
        self.profit.set(profit);
        // One of them at a time: a second one gives its P back like everybody else.
        if profit.backoff > 0 && self.sched().idle.start_backoff(self) {
            self.back_off(profit);
            self.sched().idle.end_backoff();
        }
    }

    /// Waits, counted as searching, until the victims' work is worth an attempt.
    fn back_off(&self, mut profit: Profit) {
        let sched = self.sched();
        fence(Ordering::SeqCst); // SleepFence: announced before it looks once more
        let has_work = || sched.has_foreign_work() || self.has_residents();
        let mut looks = if has_work() { 0 } else { 1 << profit.skip };
        while looks > 0 {
            let (ticks, start) = (sched.dispatches(), clock::now());
            // A foreign submit ends the wait early.
            self.note.sleep_for(Duration::from_nanos(profit.backoff));
            let (ticks, waited) = (sched.dispatches() - ticks, clock::now() - start);
            let counts = sched.idle.counts();
            let alone = counts.procs + 1 >= sched.ps.procs();
            if alone || counts.has(CLOSING | WANTED) || has_work() {
                break;
            }
            let tiny = waited < WORTH * ticks;
            looks = if tiny { looks - 1 } else { 0 };
            profit.backoff = (2 * profit.backoff).min(BACKOFF_MAX);
        }
        self.profit.set(profit);
    }
}

fn count_steal(m: &M, p: &P, victim: &P) {
    bump(&p.counters.steals);
    trace::event(Kind::Steal, m, victim.id.into());
}
