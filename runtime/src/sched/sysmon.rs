//! sysmon: a thread that holds no P and sees to what the Ms cannot. Go: sysmon.
//!
//! Its duties: poll the network when nobody has for 10 ms, because every M is
//! busy in long polls; and wake an M when a P keeps work that an idle P could
//! do, because its owner has been in one poll since before that work came
//! (a fence-less push can miss an idle P, see `README.md`).
//!
//! It looks once a millisecond while anything runs, less often while nothing
//! changes, and sleeps for good while every P is idle.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::Sched;
use crate::stack::pool;
use crate::util::clock;
use crate::util::note::Note;

/// A busy runtime is looked at this often; costs nothing measurable (at 100 us: 2-5 %).
const PERIOD: Duration = Duration::from_millis(1);
/// The network waits no longer for a poll. Go: the same 10 ms.
const NETPOLL_OVERDUE: u64 = 10_000_000;
/// After so many looks in a row sysmon may sleep, if the runtime is idle.
const IDLE_LOOKS: u32 = 20;
/// About a second of looks.
const BUSY_LOOKS: u32 = 1000;
/// Fewer dispatches than this between two looks are slow ones, of over 2 us on the average.
const SLOW: u64 = 500;
/// Stacks that lie idle for this long are trimmed, so many at once (0.2 ms).
const TRIM_PERIOD: Duration = Duration::from_secs(1);
const TRIM_MOST: usize = 256;

/// See the module.
#[derive(Default)]
pub(super) struct Sysmon {
    note: Note,
    asleep: AtomicBool,
    /// When somebody polled last, in nanoseconds.
    netpolled: AtomicU64,
}

impl Sysmon {
    /// The first P leaves the idle list. Called under the idle lock.
    pub(super) fn work_begins(&self) {
        // Relaxed twice: the idle lock orders it with `deep_sleep`.
        if self.asleep.load(Ordering::Relaxed) {
            self.asleep.store(false, Ordering::Relaxed);
            self.note.wake();
        }
    }

    /// Lets the thread see that the runtime ends.
    pub(super) fn wake(&self) {
        self.note.wake();
    }
}

impl Sched {
    /// Notes that the network has been polled.
    #[inline]
    pub(super) fn note_netpoll(&self) {
        // Relaxed: a hint. The tick stands for the time, which would cost a clock read.
        self.sysmon.netpolled.store(0, Ordering::Relaxed);
    }

    /// The thread's body.
    pub(super) fn run_sysmon(&self) {
        let (mut looks, mut idle_looks) = (0u32, 0);
        let mut dispatches = vec![0; self.ps.len()];
        while !self.idle.counts().is_closing() {
            looks = looks.wrapping_add(1);
            if looks % BUSY_LOOKS == 0 {
                pool::scavenge(TRIM_MOST);
            }
            self.help();
            if self.idle.counts().procs < self.ps.len() {
                idle_looks = 0;
                self.poll_if_overdue();
                self.note_slow_ps(&mut dispatches);
            } else if idle_looks < IDLE_LOOKS {
                idle_looks += 1;
            } else {
                self.sleep_while_idle();
            }
            self.sysmon.note.sleep_for(PERIOD);
        }
    }

    /// Where dispatches take microseconds, 61 of them are too many to wait for.
    fn note_slow_ps(&self, before: &mut [u64]) {
        for (p, before) in self.ps.iter().zip(before) {
            // Relaxed twice: hints.
            let now = p.counters.dispatches.load(Ordering::Relaxed);
            p.counters.slow.store(now - *before < SLOW, Ordering::Relaxed);
            *before = now;
        }
    }

    /// Sleeps until work begins. On the way the stacks that nobody has wanted lately give their
    /// memory back: each must be seen twice, a second apart.
    fn sleep_while_idle(&self) {
        for _ in 0..2 {
            if !self.announce_sleep() {
                return;
            }
            self.sysmon.note.sleep_for(TRIM_PERIOD);
            while pool::scavenge(TRIM_MOST) > 0 {}
        }
        if self.announce_sleep() {
            self.sysmon.note.sleep();
        }
    }

    /// Under the idle lock: false if a P is in use after all, or the runtime ends. `start_closing`
    /// sets its bit before it takes that lock, and wakes sysmon after.
    fn announce_sleep(&self) -> bool {
        self.idle.if_all_idle(self.ps.len(), || {
            self.sysmon.asleep.store(true, Ordering::Relaxed); // Relaxed: under the lock
        })
    }

    fn poll_if_overdue(&self) {
        let now = clock::now();
        // Relaxed: a hint. The first look after a poll starts the measure.
        let last = self.sysmon.netpolled.load(Ordering::Relaxed);
        if last == 0 {
            self.sysmon.netpolled.store(now, Ordering::Relaxed); // Relaxed: a hint
        } else if now - last > NETPOLL_OVERDUE {
            self.note_netpoll();
            // Somebody in a blocking poll holds the lock, and all is well.
            self.netpoll.try_poll(&mut crate::task::waker::wake_quietly);
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

    fn is_due(&self) -> bool {
        self.earliest_timer().is_some_and(|when| when <= clock::now())
    }

    fn has_hidden_work(&self) -> bool {
        // Relaxed: a hint.
        self.ps.iter().any(|p| p.counters.hidden.load(Ordering::Relaxed) > 0)
    }
}
