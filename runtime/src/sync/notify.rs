//! `Notify`: "look again", without a value.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::wait_list::{Node, Queue, WaitList};
use crate::sched::wait::{WaitReason, note_wait};
use crate::util::sync::const_fn;

/// Tells waiters that something has changed. It guards no data and remembers at most one
/// notification.
///
/// It is what a channel or a lock of your own needs: change the data, then
/// [`notify_one`](Notify::notify_one); and to wait, take a [`notified`](Notify::notified), look at
/// the data, and await it if there is nothing. Where the data lies in a [`Mutex`](super::Mutex),
/// [`Cond`](super::Cond) may be handier.
///
/// # Examples
/// ```
/// use gort::prelude::*;
/// use gort::sync::Notify;
///
/// static READY: Notify = Notify::new();
///
/// let waiter = gort::go(|| READY.notified().wait());
/// READY.notify_one();
/// waiter.wait().unwrap();
/// ```
#[derive(Debug)]
pub struct Notify {
    list: WaitList<State, By>,
}

#[derive(Debug)]
struct State {
    /// A notification that nobody waited for.
    permit: bool,
    /// Calls of `notify_waiters`.
    calls: u64,
}

/// How a waiter was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    One,
    All,
}

impl Default for Notify {
    fn default() -> Notify {
        Notify::new()
    }
}

impl Notify {
    const_fn! {
        /// One without a notification.
        #[must_use]
        pub const fn new() -> Notify {
            Notify { list: WaitList::new(State { permit: false, calls: 0 }) }
        }
    }

    /// Wakes the first waiter. If there is none, the next one need not wait; several such
    /// notifications count as one.
    pub fn notify_one(&self) {
        let waker = self.list.with(|state, queue| {
            state.permit |= queue.is_empty();
            queue.pop(|by| *by = By::One)
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes all who wait, and all [`Notified`] that were made before this call. Leaves nothing
    /// behind for those who come later.
    pub fn notify_waiters(&self) {
        let end = self.list.with(|state, queue| {
            state.calls += 1;
            queue.tickets()
        });
        self.list.wake_before(end, |by| *by = By::All);
    }

    /// Waits for a notification. [`notify_waiters`](Notify::notify_waiters) counts from this call
    /// on; the place in the queue for [`notify_one`](Notify::notify_one) is taken by the first poll.
    ///
    /// Dropping the future when it was chosen by `notify_one` passes the notification on.
    pub fn notified(&self) -> Notified<'_> {
        let calls = self.list.with(|state, _| state.calls);
        Notified { notify: self, calls, node: Node::new() }
    }
}

/// The future of [`Notify::notified`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Notified<'a> {
    notify: &'a Notify,
    /// What `State::calls` was when this was made.
    calls: u64,
    node: Node<By>,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.into_ref().get_ref();
        // SAFETY: the field of a pinned struct; it leaves the list before it dies (Drop).
        let node = unsafe { Pin::new_unchecked(&this.node) };
        let take = |state: &mut State, _: &mut Queue<By>| {
            let called = state.calls != this.calls;
            (called || std::mem::take(&mut state.permit)).then_some(())
        };
        let polled = this.notify.list.poll_take(node, cx, By::One, take, |_| ());
        note_wait(polled, cx, WaitReason::Notify)
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        if self.notify.list.cancel(&self.node) == Some(By::One) {
            self.notify.notify_one();
        }
    }
}
