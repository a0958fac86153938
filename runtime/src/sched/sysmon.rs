//! sysmon: a thread that holds no P and sees to what the Ms cannot. Go: sysmon.
//!
//! Its duties:
//!
//! * take the P from an M that has been in user code for 10 ms, or in an
//!   announced system call for a whole look, when somebody could use it
//!   (`handoff.rs`); ask a G that has had its 10 ms to yield at its next wait;
//! * poll the network when nobody has for 10 ms, because every M is busy;
//! * wake an M when work lies beside an idle P (a fence-less push can miss one,
//!   see `README.md`), or when no M watches the network and the timers;
//! * see whether anybody can go on at all (`dead.rs`); report (`schedtrace.rs`);
//! * start threads for those that should not (`Sched::start_worker`), trim
//!   stacks, forgive spawn sites.
//!
//! It looks once a millisecond while things happen, up to five times less often
//! while nothing does, and sleeps for good while every P is idle.

use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::Sched;
use super::dead::Hope;
use super::g::GRef;
use super::idle::{SURPLUS, WANTED};
use super::m::M;
use super::p::P;
use super::schedtrace::Schedtrace;
use crate::spawn;
use crate::stack::pool;
use crate::task::waker;
use crate::util::note::Note;
use crate::util::{clock, cpu_time, is_asleep, thread_id};

/// A busy runtime is looked at this often; costs nothing measurable (at 100 us: 2-5 %).
const PERIOD: Duration = Duration::from_millis(1);
/// After so many looks at which nothing had changed, the period grows to so many times that. Go
/// doubles 20 us up to 10 ms after 50 idle looks.
const STILL_LOOKS: u32 = 50;
const PERIOD_MAX: u32 = 5;
/// How long a G may keep its P while others could use it. Go: forcePreemptNS.
pub(super) const SLICE: u64 = 10_000_000;
/// The network waits no longer for a poll. Go: the same 10 ms.
const NETPOLL_OVERDUE: u64 = 10_000_000;
/// When the runtime has been idle for so long, by what the looks have seen, sysmon may sleep.
const IDLE_FOR: u64 = 20_000_000;
/// Housekeeping comes about once a second.
const HOUSEKEEPING: u64 = 1_000_000_000;
/// Fewer dispatches than this between two looks are slow ones, of over 2 us on the average.
const SLOW: u64 = 500;
/// Stacks that lie idle for this long are trimmed, so many at once (0.2 ms).
const TRIM_PERIOD: Duration = Duration::from_secs(1);
const TRIM_MOST: usize = 256;

/// See the module.
pub(super) struct Sysmon {
    note: Note,
    asleep: AtomicBool,
    /// When somebody polled last, in nanoseconds.
    netpolled: AtomicU64,
    /// The coarse clock: milliseconds (`util::clock`), as of the last look.
    coarse: CachePadded<AtomicU32>,
    /// The thread itself (`util::thread_id`).
    pub(super) thread: AtomicU32,
    /// Ms that want a thread; None: this one has ended.
    unborn: Mutex<Option<Vec<&'static M>>>,
}

/// What sysmon remembers of a P.
#[derive(Default, Clone, Copy)]
struct Watched {
    /// Its dispatches at the last look, and when they came to that.
    dispatches: u64,
    since: u64,
    /// The system call that its owner was in at the last look.
    syscall: Option<u32>,
    /// Its owner was asked to yield.
    asked: bool,
    /// What it runs is a suspect (`stuck.rs`).
    suspected: bool,
    /// Taken after half a slice.
    stopwatch: Option<Stopwatch>,
}

/// How long a thread has been on a core.
#[derive(Clone, Copy)]
pub(super) struct Stopwatch {
    thread: u32,
    cpu: u64,
}

/// Why an M does not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Away {
    /// Its thread sleeps in the kernel.
    Asleep,
    /// It computes.
    Computing,
    /// The kernel has not let it run for so long yet. That is nobody's fault here.
    Starved,
}

