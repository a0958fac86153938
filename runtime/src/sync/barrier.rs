//! `Barrier`: nobody goes on before all are here.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::wait_list::{Node, WaitList};
use crate::sched::wait::{WaitReason, note_wait};
use crate::util::sync::const_fn;

/// Lets `n` waiters go on together, again and again.
///
/// `&Barrier` is what one waits for: `(&barrier).await` in async code, `barrier.wait()` elsewhere.
/// [`std::sync::Barrier`] does where each waiter has a thread of its own.
///
/// # Examples
/// ```
/// use gort::prelude::*;
/// use gort::sync::Barrier;
///
/// static START: Barrier = Barrier::new(2);
///
/// let goroutine = gort::go(|| START.wait().is_leader());
/// let task = gort::spawn(async { (&START).await.is_leader() });
/// assert!(goroutine.wait().unwrap() != task.wait().unwrap());
/// ```
#[derive(Debug)]
pub struct Barrier {
    /// Waiters carry the generation that they wait for.
    list: WaitList<State, u64>,
    n: usize,
}

#[derive(Debug)]
struct State {
    arrived: usize,
    /// How often it has opened.
    generation: u64,
}

impl Barrier {
    const_fn! {
        /// One that opens for every `n` waiters. Zero is as good as one.
        #[must_use]
        pub const fn new(n: usize) -> Barrier {
            Barrier { list: WaitList::new(State { arrived: 0, generation: 0 }), n }
        }
    }
}

impl<'a> IntoFuture for &'a Barrier {
    type Output = BarrierWaitResult;
    type IntoFuture = BarrierWait<'a>;

    /// Waits until `n` are here. The first poll counts as the arrival; dropping the future before
    /// the barrier has opened takes it back.
    fn into_future(self) -> BarrierWait<'a> {
        BarrierWait { barrier: self, node: Node::new() }
    }
}

/// Who of those that went on together came last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Whether it was this one. True for exactly one of them.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

/// The future of a [`Barrier`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct BarrierWait<'a> {
    barrier: &'a Barrier,
    node: Node<u64>,
}

impl BarrierWait<'_> {
    /// Arrives. The last one gets the ticket up to which it has to wake the others.
    fn arrive(&self, node: Pin<&Node<u64>>, cx: &mut Context<'_>) -> Option<u64> {
        let mut waker = Some(cx.waker().clone());
        self.barrier.list.with(|state, queue| {
            if state.arrived + 1 < self.barrier.n {
                state.arrived += 1;
                if let Some(waker) = waker.take() {
                    queue.push(node, state.generation, waker);
                }
                return None;
            }
            state.arrived = 0;
            state.generation += 1;
            Some(queue.tickets())
        })
    }
}

impl Future for BarrierWait<'_> {
    type Output = BarrierWaitResult;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BarrierWaitResult> {
        let this = self.into_ref().get_ref();
        // SAFETY: the field of a pinned struct; it leaves the list before it dies (Drop).
        let node = unsafe { Pin::new_unchecked(&this.node) };
        if node.is_idle() {
            let Some(end) = this.arrive(node, cx) else {
                return note_wait(Poll::Pending, cx, WaitReason::Barrier);
            };
            this.barrier.list.wake_before(end, |_| {});
            return Poll::Ready(BarrierWaitResult(true));
        }
        if !this.barrier.list.poll_chosen(node, cx) {
            return note_wait(Poll::Pending, cx, WaitReason::Barrier);
        }
        node.finish();
        Poll::Ready(BarrierWaitResult(false))
    }
}

impl Drop for BarrierWait<'_> {
    fn drop(&mut self) {
        if self.node.is_idle() {
            return;
        }
        let removed = self.barrier.list.with(|state, queue| {
            let removed = queue.remove(&self.node);
            if let Some((generation, _)) = removed {
                // It may be over, and only the waking not yet.
                state.arrived -= usize::from(generation == state.generation);
            }
            removed
        });
        if removed.is_none() {
            self.node.finish();
        }
    }
}
