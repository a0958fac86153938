//! The sending handle.

use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::ptr::NonNull;
use std::time::Duration;

use super::error::TrySendError;
use super::hchan::Hchan;
use super::send::{SendFuture, SendTimeout, SendWait};

/// The sending end of a channel. Clone it for more senders; when the last one has gone, the
/// channel is closed.
///
/// It is also a [`Sink`](futures::Sink): then the item that has not been sent yet stays in this
/// handle until a flush, and is dropped with it.
///
/// # Examples
/// ```
/// use gort::prelude::*;
///
/// let (tx, rx) = gort::chan::bounded(1);
/// gort::go(move || tx.send("hello").wait());
/// assert_eq!(rx.recv().wait(), Ok("hello"));
/// ```
pub struct Sender<T> {
    hchan: NonNull<Hchan<T>>,
    /// What was started as a sink.
    pub(super) unsent: Option<Pin<Box<SendWait<T>>>>,
}

// SAFETY: the channel is `Sync` if its values are `Send`; `unsent` needs `&mut`.
unsafe impl<T: Send> Send for Sender<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Sender<T> {}
// No user code runs while a channel is in disorder.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}

impl<T> Sender<T> {
    pub(super) fn new(hchan: NonNull<Hchan<T>>) -> Sender<T> {
        Sender { hchan, unsent: None }
    }

    #[inline(always)]
    pub(super) fn hchan(&self) -> &Hchan<T> {
        // SAFETY: this handle counts.
        unsafe { self.hchan.as_ref() }
    }

    /// Sends a value; waits while the channel is full, or, if it is unbuffered, until a receiver
    /// takes it. Those who wait are served in the order in which they came.
    ///
    /// Cancel-safe, see [`SendFuture`].
    ///
    /// # Errors
    /// [`SendError`](super::SendError) with the value, if the channel is closed.
    #[inline]
    pub fn send(&self, value: T) -> SendFuture<'_, T> {
        SendFuture::new(self.hchan(), value)
    }

    /// Sends a value if that needs no wait.
    ///
    /// # Errors
    /// With the value: the channel is full, or unbuffered without a waiting receiver, or closed.
    ///
    /// # Examples
    /// ```
    /// use gort::chan::{TrySendError, bounded};
    /// let (tx, rx) = bounded(1);
    /// assert_eq!(tx.try_send(1), Ok(()));
    /// assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
    /// drop(rx);
    /// assert_eq!(tx.try_send(3), Err(TrySendError::Disconnected(3)));
    /// ```
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let value = ManuallyDrop::new(value);
        // SAFETY: there is a value, and it is given away.
        let sent = unsafe { self.hchan().try_send(&raw const *value) };
        match sent {
            Some(true) => Ok(()),
            Some(false) => Err(TrySendError::Disconnected(ManuallyDrop::into_inner(value))),
            None => Err(TrySendError::Full(ManuallyDrop::into_inner(value))),
        }
    }

    /// As [`send`](Sender::send), but waits no longer than `limit`, which counts from the first
    /// poll that has to wait.
    ///
    /// # Errors
    /// With the value: the time is over, or the channel is closed.
    pub fn send_timeout(&self, value: T, limit: Duration) -> SendTimeout<'_, T> {
        SendTimeout::new(self.hchan(), value, limit)
    }

    /// Closes the channel: sends fail from now on, those that wait too; values inside can still be
    /// received. False if it was closed already.
    pub fn close(&self) -> bool {
        self.hchan().close()
    }

    /// Whether the channel is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.hchan().is_closed()
    }

    /// How many values are in the channel. Values that came back from receivers that were dropped
    /// in the middle of a receive count, so it can be more than the capacity.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hchan().with(|core| core.len())
    }

    /// Whether no value is in the channel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values it holds at most; None if there is no limit.
    #[must_use]
    pub fn capacity(&self) -> Option<usize> {
        self.hchan().capacity()
    }

    /// Whether both are ends of one channel.
    #[must_use]
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        self.hchan == other.hchan
    }
}

impl<T> Clone for Sender<T> {
    /// One more sender; what a sink has not sent stays with the old one.
    fn clone(&self) -> Sender<T> {
        self.hchan().add_sender();
        Sender::new(self.hchan)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let count = DropCount(self.hchan);
        self.drop_unsent();
        drop(count);
    }
}

/// Gives the count back, also when the unsent item's drop panics.
struct DropCount<T>(NonNull<Hchan<T>>);

impl<T> Drop for DropCount<T> {
    fn drop(&mut self) {
        // SAFETY: the handle is not used again.
        unsafe { Hchan::drop_sender(self.0) };
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("len", &self.len()).field("cap", &self.capacity()).finish()
    }
}
