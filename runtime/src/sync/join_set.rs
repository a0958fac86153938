//! `JoinSet`: tasks and goroutines that are joined in the order in which they end.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::stream::{FuturesUnordered, Stream, StreamExt};

use crate::{JoinError, JoinHandle};

/// Tasks and goroutines that all give a `T`, joined as they end. Dropping the set aborts those that
/// are left. Also a [`Stream`] of the results.
///
/// # Examples
/// ```
/// use gort::prelude::*;
/// use gort::sync::JoinSet;
///
/// let mut set = JoinSet::new();
/// for i in 0..3 {
///     set.spawn(async move { i });
/// }
/// set.go(|| 3);
/// let mut sum = 0;
/// while let Some(result) = set.join_next().wait() {
///     sum += result.unwrap();
/// }
/// assert_eq!(sum, 6);
/// ```
#[must_use = "dropping the set aborts its members"]
pub struct JoinSet<T> {
    members: FuturesUnordered<JoinHandle<T>>,
}

impl<T> JoinSet<T> {
    /// A set of none.
    pub fn new() -> JoinSet<T> {
        JoinSet { members: FuturesUnordered::new() }
    }

    /// Members whose result was not taken yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Starts a task. See [`gort::spawn`](crate::spawn).
    #[track_caller]
    pub fn spawn<F>(&mut self, future: F)
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        self.insert(crate::spawn(future));
    }

    /// Starts a goroutine. See [`gort::go`](crate::go).
    #[track_caller]
    pub fn go<F>(&mut self, f: F)
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.insert(crate::go(f));
    }

    /// Adds a member that runs already.
    pub fn insert(&mut self, member: JoinHandle<T>) {
        self.members.push(member);
    }

    /// Waits for the next member to end and gives its result, or None if there are no members.
    ///
    /// Dropping the future loses no result.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        self.members.next().await
    }

    /// The result of a member that has ended, if there is one. Blocks nothing.
    pub fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        let mut cx = Context::from_waker(Waker::noop());
        match self.members.poll_next_unpin(&mut cx) {
            Poll::Ready(result) => result,
            Poll::Pending => None,
        }
    }

    /// As [`join_next`](JoinSet::join_next), for use in a poll function.
    pub fn poll_join_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, JoinError>>> {
        self.members.poll_next_unpin(cx)
    }

    /// Waits for all and gives their results, in the order in which they ended.
    ///
    /// # Panics
    /// With the panic of the first member that panicked, or if one was aborted from elsewhere; the
    /// others are aborted then.
    pub async fn join_all(mut self) -> Vec<T> {
        let mut all = Vec::with_capacity(self.len());
        while let Some(result) = self.join_next().await {
            match result {
                Ok(value) => all.push(value),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(error) => panic!("{error}"),
            }
        }
        all
    }

    /// Aborts all members. They stay in the set, and their results say so, unless they had ended.
    pub fn abort_all(&self) {
        self.members.iter().for_each(JoinHandle::abort);
    }

    /// Aborts all members and waits until they have ended. The set is empty then.
    pub async fn shutdown(&mut self) {
        self.abort_all();
        while self.join_next().await.is_some() {}
    }

    /// Lets all members go on without the set, which is empty then.
    pub fn detach_all(&mut self) {
        self.members = FuturesUnordered::new();
    }
}

impl<T> Default for JoinSet<T> {
    fn default() -> JoinSet<T> {
        JoinSet::new()
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.abort_all();
    }
}

impl<T> Stream for JoinSet<T> {
    type Item = Result<T, JoinError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_join_next(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet").field("len", &self.len()).finish()
    }
}
