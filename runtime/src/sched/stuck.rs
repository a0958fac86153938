//! Gs that keep a thread for too long: who they are, told to `Builder::on_stuck`.
//!
//! sysmon sees that a P dispatches nothing. Half a slice later it locks the owner out for a moment
//! and notes which G that is: a *suspect*. It stays one while its M runs it, with the P or, when that
//! has been taken, without one; when its time is over it is reported, once. A thread for blocking
//! tasks does that: it looks at the suspect's frames, which takes the loader's lock, and calls the
//! callback, which is user code. Neither is sysmon's business to wait for.

use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Sched;
use super::g::GRef;
use super::m::M;
use super::p::P;
use super::sysmon::{SLICE, Stopwatch};
use crate::spawn;
use crate::stack::sample::{self, Root, Sample};
use crate::task::goroutine;
use crate::util::{is_asleep, soon};

/// A task or goroutine that has run for long without coming back to the scheduler. See
/// [`Builder::on_stuck`](crate::Builder::on_stuck).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StuckReport {
    /// Its id, as dumps and traces have it.
    pub id: u64,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Whether it is a goroutine; else it is a task.
    pub is_goroutine: bool,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// The P that it kept.
    pub p: u32,
    /// For how long it has been running, and still was when this was found.
    pub running_for: Duration,
    /// Whether its P has been given to another thread meanwhile, so that only what lives on its own
    /// thread has to wait.
    pub lost_its_p: bool,
    /// See `dump::stuck`.
    pub(crate) sample: Sample,
}

/// Whom to tell, and after how long.
#[derive(Clone)]
pub(crate) struct OnStuck {
    pub(crate) after: Duration,
    pub(crate) call: Arc<dyn Fn(&StuckReport) + Send + Sync>,
}

// The callback runs on a thread of its own, and nobody looks into it after a panic.
impl std::panic::UnwindSafe for OnStuck {}
impl std::panic::RefUnwindSafe for OnStuck {}

impl fmt::Debug for OnStuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnStuck").field("after", &self.after).finish_non_exhaustive()
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Stuck {
    /// sysmon's own.
    suspects: Mutex<Vec<Suspect>>,
    reported: AtomicU64,
    /// The last reports, for dumps.
    recent: Mutex<VecDeque<StuckReport>>,
}

/// A look that comes later than this after the last one says nothing about the time before.
const LATE: u64 = SLICE / 2;
/// So many reports are kept (a guess: as many as one looks at).
const RECENT: usize = 16;

struct Suspect {
    m: &'static M,
    p: &'static P,
    /// The G, as an address that is never followed.
    g: usize,
    /// Where its frames may begin: a goroutine calls C on the stack of its M.
    roots: [Root; 2],
    /// What polls it, which is in its frames.
    body: usize,
    report: StuckReport,
    is_tagged: bool,
    dispatches: u64,
    since: u64,
    /// Taken when it was noted.
    stopwatch: Option<Stopwatch>,
    noted: u64,
    /// When sysmon looked last, and for how long it had slept in the kernel by then.
    looked: u64,
    slept: u64,
}

impl Suspect {
    /// Whether its M runs it yet, and has done nothing else.
    fn is_running(&self) -> bool {
        let has_p = self.m.p().is_some_and(|p| std::ptr::eq(p, self.p));
        let stands = has_p && self.p.counters.dispatches() == self.dispatches;
        self.m.curg().is_some_and(|g| g.as_raw().addr() == self.g) && (stands || self.is_detached())
    }

    fn is_detached(&self) -> bool {
        self.m.detached.load(Ordering::Relaxed) // Relaxed: a hint
    }

    /// Whether it has computed and slept for longer than `after`. The time does not count for which the
    /// kernel did not let its thread run.
    fn is_over(&mut self, now: u64, after: u64) -> bool {
        // Relaxed: as in `sample`.
        if is_asleep(self.m.thread.load(Ordering::Relaxed)) {
            self.slept += (now - self.looked).min(LATE);
        }
        self.looked = now;
        // Who was noted late may not have run until then, as sysmon has not.
        let before = (self.noted - self.since).min(LATE);
        let is_at_fault =
            |it: Stopwatch| (before + self.slept).saturating_add(it.on_core()) >= after;
        now.saturating_sub(self.since) >= after && self.stopwatch.is_none_or(is_at_fault)
    }

