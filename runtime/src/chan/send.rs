//! Sending as a future.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use super::core::{Sent, WRITABLE};
use super::error::{SendError, SendTimeoutError};
use super::hchan::{Hchan, wake};
use super::recv::Limit;
use super::wait::{Outcome, Token, Waiter};
use crate::sched::preempt::poll_slice;
use crate::sched::wait::{WaitReason, note_wait};

/// How far a send is. Only its owner looks at this.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not polled yet; the value is in the slot.
    New,
    /// The waiter has been put into the list.
    Enlisted,
    /// The value is elsewhere.
    Over,
}

/// A send under way: pinned, and cancelled before it goes.
pub(super) struct SendWait<T> {
    token: Token,
    waiter: Waiter<T>,
    phase: Cell<Phase>,
}

// SAFETY: what peers touch is protected by the channel's lock and the token; the rest needs the
// `Pin<&mut>` of the owner.
unsafe impl<T: Send> Send for SendWait<T> {}
// SAFETY: shared references give access to nothing.
unsafe impl<T: Send> Sync for SendWait<T> {}

impl<T> SendWait<T> {
    #[inline(always)]
    pub(super) fn new(value: T) -> SendWait<T> {
        SendWait {
            token: Token::new(true),
            waiter: Waiter::loaded(value),
            phase: Cell::new(Phase::New),
        }
    }

    /// Polls; the caller always passes the same channel.
    #[inline(always)]
    pub(super) fn poll(
        self: Pin<&mut Self>,
        hchan: &Hchan<T>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<T>>> {
        let this = self.into_ref().get_ref();
        match this.phase.get() {
            Phase::New => this.start(hchan, cx),
            Phase::Enlisted => this.resume(hchan, cx),
            Phase::Over => panic!("a send was polled after it had given its result"),
        }
    }

    #[inline(always)]
    fn start(&self, hchan: &Hchan<T>, cx: &mut Context<'_>) -> Poll<Result<(), SendError<T>>> {
        while hchan.head.hint() & WRITABLE != 0 {
            // SAFETY: the value is in the slot.
            match hchan.with(|core| unsafe { core.send(self.waiter.value()) }) {
                Sent::Done(waker) => return Poll::Ready(self.sent(waker)),
                Sent::Closed => return Poll::Ready(self.refused()),
                Sent::Full => break,
                Sent::Grow => hchan.grow(),
            }
        }
        self.enlist(hchan, cx)
    }

    #[inline(always)]
    fn sent(&self, waker: Option<Waker>) -> Result<(), SendError<T>> {
        self.phase.set(Phase::Over); // also if a foreign waker panics
        wake(waker);
        Ok(())
    }

    /// The value comes back.
    fn refused(&self) -> Result<(), SendError<T>> {
        self.phase.set(Phase::Over);
        // SAFETY: the value is in the slot, and is taken once.
        Err(SendError(unsafe { self.waiter.value().read() }))
    }

    fn enlist(&self, hchan: &Hchan<T>, cx: &mut Context<'_>) -> Poll<Result<(), SendError<T>>> {
        let mut waker = Some(cx.waker().clone()); // user code, so before the lock
        loop {
            let sent = hchan.with(|core| {
                // SAFETY: the value is in the slot. If it cannot be sent, the waiter goes into the
                // list; this wait is pinned, and `cancel` unlinks it.
                unsafe {
                    let sent = core.send(self.waiter.value());
                    if let Sent::Full = sent
                        && let Some(waker) = waker.take()
                    {
                        self.token.arm(waker);
                        core.senders.push(&self.waiter, &self.token, 0);
                        self.phase.set(Phase::Enlisted);
                    }
                    sent
                }
            });
            match sent {
                Sent::Done(waker) => return Poll::Ready(self.sent(waker)),
                Sent::Closed => return Poll::Ready(self.refused()),
                Sent::Full => return Poll::Pending,
                Sent::Grow => hchan.grow(),
            }
        }
    }

    #[inline(always)]
    fn resume(&self, hchan: &Hchan<T>, cx: &mut Context<'_>) -> Poll<Result<(), SendError<T>>> {
        if self.token.served().is_none() {
            return self.renew(hchan, cx);
        }
        Poll::Ready(match self.waiter.outcome() {
            Outcome::Closed => self.refused(),
            _ => self.sent(None),
        })
    }

    /// Polled without a reason: the waker may be another one now.
    #[cold]
    fn renew(&self, hchan: &Hchan<T>, cx: &mut Context<'_>) -> Poll<Result<(), SendError<T>>> {
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

    /// Ends the send. The value comes back, unless it has gone.
    pub(super) fn cancel(&self, hchan: &Hchan<T>) -> Option<T> {
        let phase = self.phase.replace(Phase::Over);
        match phase {
            Phase::Over => return None,
            Phase::New => {}
            Phase::Enlisted => {
                let waker = hchan.with(|core| {
                    core.senders.unlink(&self.waiter);
                    // SAFETY: it is in no list now.
                    unsafe { self.token.swap_waker(None) }
                });
                drop(waker);
                if self.token.served().is_some() && self.waiter.outcome() != Outcome::Closed {
                    return None;
                }
            }
        }
        // SAFETY: the value is in the slot, and is taken once.
        Some(unsafe { self.waiter.value().read() })
    }

    /// Whether there is anything to cancel.
    #[inline(always)]
    pub(super) fn is_over(&self) -> bool {
        self.phase.get() == Phase::Over
    }
}

/// The future of [`Sender::send`](super::Sender::send).
///
/// Cancel-safe: dropped at any moment, the value has been sent, once, or is dropped with it.
///
/// # Panics
/// If it is polled again after it was ready.
#[must_use = "futures do nothing unless awaited"]
pub struct SendFuture<'a, T> {
    hchan: &'a Hchan<T>,
    wait: SendWait<T>,
}

impl<'a, T> SendFuture<'a, T> {
    #[inline(always)]
    pub(super) fn new(hchan: &'a Hchan<T>, value: T) -> SendFuture<'a, T> {
        SendFuture { hchan, wait: SendWait::new(value) }
    }
}

impl<T> Future for SendFuture<'_, T> {
    type Output = Result<(), SendError<T>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(poll_slice(cx));
        self.poll_now(cx)
    }
}

