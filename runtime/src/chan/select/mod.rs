//! Waiting for one of several operations.

#[cfg_attr(not(feature = "macros"), allow(dead_code, unreachable_pub, reason = "for the macros"))]
mod case;
#[cfg(feature = "macros")]
pub(crate) mod macros;
mod race;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use self::case::{Case, RecvCase, SendCase};
use self::race::{AsCase, Race};
use super::error::{RecvError, SendError, TrySelectError};
use super::{Receiver, Sender};
use crate::sched::preempt::poll_slice;
use crate::sched::wait::note_wait;

/// Blocks until one of several channel operations is ready, does it, and runs its arm. For
/// goroutines and plain threads; in async code use [`select_async!`](crate::select_async). Go:
/// `select`.
///
/// ```
/// use gort::chan::{bounded, unbounded};
/// use gort::prelude::*;
/// use std::time::Duration;
///
/// let (requests, incoming) = unbounded::<&str>();
/// let (answers, _outgoing) = bounded::<usize>(1);
/// requests.try_send("ping").unwrap();
/// select! {
///     recv(incoming) -> request => match request {
///         Ok(text) => println!("{text}"),
///         Err(_) => println!("closed"),
///     },
///     default(Duration::from_secs(1)) => println!("nothing for a second"),
/// }
/// let sent = select! {
///     send(answers, 4) -> result => result.is_ok(),
///     default => false,
/// };
/// assert!(sent);
/// ```
///
/// | arm | is ready | names |
/// | --- | --- | --- |
/// | `recv(receiver) -> pattern => body` | when a receive need not wait, or the channel is closed | the `Result<T, RecvError>` |
/// | `send(sender, value) -> pattern => body` | when a send need not wait, or the channel is closed | the `Result<(), SendError<T>>` |
/// | `default => body` | when no other arm is | |
/// | `default(duration) => body` | when no other arm has become ready for so long | |
///
/// * Exactly one arm runs. Of those that are ready each has the same chance. The others leave no
///   trace; one channel may stand in several arms.
/// * Receivers and senders are evaluated once, in their order, before anything else; a value only
///   if its arm is chosen. Its evaluation must not take long: the receiver waits for it.
/// * A body may `return`, `break`, or use `?`. The value of the macro is that of the body.
/// * Without any arm it blocks for ever, as `select {}` in Go. A channel that is to be left out
///   can be [`never`](crate::chan::never).
///
/// Blocks as [`Wait`](crate::Wait) does. The grammar is crossbeam's.
///
/// # Panics
/// With a limit, or a channel of the clock, when the runtime that holds the timer ends meanwhile.
#[cfg(feature = "macros")]
#[macro_export]
macro_rules! select {
    ($($arms:tt)*) => {
        $crate::__private::select::select_wait! { $crate { $($arms)* } }
    };
}

/// Awaits one of several channel operations. [`select!`](crate::select) for async code: the same
/// arms, the same rules.
///
/// Cancel-safe: a future that is dropped while it waits here has done none of the operations.
///
/// # Examples
/// ```
/// use gort::chan::{after, bounded};
/// use gort::prelude::*;
/// use std::time::Duration;
///
/// #[gort::main]
/// async fn main() {
///     let (tx, rx) = bounded(0);
///     gort::spawn(async move { tx.send(5).await });
///     let n = select_async! {
///         recv(rx) -> n => n.unwrap(),
///         recv(after(Duration::from_secs(60))) -> _ => panic!("nobody sends"),
///     };
///     assert_eq!(n, 5);
/// }
/// ```
///
/// # Panics
/// As [`select!`](crate::select).
#[cfg(feature = "macros")]
#[macro_export]
macro_rules! select_async {
    ($($arms:tt)*) => {
        $crate::__private::select::select_await! { $crate { $($arms)* } }
    };
}

