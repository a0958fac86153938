//! `syscall` and `blocking`: what a thread is busy with, announced.

use crate::sched::{blocking as long, handoff};

/// Runs `f`, a short system call, on this thread, and returns what it does.
///
/// The call costs a few nanoseconds more than `f`. If `f` takes longer than a millisecond, and
/// others could use the P, they get it; afterwards a goroutine waits for its turn again, while a
/// task goes on to its next `.await`. Without the announcement the same happens after 10 ms. Go:
/// entersyscall.
///
/// What else lives on this thread waits for `f`: goroutines that have begun here, local tasks. If
/// that may be for long, use [`blocking`].
///
/// # Examples
/// ```
/// # gort::block_on(async {
/// let metadata = gort::syscall(|| std::fs::metadata("."))?;
/// assert!(metadata.is_dir());
/// # Ok::<(), std::io::Error>(()) }).unwrap();
/// ```
#[inline]
pub fn syscall<R>(f: impl FnOnce() -> R) -> R {
    handoff::syscall(f)
}

/// Runs `f`, which blocks or computes for long, and returns what it does. Nobody else is delayed.
///
/// `f` may borrow. It runs on this thread, whose P goes to others at once, if nothing else lives
/// here; otherwise on another thread, while this one goes on with the goroutines and local tasks
/// that live on it. Works anywhere: in a goroutine, in a task, on a plain thread (where it is a
/// plain call). An abort of the caller waits for `f`. In async code a task that is to go on
/// meanwhile is [`spawn_blocking`](crate::spawn_blocking).
///
/// # Panics
/// As `f` does.
///
/// # Examples
/// ```
/// # gort::block_on(async {
/// let mut words = vec!["pear", "fig"];
/// gort::blocking(|| words.sort()); // imagine more of them
/// assert_eq!(words, ["fig", "pear"]);
/// # });
/// ```
pub fn blocking<F, R>(f: F) -> R
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    long::blocking(f)
}
