//! The wait list: who waits for a lock, a permit, an event, in the order of arrival.
//!
//! A record of a wait, a [`Node`], lies inside the pinned future that waits, so a wait allocates
//! nothing. The list is doubly linked, so a dropped future leaves it at once. A word lock guards it
//! together with the state that decides who waits.
//!
//! Invariants:
//!
//! * A node is linked exactly while its phase is QUEUED. While it is, everything in it but the
//!   phase belongs to the list's lock; in any other phase, to the future.
//! * To choose a waiter is to unlink it, to take its waker and, as the last access to the node,
//!   to set its phase to CHOSEN. From then on its memory may go at any moment.
//! * A section holds no user code: wakers are cloned before it, and woken and dropped after it.
//!
//! ```text
//! IDLE   -> QUEUED  // push: the future, in a section
//! QUEUED -> CHOSEN  // pop: whoever gives the future what it waits for, in a section
//! QUEUED -> IDLE    // remove: the future is dropped, in a section
//! CHOSEN -> QUEUED  // push: what it was woken for is gone again (`Mutex` only)
//! CHOSEN -> IDLE    // finish: the future takes what it was given, or passes it on
//! ```
//!
//! A future that is dropped in CHOSEN holds something that nobody else will find: its `Drop` passes
//! it on. That, and the order of the list, is all there is to cancel safety.

use std::marker::{PhantomData, PhantomPinned};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

use crate::util::sync::atomic::{AtomicU8, Ordering};
use crate::util::sync::{UnsafeCell, const_fn};
use crate::util::word_lock::WordLock;

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const CHOSEN: u8 = 2;

/// A waiter's record. Its methods are the waiting future's, which one thread polls or drops at a
/// time; others reach it through a [`Queue`] only.
pub(crate) struct Node<T> {
    phase: AtomicU8,
    /// Written by the first push: a future that need not wait does not pay for them.
    links: UnsafeCell<MaybeUninit<Links<T>>>,
    _pinned: PhantomPinned,
}

struct Links<T> {
    previous: Option<NonNull<Node<T>>>,
    next: Option<NonNull<Node<T>>>,
    /// The number of the push, to tell those who waited before an event from those after it.
    ticket: u64,
    waker: Option<Waker>,
    /// What it waits for, or what it was given.
    value: T,
}

// SAFETY: what is not atomic belongs to one thread at a time (module, first invariant), which may
// move a T, and a Waker is Send.
unsafe impl<T: Send> Send for Node<T> {}
// SAFETY: as above; `&Node` is shared between the future's thread and the lock's holder only.
unsafe impl<T: Send> Sync for Node<T> {}

impl<T: Copy> Node<T> {
    const_fn! {
        /// A node that does not wait yet.
        #[inline]
        pub(crate) const fn new() -> Node<T> {
            Node {
                phase: AtomicU8::new(IDLE),
                links: UnsafeCell::new(MaybeUninit::uninit()),
                _pinned: PhantomPinned,
            }
        }
    }

    /// Calls `f` with the links.
    ///
    /// # Safety
    /// The node was pushed before, and is the caller's: it is linked and the caller is in a section,
    /// or it is not linked and the caller is its future.
    unsafe fn links<R>(&self, f: impl FnOnce(&mut Links<T>) -> R) -> R {
        // SAFETY: by contract.
        self.links.with_mut(|links| f(unsafe { (*links).assume_init_mut() }))
    }

