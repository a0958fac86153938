//! Deadlock: nobody runs, and nothing can come that would change that. Go: checkdead.
//!
//! sysmon looks for it when the runtime has been idle for a while, so nobody else pays. It says
//! so only if it is certain:
//!
//! * in every runtime of the process all is quiet, as the test clock means it (`paused.rs`): each
//!   M sleeps for want of work, or in a `block_on`, and nothing is queued;
//! * no timer is armed, and nothing registered with a poller;
//! * every thread of the process is one of these Ms, a sysmon, or another of gort's own: a foreign
//!   one may hold a `Sender` or a `Waker`. It may also end, so then sysmon looks again every second.
//!
//! The runtimes are looked at one by one, and meanwhile one could wake another. So each is looked
//! at twice, and the threads between the two rounds: whoever has dispatched nothing from the one to
//! the other, and is in the same doze, has been asleep at the moment between the rounds, as all
//! others were.

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use super::Sched;
use super::m::M;
use super::paused::Quiet;
use crate::util::{fatal, thread_id};

/// Threads of gort's that belong to no runtime.
static HELPERS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// The calling thread waits for something that concerns no task, until the process ends.
pub(crate) fn note_helper() {
    HELPERS.lock().unwrap_or_else(PoisonError::into_inner).push(thread_id());
}

/// What a look has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hope {
    /// Something of this runtime's own will wake sysmon: a timer, a socket.
    Own,
    /// Something goes on elsewhere: in another runtime, on a thread that is not gort's.
    Elsewhere,
    /// None.
    None,
}

/// A runtime in which all is quiet: what would have changed if it had not been.
#[derive(Debug, PartialEq, Eq)]
struct Still {
    dispatches: u64,
    dozes: u64,
    /// The threads that sleep there.
    threads: Vec<u32>,
}

impl Sched {
    /// Whether a deadlock is to be reported.
    pub(super) fn reports_deadlock(&self) -> bool {
        // Relaxed: who asks for it waits in this runtime after it.
        self.config.deadlock.unwrap_or_else(|| self.runs.load(Ordering::Relaxed) > 0)
    }

    /// While the result lives, a `Runtime::run` waits, and deadlocks are reported unless somebody
    /// has said otherwise.
    pub(crate) fn running(&self) -> impl Drop + '_ {
        struct Running<'a>(&'a Sched);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                self.0.runs.fetch_sub(1, Ordering::Relaxed); // Relaxed: as below
            }
        }
        self.runs.fetch_add(1, Ordering::Relaxed); // Relaxed: as in `reports_deadlock`
        Running(self)
    }

    /// Ends the process if nobody can go on.
    pub(super) fn checkdead(&self) -> Hope {
        if !self.reports_deadlock() {
            return Hope::Own;
        }
        let hope = self.look_for_hope();
        if hope == Hope::None {
            fatal::throw(format_args!(""), format_args!("all goroutines are asleep - deadlock!"));
        }
        hope
    }

    fn look_for_hope(&self) -> Hope {
        if self.has_own_hope() {
            return Hope::Own;
        }
        let mut all = Sched::all();
        all.retain(|sched| !sched.has_ended());
        let look = || all.iter().map(|sched| sched.still()).collect::<Option<Vec<_>>>();
        let Some(before) = look() else { return Hope::Elsewhere };
        let helpers = HELPERS.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known = before.iter().map(|still| &still.threads).chain([&helpers]).flatten();
        let known: HashSet<u32> = known.copied().collect();
        if threads().is_none_or(|threads| !threads.is_subset(&known)) || !self.somebody_waits() {
            return Hope::Elsewhere;
        }
        if look().is_some_and(|after| after == before) { Hope::None } else { Hope::Elsewhere }
    }

    /// Whether something here will wake sysmon by itself.
    fn has_own_hope(&self) -> bool {
        self.ps.iter().for_each(|p| p.timers.prune());
        self.earliest_timer().is_some() || self.netpoll.waiters() || self.is_closing()
    }

    /// None: something goes on here, or will.
    fn still(&self) -> Option<Still> {
        let lists = self.idle.lock();
        let quiet = self.is_quiet(&lists) == Quiet::Yes;
        if !quiet || self.is_awaited() || self.has_own_hope() {
            return None;
        }
        // Relaxed, here and below: a thread that sleeps has written it before.
        let mut threads = vec![self.sysmon.thread.load(Ordering::Relaxed)];
        let sleeps = |m: &&M| lists.find_idle(m).is_some() || !lists.is_idle(m);
        let ms = lists.all.iter().map(|m| &**m).filter(sleeps);
        threads.extend(ms.map(|m| m.thread.load(Ordering::Relaxed)));
        let dozes = lists.all.iter().map(|m| u64::from(m.dozes.load(Ordering::Relaxed))).sum();
        Some(Still { dispatches: self.dispatches(), dozes, threads })
    }

    /// Whether there is anybody here who would be missed.
    fn somebody_waits(&self) -> bool {
        let lists = self.idle.lock();
        self.live() > 0 || lists.all.iter().any(|m| m.is_outside_sleeping(&lists))
    }
}

/// All threads of the process; None where the system does not say.
fn threads() -> Option<HashSet<u32>> {
    let tasks = fs::read_dir("/proc/self/task").ok()?;
    tasks.map(|task| task.ok()?.file_name().to_str()?.parse().ok()).collect()
}
