//! `sleep`: a timer and a wait.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::Instant;
use crate::rt;
use crate::sched::m;
use crate::sched::preempt::poll_slice;
use crate::sched::timers::{Closed, TimerId, Timers};
use crate::sched::wait::{WaitReason, note_wait};

/// Waits until `duration` from now. A duration of zero is ready at once. Blocks nothing.
///
/// # Examples
/// ```
/// # gort::block_on(async {
/// gort::time::sleep(std::time::Duration::from_millis(1)).await;
/// # });
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    let state = if duration.is_zero() { State::Fired } else { State::New };
    Sleep { deadline: Instant::now() + duration, state }
}

/// Waits until `deadline`, which may be a [`std::time::Instant`]. Blocks nothing.
pub fn sleep_until(deadline: impl Into<Instant>) -> Sleep {
    Sleep { deadline: deadline.into(), state: State::New }
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// The timer is armed by the first poll and stopped by a drop. Once ready it stays ready, until
/// [`reset`](Sleep::reset).
///
/// # Panics
/// Polling panics when the runtime that holds the timer has ended: it would never be ready.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    deadline: Instant,
    state: State,
}

enum State {
    New,
    Armed(&'static Timers, TimerId),
    Fired,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            State::New => "new",
            State::Armed(..) => "armed",
            State::Fired => "fired",
        })
    }
}

impl Sleep {
    /// When it is ready.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether it has become ready.
    #[must_use]
    pub fn is_elapsed(&self) -> bool {
        matches!(self.state, State::Fired) || Instant::now() >= self.deadline
    }

    /// Starts anew with another deadline, whether or not it was ready. A task that waits for it
    /// must poll it again.
    pub fn reset(&mut self, deadline: impl Into<Instant>) {
        self.stop();
        self.deadline = deadline.into();
        self.state = State::New;
    }

    fn stop(&self) {
        if let State::Armed(timers, id) = self.state {
            timers.stop(id);
        }
    }

    fn arm(&mut self, cx: &Context<'_>) -> Result<(), Closed> {
        let when = self.deadline.nanos();
        let (timers, id) = match m::current() {
            Some(m) => m.enter().sched().arm_timer(when, cx.waker())?,
            None => rt::with_current(|sched| sched.arm_timer(when, cx.waker()))?,
        };
        self.state = State::Armed(timers, id);
        Ok(())
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        note_wait(self.poll_unnamed(cx), cx, WaitReason::Sleep)
    }
}

impl Sleep {
    /// As `poll`; what is waited for besides has a name of its own.
    pub(crate) fn poll_unnamed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(poll_slice(cx));
        let armed = match self.state {
            State::New => self.arm(cx),
            State::Armed(timers, id) => match timers.renew(id, cx.waker()) {
                Some(renewed) => renewed,
                None => {
                    self.state = State::Fired;
                    return Poll::Ready(());
                }
            },
            State::Fired => return Poll::Ready(()),
        };
        assert!(armed.is_ok(), "a gort timer was polled after its runtime had ended");
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.stop();
    }
}
