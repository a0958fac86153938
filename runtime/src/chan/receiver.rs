//! The receiving handle.

use std::fmt;
use std::mem::MaybeUninit;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::ptr::NonNull;
use std::time::Duration;

use super::error::TryRecvError;
use super::hchan::Hchan;
use super::iter::{Iter, TryIter};
use super::recv::{RecvFuture, RecvTimeout, RecvWait};

/// The receiving end of a channel. Clone it for more receivers, of which each value reaches one;
/// when the last one has gone, the channel is closed and the values inside are dropped.
///
/// It is also a [`Stream`](futures::Stream), which ends when the channel is closed and empty, and
/// can be iterated over where there is no `.await`.
///
/// # Examples
/// ```
/// use gort::prelude::*;
///
/// let (tx, rx) = gort::chan::unbounded();
/// gort::go(move || (0..3).for_each(|i| tx.send(i).wait().unwrap()));
/// assert_eq!(rx.iter().collect::<Vec<_>>(), [0, 1, 2]);
/// ```
pub struct Receiver<T> {
    hchan: NonNull<Hchan<T>>,
    /// The wait of a stream.
    pub(super) stream: Option<Pin<Box<RecvWait<T>>>>,
}

// SAFETY: the channel is `Sync` if its values are `Send`; `stream` needs `&mut`.
unsafe impl<T: Send> Send for Receiver<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Receiver<T> {}
// No user code runs while a channel is in disorder.
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> Receiver<T> {
    pub(super) fn new(hchan: NonNull<Hchan<T>>) -> Receiver<T> {
        Receiver { hchan, stream: None }
    }

    #[inline(always)]
    pub(super) fn hchan(&self) -> &Hchan<T> {
        // SAFETY: this handle counts.
        unsafe { self.hchan.as_ref() }
    }

    /// Receives a value; waits while there is none. Those who wait are served in the order in
    /// which they came.
    ///
    /// Cancel-safe, see [`RecvFuture`].
    ///
    /// # Errors
    /// [`RecvError`](super::RecvError), if the channel is closed and empty.
    #[inline]
    pub fn recv(&self) -> RecvFuture<'_, T> {
        RecvFuture::new(self.hchan())
    }

    /// Receives a value if there is one, or a sender waits. Without a look at the lock if not.
    ///
    /// # Errors
    /// There is none, or the channel is closed and empty.
    ///
    /// # Examples
    /// ```
    /// use gort::chan::{TryRecvError, bounded};
    /// let (tx, rx) = bounded(1);
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    /// tx.try_send(5).unwrap();
    /// drop(tx);
    /// assert_eq!(rx.try_recv(), Ok(5));
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
    /// ```
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut value = MaybeUninit::uninit();
        // SAFETY: the place may be written.
        match unsafe { self.hchan().try_recv(value.as_mut_ptr()) } {
            // SAFETY: then there is a value.
            Some(true) => Ok(unsafe { value.assume_init() }),
            Some(false) => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    /// As [`recv`](Receiver::recv), but waits no longer than `limit`, which counts from the first
    /// poll that has to wait.
    ///
    /// # Errors
    /// The time is over, or the channel is closed and empty.
    ///
    /// # Examples
    /// ```
    /// use gort::chan::{RecvTimeoutError, bounded};
    /// use gort::prelude::*;
    /// use std::time::Duration;
    ///
    /// let (_tx, rx) = bounded::<i32>(0);
    /// let late = rx.recv_timeout(Duration::from_millis(1)).wait();
    /// assert_eq!(late, Err(RecvTimeoutError::Timeout));
    /// ```
    pub fn recv_timeout(&self, limit: Duration) -> RecvTimeout<'_, T> {
        RecvTimeout::new(self.hchan(), limit)
    }

    /// An iterator over the values. [`next`](Iterator::next) blocks as [`Wait`](crate::Wait) does;
    /// it ends when the channel is closed and empty.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter::new(self)
    }

    /// An iterator over the values that can be had without waiting.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter::new(self)
    }

    /// Closes the channel: sends fail from now on, those that wait too; values inside can still be
    /// received. False if it was closed already. A channel of the clock cannot be closed.
    pub fn close(&self) -> bool {
        self.hchan().timer.is_none() && self.hchan().close()
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
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        self.hchan == other.hchan
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        self.hchan().add_receiver();
        Receiver::new(self.hchan)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let count = DropCount(self.hchan);
        self.end_stream();
        drop(count);
    }
}

/// Gives the count back, also when a foreign waker panics before.
struct DropCount<T>(NonNull<Hchan<T>>);

impl<T> Drop for DropCount<T> {
    fn drop(&mut self) {
        // SAFETY: the handle is not used again.
        unsafe { Hchan::drop_receiver(self.0) };
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("len", &self.len()).field("cap", &self.capacity()).finish()
    }
}
