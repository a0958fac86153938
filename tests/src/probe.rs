//! Futures and wakers that keep a record of what is done to them.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

type Hook = Box<dyn FnMut(usize, &mut Context<'_>) + Send>;

/// The record of a [`ProbeFuture`], and the means to end it.
///
/// All its atomics are SeqCst: a test wants one order of events, and no speed.
#[derive(Default)]
pub struct Probe {
    polls: AtomicUsize,
    drops: AtomicUsize,
    ready: AtomicBool,
    polling: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
    hook: Mutex<Option<Hook>>,
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (polls, drops) = (self.polls(), self.drops());
        f.debug_struct("Probe").field("polls", &polls).field("drops", &drops).finish()
    }
}

impl Probe {
    /// A new record.
    #[must_use]
    pub fn new() -> Arc<Probe> {
        Arc::default()
    }

    /// Calls `hook` in each poll, with the number of the poll, before the future looks whether it
    /// is ready.
    ///
    /// # Panics
    /// Inside the hook itself.
    #[must_use]
    pub fn with_hook(hook: impl FnMut(usize, &mut Context<'_>) + Send + 'static) -> Arc<Probe> {
        let probe = Probe::new();
        *probe.hook.lock().unwrap() = Some(Box::new(hook));
        probe
    }

    /// The future that writes this record: pending until [`finish`](Probe::finish).
    #[must_use]
    pub fn future(self: &Arc<Probe>) -> ProbeFuture {
        ProbeFuture(self.clone())
    }

    /// Polls so far.
    #[must_use]
    pub fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }

    /// Drops so far: 1 at the end, if all is well.
    #[must_use]
    pub fn drops(&self) -> usize {
        self.drops.load(Ordering::SeqCst)
    }

    /// The next poll gives Ready. Wakes nobody.
    pub fn finish(&self) {
        self.ready.store(true, Ordering::SeqCst);
    }

    /// A clone of the waker of the latest poll.
    ///
    /// # Panics
    /// If there was no poll.
    #[must_use]
    #[track_caller]
    pub fn waker(&self) -> Waker {
        self.wakers.lock().unwrap().last().expect("a poll has been").clone()
    }

    /// Forgets the wakers, and gives them to the caller.
    ///
    /// # Panics
    /// If a clone of a waker panicked.
    #[must_use]
    pub fn take_wakers(&self) -> Vec<Waker> {
        std::mem::take(&mut *self.wakers.lock().unwrap())
    }
}

/// See [`Probe::future`].
#[derive(Debug)]
pub struct ProbeFuture(Arc<Probe>);

impl Future for ProbeFuture {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let probe = &self.0;
        assert!(!probe.polling.swap(true, Ordering::SeqCst), "polled by two threads at once");
        assert_eq!(probe.drops(), 0, "polled after its drop");
        probe.wakers.lock().unwrap().push(cx.waker().clone());
        let n = probe.polls.fetch_add(1, Ordering::SeqCst) + 1; // who sees it finds the waker
        let hook = probe.hook.lock().unwrap().take();
        if let Some(mut hook) = hook {
            hook(n, cx);
            *probe.hook.lock().unwrap() = Some(hook);
        }
        let ready = probe.ready.load(Ordering::SeqCst);
        probe.polling.store(false, Ordering::SeqCst);
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for ProbeFuture {
    fn drop(&mut self) {
        assert!(!self.0.polling.load(Ordering::SeqCst), "dropped during a poll");
        self.0.drops.fetch_add(1, Ordering::SeqCst);
    }
}

/// Calls a closure when dropped.
pub struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    /// Arms it.
    pub fn new(f: F) -> OnDrop<F> {
        OnDrop(Some(f))
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

impl<F: FnOnce()> std::fmt::Debug for OnDrop<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnDrop")
    }
}

/// A waker that counts its wakes, of no executor at all.
#[derive(Debug, Default)]
pub struct CountWaker(AtomicUsize);

impl CountWaker {
    /// The record and its waker.
    #[must_use]
    pub fn pair() -> (Arc<CountWaker>, Waker) {
        let count = Arc::<CountWaker>::default();
        (count.clone(), Waker::from(count))
    }

    /// Wakes so far.
    #[must_use]
    pub fn wakes(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for CountWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
