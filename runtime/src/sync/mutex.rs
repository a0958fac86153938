//! `Mutex`: one at a time.

use std::cell::UnsafeCell;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::poll_slice;
use super::raw_mutex::{RawMutex, Waiter};
use crate::sched::wait::{WaitReason, note_wait};
use crate::util::sync::const_fn;

/// A lock around a value, for those who wait while they hold it.
///
/// [`lock`](Mutex::lock) is a future: a goroutine, a task of any executor and a plain thread can
/// wait for it side by side, and the guard may be held over any other wait. Waiters come in the
/// order of their arrival, but a newcomer that is running already may pass them; one that has
/// waited for 1 ms and still finds the lock taken is next, whoever comes. Go: sync.Mutex.
///
/// There is no poisoning: a panic unlocks as any other end of a scope does.
///
/// Where no guard is held over a wait, [`std::sync::Mutex`] does, and takes less room. Both cost
/// two locked instructions when nobody competes.
///
/// # Deadlocks
/// A task that polls several futures in turn can be given a lock for one of them, and then wait
/// for the same lock in another, without ever polling the first again. No scheduler can help: keep
/// polling, or drop, a `lock()` that was polled.
///
/// # Examples
/// ```
/// use gort::prelude::*;
/// use gort::sync::Mutex;
/// use std::sync::Arc;
///
/// let sum = Arc::new(Mutex::new(0));
/// let theirs = sum.clone();
/// let goroutine = gort::go(move || *theirs.lock().wait() += 1);
/// let theirs = sum.clone();
/// let task = gort::spawn(async move { *theirs.lock().await += 2 });
/// goroutine.wait().unwrap();
/// task.wait().unwrap();
/// assert_eq!(*sum.lock().wait(), 3);
/// ```
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    value: UnsafeCell<T>,
}

// SAFETY: the lock hands the value from thread to thread, one at a time.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    const_fn! {
        /// An unlocked mutex.
        #[must_use]
        pub const fn new(value: T) -> Mutex<T> {
            Mutex { raw: RawMutex::new(), value: UnsafeCell::new(value) }
        }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until the lock is free, and takes it. The guard gives it back when it is dropped.
    ///
    /// Dropping the future gives up the place in the queue, and the lock if it was handed over
    /// already.
    #[inline]
    pub fn lock(&self) -> Lock<'_, T> {
        Lock { mutex: self, waiter: Waiter::new() }
    }

    /// As [`lock`](Mutex::lock), with a guard that keeps the mutex alive instead of borrowing it.
    pub fn lock_owned(self: Arc<Self>) -> LockOwned<T> {
        LockOwned { mutex: Some(self), waiter: Waiter::new() }
    }

    /// Takes the lock if it is free. Blocks nothing.
    ///
    /// # Errors
    /// [`TryLockError`] if it is taken, or kept for those who have waited long.
    #[inline]
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>, TryLockError> {
        // SAFETY: the lock is this caller's.
        if self.raw.try_lock() { Ok(unsafe { self.guard() }) } else { Err(TryLockError(())) }
    }

    /// As [`try_lock`](Mutex::try_lock), with an owned guard.
    ///
    /// # Errors
    /// As `try_lock`.
    pub fn try_lock_owned(self: Arc<Self>) -> Result<OwnedMutexGuard<T>, TryLockError> {
        if self.raw.try_lock() {
            Ok(OwnedMutexGuard { mutex: self })
        } else {
            Err(TryLockError(()))
        }
    }

    /// The value: who has the mutex alone needs no lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Whether somebody holds it at this moment.
    pub fn is_locked(&self) -> bool {
        self.raw.is_locked()
    }

    /// # Safety
    /// The caller has taken the lock and makes one guard of it.
    #[inline]
    pub(super) unsafe fn guard(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: self, _value: PhantomData }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_lock() {
            Ok(guard) => f.debug_struct("Mutex").field("value", &&*guard).finish(),
            Err(_) => f.debug_struct("Mutex").field("value", &format_args!("<locked>")).finish(),
        }
    }
}

/// The lock was not free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TryLockError(pub(super) ());

impl fmt::Display for TryLockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the lock is not free")
    }
}

impl std::error::Error for TryLockError {}

/// The future of [`Mutex::lock`].
#[must_use = "futures do nothing unless awaited"]
pub struct Lock<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    waiter: Waiter,
}

impl<'a, T: ?Sized> Future for Lock<'a, T> {
    type Output = MutexGuard<'a, T>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(poll_slice(cx));
        let this = self.into_ref().get_ref();
        // SAFETY: `this` is pinned, and so is its field; it leaves the list before it dies (Drop).
        let waiter = unsafe { Pin::new_unchecked(&this.waiter) };
        ready!(note_wait(this.mutex.raw.poll_lock(waiter, cx), cx, WaitReason::Mutex));
        // SAFETY: the lock is this future's.
        Poll::Ready(unsafe { this.mutex.guard() })
    }
}

impl<T: ?Sized> Drop for Lock<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.raw.cancel(&self.waiter);
    }
}

impl<T: ?Sized> fmt::Debug for Lock<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lock").field(&self.waiter).finish()
    }
}