    /// Whether it has not begun to wait, or has ended.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        // Relaxed: only the future itself sets IDLE, and leaves it.
        self.phase.load(Ordering::Relaxed) == IDLE
    }

    /// Whether it was chosen.
    #[inline]
    pub(crate) fn is_chosen(&self) -> bool {
        // Acquire: pairs with the Release in `pop`; the node is the future's again, and what the
        // chooser did before is seen.
        self.phase.load(Ordering::Acquire) == CHOSEN
    }

    /// What a chosen waiter was given.
    pub(crate) fn given(&self) -> T {
        assert!(self.is_chosen(), "only a chosen waiter was given anything");
        // SAFETY: it was pushed and then chosen, so it is the future's, which calls.
        unsafe { self.links(|links| links.value) }
    }

    /// A chosen waiter takes what it was given.
    pub(crate) fn finish(&self) -> T {
        let given = self.given();
        // Relaxed: the node is the future's already.
        self.phase.store(IDLE, Ordering::Relaxed);
        given
    }

    fn is_queued(&self) -> bool {
        // Relaxed: asked under the lock, where QUEUED begins and ends.
        self.phase.load(Ordering::Relaxed) == QUEUED
    }
}

impl<T> Drop for Node<T> {
    fn drop(&mut self) {
        // Relaxed: the future has taken care of it, under the lock if need be.
        debug_assert_ne!(self.phase.load(Ordering::Relaxed), QUEUED, "dropped while linked");
    }
}

impl<T> std::fmt::Debug for Node<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Relaxed: for people to look at.
        f.write_str(match self.phase.load(Ordering::Relaxed) {
            IDLE => "idle",
            QUEUED => "queued",
            _ => "chosen",
        })
    }
}

/// The linked nodes. Lives inside a [`WaitList`], or inside its state.
pub(crate) struct Queue<T> {
    head: Option<NonNull<Node<T>>>,
    tail: Option<NonNull<Node<T>>>,
    tickets: u64,
    _nodes: PhantomData<T>,
}

// SAFETY: the nodes that it points to may be used from any thread that holds the lock.
unsafe impl<T: Send> Send for Queue<T> {}