impl<T> SendFuture<'_, T> {
    /// Polls without a look at the time slice.
    #[inline]
    fn poll_now(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<<Self as Future>::Output> {
        // SAFETY: `wait` is pinned as this is, and never moved out.
        let (hchan, wait) = unsafe {
            let this = self.get_unchecked_mut();
            (this.hchan, Pin::new_unchecked(&mut this.wait))
        };
        note_wait(wait.poll(hchan, cx), cx, WaitReason::ChanSend)
    }
}

impl<T> Drop for SendFuture<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if !self.wait.is_over() {
            drop(self.wait.cancel(self.hchan));
        }
    }
}

impl<T> fmt::Debug for SendFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendFuture { .. }")
    }
}

/// The future of [`Sender::send_timeout`](super::Sender::send_timeout). Cancel-safe, as [`SendFuture`].
///
/// # Panics
/// If it is polled again after it was ready, or after the runtime that holds its timer has ended.
#[must_use = "futures do nothing unless awaited"]
#[pin_project::pin_project]
pub struct SendTimeout<'a, T> {
    #[pin]
    send: SendFuture<'a, T>,
    limit: Limit,
}

impl<'a, T> SendTimeout<'a, T> {
    pub(super) fn new(hchan: &'a Hchan<T>, value: T, limit: Duration) -> SendTimeout<'a, T> {
        SendTimeout { send: SendFuture::new(hchan, value), limit: Limit::For(limit) }
    }
}

impl<T> Future for SendTimeout<'_, T> {
    type Output = Result<(), SendTimeoutError<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(poll_slice(cx));
        let mut this = self.project();
        if let Poll::Ready(result) = this.send.as_mut().poll_now(cx) {
            return Poll::Ready(result.map_err(SendTimeoutError::from));
        }
        if this.limit.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let send = this.send.as_ref().get_ref();
        Poll::Ready(match send.wait.cancel(send.hchan) {
            Some(value) if send.hchan.is_closed() => Err(SendTimeoutError::Disconnected(value)),
            Some(value) => Err(SendTimeoutError::Timeout(value)),
            None => Ok(()),
        })
    }
}

impl<T> fmt::Debug for SendTimeout<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendTimeout { .. }")
    }
}
