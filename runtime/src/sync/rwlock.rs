//! `RwLock`: many readers or one writer. Go: sync.RWMutex.
//!
//! The rules: a waiting writer keeps new readers out; the last reader hands the lock to the first
//! writer; a writer that ends lets in all readers that wait at that moment, and only then the next
//! writer. So neither side starves the other. The lock is always handed over, never raced for.

use std::cell::UnsafeCell;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use super::mutex::TryLockError;
use super::poll_slice;
use super::wait_list::{Node, Queue, WaitList};
use crate::sched::wait::{WaitReason, note_wait};
use crate::util::sync::const_fn;

/// A lock around a value: many may read it, or one may write it.
///
/// [`read`](RwLock::read) and [`write`](RwLock::write) are futures, and the guards may be held over
/// any wait. A waiting writer keeps new readers out. So who has a read guard must not wait for a
/// second one of the same lock: a writer between the two would wait for the first, and the second
/// for the writer.
///
/// There is no poisoning. Where no guard is held over a wait, [`std::sync::RwLock`] does; where the
/// sections are short, a [`Mutex`](super::Mutex) is faster than both.
///
/// # Examples
/// ```
/// use gort::prelude::*;
/// use gort::sync::RwLock;
///
/// static NAMES: RwLock<Vec<&str>> = RwLock::new(Vec::new());
///
/// NAMES.write().wait().push("Ada");
/// let (one, two) = (NAMES.read().wait(), NAMES.try_read().unwrap());
/// assert_eq!(one.len() + two.len(), 2);
/// ```
pub struct RwLock<T: ?Sized> {
    raw: Raw,
    value: UnsafeCell<T>,
}

// SAFETY: the lock hands the value from thread to thread.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: readers share the value, writers may move it out.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

/// The lock without the value. The list's queue is the readers'.
struct Raw {
    list: WaitList<State, ()>,
}

/// At least one of `readers` and `writing` is zero or false. Readers wait only for a writer that
/// has the lock or waits for it.
struct State {
    readers: usize,
    writing: bool,
    writers: Queue<()>,
    /// Readers with a lower ticket were there when the last writer ended: they come first.
    invited: u64,
}

/// What is asked for, or given back.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Read,
    Write,
}

use Side::{Read, Write};

impl Side {
    fn reason(self) -> WaitReason {
        match self {
            Read => WaitReason::RwLockRead,
            Write => WaitReason::RwLockWrite,
        }
    }
}

impl State {
    /// For a newcomer.
    fn take(&mut self, side: Side, readers: &Queue<()>) -> bool {
        let free = !self.writing
            && self.writers.is_empty()
            && (side == Read || self.readers == 0 && readers.is_empty());
        if free {
            self.enter(side);
        }
        free
    }

    fn enter(&mut self, side: Side) {
        match side {
            Read => self.readers += 1,
            Write => self.writing = true,
        }
    }

    /// Whether somebody may have to be let in.
    fn leave(&mut self, side: Side, readers: &Queue<()>) -> bool {
        match side {
            Read => self.readers -= 1,
            Write => {
                self.writing = false;
                self.invited = readers.tickets();
            }
        }
        self.readers == 0 && !(readers.is_empty() && self.writers.is_empty())
    }

    /// Lets the next one in, if there is one.
    fn admit(&mut self, readers: &mut Queue<()>) -> Option<Waker> {
        if self.writing {
            return None;
        }
        let no_writer = self.writers.is_empty();
        let before = if no_writer { readers.tickets() } else { self.invited };
        let (side, next) = match readers.pop_before(before, |()| {}) {
            Some(waker) => (Read, waker),
            None if self.readers == 0 => (Write, self.writers.pop(|()| {})?),
            None => return None,
        };
        self.enter(side);
        Some(next)
    }

    fn queue<'a>(&'a mut self, side: Side, readers: &'a mut Queue<()>) -> &'a mut Queue<()> {
        if side == Read { readers } else { &mut self.writers }
    }
}

impl Raw {
    const_fn! {
        const fn new() -> Raw {
            let writers = Queue::new();
            let state = State { readers: 0, writing: false, writers, invited: 0 };
            Raw { list: WaitList::new(state) }
        }
    }