impl<T: Copy> Queue<T> {
    pub(crate) const fn new() -> Queue<T> {
        Queue { head: None, tail: None, tickets: 0, _nodes: PhantomData }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Whether the next `pop` leaves it empty.
    pub(crate) fn has_one(&self) -> bool {
        self.head.is_some() && self.head == self.tail
    }

    /// Those who push from now on get this ticket or a higher one.
    pub(crate) fn tickets(&self) -> u64 {
        self.tickets
    }

    /// Links an unlinked node at the end. The node leaves the queue before it moves or dies: its
    /// future sees to that in its `Drop`.
    pub(crate) fn push(&mut self, node: Pin<&Node<T>>, value: T, waker: Waker) {
        let new = self.enter(node, value, waker);
        match self.tail.replace(new) {
            None => self.head = Some(new),
            Some(old) => join(old, new),
        }
    }

    /// Links a node in front of all others: it has waited before.
    pub(crate) fn push_front(&mut self, node: Pin<&Node<T>>, value: T, waker: Waker) {
        let new = self.enter(node, value, waker);
        match self.head.replace(new) {
            None => self.tail = Some(new),
            Some(old) => join(new, old),
        }
    }

    fn enter(&mut self, node: Pin<&Node<T>>, value: T, waker: Waker) -> NonNull<Node<T>> {
        debug_assert!(!node.is_queued(), "linked twice");
        let (ticket, waker) = (self.tickets, Some(waker));
        self.tickets += 1;
        let links = Links { previous: None, next: None, ticket, waker, value };
        // SAFETY: the node is not linked, so it is its future's, which calls.
        node.links.with_mut(|old| unsafe { (*old).write(links) });
        // Relaxed: others look at it under the lock.
        node.phase.store(QUEUED, Ordering::Relaxed);
        NonNull::from(node.get_ref())
    }

    /// Looks at the first one.
    fn first<R>(&self, f: impl FnOnce(&mut Links<T>) -> R) -> Option<R> {
        // SAFETY: a linked node is alive and the lock's.
        self.head.map(|node| unsafe { node.as_ref().links(f) })
    }

    /// What the first one waits for.
    pub(crate) fn front(&self) -> Option<T> {
        self.first(|links| links.value)
    }

    /// Chooses the first one, which sees what `give` makes of its value. The caller wakes it.
    pub(crate) fn pop(&mut self, give: impl FnOnce(&mut T)) -> Option<Waker> {
        let node = self.head?;
        self.unlink(node);
        // SAFETY: it was linked, so it is alive, and the lock's until the phase changes.
        let node = unsafe { node.as_ref() };
        // SAFETY: as above.
        let waker = unsafe {
            node.links(|links| {
                give(&mut links.value);
                links.waker.take()
            })
        };
        // Release: pairs with the Acquire in `is_chosen`. The last access: the node may be gone.
        node.phase.store(CHOSEN, Ordering::Release);
        waker
    }

    /// As `pop`, if the first one pushed before the queue gave out `ticket`.
    pub(crate) fn pop_before(&mut self, ticket: u64, give: impl FnOnce(&mut T)) -> Option<Waker> {
        self.first(|links| links.ticket).filter(|first| *first < ticket)?;
        self.pop(give)
    }

    /// Unlinks a node that gives up, and returns its value, and its waker for the caller to drop
    /// after the section. None: it was chosen before.
    pub(crate) fn remove(&mut self, node: &Node<T>) -> Option<(T, Option<Waker>)> {
        if !node.is_queued() {
            return None;
        }
        self.unlink(NonNull::from(node));
        // Relaxed: the future's own thread.
        node.phase.store(IDLE, Ordering::Relaxed);
        // SAFETY: not linked any more, so the future's, which calls.
        Some(unsafe { node.links(|links| (links.value, links.waker.take())) })
    }

    fn unlink(&mut self, node: NonNull<Node<T>>) {
        // SAFETY: the node and its neighbours are linked, so they are alive and the lock's.
        unsafe {
            let neighbours = |links: &mut Links<T>| (links.previous.take(), links.next.take());
            let (previous, next) = node.as_ref().links(neighbours);
            match previous {
                None => self.head = next,
                Some(previous) => previous.as_ref().links(|links| links.next = next),
            }
            match next {
                None => self.tail = previous,
                Some(next) => next.as_ref().links(|links| links.previous = previous),
            }
        }
    }
}

fn join<T: Copy>(first: NonNull<Node<T>>, second: NonNull<Node<T>>) {
    // SAFETY: both are linked, so they are alive and the lock's, which the caller has.
    unsafe {
        first.as_ref().links(|links| links.next = Some(second));
        second.as_ref().links(|links| links.previous = Some(first));
    }
}

/// A queue and the state that goes with it, under one lock.
pub(crate) struct WaitList<S, T> {
    inner: WordLock<(S, Queue<T>)>,
}

impl<S, T: Copy> WaitList<S, T> {
    const_fn! {
        pub(crate) const fn new(state: S) -> WaitList<S, T> {
            WaitList { inner: WordLock::new((state, Queue::new())) }
        }
    }

    /// A section: a few instructions, no user code, no panic, no allocation.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut S, &mut Queue<T>) -> R) -> R {
        self.inner.with(|(state, queue)| f(state, queue))
    }