impl Stopwatch {
    /// None: the system does not say.
    pub(super) fn start(owner: &M) -> Option<Stopwatch> {
        // Relaxed: the thread's own number, which it has written before it had a P.
        let thread = owner.thread.load(Ordering::Relaxed);
        Some(Stopwatch { thread, cpu: cpu_time(thread)? })
    }

    /// For how long it has been on a core since.
    pub(super) fn on_core(&self) -> u64 {
        cpu_time(self.thread).map_or(u64::MAX, |cpu| cpu.saturating_sub(self.cpu))
    }

    /// Whether it has not had the second half of its slice. Not a share of the time that has passed:
    /// on a busy machine nobody's turn would ever end.
    fn is_starved(&self) -> bool {
        self.on_core() < SLICE / 2
    }
}

/// Why `owner` does not come back, whose P has stood still for a slice.
fn why_away(owner: &M, stopwatch: Option<Stopwatch>) -> Away {
    // Without a stopwatch, sysmon itself has not looked for half a slice: the machine is busy.
    let is_starved = || match stopwatch {
        Some(stopwatch) => stopwatch.is_starved(),
        None => Stopwatch::start(owner).is_some(),
    };
    // Relaxed: the thread's own number, which it has written before it had a P.
    match is_asleep(owner.thread.load(Ordering::Relaxed)) {
        true => Away::Asleep,
        false if is_starved() => Away::Starved,
        false => Away::Computing,
    }
}

/// Foreign wakers; they are woken when this is dropped, also by a runtime that ends.
struct Foreign(Vec<Waker>);

impl Drop for Foreign {
    fn drop(&mut self) {
        self.0.drain(..).for_each(waker::wake_quietly);
    }
}

impl Sysmon {
    pub(super) fn new() -> Sysmon {
        Sysmon {
            note: Note::default(),
            asleep: AtomicBool::new(false),
            netpolled: AtomicU64::new(0),
            coarse: CachePadded::new(AtomicU32::new(coarse(clock::now()))),
            thread: AtomicU32::new(0),
            unborn: Mutex::new(Some(Vec::new())),
        }
    }

    /// The first P leaves the idle list. Called under the idle lock.
    pub(super) fn work_begins(&self) {
        // Relaxed twice: the idle lock orders it with `announce_sleep`.
        if self.asleep.load(Ordering::Relaxed) {
            self.asleep.store(false, Ordering::Relaxed);
            self.set_coarse(clock::now()); // it has stood still meanwhile
            self.note.wake();
        }
    }

    fn set_coarse(&self, now: u64) {
        self.coarse.store(coarse(now), Ordering::Relaxed); // Relaxed: for dumps
    }

    /// Lets the thread see that the runtime ends.
    pub(super) fn wake(&self) {
        self.note.wake();
    }

    /// Has the thread start the one of `m`. False: it has ended.
    pub(super) fn start_worker(&self, m: &'static M) -> bool {
        let mut unborn = self.lock();
        let Some(unborn) = unborn.as_mut() else { return false };
        unborn.push(m);
        self.note.wake();
        true
    }

    fn take_unborn(&self) -> Vec<&'static M> {
        self.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<&'static M>>> {
        self.unborn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nanoseconds in the unit of the coarse clock, which wraps after 49 days.
fn coarse(nanos: u64) -> u32 {
    (nanos / 1_000_000) as u32
}

impl Sched {
    /// The time in milliseconds, some milliseconds late, at the price of a load. It wraps.
    #[inline(always)]
    pub(super) fn coarse_now(&self) -> u32 {
        self.sysmon.coarse.load(Ordering::Relaxed) // Relaxed: for dumps
    }

    /// Notes that the network has been polled.
    #[inline]
    pub(super) fn note_netpoll(&self) {
        // Relaxed: a hint. The tick stands for the time, which would cost a clock read.
        self.sysmon.netpolled.store(0, Ordering::Relaxed);
    }

