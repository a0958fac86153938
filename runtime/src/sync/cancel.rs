//! `CancelToken`: a tree of requests to stop. Go: context.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use super::wait_list::{Node, WaitList};
use crate::sched::wait::{WaitReason, note_wait};
use crate::time::{Duration, Instant, Sleep, sleep_until};

/// A request to stop, which whoever works looks at or waits for.
///
/// Clones are the same token. A [`child`](CancelToken::child) is cancelled with its parent, but
/// not the other way round, and siblings know nothing of each other. A token may have a deadline;
/// it starts no task and no timer: who waits for it, or looks, sees that the time is over. Go:
/// context, without its values. There is nothing like it in `std`.
///
/// # Examples
/// ```
/// use gort::prelude::*;
/// use gort::sync::CancelToken;
///
/// let server = CancelToken::new();
/// let request = server.child();
/// let worker = gort::spawn(async move {
///     request.run_until_cancelled(std::future::pending::<()>()).await
/// });
/// server.cancel();
/// assert_eq!(worker.wait().unwrap(), None);
/// ```
#[derive(Clone)]
pub struct CancelToken {
    shared: Arc<Shared>,
}

struct Shared {
    /// Written once, before those who wait are woken.
    cause: OnceLock<CancelCause>,
    /// Its own or an ancestor's, whichever is earlier.
    deadline: Option<Instant>,
    waiters: WaitList<(), ()>,
    children: Mutex<Children>,
    /// Kept so that a deadline there is one here, and for nothing else.
    parent: Option<Arc<Shared>>,
}

/// Children that may be alive. Dead ones are swept out when the list has doubled.
#[derive(Default)]
struct Children {
    list: Vec<Weak<Shared>>,
    sweep_at: usize,
}

impl Children {
    /// A list shorter than this is not worth sweeping; a guess.
    const FEW: usize = 8;

    fn push(&mut self, child: &Arc<Shared>) {
        if self.list.len() >= self.sweep_at {
            self.list.retain(|child| child.strong_count() > 0);
            self.sweep_at = (2 * self.list.len()).max(Children::FEW);
        }
        self.list.push(Arc::downgrade(child));
    }
}

/// Why a token was cancelled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CancelCause {
    /// Somebody called [`cancel`](CancelToken::cancel).
    Cancelled,
    /// Its deadline, or that of a token above it, has passed.
    DeadlineExceeded,
    /// Somebody called [`cancel_with`](CancelToken::cancel_with).
    Error(Arc<dyn Error + Send + Sync>),
}

impl fmt::Display for CancelCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CancelCause::Cancelled => f.write_str("cancelled"),
            CancelCause::DeadlineExceeded => f.write_str("deadline exceeded"),
            CancelCause::Error(error) => error.fmt(f),
        }
    }
}

impl Error for CancelCause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            CancelCause::Error(error) => Some(&**error),
            _ => None,
        }
    }
}

impl CancelToken {
    /// A token without a parent.
    #[must_use]
    pub fn new() -> CancelToken {
        CancelToken::make(None, None)
    }

    fn make(parent: Option<Arc<Shared>>, deadline: Option<Instant>) -> CancelToken {
        let shared = Shared {
            cause: OnceLock::new(),
            deadline,
            waiters: WaitList::new(()),
            children: Mutex::default(),
            parent,
        };
        CancelToken { shared: Arc::new(shared) }
    }

    /// A token that is cancelled with this one.
    #[must_use]
    pub fn child(&self) -> CancelToken {
        self.child_until(self.shared.deadline)
    }

    /// A child that is also cancelled when `limit` has passed from now. Zero is at once, and a limit
    /// beyond the clock's end is none.
    #[must_use]
    pub fn with_timeout(&self, limit: Duration) -> CancelToken {
        self.with_deadline(Instant::now() + limit)
    }

    /// A child that is also cancelled at `deadline`.
    #[must_use]
    pub fn with_deadline(&self, deadline: impl Into<Instant>) -> CancelToken {
        let deadline = deadline.into();
        self.child_until(Some(self.shared.deadline.map_or(deadline, |above| above.min(deadline))))
    }

    fn child_until(&self, deadline: Option<Instant>) -> CancelToken {
        let child = CancelToken::make(Some(self.shared.clone()), deadline);
        // Whoever cancels writes the cause first and then takes the list: one of us sees the other.
        let mut children = self.shared.children();
        match self.shared.cause.get() {
            Some(cause) => drop(child.shared.cause.set(cause.clone())),
            None => children.push(&child.shared),
        }
        drop(children);
        child
    }