    /// Polls a node that was pushed: whether it is chosen. If not, it is `cx` that will be woken.
    pub(crate) fn poll_chosen(&self, node: Pin<&Node<T>>, cx: &mut Context<'_>) -> bool {
        if node.is_chosen() {
            return true;
        }
        let same =
            |links: &mut Links<T>| links.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker()));
        // SAFETY: linked, and in a section.
        match self.with(|_, _| node.is_queued().then(|| unsafe { node.links(same) })) {
            None => node.is_chosen(),
            Some(true) => false,
            Some(false) => self.renew(node, cx.waker().clone()),
        }
    }

    #[cold]
    fn renew(&self, node: Pin<&Node<T>>, new: Waker) -> bool {
        let mut waker = Some(new);
        self.with(|_, _| {
            if node.is_queued() {
                // SAFETY: linked, and in a section.
                unsafe { node.links(|links| std::mem::swap(&mut links.waker, &mut waker)) };
            }
        });
        drop(waker);
        node.is_chosen()
    }

    /// Ends the wait of a future that is dropped: what it was given, for the caller to pass on, if
    /// it was chosen.
    #[inline]
    pub(crate) fn cancel(&self, node: &Node<T>) -> Option<T> {
        if node.is_idle() { None } else { self.cancel_slow(node) }
    }

    #[cold]
    fn cancel_slow(&self, node: &Node<T>) -> Option<T> {
        if !node.is_chosen() && self.with(|_, queue| queue.remove(node)).is_some() {
            return None;
        }
        Some(node.finish())
    }

    /// Wakes whom `choose` chooses until it gives None: some in one section, then, after it, their
    /// wakers, and so on.
    pub(crate) fn wake_each(&self, mut choose: impl FnMut(&mut S, &mut Queue<T>) -> Option<Waker>) {
        let mut batch = Batch::new();
        while self.with(|state, queue| batch.fill(|| choose(state, queue))) {
            batch.wake();
        }
        batch.wake();
    }

    /// Wakes those who pushed before the queue gave out `ticket`, each with what `give` makes of its
    /// value. Those who come while this runs are not meant.
    pub(crate) fn wake_before(&self, ticket: u64, give: impl Fn(&mut T)) {
        self.wake_each(|_, queue| queue.pop_before(ticket, &give));
    }

    /// Polls a wait from its beginning to its end. `take` gives what is there already; if that is
    /// nothing the node is pushed with `value`, and what it is chosen with goes through `chosen`.
    #[inline]
    pub(crate) fn poll_take<R>(
        &self,
        node: Pin<&Node<T>>,
        cx: &mut Context<'_>,
        value: T,
        mut take: impl FnMut(&mut S, &mut Queue<T>) -> Option<R>,
        chosen: impl FnOnce(T) -> R,
    ) -> Poll<R> {
        if node.is_idle() {
            return match self.with(&mut take) {
                Some(taken) => Poll::Ready(taken),
                None => self.enqueue(node, cx.waker().clone(), value, take),
            };
        }
        if !self.poll_chosen(node, cx) {
            return Poll::Pending;
        }
        Poll::Ready(chosen(node.finish()))
    }

    #[cold]
    fn enqueue<R>(
        &self,
        node: Pin<&Node<T>>,
        waker: Waker,
        value: T,
        take: impl FnOnce(&mut S, &mut Queue<T>) -> Option<R>,
    ) -> Poll<R> {
        // The waker is dropped after the section if it is not needed.
        let mut waker = Some(waker);
        self.with(|state, queue| match take(state, queue) {
            Some(taken) => Poll::Ready(taken),
            None => {
                if let Some(waker) = waker.take() {
                    queue.push(node, value, waker);
                }
                Poll::Pending
            }
        })
    }
}

impl<S, T> std::fmt::Debug for WaitList<S, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WaitList")
    }
}

/// Wakers between the section that took them out and the time they are woken, in that order.
struct Batch {
    wakers: [Option<Waker>; Batch::SIZE],
    /// The next to wake, and the end.
    next: usize,
    end: usize,
}

impl Batch {
    /// A guess: few sections for a crowd, and little to clear for a single one.
    const SIZE: usize = 16;

    fn new() -> Batch {
        Batch { wakers: [const { None }; Batch::SIZE], next: 0, end: 0 }
    }

    /// Takes from `next` until it has no more (false), or there is no room.
    fn fill(&mut self, mut next: impl FnMut() -> Option<Waker>) -> bool {
        while self.end < Batch::SIZE {
            let Some(waker) = next() else { return false };
            self.wakers[self.end] = Some(waker);
            self.end += 1;
        }
        true
    }

    fn wake(&mut self) {
        while self.next < self.end {
            let waker = self.wakers[self.next].take();
            self.next += 1;
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        (self.next, self.end) = (0, 0);
    }
}

/// The waker of a foreign executor may panic; the others are woken all the same.
impl Drop for Batch {
    fn drop(&mut self) {
        self.wake();
    }
}
