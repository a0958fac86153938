//! The test clock: time that stands still until everybody waits, and then jumps.
//!
//! A runtime's time is the monotonic clock plus an offset, or, while it is paused, a number. Then
//! nothing but this file changes that number: when every G of the runtime is durably blocked, it
//! becomes the deadline of the earliest timer. So a test that sleeps for an hour takes no time, and
//! what happens at one instant is over before the next one begins, on any number of Ps. Go:
//! testing/synctest (N47); tokio has the same for one thread.
//!
//! **Durably blocked** means: only a timer, or something outside of the runtime, can make anything
//! run. `Sched::is_quiet` is the definition:
//!
//! * every P is idle, and nobody searches;
//! * every thread that is an M of this runtime sleeps where the core put it: a worker in the idle
//!   lists, the thread of a `block_on` in `M::doze`. Whatever else an M may be doing, it is inside
//!   user code, a poll without a P or a call that blocks, and time stands still: so a new such
//!   state needs no line here;
//! * nothing is queued.
//!
//! Threads that are no Ms, and their wakes, cannot be seen coming. Sockets can: while the runtime
//! has one open, the world outside has a say in what happens next, and time that jumped would run
//! every timeout down before the first byte has crossed the loopback (a complaint about tokio's
//! clock). So it does not jump by itself then, as in Go; `advance` moves it.
//!
//! **Who looks.** The M in the netpoller, which without a test clock would sleep until the earliest
//! timer. It looks before each sleep, and is broken out of it by whatever might have been the last
//! to come to rest: a P that goes idle, a thread that dozes off, a timer that is armed. The proof is
//! that of the timers, with "all is quiet" in place of "the earliest deadline" (`README.md`).
//!
//! **Under load.** `advance` must not hang on a task that yields for ever. When everybody who holds
//! a P has run a thousand Gs since the last step, and each G four times, the next step towards the nearest target of an
//! `advance` is made all the same, by `M::advance_under_load`.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::Sched;
use super::idle::Lists;
use super::m::M;
use crate::util::clock::{self, NEVER};
use crate::util::note::Note;
use crate::util::thread_id;

/// `Clock::frozen` while time runs.
const RUNNING: u64 = NEVER;
/// A paused clock goes no further than this, 146 years, so that no sum with it overflows.
pub(crate) const LAST: u64 = 1 << 62;
/// Dispatches of each busy P, beside four for each G that there is, after which `advance` waits for
/// quiet no longer (a guess: some 50 us).
const LOAD: u64 = 1000;

/// Whether any runtime of the process has ever had its clock paused.
static TESTED: AtomicBool = AtomicBool::new(false);

/// As long as this is false all clocks are the monotonic one.
#[inline]
pub(crate) fn is_tested() -> bool {
    TESTED.load(Ordering::Relaxed) // Relaxed: who pauses a clock sees it, and hands it on
}

/// The clock of one runtime.
pub(crate) struct Clock {
    /// The time while it stands still, or `RUNNING`.
    frozen: AtomicU64,
    /// What is added to the monotonic clock while it runs.
    offset: AtomicI64,
    /// How many calls of `advance` are under way.
    advancing: AtomicUsize,
    /// Taken for every change of the above.
    change: Mutex<Change>,
}

#[derive(Default)]
struct Change {
    /// Who waits for quiet: for `settle`, and at the end of an `advance`.
    settling: Settling,
    advanced: Settling,
    /// Where the calls of `advance` go to.
    targets: Vec<u64>,
    /// The dispatches of each P when time was last moved, or an `advance` began.
    dispatches: Vec<u64>,
}

#[derive(Default)]
struct Settling {
    waiters: Vec<Waker>,
    /// How often these have been woken.
    rounds: u64,
}

impl Settling {
    fn take(&mut self) -> Vec<Waker> {
        self.rounds += 1;
        std::mem::take(&mut self.waiters)
    }
}

/// What a look at everybody has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quiet {
    /// Somebody runs, or is about to. That one breaks the poller when it comes to rest.
    No,
    /// Somebody is between sleep and wakefulness, for some instructions.
    Unclear,
    Yes,
}

