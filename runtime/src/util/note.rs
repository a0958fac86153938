//! Note: the one-shot sleep of a thread. Go: note.
//!
//! `wake` may come before `sleep`, which then returns at once; several wakes
//! before one sleep count as one. Only the owning thread sleeps. Three states:
//!
//! ```text
//! EMPTY    -> SLEEPING  // the owner goes to sleep
//! SLEEPING -> NOTIFIED  // a waker; it also calls the kernel
//! EMPTY    -> NOTIFIED  // a waker, before the owner came
//! NOTIFIED -> EMPTY     // the owner leaves
//! ```
//!
//! On Linux the word is a futex; elsewhere a mutex and a condition variable
//! stand in for it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const EMPTY: u32 = 0;
const NOTIFIED: u32 = 1;
const SLEEPING: u32 = u32::MAX;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Note {
    word: AtomicU32,
    #[cfg(not(target_os = "linux"))]
    fallback: (std::sync::Mutex<()>, std::sync::Condvar),
}

impl Note {
    /// Nobody sleeps, nobody has woken.
    pub(crate) const fn new() -> Note {
        Note {
            word: AtomicU32::new(EMPTY),
            #[cfg(not(target_os = "linux"))]
            fallback: (std::sync::Mutex::new(()), std::sync::Condvar::new()),
        }
    }

    /// Blocks the calling thread until `wake`.
    pub(crate) fn sleep(&self) {
        self.sleep_until_woken(None);
    }

    /// Blocks the calling thread until `wake` or until `limit` has passed. True: it was woken.
    pub(crate) fn sleep_for(&self, limit: Duration) -> bool {
        self.sleep_until_woken(Some(limit))
    }

    /// Whether the owner is asleep and nobody has woken it yet.
    pub(crate) fn is_asleep(&self) -> bool {
        // Acquire: what the owner did before is seen.
        self.word.load(Ordering::Acquire) == SLEEPING
    }

    fn sleep_until_woken(&self, limit: Option<Duration>) -> bool {
        // Acquire: pairs with the Release swap in `wake`, so that what the waker wrote is seen.
        // EMPTY becomes SLEEPING, NOTIFIED becomes EMPTY.
        if self.word.fetch_sub(1, Ordering::Acquire) == NOTIFIED {
            return true;
        }
        loop {
            self.wait_while_sleeping(limit);
            // Acquire: as above.
            let woken =
                self.word.compare_exchange(NOTIFIED, EMPTY, Ordering::Acquire, Ordering::Relaxed);
            if woken.is_ok() {
                return true;
            }
            if limit.is_some() {
                // A wake that comes between is taken as this sleep's. Acquire: as above.
                return self.word.swap(EMPTY, Ordering::Acquire) == NOTIFIED;
            }
        }
    }

    /// Ends the current or the next `sleep`.
    pub(crate) fn wake(&self) {
        // Release: pairs with the Acquire of the sleeper.
        if self.word.swap(NOTIFIED, Ordering::Release) == SLEEPING {
            self.wake_sleeper();
        }
    }

    #[cfg(target_os = "linux")]
    fn wait_while_sleeping(&self, limit: Option<Duration>) {
        let timeout = limit.map(|d| libc::timespec {
            tv_sec: d.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: d.subsec_nanos().into(),
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the word and the timeout live for the whole call; FUTEX_WAIT only reads them.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.word.as_ptr(),
                libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                SLEEPING,
                timeout,
            );
        }
    }

    #[cfg(target_os = "linux")]
    fn wake_sleeper(&self) {
        // SAFETY: FUTEX_WAKE uses the address only as a key.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.word.as_ptr(),
                libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                1,
            );
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn wait_while_sleeping(&self, limit: Option<Duration>) {
        let (lock, cond) = &self.fallback;
        let guard = lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Relaxed: the lock orders it after the waker's swap.
        let sleeping = |_: &mut ()| self.word.load(Ordering::Relaxed) == SLEEPING;
        match limit {
            None => drop(cond.wait_while(guard, sleeping)),
            Some(limit) => drop(cond.wait_timeout_while(guard, limit, sleeping)),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn wake_sleeper(&self) {
        let (lock, cond) = &self.fallback;
        drop(lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        cond.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::Note;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    #[test]
    fn wake_before_sleep() {
        let note = Note::default();
        note.wake();
        note.wake();
        note.sleep();
        let start = Instant::now();
        note.sleep_for(Duration::from_millis(5));
        assert!(start.elapsed() >= Duration::from_millis(4));
    }

    #[test]
    fn wake_from_another_thread() {
        let notes = Arc::new((Note::default(), Note::default()));
        let theirs = notes.clone();
        let other = std::thread::spawn(move || {
            for _ in 0..10_000 {
                theirs.0.sleep();
                theirs.1.wake();
            }
        });
        for _ in 0..10_000 {
            notes.0.wake();
            notes.1.sleep();
        }
        other.join().unwrap();
    }
}
