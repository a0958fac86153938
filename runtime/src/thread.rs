//! `syscall` and `blocking`: what a thread is busy with, announced.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;

use crate::rt;
use crate::sched::wait::{WaitReason, note_wait};
use crate::sched::{Sched, handoff, m};
use crate::spawn;

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
    match m::current() {
        None => f(),
        Some(m) if m.may_block_here() => m.without_p(f),
        Some(m) => elsewhere(&m.sched().arc(), f),
    }
}

/// What the caller of `blocking` and the thread that runs its closure share.
struct Call<F, R> {
    f: Option<F>,
    output: Option<std::thread::Result<R>>,
}

impl<F: FnOnce() -> R, R> Call<F, R> {
    /// # Safety
    /// `call` is a `Call<F, R>` that nobody else uses until this has returned.
    unsafe fn run(call: *mut ()) {
        // SAFETY: the contract above.
        let call = unsafe { &mut *call.cast::<Call<F, R>>() };
        if let Some(f) = call.f.take() {
            call.output = Some(catch_unwind(AssertUnwindSafe(f)));
        }
    }
}

/// A pointer to a `Call` of `Send` parts, and its `run`.
struct Erased(*mut (), unsafe fn(*mut ()));

// SAFETY: the closure and its output are Send, and one thread at a time uses the call.
unsafe impl Send for Erased {}

impl Erased {
    fn run(self) {
        // SAFETY: `elsewhere` keeps the call until the task has ended.
        unsafe { (self.1)(self.0) }
    }
}

/// Runs `f` on another thread; this one goes on with what lives here.
fn elsewhere<F, R>(sched: &Sched, f: F) -> R
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    let mut call = Call { f: Some(f), output: None };
    let erased = Erased((&raw mut call).cast(), Call::<F, R>::run);
    let mut task = spawn::blocking_on(sched, Location::caller(), false, move || erased.run());
    // Whatever comes of it: when this returns, nobody uses the call any more.
    let ended = poll_fn(|cx| note_wait(Pin::new(&mut task).poll(cx), cx, WaitReason::Blocking));
    drop(rt::block_on_to_the_end(ended));
    match (call.output, call.f) {
        (Some(Ok(output)), _) => output,
        (Some(Err(payload)), _) => resume_unwind(payload),
        (None, Some(f)) => f(), // the runtime ends and takes no more tasks
        (None, None) => unreachable!("taken and run in one step"),
    }
}