impl Clock {
    pub(super) fn new(paused: bool) -> Clock {
        if paused {
            TESTED.store(true, Ordering::Relaxed); // Relaxed: as in `is_tested`
        }
        Clock {
            frozen: AtomicU64::new(if paused { clock::now() } else { RUNNING }),
            offset: AtomicI64::new(0),
            advancing: AtomicUsize::new(0),
            change: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Change> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether time stands still.
    #[inline]
    pub(super) fn is_paused(&self) -> bool {
        // Relaxed: who pauses and resumes breaks the poller after it; `doze` has a fence.
        self.frozen.load(Ordering::Relaxed) != RUNNING
    }

    /// This runtime's time where the monotonic clock shows `real`, which is asked if time runs.
    #[inline]
    pub(super) fn at(&self, real: impl FnOnce() -> u64) -> u64 {
        // Acquire: pairs with the Release in `resume`, for the offset.
        match self.frozen.load(Ordering::Acquire) {
            // Relaxed: as above.
            RUNNING => real().saturating_add_signed(self.offset.load(Ordering::Relaxed)),
            frozen => frozen,
        }
    }

    /// When the monotonic clock shows what is `when` here, as long as time runs.
    pub(super) fn real(&self, when: u64) -> Instant {
        // Relaxed: a resume breaks whoever sleeps until this.
        clock::instant(when.saturating_add_signed(-self.offset.load(Ordering::Relaxed)))
    }
}

/// An `advance` that is under way.
pub(crate) struct Advancing<'a> {
    clock: &'a Clock,
    target: u64,
}

impl Drop for Advancing<'_> {
    fn drop(&mut self) {
        let mut change = self.clock.lock();
        let i = change.targets.iter().position(|target| *target == self.target);
        change.targets.swap_remove(i.expect("entered by `advancing`"));
        // Relaxed: under the lock; others take it as a hint.
        self.clock.advancing.store(change.targets.len(), Ordering::Relaxed);
    }
}

