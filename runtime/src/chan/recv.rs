//! Receiving as a future.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::core::{READABLE, Received};
use super::error::{RecvError, RecvTimeoutError};
use super::hchan::{Hchan, wake};
use super::timer::{Alarm, Timer};
use super::wait::{Outcome, Token, Waiter};
use crate::sched::preempt::poll_slice;
use crate::sched::wait::note_wait;
use crate::time::Instant;

/// How far a wait is. Only its owner looks at this.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not polled yet.
    New,
    /// The waiter has been put into the list.
    Enlisted,
    /// It has given its result.
    Over,
}

/// A receive under way: pinned, and cancelled before it goes.
pub(super) struct RecvWait<T> {
    token: Token,
    waiter: Waiter<T>,
    phase: Cell<Phase>,
    /// For channels of the clock.
    alarm: Cell<Option<Box<Alarm>>>,
}

// SAFETY: what peers touch is protected by the channel's lock and the token; the rest needs the
// `Pin<&mut>` of the owner.
unsafe impl<T: Send> Send for RecvWait<T> {}
// SAFETY: shared references give access to nothing.
unsafe impl<T: Send> Sync for RecvWait<T> {}

impl<T> RecvWait<T> {
    #[inline(always)]
    pub(super) fn new() -> RecvWait<T> {
        RecvWait {
            token: Token::new(true),
            waiter: Waiter::empty(),
            phase: Cell::new(Phase::New),
            alarm: Cell::new(None),
        }
    }

    /// Polls; the caller always passes the same channel.
    #[inline(always)]
    pub(super) fn poll(
        self: Pin<&mut Self>,
        hchan: &Hchan<T>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, RecvError>> {
        let this = self.into_ref().get_ref();
        match this.phase.get() {
            Phase::New => this.start(hchan, cx),
            Phase::Enlisted => this.resume(hchan, cx),
            Phase::Over => panic!("a receive was polled after it had given its result"),
        }
    }

    #[inline(always)]
    fn start(&self, hchan: &Hchan<T>, cx: &mut Context<'_>) -> Poll<Result<T, RecvError>> {
        if hchan.head.hint() & READABLE != 0 {
            // SAFETY: nothing is in the slot.
            let received = hchan.with(|core| unsafe { core.recv(self.waiter.value(), true) });
            if let Some(result) = self.received(received) {
                return Poll::Ready(result);
            }
        } else if let Some(timer) = &hchan.timer {
            return self.poll_timer(timer, cx).map(Ok);
        }
        self.enlist(hchan, cx)
    }

    /// What came of a look, unless that was nothing.
    #[inline(always)]
    fn received(&self, received: Received<T>) -> Option<Result<T, RecvError>> {
        match received {
            Received::Done(waker) => {
                let value = self.take();
                wake(waker);
                Some(Ok(value))
            }
            Received::Returned(node) => {
                drop(node);
                Some(Ok(self.take()))
            }
            Received::Closed => {
                self.phase.set(Phase::Over);
                Some(Err(RecvError))
            }
            Received::Empty(waker) => {
                wake(waker);
                None
            }
        }
    }

    /// Takes the value, which has been moved to the slot.
    #[inline(always)]
    fn take(&self) -> T {
        self.phase.set(Phase::Over);
        // SAFETY: the caller has seen that the value is there; it is taken once.
        unsafe { self.waiter.value().read() }
    }

    fn enlist(&self, hchan: &Hchan<T>, cx: &mut Context<'_>) -> Poll<Result<T, RecvError>> {
        let mut waker = Some(cx.waker().clone()); // user code, so before the lock
        let received = hchan.with(|core| {
            // SAFETY: nothing is in the slot. If there is nothing to receive, the waiter goes into
            // the list; this wait is pinned, and `cancel` unlinks it.
            unsafe {
                let received = core.recv(self.waiter.value(), true);
                if let Received::Empty(_) = received
                    && let Some(waker) = waker.take()
                {
                    self.token.arm(waker);
                    core.receivers.push(&self.waiter, &self.token, 0);
                    self.phase.set(Phase::Enlisted);
                }
                received
            }
        });
        self.received(received).map_or(Poll::Pending, Poll::Ready)
    }

    #[inline(always)]
    fn resume(&self, hchan: &Hchan<T>, cx: &mut Context<'_>) -> Poll<Result<T, RecvError>> {
        if self.token.served().is_none() {
            return self.renew(hchan, cx);
        }
        match self.waiter.outcome() {
            Outcome::Moved => Poll::Ready(Ok(self.take())),
            Outcome::Closed => {
                self.phase.set(Phase::Over);
                Poll::Ready(Err(RecvError))
            }
            Outcome::Again | Outcome::Promised | Outcome::Asked => {
                self.phase.set(Phase::New);
                self.start(hchan, cx)
            }
        }
    }

    /// Polled without a reason: the waker may be another one now.
    #[cold]
    fn renew(&self, hchan: &Hchan<T>, cx: &mut Context<'_>) -> Poll<Result<T, RecvError>> {
        if !self.token.will_wake(cx.waker()) {
            let mut waker = Some(cx.waker().clone());
            hchan.with(|_| {
                if self.waiter.is_linked() {
                    // SAFETY: the lock of the one waiter's channel is held.
                    waker = unsafe { self.token.swap_waker(waker.take()) };
                }
            });
            drop(waker);
            if self.token.served().is_some() {
                return self.resume(hchan, cx);
            }
        }
        Poll::Pending
    }

    fn poll_timer(&self, timer: &Timer<T>, cx: &mut Context<'_>) -> Poll<T> {
        let mut alarm = self.alarm.take().unwrap_or_default();
        loop {
            if let Some((value, _)) = timer.take_due() {
                self.phase.set(Phase::Over);
                return Poll::Ready(value);
            }
            if alarm.poll(timer.due(), cx).is_pending() {
                self.alarm.set(Some(alarm));
                return Poll::Pending;
            }
            alarm.stop(); // somebody else has taken the value
        }
    }

    /// Whether a list may name it.
    #[inline(always)]
    pub(super) fn is_enlisted(&self) -> bool {
        self.phase.get() == Phase::Enlisted
    }

    /// Ends the wait. A value that has been handed over already is given on.
    #[cold]
    pub(super) fn cancel(&self, hchan: &Hchan<T>) {
        if let Some(Ok(value)) = self.withdraw(hchan) {
            hchan.give_back(value, self.waiter.turn());
        }
    }

    /// Ends the wait. If it has been served meanwhile, the result comes back.
    fn withdraw(&self, hchan: &Hchan<T>) -> Option<Result<T, RecvError>> {
        let phase = self.phase.replace(Phase::Over);
        if phase != Phase::Enlisted {
            return None;
        }
        let waker = hchan.with(|core| {
            core.unlink_receiver(&self.waiter);
            // SAFETY: it is in no list now.
            unsafe { self.token.swap_waker(None) }
        });
        let result = self.token.served().and_then(|_| match self.waiter.outcome() {
            // SAFETY: a peer has moved the value here, and it is taken once.
            Outcome::Moved => Some(Ok(unsafe { self.waiter.value().read() })),
            Outcome::Closed => Some(Err(RecvError)),
            Outcome::Again | Outcome::Promised | Outcome::Asked => None,
        });
        drop(waker);
        result
    }
}

/// The future of [`Receiver::recv`](super::Receiver::recv).
///
/// Cancel-safe: dropped at any moment, it neither loses nor duplicates a value. One that was
/// handed to it already goes to the next receiver.
///
/// # Panics
/// If it is polled again after it was ready.
#[must_use = "futures do nothing unless awaited"]
pub struct RecvFuture<'a, T> {
    hchan: &'a Hchan<T>,
    wait: RecvWait<T>,
}