/// Waits for one of a number of operations that is known only at run time.
///
/// Where it is known when the program is written, [`select!`](crate::select) is shorter and
/// faster. Operations are added once and can be waited for any number of times.
///
/// Exactly one operation is chosen, with equal chances among those that are ready. It must then be
/// completed at once, by [`SelectedOperation::recv`] or [`SelectedOperation::send`] with the same
/// handle: its peer waits meanwhile.
///
/// # Examples
/// ```
/// use gort::chan::{Select, unbounded};
/// use gort::prelude::*;
///
/// let (txs, rxs): (Vec<_>, Vec<_>) = (0..3).map(|_| unbounded()).unzip();
/// txs[1].try_send("hello").unwrap();
///
/// let mut select = Select::new();
/// for rx in &rxs {
///     select.recv(rx);
/// }
/// let chosen = select.select().wait();
/// let index = chosen.index();
/// assert_eq!(index, 1);
/// assert_eq!(chosen.recv(&rxs[index]), Ok("hello"));
/// ```
pub struct Select<'a> {
    /// Dropped before the race, whose token they name.
    cases: Vec<Entry<'a>>,
    race: Pin<Box<Race>>,
    order: Vec<u32>,
    added: usize,
}

struct Entry<'a> {
    index: usize,
    case: Pin<Box<dyn Case + Send + Sync + 'a>>,
}

impl AsCase for Entry<'_> {
    fn case(&self) -> &dyn Case {
        &*self.case
    }
}

impl<'a> Select<'a> {
    /// Without operations. To wait for none is to wait for ever.
    #[must_use]
    pub fn new() -> Select<'a> {
        Select { cases: Vec::new(), race: Box::pin(Race::new(None)), order: Vec::new(), added: 0 }
    }

    /// Adds a receive; returns its index. Indices count up from 0 and are not used again.
    pub fn recv<T: Send>(&mut self, receiver: &'a Receiver<T>) -> usize {
        self.add(Box::pin(RecvCase::new(receiver)))
    }

    /// Adds a send; returns its index. Indices count up from 0 and are not used again.
    pub fn send<T: Send>(&mut self, sender: &'a Sender<T>) -> usize {
        self.add(Box::pin(SendCase::new(sender)))
    }

    fn add(&mut self, case: Pin<Box<dyn Case + Send + Sync + 'a>>) -> usize {
        self.cancel();
        let index = self.added;
        self.added += 1;
        self.cases.push(Entry { index, case });
        index
    }

    /// Removes an operation.
    ///
    /// # Panics
    /// If there is none with this index.
    #[track_caller]
    pub fn remove(&mut self, index: usize) {
        self.cancel();
        let at = self.cases.iter().position(|entry| entry.index == index);
        let Some(at) = at else { panic!("there is no operation {index} in this select") };
        self.cases.remove(at);
    }

    /// Waits until an operation is ready, and chooses it. Cancel-safe.
    pub fn select(&mut self) -> Selecting<'_, 'a> {
        self.cancel();
        Selecting { select: Some(self) }
    }

    /// Chooses an operation that is ready now.
    ///
    /// # Errors
    /// None is.
    pub fn try_select(&mut self) -> Result<SelectedOperation<'_>, TrySelectError> {
        self.cancel();
        self.order.resize(self.cases.len(), 0);
        match self.race.try_now(&self.cases, &mut self.order) {
            Some(chosen) => Ok(SelectedOperation::new(&self.cases[chosen])),
            None => Err(TrySelectError),
        }
    }

    /// Waits until an operation seems ready, and tells its index, but does nothing. Cancel-safe.
    ///
    /// Somebody else may be faster: follow it with a `try_recv` or `try_send`, and wait again if
    /// that fails. A value that reaches a waiting `ready` goes back into its channel; the sender
    /// of an unbuffered channel does not wait for the `try_recv` then.
    pub fn ready(&mut self) -> Ready<'_, 'a> {
        self.cancel();
        Ready { select: self }
    }

    /// Ends a wait whose future was leaked.
    fn cancel(&mut self) {
        if let Some(served) = self.race.withdraw(&self.cases) {
            let case = self.cases[served].case();
            if case.accept() {
                case.undo();
            }
        }
        self.race.reset(None);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        std::task::ready!(poll_slice(cx));
        self.order.resize(self.cases.len(), 0);
        let polled = self.race.poll(&self.cases, &mut self.order, cx);
        let reason = self.race.reason(self.cases.is_empty());
        let polled = note_wait(polled, cx, reason);
        polled.map(|chosen| chosen.expect("it waits for ever"))
    }
}