    /// What it is doing; nothing, if it has stopped meanwhile.
    fn sample(&self) -> Sample {
        // Relaxed: a worker's own number, which it has written before it had a P; else 0.
        let sample = sample::take(self.m.thread.load(Ordering::Relaxed), &self.roots, self.body);
        if self.is_running() { sample } else { Sample::default() }
    }
}

impl Sched {
    /// Looks at what `owner` runs, whose P has stood still since then. True if it has been noted.
    pub(super) fn suspect(&self, p: &'static P, owner: &'static M, since: u64, now: u64) -> bool {
        let Some(on) = &self.config.on_stuck else { return true };
        if owner.syscall().is_some() || now - since < (SLICE / 2).min(nanos(on.after)) {
            return false;
        }
        let found = owner.lock_out(p, 1, || {
            let g = owner.curg()?;
            let body = g.vtable().resume as *const () as usize;
            let g = (g.as_raw().addr(), roots(owner, g), body, describe(g, p), g.is_tagged());
            Some((g, p.counters.dispatches()))
        });
        let stopwatch = Stopwatch::start(owner);
        let Some(((g, roots, body, report, is_tagged), dispatches)) = found.flatten() else {
            return false;
        };
        let suspect = Suspect {
            m: owner,
            p,
            g,
            roots,
            body,
            report,
            is_tagged,
            dispatches,
            since,
            stopwatch,
            noted: now,
            looked: now,
            slept: 0,
        };
        self.suspects().push(suspect);
        true
    }

    /// Tells of those whose time is over, and forgets those that have stopped.
    pub(super) fn report_stuck(&self, now: u64) {
        let Some(on) = &self.config.on_stuck else { return };
        let mut suspects = self.suspects();
        suspects.retain(Suspect::is_running);
        let is_over = |s: &mut Suspect| s.is_over(now, nanos(on.after));
        for suspect in suspects.extract_if(.., is_over) {
            let name = if suspect.is_tagged { self.name_by_id(suspect.report.id) } else { None };
            let running_for = Duration::from_nanos(now - suspect.since);
            let lost_its_p = suspect.is_detached();
            let mut report =
                StuckReport { name, running_for, lost_its_p, ..suspect.report.clone() };
            self.stuck.reported.fetch_add(1, Ordering::Relaxed); // Relaxed: a count
            let (sched, call) = (self.arc(), on.call.clone());
            let tell = move || {
                report.sample = suspect.sample();
                sched.keep_report(report.clone());
                drop(sched);
                call(&report);
            };
            drop(spawn::blocking_on(self, Location::caller(), false, tell));
        }
    }

    fn keep_report(&self, report: StuckReport) {
        let mut recent = self.stuck.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(report);
    }

    /// The last reports, oldest first.
    pub(crate) fn stuck_lately(&self) -> Vec<StuckReport> {
        soon::lock(&self.stuck.recent).map_or_else(Vec::new, |it| it.iter().cloned().collect())
    }

    /// Whether sysmon should go on looking.
    pub(super) fn has_suspects(&self) -> bool {
        !self.suspects().is_empty()
    }

    /// How many have been reported.
    pub(super) fn stuck_count(&self) -> u64 {
        self.stuck.reported.load(Ordering::Relaxed) // Relaxed: statistics
    }

    fn suspects(&self) -> MutexGuard<'_, Vec<Suspect>> {
        self.stuck.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the frames of `g` begin, which `m` runs.
fn roots(m: &M, g: GRef) -> [Root; 2] {
    let on_m = Root(m.root.load(Ordering::Relaxed)); // Relaxed: it was there before `m` ran anything
    let own = if g.vtable().is_goroutine { goroutine::root(g) } else { None };
    [own.unwrap_or(on_m), on_m]
}

fn describe(g: GRef, p: &P) -> StuckReport {
    StuckReport {
        id: g.id(),
        name: None,
        is_goroutine: g.vtable().is_goroutine,
        spawned_at: g.spawned_at(),
        p: p.id,
        running_for: Duration::ZERO,
        lost_its_p: false,
        sample: Sample::default(),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
