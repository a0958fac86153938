//! `Group`: work in parts, of which one failure ends all. Go: golang.org/x/sync/errgroup.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};

use super::cancel::CancelToken;
use super::join_set::JoinSet;
use crate::JoinError;

/// Tasks and goroutines that work on one thing: the first error cancels the rest.
///
/// When a member fails, by an error or a panic, the group's [`token`](Group::token) is cancelled
/// at once: members that are tasks are dropped at their next stop, also if they never began.
/// Goroutines may look at the token, and are aborted at their next wait once somebody
/// [joins](Group::join). Dropping the group cancels the token and aborts all. Go: errgroup.Group.
///
/// # Examples
/// ```
/// use gort::prelude::*;
/// use gort::sync::Group;
///
/// let mut group = Group::new();
/// group.spawn(std::future::pending());
/// group.go(|| Ok(()));
/// group.spawn(async { Err("no such host") });
/// assert_eq!(group.join().wait(), Err("no such host"));
/// ```
#[must_use = "dropping the group aborts its members"]
pub struct Group<E> {
    members: JoinSet<()>,
    shared: Arc<Shared<E>>,
}

struct Shared<E> {
    token: CancelToken,
    /// The first one.
    error: Mutex<Option<E>>,
}

impl<E> Group<E> {
    /// A group of none.
    pub fn new() -> Group<E> {
        Group::below(&CancelToken::new())
    }

    /// A group that is also cancelled with `token`.
    pub fn below(token: &CancelToken) -> Group<E> {
        let shared = Shared { token: token.child(), error: Mutex::new(None) };
        Group { members: JoinSet::new(), shared: Arc::new(shared) }
    }

    /// Is cancelled by the first failure, and at the end.
    #[must_use]
    pub fn token(&self) -> &CancelToken {
        &self.shared.token
    }

    /// Starts a task. See [`gort::spawn`](crate::spawn).
    #[track_caller]
    pub fn spawn<F>(&mut self, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Send + 'static,
    {
        let member = Member(self.shared.clone());
        self.members.spawn(async move {
            let result = member.0.token.run_until_cancelled(future).await;
            member.ends(result.unwrap_or(Ok(())));
        });
    }

    /// Starts a goroutine. See [`gort::go`](crate::go).
    #[track_caller]
    pub fn go<F>(&mut self, f: F)
    where
        F: FnOnce() -> Result<(), E> + Send + 'static,
        E: Send + 'static,
    {
        let member = Member(self.shared.clone());
        self.members.go(move || member.ends(f()));
    }

    /// Waits until all have ended. Dropping the future aborts them.
    ///
    /// # Errors
    /// The first error of a member. A group that was cancelled from [above](Group::below) without
    /// one is Ok; its token tells.
    ///
    /// # Panics
    /// With the first panic of a member, when all have ended.
    pub async fn join(mut self) -> Result<(), E> {
        let token = self.shared.token.clone();
        let cancelled = pin!(token.cancelled());
        let mut cancelled = Some(cancelled);
        let mut panic: Option<JoinError> = None;
        poll_fn(|cx| {
            if cancelled.as_mut().is_some_and(|c| c.as_mut().poll(cx).is_ready()) {
                cancelled = None;
                self.members.abort_all();
            }
            while let Some(result) = ready!(self.members.poll_join_next(cx)) {
                let failed = result.err().filter(JoinError::is_panic);
                panic = panic.take().or(failed);
            }
            Poll::Ready(())
        })
        .await;
        if let Some(error) = panic {
            resume_unwind(error.into_panic());
        }
        match self.shared.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl<E> Default for Group<E> {
    fn default() -> Group<E> {
        Group::new()
    }
}

impl<E> Drop for Group<E> {
    fn drop(&mut self) {
        self.shared.token.cancel();
    }
}

impl<E> fmt::Debug for Group<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("members", &self.members)
            .field("token", self.token())
            .finish()
    }
}

/// What each member has of the group.
struct Member<E>(Arc<Shared<E>>);

impl<E> Member<E> {
    fn ends(&self, result: Result<(), E>) {
        if let Err(error) = result {
            let mut first = self.0.error.lock().unwrap_or_else(PoisonError::into_inner);
            let late = if first.is_some() { Some(error) } else { first.replace(error) };
            drop(first);
            self.0.token.cancel();
            drop(late);
        }
    }
}

impl<E> Drop for Member<E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.token.cancel();
        }
    }
}
