//! `interval`: ticks at a steady rate.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;

use super::{Instant, Sleep, sleep_until};
use std::future::Future;

/// Ticks every `period`, for the first time after one period.
///
/// Ticks that nobody awaited in time are dropped, never queued: the next one is at the next whole
/// multiple of the period. Go: `time.Ticker`.
///
/// # Panics
/// If `period` is zero.
///
/// # Examples
/// ```
/// use gort::time::{Duration, interval};
/// # gort::block_on(async {
/// let mut ticks = interval(Duration::from_millis(1));
/// let first = ticks.tick().await;
/// assert!(ticks.tick().await > first);
/// # });
/// ```
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now() + period, period)
}

/// As [`interval`], with the first tick at `first`.
///
/// # Panics
/// If `period` is zero.
#[track_caller]
pub fn interval_at(first: impl Into<Instant>, period: Duration) -> Interval {
    Interval { sleep: sleep_until(first), period: checked(period) }
}

#[track_caller]
fn checked(period: Duration) -> Duration {
    assert!(!period.is_zero(), "the period of an interval must not be zero");
    period
}

/// See [`interval`]. Also a [`Stream`] that never ends.
#[derive(Debug)]
#[must_use = "an interval does nothing unless its ticks are awaited"]
pub struct Interval {
    sleep: Sleep,
    period: Duration,
}

impl Interval {
    /// Waits for the next tick and tells when it was due. Cancel-safe: a tick is lost only by
    /// being late.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// As [`tick`](Interval::tick), for use in a poll function.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        std::task::ready!(Pin::new(&mut self.sleep).poll(cx));
        let due = self.sleep.deadline();
        let period = self.period.as_nanos();
        let missed = due.elapsed().as_nanos() / period * period;
        let missed = Duration::from_nanos(u64::try_from(missed).unwrap_or(u64::MAX));
        self.sleep.reset(due + missed + self.period);
        Poll::Ready(due)
    }

    /// Starts anew: the next tick is one period from now.
    pub fn reset(&mut self) {
        self.reset_after(self.period);
    }

    /// The next tick is now.
    pub fn reset_immediately(&mut self) {
        self.reset_after(Duration::ZERO);
    }

    /// The next tick is `after` from now, the others at the period from there.
    pub fn reset_after(&mut self, after: Duration) {
        self.reset_at(Instant::now() + after);
    }

    /// The next tick is at `next`, the others at the period from there.
    pub fn reset_at(&mut self, next: impl Into<Instant>) {
        self.sleep.reset(next);
    }

    /// Starts anew with another period: the next tick is one such period from now. Go:
    /// `Ticker.Reset`.
    ///
    /// # Panics
    /// If `period` is zero.
    #[track_caller]
    pub fn set_period(&mut self, period: Duration) {
        self.period = checked(period);
        self.reset();
    }

    /// The time between two ticks.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }
}

impl Stream for Interval {
    type Item = Instant;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.poll_tick(cx).map(Some)
    }
}