/// The future of [`Mutex::lock_owned`].
///
/// # Panics
/// Polling it again after it was ready panics.
#[must_use = "futures do nothing unless awaited"]
pub struct LockOwned<T: ?Sized> {
    /// None: it has given its guard.
    mutex: Option<Arc<Mutex<T>>>,
    waiter: Waiter,
}

impl<T: ?Sized> Future for LockOwned<T> {
    type Output = OwnedMutexGuard<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(poll_slice(cx));
        // SAFETY: only `mutex` is moved out, which is not pinned.
        let this = unsafe { self.get_unchecked_mut() };
        let mutex = this.mutex.as_ref().expect("`lock_owned` was polled after it was ready");
        // SAFETY: as in `Lock`.
        let waiter = unsafe { Pin::new_unchecked(&this.waiter) };
        ready!(note_wait(mutex.raw.poll_lock(waiter, cx), cx, WaitReason::Mutex));
        let mutex = this.mutex.take().expect("just looked at");
        Poll::Ready(OwnedMutexGuard { mutex })
    }
}

impl<T: ?Sized> Drop for LockOwned<T> {
    fn drop(&mut self) {
        if let Some(mutex) = &self.mutex {
            mutex.raw.cancel(&self.waiter);
        }
    }
}

impl<T: ?Sized> fmt::Debug for LockOwned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LockOwned").field(&self.waiter).finish()
    }
}

/// The right to the value of a [`Mutex`]; dropping it unlocks. It may be held over waits.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    /// Sync only if T is.
    _value: PhantomData<&'a mut T>,
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// Narrows the guard to a part of the value.
    pub fn map<U: ?Sized>(
        mut this: Self,
        f: impl FnOnce(&mut T) -> &mut U,
    ) -> MappedMutexGuard<'a, U> {
        let value = NonNull::from(f(&mut this));
        let raw = &MutexGuard::mutex(&this).raw;
        std::mem::forget(this);
        MappedMutexGuard { raw, value, _value: PhantomData }
    }

    /// The mutex that it locks.
    pub fn mutex(this: &Self) -> &'a Mutex<T> {
        this.mutex
    }
}

impl<T: ?Sized> Mutex<T> {
    /// For `Cond`, which gives the guard back.
    pub(super) fn raw(&self) -> &RawMutex {
        &self.raw
    }
}

/// As [`MutexGuard`], without a borrow of the mutex.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct OwnedMutexGuard<T: ?Sized> {
    mutex: Arc<Mutex<T>>,
}

impl<T: ?Sized> OwnedMutexGuard<T> {
    /// The mutex that it locks.
    pub fn mutex(this: &Self) -> &Arc<Mutex<T>> {
        &this.mutex
    }
}

// SAFETY: `&OwnedMutexGuard` gives `&T`, and its mutex only what `Sync` of it needs.
unsafe impl<T: ?Sized + Send + Sync> Sync for OwnedMutexGuard<T> {}

/// The right to a part of the value of a [`Mutex`]. See [`MutexGuard::map`].
#[must_use = "the lock is given back when the guard is dropped"]
pub struct MappedMutexGuard<'a, T: ?Sized> {
    raw: &'a RawMutex,
    value: NonNull<T>,
    _value: PhantomData<&'a mut T>,
}

// SAFETY: it is a `&mut T` and a lock that any thread may give back.
unsafe impl<T: ?Sized + Send> Send for MappedMutexGuard<'_, T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for MappedMutexGuard<'_, T> {}

impl<'a, T: ?Sized> MappedMutexGuard<'a, T> {
    /// Narrows it further.
    pub fn map<U: ?Sized>(
        mut this: Self,
        f: impl FnOnce(&mut T) -> &mut U,
    ) -> MappedMutexGuard<'a, U> {
        let value = NonNull::from(f(&mut this));
        let raw = this.raw;
        std::mem::forget(this);
        MappedMutexGuard { raw, value, _value: PhantomData }
    }
}

/// Deref, Debug and Display of the guards, which differ in the way to the value and to the lock.
macro_rules! guard {
    ($guard:ident $(<$life:lifetime>)?, $this:ident, $value:expr, $raw:expr) => {
        impl<T: ?Sized> Deref for $guard<$($life,)? T> {
            type Target = T;

            #[inline]
            fn deref(&self) -> &T {
                let $this = self;
                // SAFETY: the guard has the lock, and is borrowed for as long.
                unsafe { &*$value }
            }
        }

        impl<T: ?Sized> DerefMut for $guard<$($life,)? T> {
            #[inline]
            fn deref_mut(&mut self) -> &mut T {
                let $this = self;
                // SAFETY: as above.
                unsafe { &mut *$value }
            }
        }

        impl<T: ?Sized> Drop for $guard<$($life,)? T> {
            #[inline]
            fn drop(&mut self) {
                let $this = self;
                $raw.unlock();
            }
        }

        impl<T: ?Sized + fmt::Debug> fmt::Debug for $guard<$($life,)? T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }

        impl<T: ?Sized + fmt::Display> fmt::Display for $guard<$($life,)? T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    };
}

guard!(MutexGuard<'_>, this, this.mutex.value.get(), this.mutex.raw);
guard!(OwnedMutexGuard, this, this.mutex.value.get(), this.mutex.raw);
guard!(MappedMutexGuard<'_>, this, this.value.as_ptr(), this.raw);