    /// The thread's body.
    pub(super) fn run_sysmon(&self) {
        let mut still_looks = 0u32;
        let (mut idle_since, mut housekeeping) = (None, clock::now());
        let mut watched = Vec::new();
        let mut trace = Schedtrace::new(housekeeping);
        self.sysmon.thread.store(thread_id(), Ordering::Relaxed); // Relaxed: for itself
        while !self.idle.counts().is_closing() {
            self.sysmon.take_unborn().into_iter().for_each(|m| self.start_worker(m));
            self.help();
            let now = clock::now();
            self.sysmon.set_coarse(now);
            self.schedtrace_if_due(&mut trace, now);
            self.report_stuck(now);
            if self.is_running() {
                idle_since = None;
                self.poll_if_overdue(now);
                let changed = self.retake_overdue(&mut watched, now);
                still_looks = if changed { 0 } else { still_looks + 1 };
                if now - housekeeping > HOUSEKEEPING {
                    housekeeping = now;
                    pool::scavenge(TRIM_MOST);
                    self.forgive_sites();
                }
            } else if now - *idle_since.get_or_insert(now) > IDLE_FOR && !self.has_suspects() {
                self.sleep_while_idle();
                still_looks = 0;
            }
            let periods = (still_looks / STILL_LOOKS + 1).min(PERIOD_MAX);
            self.sysmon.note.sleep_for(PERIOD * periods);
        }
        // Who is in line gets a thread yet, which sees that the runtime ends.
        let unborn = self.sysmon.lock().take();
        unborn.into_iter().flatten().for_each(|m| self.start_worker(m));
    }

    /// Whether any P is in use: a hint.
    fn is_running(&self) -> bool {
        let counts = self.idle.counts();
        counts.procs < self.ps.procs() || counts.has(SURPLUS)
    }

    /// Sees to the Ps that have stood still for too long. True if anything has changed since the
    /// last look.
    fn retake_overdue(&self, watched: &mut Vec<Watched>, now: u64) -> bool {
        watched.resize(self.ps.len(), Watched::default());
        let mut changed = false;
        for (p, watched) in self.ps.iter().zip(watched) {
            changed |= self.look_at(p, watched, now);
        }
        self.fire_resting();
        changed
    }

    fn look_at(&self, p: &'static P, watched: &mut Watched, now: u64) -> bool {
        let dispatches = p.counters.dispatches();
        // SAFETY: Ms live as long as the scheduler. Acquire: pairs with `acquirep`.
        let owner = unsafe { p.owner.load(Ordering::Acquire).as_ref() };
        let syscall = owner.and_then(M::syscall);
        let before = std::mem::replace(
            watched,
            Watched { dispatches, since: now, syscall, ..Watched::default() },
        );
        // Where dispatches take microseconds, 61 of them are too many to wait for. Relaxed: a hint.
        let slow = dispatches - before.dispatches < SLOW;
        p.counters.slow.store(slow, Ordering::Relaxed);
        let Some(owner) = owner else { return dispatches != before.dispatches };
        if dispatches != before.dispatches {
            owner.forget_request();
            return true;
        }
        watched.since = before.since;
        watched.asked = before.asked;
        watched.suspected = before.suspected || self.suspect(p, owner, before.since, now);
        let half = now - before.since >= SLICE / 2;
        let start = || half.then(|| Stopwatch::start(owner)).flatten();
        watched.stopwatch = before.stopwatch.or_else(start);
        let in_syscall = syscall.is_some() && syscall == before.syscall;
        let overdue = now - before.since >= SLICE;
        let has_had_its_slice = || why_away(owner, before.stopwatch) != Away::Starved;
        if overdue && !watched.asked && has_had_its_slice() {
            watched.asked = true;
            owner.ask_to_yield();
            self.note_neighbours(p, owner);
        }
        let due = in_syscall || overdue || self.config.chaos.is_some();
        let why = || (!in_syscall).then(|| why_away(owner, before.stopwatch));
        let taken = due && self.is_p_needed(p) && self.take(p, dispatches, why());
        taken || !in_syscall && !overdue
    }

    /// Takes a P that stands still, unless too many have lost theirs without having said anything.
    /// `why`: None, its owner is in a system call that it has announced.
    fn take(&self, p: &'static P, dispatches: u64, why: Option<Away>) -> bool {
        let spare = || why == Some(Away::Asleep) || self.may_detach();
        let may = why.is_none() || spare() && self.has_m_to_spare();
        may && self.retake(p, dispatches, why)
    }

