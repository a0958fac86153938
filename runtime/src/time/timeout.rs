//! `timeout`: a future with a deadline.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project::pin_project;

use super::{Instant, Sleep, sleep, sleep_until};

/// Waits for `future`, but no longer than `limit`.
///
/// The time counts from the first poll that leaves the future pending: a future that is ready at
/// once costs no look at the clock. When the time is over the future has been polled once more in
/// vain; it is dropped with the `Timeout`, which cancels it.
///
/// # Errors
/// [`Elapsed`] if the time is over first.
///
/// # Examples
/// ```
/// use gort::time::{Duration, timeout};
/// # gort::block_on(async {
/// assert_eq!(timeout(Duration::from_secs(1), async { 5 }).await, Ok(5));
/// let never = std::future::pending::<()>();
/// assert!(timeout(Duration::from_millis(1), never).await.is_err());
/// # });
/// ```
pub fn timeout<F: IntoFuture>(limit: Duration, future: F) -> Timeout<F::IntoFuture> {
    Timeout { future: future.into_future(), timer: Timer::Limit(limit) }
}

/// As [`timeout`], until a point in time.
///
/// # Errors
/// [`Elapsed`] if that comes first.
pub fn timeout_at<F: IntoFuture>(
    deadline: impl Into<Instant>,
    future: F,
) -> Timeout<F::IntoFuture> {
    Timeout { future: future.into_future(), timer: Timer::Running(sleep_until(deadline)) }
}

/// The future of [`timeout`]. Dropping it drops the future inside.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
#[pin_project]
pub struct Timeout<F> {
    #[pin]
    future: F,
    timer: Timer,
}

#[derive(Debug)]
enum Timer {
    Limit(Duration),
    Running(Sleep),
}

impl<F> Timeout<F> {
    /// The future inside.
    pub fn get_ref(&self) -> &F {
        &self.future
    }

    /// The future inside.
    pub fn get_mut(&mut self) -> &mut F {
        &mut self.future
    }

    /// Gives the future back and forgets the time.
    pub fn into_inner(self) -> F {
        self.future
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        if let Timer::Limit(limit) = *this.timer {
            *this.timer = Timer::Running(sleep(limit));
        }
        let Timer::Running(sleep) = this.timer else { unreachable!("just started") };
        sleep.poll_unnamed(cx).map(|()| Err(Elapsed(())))
    }
}

/// The time was over before the future was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline has elapsed")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(_: Elapsed) -> io::Error {
        io::ErrorKind::TimedOut.into()
    }
}
