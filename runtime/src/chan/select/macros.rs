//! What `select!` and `select_async!` expand to calls of. Not part of the public API.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::case::Case;
pub use super::case::{RecvCase, SendCase};
use super::race::{AsCase, Race};
use crate::rt::block_on;
use crate::sched::wait::note_wait;

/// A case whose type does not matter.
#[derive(Clone, Copy)]
pub struct AnyCase<'a>(&'a dyn Case);

impl AsCase for AnyCase<'_> {
    fn case(&self) -> &dyn Case {
        self.0
    }
}

impl<T> RecvCase<'_, T> {
    /// The case without its type.
    #[must_use]
    pub fn any<'b>(self: Pin<&'b Self>) -> AnyCase<'b> {
        AnyCase(self.get_ref())
    }
}

impl<T> SendCase<'_, T> {
    /// The case without its type.
    #[must_use]
    pub fn any<'b>(self: Pin<&'b Self>) -> AnyCase<'b> {
        AnyCase(self.get_ref())
    }
}

/// The select of a macro. It is pinned before its cases, and so dropped after them.
pub struct Selecting(Race);

impl Selecting {
    /// A select that waits for `limit`, or for ever.
    #[must_use]
    pub fn new(limit: Option<Duration>) -> Selecting {
        Selecting(Race::new(limit))
    }

    /// Polls; always with the same cases. The number of the chosen one, or `N`.
    pub fn poll<const N: usize>(
        self: Pin<&Self>,
        cases: [AnyCase<'_>; N],
        cx: &mut Context<'_>,
    ) -> Poll<usize> {
        let polled = self.get_ref().0.poll(&cases, &mut [0; N], cx);
        let reason = self.get_ref().0.reason(N == 0);
        note_wait(polled, cx, reason).map(|chosen| chosen.unwrap_or(N))
    }

    /// Blocks until a case is chosen: its number, or `N` when the time is over.
    #[must_use]
    pub fn wait<const N: usize>(self: Pin<&Self>, cases: [AnyCase<'_>; N]) -> usize {
        match self.get_ref().0.glance(&cases) {
            Some(chosen) => chosen, // without the way into a runtime
            None => block_on(poll_fn(|cx| self.poll(cases, cx))),
        }
    }

    /// The number of a case that is chosen at once, or `N`.
    #[must_use]
    pub fn try_now<const N: usize>(self: Pin<&Self>, cases: [AnyCase<'_>; N]) -> usize {
        self.get_ref().0.try_now(&cases, &mut [0; N]).unwrap_or(N)
    }
}

/// What a select without `default` never comes to.
pub fn no_default() -> ! {
    unreachable!("a select without `default` ends with a case")
}