    /// A G has had its slice, and others that live on its thread wait for it: no P helps them.
    fn note_neighbours(&self, p: &P, owner: &M) {
        if owner.has_mail()
            && let Some(Some(g)) = owner.lock_out(p, 1, || owner.curg().map(GRef::spawned_at))
        {
            self.note_surprise(g);
        }
    }

    /// Whether somebody else could do something with the P of an M that is away.
    fn is_p_needed(&self, p: &P) -> bool {
        let counts = self.idle.counts();
        if self.is_surplus(p) {
            return true;
        }
        // With an idle P or a searcher there is somebody to see to it.
        counts.procs == 0 && counts.spinning == 0 && (counts.has(WANTED) || self.wants_help())
    }

    /// Sleeps until work begins. On the way the stacks that nobody has wanted lately give their
    /// memory back: each must be seen twice, a second apart.
    fn sleep_while_idle(&self) {
        let hope = self.checkdead();
        if self.config.debug.schedtrace.is_some() {
            return; // Go: sysmon stays awake
        }
        for _ in 0..2 {
            if !self.announce_sleep() {
                return;
            }
            if self.sysmon.note.sleep_for(TRIM_PERIOD) {
                return; // there is something to do
            }
            while pool::scavenge(TRIM_MOST) > 0 {}
        }
        if !self.announce_sleep() {
            return;
        }
        match hope {
            Hope::Own => self.sysmon.note.sleep(),
            Hope::Elsewhere | Hope::None => drop(self.sysmon.note.sleep_for(TRIM_PERIOD)),
        }
    }

    /// Under the idle lock: false if a P is in use after all, or the runtime ends. `start_closing`
    /// sets its bit before it takes that lock, and wakes sysmon after.
    fn announce_sleep(&self) -> bool {
        let lists = self.idle.lock();
        let idle = self.all_idle(&lists) && lists.poller.is_some() && !self.is_closing();
        if idle {
            self.sysmon.asleep.store(true, Ordering::Relaxed); // Relaxed: under the lock
        }
        idle
    }

    fn poll_if_overdue(&self, now: u64) {
        // Relaxed: a hint. The first look after a poll starts the measure.
        let last = self.sysmon.netpolled.load(Ordering::Relaxed);
        if last == 0 {
            self.sysmon.netpolled.store(now, Ordering::Relaxed); // Relaxed: a hint
        } else if now - last > NETPOLL_OVERDUE {
            self.note_netpoll();
            let mut ready = Vec::new();
            // Somebody in a blocking poll holds the lock, and all is well.
            self.netpoll.try_poll(&mut |waker| ready.push(waker));
            self.wake_all(ready);
        }
    }

    /// Wakes what sysmon has found. Foreign wakers are user code, and sysmon must not be held up:
    /// they run on a thread of their own.
    pub(super) fn wake_all(&self, wakers: Vec<Waker>) {
        let (own, foreign): (Vec<_>, Vec<_>) = wakers.into_iter().partition(waker::is_own);
        own.into_iter().for_each(Waker::wake);
        if !foreign.is_empty() {
            let foreign = Foreign(foreign);
            drop(spawn::blocking_on(self, Location::caller(), false, move || drop(foreign)));
        }
    }

    /// Wakes an M if something waits beside an idle P: work, a timer, or the network, which an M
    /// without work should watch while the others are busy.
    fn help(&self) {
        let now = self.idle.counts();
        if now.procs > 0 && now.spinning == 0 && self.wants_help() {
            self.wakep();
        }
    }

    fn wants_help(&self) -> bool {
        self.has_work() || self.has_hidden_work() || self.is_due() || !self.idle.has_poller()
    }

    fn has_hidden_work(&self) -> bool {
        // Relaxed: a hint.
        self.ps.iter().any(|p| p.counters.hidden.load(Ordering::Relaxed) > 0)
    }
}
