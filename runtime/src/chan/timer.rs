//! Channels whose values the clock sends: `after`, `tick`; and `never`.
//!
//! There is no goroutine and no buffer. A channel knows when its next value is due, and whoever
//! looks at it later than that takes the value and moves the date on. A timer is armed only while
//! somebody waits, by the one who waits (N21), so a channel that nobody looks at costs its memory
//! and nothing else.

use std::task::{Context, Poll};
use std::time::Duration;

use super::Receiver;
use super::hchan::Hchan;
use crate::time::{Instant, Sleep, sleep_until};
use crate::util::clock::NEVER;
use crate::util::sync::atomic::{AtomicU64, Ordering};

/// When a channel has its next value.
pub(super) struct Timer<T> {
    /// In nanoseconds of the clock, or `NEVER`.
    due: AtomicU64,
    /// Between two values; 0: there is only one.
    period: u64,
    make: fn(Instant) -> T,
}

impl<T> Timer<T> {
    /// The value and its date, if it is time.
    pub(super) fn take_due(&self) -> Option<(T, u64)> {
        // Relaxed: the date is all there is to know.
        let mut due = self.due.load(Ordering::Relaxed);
        loop {
            if due == NEVER {
                return None;
            }
            let now = Instant::now().nanos();
            if due > now {
                return None;
            }
            // Relaxed: as above; one of those who look at the same time wins.
            match self.due.compare_exchange(
                due,
                self.next(due, now),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(((self.make)(Instant::from_nanos(due)), due)),
                Err(moved) => due = moved,
            }
        }
    }

    /// Whether it never will be.
    pub(super) fn is_never(&self) -> bool {
        self.due.load(Ordering::Relaxed) == NEVER // Relaxed: as in `take_due`
    }

    /// Whether it is time.
    pub(super) fn is_due(&self) -> bool {
        self.due().is_some_and(|due| Instant::now() >= due)
    }

    /// A value that was taken comes back.
    pub(super) fn put_back(&self, due: u64) {
        self.due.fetch_min(due, Ordering::Relaxed); // Relaxed: as in `take_due`
    }

    /// Late values are dropped, never queued (N23).
    fn next(&self, due: u64, now: u64) -> u64 {
        if self.period == 0 {
            return NEVER;
        }
        let missed = (now - due) / self.period;
        due.saturating_add(self.period.saturating_mul(missed + 1))
    }

    /// When to look, if ever.
    pub(super) fn due(&self) -> Option<Instant> {
        // Relaxed: as in `take_due`.
        let due = self.due.load(Ordering::Relaxed);
        (due != NEVER).then(|| Instant::from_nanos(due))
    }
}

/// Waits for a point in time that may move.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Sleep>);

impl Alarm {
    /// Ready when `at` has come; never, if that is None.
    pub(super) fn poll(&mut self, at: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = at.filter(|at| at.nanos() != NEVER) else {
            self.0 = None;
            return Poll::Pending;
        };
        if self.0.as_ref().is_some_and(|sleep| sleep.deadline() != at) {
            self.0 = None;
        }
        let sleep = self.0.get_or_insert_with(|| sleep_until(at));
        sleep.poll_unnamed(cx)
    }

    /// Stops the timer.
    pub(super) fn stop(&mut self) {
        self.0 = None;
    }
}

/// A channel that delivers one value, the point in time, when `duration` has passed. It is never
/// closed. Go: `time.After`.
///
/// Costs no timer until somebody waits on it. [`len`](Receiver::len) is always 0.
///
/// # Examples
/// ```
/// use gort::chan::{after, bounded};
/// use gort::prelude::*;
/// use std::time::Duration;
///
/// let (_tx, rx) = bounded::<i32>(0);
/// select! {
///     recv(rx) -> _ => unreachable!("nobody sends"),
///     recv(after(Duration::from_millis(1))) -> at => println!("gave up at {:?}", at.unwrap()),
/// }
/// ```
#[must_use]
pub fn after(duration: Duration) -> Receiver<Instant> {
    let due = (Instant::now() + duration).nanos();
    timer(due, 0, |due| due)
}

/// A channel that delivers a value, the point in time, every `period`, for the first time after
/// one period. Values that nobody took in time are dropped, never queued. It is never closed. Go:
/// `time.Tick`.
///
/// # Panics
/// If `period` is zero.
///
/// # Examples
/// ```
/// use gort::chan::tick;
/// use std::time::Duration;
///
/// let ticks = tick(Duration::from_millis(1));
/// for _ in ticks.iter().take(3) {}
/// ```
#[must_use]
#[track_caller]
pub fn tick(period: Duration) -> Receiver<Instant> {
    assert!(!period.is_zero(), "the period of `tick` must not be zero");
    let due = (Instant::now() + period).nanos();
    let period = u64::try_from(period.as_nanos()).unwrap_or(NEVER);
    timer(due, period, |due| due)
}

/// A channel that never delivers anything and is never closed. Go: a nil channel.
///
/// # Examples
/// ```
/// use gort::chan::never;
/// assert!(never::<i32>().try_recv().unwrap_err().is_empty());
/// ```
#[must_use]
pub fn never<T>() -> Receiver<T> {
    timer(NEVER, 0, |_| unreachable!("never due"))
}

fn timer<T>(due: u64, period: u64, make: fn(Instant) -> T) -> Receiver<T> {
    let timer = Timer { due: AtomicU64::new(due), period, make };
    Receiver::new(Hchan::of_timer(timer))
}
