//! Locks, events and groups, for those who wait.
//!
//! Everything that waits here is a future over the waker it is polled with, and nothing else: one
//! [`Mutex`] serves goroutines (`.wait()`), tasks of gort and of any other executor (`.await`) and
//! plain threads at once. Dropping such a future at any moment loses no permit, no wake-up and no
//! value: a waiter that was chosen and is then dropped passes on what it was given.
//!
//! | | for | `std` |
//! |---|---|---|
//! | [`Mutex`], [`RwLock`] | a value that one or many use, also over waits | `std::sync`'s, where no guard is held over a wait |
//! | [`Cond`] | a condition on what a mutex guards | `Condvar`, with `std`'s mutex |
//! | [`Semaphore`] | a number of permits | |
//! | [`Notify`] | "look again" | `thread::park`, between two threads |
//! | [`oneshot`] | one value, once | |
//! | [`OnceCell`], [`Once`] | initialisation that waits | `OnceLock`, `LazyLock`, `Once`, where it does not |
//! | [`Barrier`] | going on together | `Barrier`, for threads |
//! | [`WaitGroup`] | until all have ended | |
//! | [`JoinSet`], [`Group`] | the results of many; the first error | `thread::scope` |
//! | [`CancelToken`] | asking a whole tree of work to stop | |
//!
//! `std`'s types are a word or two smaller and know nothing of tasks: one that blocks in them holds
//! up its thread. Nothing here is poisoned by a panic.

#[cfg(not(loom))]
mod barrier;
#[cfg(not(loom))]
mod cancel;
#[cfg(not(loom))]
mod cond;
#[cfg(not(loom))]
mod group;
#[cfg(not(loom))]
mod join_set;
#[cfg(all(test, loom))]
mod model;
mod mutex;
#[cfg(not(loom))]
mod notify;
#[cfg(not(loom))]
mod once;
pub mod oneshot;
mod raw_mutex;
#[cfg(not(loom))]
mod rwlock;
mod semaphore;
#[cfg(not(loom))]
mod wait_group;
mod wait_list;

#[cfg(not(loom))]
pub use barrier::{Barrier, BarrierWait, BarrierWaitResult};
#[cfg(not(loom))]
pub use cancel::{CancelCause, CancelToken, Cancelled, DropGuard};
#[cfg(not(loom))]
pub use cond::{Cond, CondNotified};
#[cfg(not(loom))]
pub use group::Group;
#[cfg(not(loom))]
pub use join_set::JoinSet;
pub use mutex::{
    Lock, LockOwned, MappedMutexGuard, Mutex, MutexGuard, OwnedMutexGuard, TryLockError,
};
#[cfg(not(loom))]
pub use notify::{Notified, Notify};
#[cfg(not(loom))]
pub use once::{Once, OnceCell};
#[cfg(not(loom))]
pub use rwlock::{
    OwnedRwLockReadGuard, OwnedRwLockWriteGuard, Reading, RwLock, RwLockReadGuard,
    RwLockWriteGuard, Writing,
};
pub use semaphore::{
    Acquire, AcquireError, AcquireOwned, OwnedSemaphorePermit, Semaphore, SemaphorePermit,
};
#[cfg(not(loom))]
pub use wait_group::{WaitGroup, WaitGroupWait};

#[cfg(not(loom))]
use crate::sched::preempt::poll_slice;

/// Models know no time slices.
#[cfg(loom)]
fn poll_slice(_: &std::task::Context<'_>) -> std::task::Poll<()> {
    std::task::Poll::Ready(())
}
