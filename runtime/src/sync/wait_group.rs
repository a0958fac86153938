//! `WaitGroup`: until all have ended. Go: sync.WaitGroup.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::wait_list::{Node, WaitList};
use crate::JoinHandle;
use crate::sched::wait::{WaitReason, note_wait};

/// Counts what is under way, and lets others wait until nothing is.
///
/// `&WaitGroup` is what one waits for: `(&group).await` in async code, `group.wait()` elsewhere.
/// Clones are the same group. Go: sync.WaitGroup. Where the results matter, or the members are to
/// end with their group, use a [`JoinSet`](super::JoinSet) or a [`Group`](super::Group).
///
/// A group can be used again at any time: who waits goes on when the count next reaches zero,
/// whatever is added after that.
///
/// # Examples
/// ```
/// use gort::prelude::*;
/// use gort::sync::WaitGroup;
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// static SUM: AtomicU32 = AtomicU32::new(0);
/// let group = WaitGroup::new();
/// for i in 1..=4 {
///     group.go(move || SUM.fetch_add(i, Ordering::Relaxed));
/// }
/// group.spawn(async { SUM.fetch_add(5, Ordering::Relaxed) });
/// group.wait();
/// assert_eq!(SUM.load(Ordering::Relaxed), 15);
/// ```
#[derive(Clone)]
pub struct WaitGroup {
    /// The state is the count.
    list: Arc<WaitList<usize, ()>>,
}

impl Default for WaitGroup {
    fn default() -> WaitGroup {
        WaitGroup::new()
    }
}

impl WaitGroup {
    /// A group of none.
    #[must_use]
    pub fn new() -> WaitGroup {
        WaitGroup { list: Arc::new(WaitList::new(0)) }
    }

    /// Counts `n` more, each of which ends with a [`done`](WaitGroup::done).
    ///
    /// # Panics
    /// If the count overflows.
    #[track_caller]
    pub fn add(&self, n: usize) {
        let sum = self.list.with(|count, _| {
            let sum = count.checked_add(n);
            *count = sum.unwrap_or(*count);
            sum
        });
        assert!(sum.is_some(), "WaitGroup: the count overflows");
    }

    /// One has ended. The last one wakes those who wait.
    ///
    /// # Panics
    /// If there was none.
    #[track_caller]
    pub fn done(&self) {
        let left = self.list.with(|count, queue| {
            let left = count.checked_sub(1);
            *count = left.unwrap_or(0);
            left.map(|left| (left == 0 && !queue.is_empty()).then(|| queue.tickets()))
        });
        let Some(end) = left else { panic!("WaitGroup: more `done` than `add`") };
        if let Some(end) = end {
            self.list.wake_before(end, |()| {});
        }
    }

    /// What is under way.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.with(|count, _| *count)
    }

    /// Counts a new goroutine until it has ended. See [`gort::go`](crate::go).
    ///
    /// It is done however it ends, also by a panic, which its handle tells. Under
    /// [`PanicPolicy::Abort`](crate::PanicPolicy) nobody goes on after a panic: the process ends.
    #[track_caller]
    pub fn go<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let member = self.member();
        crate::go(move || {
            let _member = member;
            f()
        })
    }

    /// Counts a new task until it has ended. See [`gort::spawn`](crate::spawn) and
    /// [`go`](WaitGroup::go).
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let member = self.member();
        crate::spawn(async move {
            let _member = member;
            future.await
        })
    }

    #[track_caller]
    fn member(&self) -> Member {
        self.add(1);
        Member(self.clone())
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitGroup").field("count", &self.count()).finish()
    }
}

/// Is done when dropped.
struct Member(WaitGroup);

impl Drop for Member {
    fn drop(&mut self) {
        // The panic is about to end the process, which nobody may outrun.
        if !(std::thread::panicking() && crate::rt::aborts_on_panic()) {
            self.0.done();
        }
    }
}

impl<'a> IntoFuture for &'a WaitGroup {
    type Output = ();
    type IntoFuture = WaitGroupWait<'a>;

    /// Waits until the count is zero. Dropping the future loses nothing.
    fn into_future(self) -> WaitGroupWait<'a> {
        WaitGroupWait { group: self, node: Node::new() }
    }
}

/// The future of a [`WaitGroup`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct WaitGroupWait<'a> {
    group: &'a WaitGroup,
    node: Node<()>,
}

impl Future for WaitGroupWait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.into_ref().get_ref();
        // SAFETY: the field of a pinned struct; it leaves the list before it dies (Drop).
        let node = unsafe { Pin::new_unchecked(&this.node) };
        let zero = |count: &mut usize, _: &mut _| (*count == 0).then_some(());
        let polled = this.group.list.poll_take(node, cx, (), zero, |()| ());
        note_wait(polled, cx, WaitReason::WaitGroup)
    }
}

impl Drop for WaitGroupWait<'_> {
    fn drop(&mut self) {
        self.group.list.cancel(&self.node);
    }
}