impl Sched {
    /// The time of this runtime, in nanoseconds.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.clock.at(clock::now)
    }

    /// Whether the clock stands still.
    pub(crate) fn is_paused(&self) -> bool {
        self.clock.is_paused()
    }

    /// Stops the clock, if it runs.
    pub(crate) fn pause(&self) {
        TESTED.store(true, Ordering::Relaxed); // Relaxed: as in `is_tested`
        let change = self.clock.lock();
        if !self.clock.is_paused() {
            let now = self.now().min(LAST);
            self.clock.frozen.store(now, Ordering::Relaxed); // Relaxed: see `is_paused`
        }
        drop(change);
        self.netpoll.break_();
    }

    /// Lets the clock run on from where it stands.
    pub(crate) fn resume(&self) {
        let mut change = self.clock.lock();
        if !self.clock.is_paused() {
            return;
        }
        let offset = self.now().wrapping_sub(clock::now()).cast_signed();
        self.clock.offset.store(offset, Ordering::Relaxed); // Relaxed: published by the Release
        self.clock.frozen.store(RUNNING, Ordering::Release); // pairs with the Acquire in `at`
        let waiters = [change.settling.take(), change.advanced.take()];
        drop(change);
        self.netpoll.break_();
        waiters.into_iter().flatten().for_each(crate::task::waker::wake_quietly);
    }

    /// While the result lives, neither open sockets nor load keep the time from moving to `target`.
    pub(crate) fn advancing(&self, target: u64) -> Advancing<'_> {
        let mut change = self.clock.lock();
        change.targets.push(target);
        self.note_step(&mut change);
        // Relaxed: as in the drop.
        self.clock.advancing.store(change.targets.len(), Ordering::Relaxed);
        Advancing { clock: &self.clock, target }
    }

    /// Waits until all is quiet; `advance`: or until everybody has had a thousand turns. `round` is
    /// None at first. Ready as well when the clock runs again.
    pub(crate) fn poll_settled(
        &self,
        advance: bool,
        round: &mut Option<u64>,
        cx: &Context<'_>,
    ) -> Poll<()> {
        let waker = cx.waker().clone(); // not under the lock
        let mut change = self.clock.lock();
        let settling = if advance { &mut change.advanced } else { &mut change.settling };
        let since = *round.get_or_insert(settling.rounds);
        if settling.rounds != since || !self.clock.is_paused() {
            return Poll::Ready(());
        }
        settling.waiters.push(waker);
        drop(change);
        self.watch_quiet(); // it may be so already
        Poll::Pending
    }

    /// The earliest timer may be another one from now on, or a P is idle that had timers: whoever
    /// watches them must know. The caller has a fence between that and this.
    pub(super) fn watch_timers(&self) {
        if self.clock.is_paused() {
            self.netpoll.break_();
        } else if let Some(when) = self.earliest_timer() {
            self.netpoll.wake_at(self.clock.real(when));
        }
    }

    /// Something has come to rest; if the clock is paused, it may be the last.
    pub(super) fn watch_quiet(&self) {
        if self.clock.is_paused() {
            self.netpoll.break_();
        }
    }

    /// Until when the poller may sleep. While the clock is paused timers are no reason to wake.
    pub(super) fn earliest_real(&self) -> Option<u64> {
        if self.clock.is_paused() { None } else { self.earliest_timer() }
    }

    fn note_step(&self, change: &mut Change) {
        // Relaxed: statistics, whose reader can wait.
        let dispatches = |p: &super::p::P| p.counters.dispatches.load(Ordering::Relaxed);
        change.dispatches = self.ps.iter().map(dispatches).collect();
    }

    /// Whether every G is durably blocked; see the module. Under the lock of the lists, so no P
    /// changes hands meanwhile.
    ///
    /// The threads that doze are not bound by that lock: one may have woken another, which is not
    /// seen any more, and dozed off before it is looked at. Hence the second look: who is found in
    /// the same doze twice has slept from the one look to the other, so between the two rounds all
    /// of them slept.
    pub(super) fn is_quiet(&self, lists: &Lists) -> Quiet {
        let counts = self.idle.counts();
        let busy = counts.spinning > 0 || self.is_looked_at();
        if busy || !self.all_idle(lists) || counts.is_closing() {
            return Quiet::No;
        }
        let mut dozing = Vec::new();
        for m in lists.all.iter().filter(|m| !lists.is_idle(m)) {
            match m.dozing() {
                Err(quiet) => return quiet,
                Ok(doze) => dozing.push((m, doze)),
            }
        }
        if self.has_work() || !lists.all.iter().all(|m| m.inbox_is_empty()) {
            return Quiet::No;
        }
        let same = dozing.into_iter().all(|(m, doze)| m.dozing() == Ok(doze));
        if same { Quiet::Yes } else { Quiet::Unclear }
    }

    /// Whether somebody waits for quiet, and so will be woken when it is there.
    pub(super) fn is_awaited(&self) -> bool {
        let change = self.clock.lock();
        !change.settling.waiters.is_empty() || !change.advanced.waiters.is_empty()
    }

    /// The time to go to when all is quiet.
    fn next_step(&self, change: &Change) -> Option<u64> {
        if self.netpoll.waiters() && change.targets.is_empty() {
            return None;
        }
        self.earliest_timer().filter(|when| *when <= LAST)
    }

    fn move_to(&self, when: u64, change: &mut Change) {
        let now = self.now().max(when);
        self.clock.frozen.store(now, Ordering::Relaxed); // Relaxed: see `is_paused`
        self.note_step(change);
    }
}

impl M {
    /// The poller's part, after its SleepFence: if all is quiet, this M leaves the netpoller with a
    /// P and, in `ready`, those whose time has come: who waits for quiet, or else, at a later time,
    /// the timers that are due then.
    pub(super) fn move_time(&self, ready: &mut Vec<Waker>) -> Quiet {
        let sched = self.sched();
        let mut lists = sched.idle.lock();
        let quiet = sched.is_quiet(&lists);
        if quiet != Quiet::Yes {
            return quiet;
        }
        let mut change = sched.clock.lock();
        if !sched.clock.is_paused() {
            return Quiet::Unclear; // and a break is on the way
        }
        sched.ps.iter().for_each(|p| p.timers.prune());
        if !sched.is_due() {
            ready.extend(change.settling.take());
            ready.extend(change.advanced.take());
            if ready.is_empty() {
                let Some(when) = sched.next_step(&change) else { return Quiet::No };
                sched.move_to(when, &mut change);
            }
        }
        drop(change);
        lists.poller = None;
        let p = sched.take_p(&mut lists).expect("all Ps are idle");
        self.acquirep(p);
        drop(lists);
        let now = sched.now();
        for p in sched.ps.iter() {
            p.timers.fire(now, |waker| ready.push(waker));
        }
        // SAFETY: this M holds the P, inside the core.
        shuffle(ready, &mut unsafe { p.local() }.rng);
        Quiet::Yes
    }