    #[inline]
    fn try_take(&self, side: Side) -> bool {
        self.list.with(|state, readers| state.take(side, readers))
    }

    #[inline]
    fn leave(&self, side: Side) {
        if self.list.with(|state, readers| state.leave(side, readers)) {
            self.admit();
        }
    }

    #[cold]
    fn admit(&self) {
        self.list.wake_each(State::admit);
    }

    #[inline]
    fn poll(&self, node: Pin<&Node<()>>, side: Side, cx: &mut Context<'_>) -> Poll<()> {
        if node.is_idle() && self.try_take(side) {
            return Poll::Ready(());
        }
        self.poll_slow(node, side, cx)
    }

    #[cold]
    fn poll_slow(&self, node: Pin<&Node<()>>, side: Side, cx: &mut Context<'_>) -> Poll<()> {
        if node.is_idle() {
            return self.enqueue(node, side, cx);
        }
        if !self.list.poll_chosen(node, cx) {
            return Poll::Pending;
        }
        node.finish();
        Poll::Ready(())
    }

    fn enqueue(&self, node: Pin<&Node<()>>, side: Side, cx: &mut Context<'_>) -> Poll<()> {
        let mut waker = Some(cx.waker().clone());
        self.list.with(|state, readers| {
            if state.take(side, readers) {
                return Poll::Ready(());
            }
            if let Some(waker) = waker.take() {
                state.queue(side, readers).push(node, (), waker);
            }
            Poll::Pending
        })
    }

    /// Ends the wait of a future that is dropped.
    #[inline]
    fn cancel(&self, node: &Node<()>, side: Side) {
        if !node.is_idle() {
            self.cancel_slow(node, side);
        }
    }

    #[cold]
    fn cancel_slow(&self, node: &Node<()>, side: Side) {
        let gone = self.list.with(|state, readers| state.queue(side, readers).remove(node));
        match gone {
            // Readers may have waited for this writer only.
            Some(_) if side == Write => self.admit(),
            Some(_) => {}
            None => {
                node.finish();
                self.leave(side);
            }
        }
    }
}

impl<T> RwLock<T> {
    const_fn! {
        /// An unlocked lock.
        #[must_use]
        pub const fn new(value: T) -> RwLock<T> {
            RwLock { raw: Raw::new(), value: UnsafeCell::new(value) }
        }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until nobody writes or waits to write. Dropping the future gives the place up, and the
    /// lock if it was handed over already.
    #[inline]
    pub fn read(&self) -> Reading<'_, T> {
        Reading { lock: self, node: Node::new() }
    }

    /// Waits until nobody reads or writes. Dropping the future gives the place up, and the lock if
    /// it was handed over already; readers that waited behind it go on.
    #[inline]
    pub fn write(&self) -> Writing<'_, T> {
        Writing { lock: self, node: Node::new() }
    }

    /// As [`read`](RwLock::read), with a guard that keeps the lock alive.
    pub async fn read_owned(self: Arc<Self>) -> OwnedRwLockReadGuard<T> {
        std::mem::forget(self.read().await);
        OwnedRwLockReadGuard { lock: self }
    }

    /// As [`write`](RwLock::write), with a guard that keeps the lock alive.
    pub async fn write_owned(self: Arc<Self>) -> OwnedRwLockWriteGuard<T> {
        std::mem::forget(self.write().await);
        OwnedRwLockWriteGuard { lock: self }
    }

    /// Reads if nobody writes or waits to. Blocks nothing.
    ///
    /// # Errors
    /// [`TryLockError`] if somebody does.
    pub fn try_read(&self) -> Result<RwLockReadGuard<'_, T>, TryLockError> {
        if self.raw.try_take(Read) {
            Ok(RwLockReadGuard { lock: self })
        } else {
            Err(TryLockError(()))
        }
    }

    /// Writes if nobody reads, writes, or waits to write. Blocks nothing.
    ///
    /// # Errors
    /// [`TryLockError`] if somebody does.
    pub fn try_write(&self) -> Result<RwLockWriteGuard<'_, T>, TryLockError> {
        if self.raw.try_take(Write) { Ok(self.write_guard()) } else { Err(TryLockError(())) }
    }

    /// The value: who has the lock alone needs no guard.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    fn write_guard(&self) -> RwLockWriteGuard<'_, T> {
        RwLockWriteGuard { lock: self, _value: PhantomData }
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> RwLock<T> {
        RwLock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_read() {
            Ok(guard) => f.debug_struct("RwLock").field("value", &&*guard).finish(),
            Err(_) => f.debug_struct("RwLock").field("value", &format_args!("<locked>")).finish(),
        }
    }
}