    /// When it will be cancelled at the latest, if there is such a time.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.shared.deadline
    }

    /// Cancels this token and all below it. Only the first cancellation counts.
    pub fn cancel(&self) {
        self.cancel_as(CancelCause::Cancelled);
    }

    /// As [`cancel`](CancelToken::cancel), and says why. Go: context.WithCancelCause.
    pub fn cancel_with(&self, error: impl Into<Box<dyn Error + Send + Sync>>) {
        self.cancel_as(CancelCause::Error(error.into().into()));
    }

    fn cancel_as(&self, cause: CancelCause) {
        // First all are marked, which runs no foreign code; then all are woken.
        let mut marked = Vec::new();
        self.shared.mark(cause, &mut marked);
        let mut next = 0;
        while let Some(shared) = marked.get(next).cloned() {
            let cause = shared.cause.get().cloned().unwrap_or(CancelCause::Cancelled);
            let children = std::mem::take(&mut shared.children().list);
            for child in children.iter().filter_map(Weak::upgrade) {
                child.mark(cause.clone(), &mut marked);
            }
            next += 1;
        }
        for shared in marked {
            shared.waiters.wake_each(|(), queue| queue.pop(|()| {}));
        }
    }

    /// Whether it is cancelled. A load; with a deadline also a look at the clock.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.shared.cause.get().is_some() || self.is_late()
    }

    /// Why it is cancelled, if it is.
    #[must_use]
    pub fn cause(&self) -> Option<CancelCause> {
        self.is_late();
        self.shared.cause.get().cloned()
    }

    fn is_late(&self) -> bool {
        let late = self.shared.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if late {
            self.shared.expire();
        }
        late
    }

    /// Waits until it is cancelled, and says why. Dropping the future loses nothing.
    pub fn cancelled(&self) -> Cancelled<'_> {
        let node = Node::new();
        Cancelled { token: self, sleep: self.shared.deadline.map(sleep_until), node }
    }

    /// Runs `future`, but drops it when the token is cancelled first. None: it was.
    ///
    /// A future that is ready in the poll that finds the token cancelled is not lost: it is polled
    /// first, except when the token was cancelled before it ever ran.
    pub async fn run_until_cancelled<F: IntoFuture>(&self, future: F) -> Option<F::Output> {
        if self.is_cancelled() {
            return None;
        }
        let mut future = pin!(future.into_future());
        let mut cancelled = pin!(self.cancelled());
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            cancelled.as_mut().poll(cx).map(|_| None)
        })
        .await
    }

    /// Cancels the token when the guard is dropped.
    pub fn drop_guard(self) -> DropGuard {
        DropGuard { token: Some(self) }
    }
}

impl Shared {
    fn children(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the cause, and itself down if it was the first.
    fn mark(self: &Arc<Self>, cause: CancelCause, marked: &mut Vec<Arc<Shared>>) {
        if self.cause.set(cause).is_ok() {
            marked.push(self.clone());
        }
    }

    /// The deadline has passed, here and in every ancestor whose it is.
    fn expire(self: &Arc<Self>) {
        let mut highest = self;
        while let Some(parent) = highest.parent.as_ref().filter(|p| p.deadline == self.deadline) {
            highest = parent;
        }
        // The second one counts where somebody else is on the way down from the first.
        for shared in [highest, self] {
            if self.cause.get().is_none() {
                CancelToken { shared: shared.clone() }.cancel_as(CancelCause::DeadlineExceeded);
            }
        }
    }
}

/// A long chain of parents is let go link by link, not by recursion.
impl Drop for Shared {
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut last) = parent.and_then(Arc::into_inner) {
            parent = last.parent.take();
        }
    }
}

impl Default for CancelToken {
    fn default() -> CancelToken {
        CancelToken::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("is_cancelled", &self.is_cancelled()).finish()
    }
}

/// The future of [`CancelToken::cancelled`].
#[must_use = "futures do nothing unless awaited"]
pub struct Cancelled<'a> {
    token: &'a CancelToken,
    sleep: Option<Sleep>,
    node: Node<()>,
}

impl Future for Cancelled<'_> {
    type Output = CancelCause;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CancelCause> {
        // SAFETY: nothing is moved out, and the node stays where it is.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: the field of a pinned struct; it leaves the list before it dies (Drop).
        let node = unsafe { Pin::new_unchecked(&this.node) };
        let shared = &this.token.shared;
        let marked = |(): &mut (), _: &mut _| shared.cause.get().map(|_| ());
        if shared.waiters.poll_take(node, cx, (), marked, |()| ()).is_pending() {
            let expired = match &mut this.sleep {
                Some(sleep) => sleep.poll_unnamed(cx),
                None => Poll::Pending,
            };
            ready!(note_wait(expired, cx, WaitReason::Cancel));
            shared.expire();
        }
        Poll::Ready(shared.cause.get().cloned().unwrap_or(CancelCause::Cancelled))
    }
}

impl Drop for Cancelled<'_> {
    fn drop(&mut self) {
        self.token.shared.waiters.cancel(&self.node);
    }
}

impl fmt::Debug for Cancelled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancelled").field(&self.node).finish()
    }
}

/// See [`CancelToken::drop_guard`].
#[derive(Debug)]
#[must_use = "the token is cancelled when the guard is dropped"]
pub struct DropGuard {
    /// None: disarmed.
    token: Option<CancelToken>,
}

impl DropGuard {
    /// Gives the token back, not cancelled.
    #[must_use]
    pub fn disarm(mut self) -> CancelToken {
        self.token.take().expect("it has its token until now")
    }
}

impl Drop for DropGuard {
    fn drop(&mut self) {
        if let Some(token) = &self.token {
            token.cancel();
        }
    }
}