    /// Between dispatches, now and then: time goes on for an `advance` although all is not quiet.
    #[inline]
    pub(super) fn advance_under_load(&self) {
        // Relaxed: a hint, until the lock is held.
        if self.sched().clock.advancing.load(Ordering::Relaxed) > 0 {
            self.advance_under_load_slow();
        }
    }

    #[cold]
    fn advance_under_load_slow(&self) {
        let sched = self.sched();
        let mut change = sched.clock.lock();
        if !sched.clock.is_paused() || sched.is_due() || !self.all_have_had_turns(&change) {
            return;
        }
        let waiters = change.advanced.take();
        // Who has been woken at a target must have gone on before time does.
        let limit = change.targets.iter().min().copied().unwrap_or(0);
        match sched.next_step(&change) {
            Some(when) if waiters.is_empty() && when <= limit => sched.move_to(when, &mut change),
            _ => sched.note_step(&mut change),
        }
        drop(change);
        sched.netpoll.break_(); // the timers of idle Ps are the poller's
        self.ready_wakers(waiters);
    }

    /// Whether this P has dispatched so many Gs since time was moved that all that wanted to must
    /// have run; and so has each other P, but for those that are idle or look for work.
    fn all_have_had_turns(&self, change: &Change) -> bool {
        let Some(mine) = self.p() else { return false };
        let load = LOAD + 4 * self.sched().live() as u64;
        let mut searching = self.sched().idle.counts().spinning;
        self.sched().ps.iter().zip(&change.dispatches).all(|(p, since)| {
            // Relaxed: statistics, whose reader can wait.
            if p.counters.dispatches.load(Ordering::Relaxed) - since >= load || !p.is_held() {
                return true;
            }
            let rests = searching > 0 && p.id != mine.id && p.seems_to_search();
            searching = searching.saturating_sub(1);
            rests
        })
    }
}

impl M {
    /// Sleeps on this thread's note. What this M, and the Ms below it on the same thread, would do
    /// next depends on others until then.
    pub(super) fn doze(&self, sleeper: &Note) {
        self.thread.store(thread_id(), Ordering::Relaxed); // Relaxed: published by the next line
        self.turn_over();
        fence(Ordering::SeqCst); // DozeFence: seen dozing, or the poller is broken; as SleepFence
        self.sched().watch_quiet();
        sleeper.sleep();
        self.turn_over();
    }

    /// From awake to dozing, or back.
    fn turn_over(&self) {
        let mut m = Some(self);
        while let Some(here) = m {
            if here.is_of(self.sched()) {
                // Release: who sees it sees what this thread has queued. Written by this thread only.
                here.dozes.fetch_add(1, Ordering::Release);
            }
            m = here.outer();
        }
    }

    /// Whether it is the M of a `block_on` that sleeps.
    pub(super) fn is_outside_sleeping(&self, lists: &Lists) -> bool {
        !lists.is_idle(self) && self.dozing().is_ok()
    }

    /// Which doze this M's thread is in, for other threads.
    fn dozing(&self) -> Result<u32, Quiet> {
        // Acquire: pairs with `turn_over`.
        let doze = self.dozes.load(Ordering::Acquire);
        match doze % 2 == 1 {
            false => Err(Quiet::No),
            true if self.sleeper().is_asleep() => Ok(doze),
            // It goes to sleep, or has been woken and has not got around to saying so.
            true => Err(Quiet::Unclear),
        }
    }
}

/// What happens at one instant happens in no particular order. (Fisher and Yates)
fn shuffle(wakers: &mut [Waker], rng: &mut crate::util::rng::Rng) {
    for i in (1..wakers.len()).rev() {
        wakers.swap(i, rng.below(i + 1));
    }
}
