//! Channels: values from any number of senders to any number of receivers, each to one.
//!
//! ```
//! use gort::chan::bounded;
//! use gort::prelude::*;
//!
//! #[gort::main]
//! fn main() {
//!     let (jobs, queue) = bounded::<u64>(10);
//!     let (results, sums) = bounded(0);
//!     for _ in 0..4 {
//!         let (queue, results) = (queue.clone(), results.clone());
//!         gort::go(move || results.send(queue.iter().sum::<u64>()).wait());
//!     }
//!     drop(results);
//!     (1..=100).for_each(|n| jobs.send(n).wait().unwrap());
//!     drop(jobs); // closes the channel: the workers' loops end
//!     assert_eq!(sums.iter().sum::<u64>(), 5050);
//! }
//! ```
//!
//! Every operation that may wait is a future: `.await` it in async code, on any executor, `.wait()`
//! for it in a goroutine or on a plain thread. All of these can share one channel.
//!
//! * A channel holds a number of values, [`bounded`], any number, [`unbounded`], or none,
//!   `bounded(0)`: then a send waits until a receiver takes its value.
//! * Those who wait are served in the order in which they came. A value goes straight to the
//!   receiver that waits for it.
//! * When all senders or all receivers have gone, or somebody calls `close`, the channel is closed:
//!   sends fail, receives take what is inside and then fail.
//! * A future that is dropped in the middle neither loses nor duplicates a value. A value that was
//!   on its way to a receive that is dropped goes to the next one, before all others; until one
//!   comes it waits in the channel, even if that is more than the channel's capacity.
//! * [`select!`](crate::select) waits for one of several operations; [`after`], [`tick`] and
//!   [`never()`] are channels to use with it.
//!
//! | file | owns |
//! |---|---|
//! | `hchan`, `lock` | a channel: what is seen with its lock and without; its end |
//! | `core`, `ring` | the rules by which values, senders and receivers meet; the buffer |
//! | `wait` | those who wait, in lists through their futures |
//! | `send`, `recv`, `stream`, `iter` | the futures, and what is built on them |
//! | `timer` | channels of the clock |
//! | `select` | one of several |
//!
//! `model` checks the lists and tokens with loom.

mod core;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod hchan;
#[cfg(not(loom))]
mod iter;
#[cfg(not(loom))]
mod lock;
#[cfg(all(test, loom))]
mod model;
#[cfg(not(loom))]
mod receiver;
#[cfg(not(loom))]
mod recv;
mod ring;
#[cfg(not(loom))]
pub(crate) mod select;
#[cfg(not(loom))]
mod send;
#[cfg(not(loom))]
mod sender;
#[cfg(not(loom))]
mod stream;
#[cfg(not(loom))]
mod timer;
mod wait;

#[cfg(not(loom))]
pub use exports::*;

#[cfg(not(loom))]
mod exports {
    pub use super::error::{
        RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySelectError,
        TrySendError,
    };
    pub use super::iter::{IntoIter, Iter, TryIter};
    pub use super::receiver::Receiver;
    pub use super::recv::{RecvFuture, RecvTimeout};
    pub use super::select::{Ready, Select, SelectedOperation, Selecting};
    pub use super::send::{SendFuture, SendTimeout};
    pub use super::sender::Sender;
    pub use super::timer::{after, never, tick};
}

/// A channel that holds at most `capacity` values; with 0, each value is passed from hand to hand.
///
/// # Panics
/// If `capacity` values are more than the address space holds.
///
/// # Examples
/// ```
/// use gort::prelude::*;
///
/// let (tx, rx) = gort::chan::bounded(0);
/// let sender = gort::spawn(async move { tx.send(5).await });
/// assert_eq!(rx.recv().wait(), Ok(5));
/// assert_eq!(sender.wait().unwrap(), Ok(()));
/// ```
#[cfg(not(loom))]
#[must_use]
#[track_caller]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    ends(Some(capacity))
}

/// A channel that holds any number of values: a send never waits.
///
/// # Examples
/// ```
/// let (tx, rx) = gort::chan::unbounded();
/// (0..1000).for_each(|i| tx.try_send(i).unwrap());
/// assert_eq!(rx.try_iter().sum::<i32>(), 499_500);
/// ```
#[cfg(not(loom))]
#[must_use]
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    ends(None)
}

#[cfg(not(loom))]
fn ends<T>(capacity: Option<usize>) -> (Sender<T>, Receiver<T>) {
    let hchan = hchan::Hchan::new(capacity);
    (Sender::new(hchan), Receiver::new(hchan))
}
