//! Locks for those who must not hang: dumps, also of a process that is stuck.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

/// Nobody in the core holds a lock for longer than a thread is off its core; later than this it is
/// the caller itself who holds it, or somebody who never goes on.
const PATIENCE: u32 = 200;
const PAUSE: Duration = Duration::from_millis(1);

/// The lock, if it can be had soon.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    for _ in 0..PATIENCE {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(guard)) => return Some(PoisonError::into_inner(guard)),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
        }
    }
    None
}
