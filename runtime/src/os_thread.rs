//! Goroutines that are locked to their thread, and the counts that coroutines compare. Go:
//! LockOSThread; lockedExt, lockedInt.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sched::g::GRef;
use crate::sched::{lock as sched, m};
use crate::task::goroutine::{self, LockCount};

/// Locks that are held, and coroutines that were created under one: while there are none, a
/// switch need not look at any counts.
static ANY: AtomicUsize = AtomicUsize::new(0);

/// The locks of the flow of control that calls, as a coroutine compares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Locks {
    /// The M, by its address; 0 where there is none.
    pub(crate) thread: usize,
    /// By guards.
    pub(crate) ext: u32,
    /// By C frames.
    pub(crate) int: u32,
}

impl Locks {
    pub(crate) const NONE: Locks = Locks { thread: 0, ext: 0, int: 0 };

    /// Whether there are any.
    pub(crate) fn is_locked(self) -> bool {
        self.ext != 0 || self.int != 0
    }
}

/// Whether there is any lock in the process.
#[inline(always)]
pub(crate) fn any() -> bool {
    // Relaxed: a goroutine sees what it did itself, and its moves between threads are ordered.
    ANY.load(Ordering::Relaxed) != 0
}

/// Notes one more reason to look at the counts.
pub(crate) fn note() {
    ANY.fetch_add(1, Ordering::Relaxed); // Relaxed: see `any`
}

/// One reason is gone.
pub(crate) fn unnote() {
    ANY.fetch_sub(1, Ordering::Relaxed); // Relaxed: see `any`
}

/// The locks of the goroutine that calls. Nothing else is counted.
#[inline(never)]
pub(crate) fn locks() -> Locks {
    let thread = m::current().map_or(0, |m| std::ptr::from_ref(m).addr());
    match goroutine::current() {
        Some(g) => {
            let counts = goroutine::locks(g);
            Locks { thread, ext: counts.ext.get().into(), int: counts.int.get().into() }
        }
        None => Locks { thread, ..Locks::NONE },
    }
}

/// Locks the goroutine that calls to its thread, until the guard is dropped: it runs nowhere else,
/// and the thread takes no other work. Go: LockOSThread. For libraries that keep state in the
/// thread, and for system calls that change it.
///
/// Guards nest; the last one unlocks. A goroutine that ends while it is locked, because a guard
/// was forgotten, takes its thread along, as nobody knows in what state that is. What has begun on
/// the thread before goes on there all the same.
///
/// In a task, in `block_on` and on a plain thread there is nothing to do: a poll does not change
/// threads, and a plain thread is the caller's own. In async code the guard cannot be kept over an
/// `.await` of a `Send` future, as it is `!Send`.
///
/// [Coroutines](crate::coro) have a rule about locks.
///
/// # Examples
/// ```
/// # gort::go(|| {
/// let here = std::thread::current().id();
/// let locked = gort::lock_os_thread();
/// gort::yield_now().wait();
/// assert_eq!(std::thread::current().id(), here);
/// drop(locked);
/// # }).wait().unwrap();
/// # use gort::prelude::*;
/// ```
pub fn lock_os_thread() -> OsThreadGuard {
    let goroutine = goroutine::current().map(|g| {
        lock_external(g);
        g.id()
    });
    OsThreadGuard { goroutine, _of_this_thread: PhantomData }
}

/// A frame of C on this thread's stack calls back into the goroutine `g`: it must not leave the
/// thread, which may do other work.
pub(crate) fn lock_internal(g: GRef) {
    add(g, &goroutine::locks(g).int);
}

/// The counterpart of `lock_internal`.
pub(crate) fn unlock_internal(g: GRef) {
    remove(g, &goroutine::locks(g).int);
}

fn lock_external(g: GRef) {
    let ext = &goroutine::locks(g).ext;
    if ext.get() == 0 {
        sched::lock();
    }
    add(g, ext);
}

fn unlock_external(g: GRef) {
    let ext = &goroutine::locks(g).ext;
    remove(g, ext);
    if ext.get() == 0 {
        sched::unlock();
    }
}

fn add(g: GRef, count: &LockCount) {
    if !goroutine::locks(g).any() {
        sched::bind(g);
    }
    count.set(count.get().checked_add(1).expect("fewer than 65,536 locks at once"));
    note();
}

fn remove(g: GRef, count: &LockCount) {
    count.set(count.get() - 1);
    unnote();
    if !goroutine::locks(g).any() {
        sched::unbind(g);
    }
}

/// Keeps a goroutine on its thread. See [`lock_os_thread`].
#[must_use = "the thread is unlocked when the guard is dropped"]
pub struct OsThreadGuard {
    /// Whom it locks. Another goroutine of the thread that drops it unlocks nobody.
    goroutine: Option<u64>,
    _of_this_thread: PhantomData<*const ()>,
}

impl Drop for OsThreadGuard {
    fn drop(&mut self) {
        if let Some(g) = goroutine::current().filter(|g| Some(g.id()) == self.goroutine) {
            unlock_external(g);
        }
    }
}

impl fmt::Debug for OsThreadGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OsThreadGuard").finish_non_exhaustive()
    }
}