impl Default for Select<'_> {
    fn default() -> Self {
        Select::new()
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select").field("operations", &self.cases.len()).finish()
    }
}

/// The future of [`Select::select`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Selecting<'s, 'a> {
    select: Option<&'s mut Select<'a>>,
}

impl<'s> Future for Selecting<'s, '_> {
    type Output = SelectedOperation<'s>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SelectedOperation<'s>> {
        let select = self.select.as_mut().expect("not polled after it was ready");
        let chosen = std::task::ready!(select.poll(cx));
        let select = self.select.take().expect("just seen");
        Poll::Ready(SelectedOperation::new(&select.cases[chosen]))
    }
}

impl Drop for Selecting<'_, '_> {
    fn drop(&mut self) {
        if let Some(select) = &mut self.select {
            select.cancel();
        }
    }
}

/// The future of [`Select::ready`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Ready<'s, 'a> {
    select: &'s mut Select<'a>,
}

impl Future for Ready<'_, '_> {
    type Output = usize;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
        let select = &mut self.select;
        let chosen = match select.race.pick(&select.cases) {
            Some(chosen) => chosen,
            None => {
                let chosen = std::task::ready!(select.poll(cx));
                select.cases[chosen].case().undo();
                chosen
            }
        };
        Poll::Ready(select.cases[chosen].index)
    }
}

impl Drop for Ready<'_, '_> {
    fn drop(&mut self) {
        self.select.cancel();
    }
}

/// An operation that a [`Select`] has chosen, and that must be completed now.
///
/// # Panics
/// If it is dropped instead.
#[must_use = "a chosen operation must be completed"]
pub struct SelectedOperation<'s> {
    index: usize,
    case: Option<&'s (dyn Case + Send + Sync)>,
}

impl<'s> SelectedOperation<'s> {
    fn new(entry: &'s Entry<'_>) -> SelectedOperation<'s> {
        SelectedOperation { index: entry.index, case: Some(&*entry.case) }
    }

    /// Which operation it is.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Completes a receive.
    ///
    /// # Errors
    /// The channel is closed and empty.
    ///
    /// # Panics
    /// If the operation was added with another handle.
    #[track_caller]
    pub fn recv<T>(mut self, receiver: &Receiver<T>) -> Result<T, RecvError> {
        let case = self.case.expect("completed once");
        let same = std::ptr::eq(case.head(), &raw const receiver.hchan().head);
        let Some(recv) = case.as_recv().filter(|_| same) else {
            panic!("the chosen operation is not a receive from this channel");
        };
        self.case = None;
        // SAFETY: the address of a channel tells its type, and the case is a receive from it.
        unsafe { &*recv.cast::<RecvCase<'_, T>>() }.complete()
    }

    /// Completes a send.
    ///
    /// # Errors
    /// The channel is closed; the value comes back.
    ///
    /// # Panics
    /// If the operation was added with another handle.
    #[track_caller]
    pub fn send<T>(mut self, sender: &Sender<T>, value: T) -> Result<(), SendError<T>> {
        let case = self.case.expect("completed once");
        let same = std::ptr::eq(case.head(), &raw const sender.hchan().head);
        let Some(send) = case.as_send().filter(|_| same) else {
            panic!("the chosen operation is not a send to this channel");
        };
        self.case = None;
        // SAFETY: the address of a channel tells its type, and the case is a send to it.
        unsafe { &*send.cast::<SendCase<'_, T>>() }.complete().send(value)
    }
}

impl fmt::Debug for SelectedOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelectedOperation").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Drop for SelectedOperation<'_> {
    fn drop(&mut self) {
        if let Some(case) = self.case.take() {
            case.undo();
            if !std::thread::panicking() {
                panic!("a selected operation was dropped without being completed");
            }
        }
    }
}