impl<'a, T> RecvFuture<'a, T> {
    #[inline(always)]
    pub(super) fn new(hchan: &'a Hchan<T>) -> RecvFuture<'a, T> {
        RecvFuture { hchan, wait: RecvWait::new() }
    }
}

impl<T> Future for RecvFuture<'_, T> {
    type Output = Result<T, RecvError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(poll_slice(cx));
        self.poll_now(cx)
    }
}

impl<T> RecvFuture<'_, T> {
    /// Polls without a look at the time slice.
    #[inline]
    fn poll_now(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<<Self as Future>::Output> {
        // SAFETY: `wait` is pinned as this is, and never moved out.
        let (hchan, wait) = unsafe {
            let this = self.get_unchecked_mut();
            (this.hchan, Pin::new_unchecked(&mut this.wait))
        };
        match wait.poll(hchan, cx) {
            Poll::Pending => note_wait(Poll::Pending, cx, hchan.reason()),
            ready => ready,
        }
    }
}

impl<T> Drop for RecvFuture<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.wait.is_enlisted() {
            self.wait.cancel(self.hchan);
        }
    }
}

impl<T> fmt::Debug for RecvFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecvFuture { .. }")
    }
}

/// The future of [`Receiver::recv_timeout`](super::Receiver::recv_timeout). Cancel-safe, as
/// [`RecvFuture`].
///
/// # Panics
/// If it is polled again after it was ready, or after the runtime that holds its timer has ended.
#[must_use = "futures do nothing unless awaited"]
#[pin_project::pin_project]
pub struct RecvTimeout<'a, T> {
    #[pin]
    recv: RecvFuture<'a, T>,
    limit: Limit,
}

/// Time that counts from the first poll that has to wait.
pub(super) enum Limit {
    For(Duration),
    Until(Instant, Alarm),
}

impl Limit {
    /// Ready when the time is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Limit::For(duration) = *self {
            if duration.is_zero() {
                return Poll::Ready(());
            }
            *self = Limit::Until(Instant::now() + duration, Alarm::default());
        }
        let Limit::Until(at, alarm) = self else { unreachable!("just set") };
        alarm.poll(Some(*at), cx)
    }
}

impl<'a, T> RecvTimeout<'a, T> {
    pub(super) fn new(hchan: &'a Hchan<T>, limit: Duration) -> RecvTimeout<'a, T> {
        RecvTimeout { recv: RecvFuture::new(hchan), limit: Limit::For(limit) }
    }
}

impl<T> Future for RecvTimeout<'_, T> {
    type Output = Result<T, RecvTimeoutError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(poll_slice(cx));
        let mut this = self.project();
        if let Poll::Ready(result) = this.recv.as_mut().poll_now(cx) {
            return Poll::Ready(result.map_err(RecvTimeoutError::from));
        }
        if this.limit.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let recv = this.recv.as_ref().get_ref();
        Poll::Ready(match recv.wait.withdraw(recv.hchan) {
            Some(result) => result.map_err(RecvTimeoutError::from),
            None => Err(RecvTimeoutError::Timeout),
        })
    }
}

impl<T> fmt::Debug for RecvTimeout<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecvTimeout { .. }")
    }
}
