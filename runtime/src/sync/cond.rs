//! `Cond`: waiting for a condition on what a mutex guards. Go: sync.Cond.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::mutex::{Mutex, MutexGuard};
use super::raw_mutex::Waiter;
use super::wait_list::{Node, WaitList};
use crate::sched::wait::{WaitReason, note_wait};
use crate::util::sync::const_fn;

/// A place to wait until somebody says that what a [`Mutex`] guards has changed.
///
/// Notifications go to the waiters in the order in which they began to wait, and never to nobody:
/// there are no spurious wake-ups. One that comes while nobody waits is lost; the condition lies in
/// the mutex. Go: sync.Cond. As std's `Condvar`, without the rule that all must use one mutex.
///
/// Where the mutex is `std`'s and no guard is held over another wait, [`std::sync::Condvar`] does.
///
/// # Examples
/// ```
/// use gort::prelude::*;
/// use gort::sync::{Cond, Mutex};
///
/// static LETTERS: Mutex<Vec<&str>> = Mutex::new(Vec::new());
/// static ARRIVED: Cond = Cond::new();
///
/// let reader = gort::go(|| {
///     let mut letters = LETTERS.lock().wait();
///     while letters.is_empty() {
///         letters = ARRIVED.notified(letters).wait();
///     }
///     letters.pop()
/// });
/// LETTERS.lock().wait().push("hello");
/// ARRIVED.notify_one();
/// assert_eq!(reader.wait().unwrap(), Some("hello"));
/// ```
#[derive(Debug)]
pub struct Cond {
    list: WaitList<(), By>,
}

/// How a waiter was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    One,
    All,
}

impl Default for Cond {
    fn default() -> Cond {
        Cond::new()
    }
}

impl Cond {
    const_fn! {
        /// One that nobody waits for.
        #[must_use]
        pub const fn new() -> Cond {
            Cond { list: WaitList::new(()) }
        }
    }

    /// Wakes the one that has waited longest, if any does. The mutex may be held or not.
    pub fn notify_one(&self) {
        if let Some(waker) = self.list.with(|(), queue| queue.pop(|by| *by = By::One)) {
            waker.wake();
        }
    }

    /// Wakes all who wait now. The mutex may be held or not.
    pub fn notify_all(&self) {
        let end = self.list.with(|(), queue| queue.tickets());
        self.list.wake_before(end, |by| *by = By::All);
    }

    /// Unlocks, waits for a notification, locks again and gives the guard back.
    ///
    /// The first poll takes the place in the queue and then unlocks, so no notification that
    /// follows a change under the lock is missed. Dropping the future loses the guard; if it was
    /// chosen by [`notify_one`](Cond::notify_one) the next waiter is, in its place.
    pub fn notified<'a, T: ?Sized>(&'a self, guard: MutexGuard<'a, T>) -> CondNotified<'a, T> {
        let mutex = MutexGuard::mutex(&guard);
        let (node, lock) = (Node::new(), Waiter::new());
        CondNotified { cond: self, mutex, guard: Some(guard), node, lock }
    }

    /// Waits as long as `condition` holds. Std: `Condvar::wait_while`.
    pub async fn notified_while<'a, T: ?Sized>(
        &'a self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(&mut guard) {
            guard = self.notified(guard).await;
        }
        guard
    }
}

/// The future of [`Cond::notified`].
#[must_use = "futures do nothing unless awaited"]
pub struct CondNotified<'a, T: ?Sized> {
    cond: &'a Cond,
    mutex: &'a Mutex<T>,
    /// Until the first poll.
    guard: Option<MutexGuard<'a, T>>,
    /// Chosen from the notification on until the lock is back.
    node: Node<By>,
    lock: Waiter,
}

impl<'a, T: ?Sized> Future for CondNotified<'a, T> {
    type Output = MutexGuard<'a, T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `guard` alone is moved out, which is not pinned.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: fields of a pinned struct; they leave their lists before they die (Drop).
        let (node, lock) =
            unsafe { (Pin::new_unchecked(&this.node), Pin::new_unchecked(&this.lock)) };
        if let Some(guard) = this.guard.take() {
            let waker = cx.waker().clone();
            this.cond.list.with(|(), queue| queue.push(node, By::One, waker));
            drop(guard);
            return note_wait(Poll::Pending, cx, WaitReason::Cond);
        }
        if !node.is_idle() && !this.cond.list.poll_chosen(node, cx) {
            return note_wait(Poll::Pending, cx, WaitReason::Cond);
        }
        ready!(note_wait(this.mutex.raw().poll_lock(lock, cx), cx, WaitReason::Mutex));
        if !node.is_idle() {
            node.finish();
        }
        // SAFETY: the lock is this future's.
        Poll::Ready(unsafe { this.mutex.guard() })
    }
}

impl<T: ?Sized> Drop for CondNotified<'_, T> {
    fn drop(&mut self) {
        self.mutex.raw().cancel(&self.lock);
        if self.cond.list.cancel(&self.node) == Some(By::One) {
            self.cond.notify_one();
        }
    }
}

impl<T: ?Sized> fmt::Debug for CondNotified<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CondNotified").field("wait", &self.node).field("lock", &self.lock).finish()
    }
}