/// The futures, which differ in the side and the guard.
macro_rules! future {
    ($(#[$meta:meta])* $future:ident, $side:ident, $guard:ident, $lock:ident => $make:expr) => {
        $(#[$meta])*
        #[must_use = "futures do nothing unless awaited"]
        pub struct $future<'a, T: ?Sized> {
            lock: &'a RwLock<T>,
            node: Node<()>,
        }

        impl<'a, T: ?Sized> Future for $future<'a, T> {
            type Output = $guard<'a, T>;

            #[inline]
            fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
                ready!(poll_slice(cx));
                let this = self.into_ref().get_ref();
                // SAFETY: the field of a pinned struct; it leaves the list before it dies (Drop).
                let node = unsafe { Pin::new_unchecked(&this.node) };
                ready!(note_wait(this.lock.raw.poll(node, $side, cx), cx, $side.reason()));
                let $lock = this.lock;
                Poll::Ready($make)
            }
        }

        impl<T: ?Sized> Drop for $future<'_, T> {
            #[inline]
            fn drop(&mut self) {
                self.lock.raw.cancel(&self.node, $side);
            }
        }

        impl<T: ?Sized> fmt::Debug for $future<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($future)).field(&self.node).finish()
            }
        }
    };
}

future! {
    /// The future of [`RwLock::read`].
    Reading, Read, RwLockReadGuard, lock => RwLockReadGuard { lock }
}

future! {
    /// The future of [`RwLock::write`].
    Writing, Write, RwLockWriteGuard, lock => lock.write_guard()
}

/// The right to read the value of an [`RwLock`].
#[must_use = "the lock is given back when the guard is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

/// The right to write the value of an [`RwLock`].
#[must_use = "the lock is given back when the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    _value: PhantomData<&'a mut T>,
}

/// As [`RwLockReadGuard`], without a borrow of the lock.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct OwnedRwLockReadGuard<T: ?Sized> {
    lock: Arc<RwLock<T>>,
}

/// As [`RwLockWriteGuard`], without a borrow of the lock.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct OwnedRwLockWriteGuard<T: ?Sized> {
    lock: Arc<RwLock<T>>,
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Goes on as a reader; no writer comes between. Readers that wait are let in.
    pub fn downgrade(this: Self) -> RwLockReadGuard<'a, T> {
        let lock = this.lock;
        std::mem::forget(this);
        lock.raw.list.with(|state, readers| {
            state.leave(Write, readers);
            state.enter(Read);
        });
        lock.raw.admit();
        RwLockReadGuard { lock }
    }
}

/// What the guards have in common.
macro_rules! guard {
    ($guard:ident $(<$life:lifetime>)?, $side:ident) => {
        impl<T: ?Sized> Deref for $guard<$($life,)? T> {
            type Target = T;

            #[inline]
            fn deref(&self) -> &T {
                // SAFETY: the guard has the lock, for reading at least.
                unsafe { &*self.lock.value.get() }
            }
        }

        impl<T: ?Sized> Drop for $guard<$($life,)? T> {
            #[inline]
            fn drop(&mut self) {
                self.lock.raw.leave($side);
            }
        }

        impl<T: ?Sized + fmt::Debug> fmt::Debug for $guard<$($life,)? T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    };
}

macro_rules! write_guard {
    ($guard:ident $(<$life:lifetime>)?) => {
        guard!($guard $(<$life>)?, Write);

        impl<T: ?Sized> DerefMut for $guard<$($life,)? T> {
            #[inline]
            fn deref_mut(&mut self) -> &mut T {
                // SAFETY: the guard has the lock alone.
                unsafe { &mut *self.lock.value.get() }
            }
        }
    };
}

guard!(RwLockReadGuard<'_>, Read);
guard!(OwnedRwLockReadGuard, Read);
write_guard!(RwLockWriteGuard<'_>);
write_guard!(OwnedRwLockWriteGuard);
