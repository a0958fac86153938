//! The word lock: a lock for sections of a few instructions.
//!
//! One swap takes it, a plain store gives it back; `std`'s mutex needs a second locked instruction
//! for that, to learn of sleepers. Here nobody sleeps: whoever finds it taken looks again, and after
//! a while offers its processor, for the holder may have lost its own. So a section holds no user
//! code, no allocation, and nothing that panics or waits.
//!
//! The models use loom's mutex instead: loom cannot see that spinning comes to an end.

#[cfg(not(loom))]
use std::cell::UnsafeCell;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering};

/// Looks before the thread offers its processor: a section takes some 10 ns and a pause 10 to 50,
/// so more means that the holder does not run.
#[cfg(not(loom))]
const PATIENCE: u32 = 100;

/// See the module.
#[cfg(not(loom))]
pub(crate) struct WordLock<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one thread at a time, under the lock.
#[cfg(not(loom))]
unsafe impl<T: Send> Sync for WordLock<T> {}

#[cfg(not(loom))]
impl<T> WordLock<T> {
    pub(crate) const fn new(value: T) -> WordLock<T> {
        WordLock { locked: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Runs a section.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // Acquire: pairs with the Release below.
        if self.locked.swap(true, Ordering::Acquire) {
            self.lock_contended();
        }
        // SAFETY: this thread has the lock, and `f` cannot keep the reference.
        let result = f(unsafe { &mut *self.value.get() });
        // Release: the next section sees what this one did.
        self.locked.store(false, Ordering::Release);
        result
    }

    #[cold]
    fn lock_contended(&self) {
        let mut looks = 0;
        // Relaxed: a look. Acquire: as in `with`.
        while self.locked.load(Ordering::Relaxed) || self.locked.swap(true, Ordering::Acquire) {
            looks += 1;
            if looks < PATIENCE { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
}

#[cfg(loom)]
pub(crate) struct WordLock<T>(loom::sync::Mutex<T>);

#[cfg(loom)]
impl<T> WordLock<T> {
    pub(crate) fn new(value: T) -> WordLock<T> {
        WordLock(loom::sync::Mutex::new(value))
    }

    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }
}
