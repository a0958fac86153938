//! `JoinHandle`: the claim on a task's result.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use crate::sched::g::{GRef, RawJoinWaker, Runnable};
use crate::sched::preempt::poll_slice;
use crate::sched::ready;
use crate::sched::status::{DropJoin, Join, Wake};
use crate::sched::wait::{WaitReason, note_wait};

/// The claim on the result of a task.
///
/// It is a future: `.await` it in async code, [`.wait()`](crate::Wait) for it on a plain
/// thread. Neither blocks anyone else. The result is an error if the task panicked or was
/// cancelled.
///
/// Dropping the handle detaches the task: it goes on, and its result is dropped. Dropping a
/// `JoinHandle` that is being awaited, or a future around it, loses the result but does not
/// cancel the task; [`abort`](JoinHandle::abort) does.
///
/// # Panics
/// Polling it again after it was ready panics.
///
/// # Examples
/// ```
/// # gort::block_on(async {
/// let task = gort::spawn(async { 1 + 1 });
/// assert_eq!(task.await.unwrap(), 2);
/// # });
/// ```
pub struct JoinHandle<T> {
    /// The task, of which the handle owns a reference; with the lowest bit set, its output has been
    /// taken. Null: the runtime had ended before the spawn.
    task: *const (),
    output: PhantomData<*const T>,
}

/// Set in `JoinHandle::task` when the output has been taken.
const TAKEN: usize = 1;

enum State {
    /// The output is the handle's once the task has ended.
    Live(GRef),
    Taken(GRef),
    Refused,
}

// SAFETY: a handle moves a T out of the task, or drops it, on whatever thread it is on; nothing
// else in it belongs to a thread.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: `&JoinHandle` gives no access to a T.
unsafe impl<T: Send> Sync for JoinHandle<T> {}
impl<T> Unpin for JoinHandle<T> {}
impl<T> UnwindSafe for JoinHandle<T> {}
impl<T> RefUnwindSafe for JoinHandle<T> {}

/// A task's number, unique in its runtime. They start at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub(crate) u64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> JoinHandle<T> {
    /// The handle of a new task, whose output is a `Result<T, JoinError>`.
    pub(crate) fn new(g: GRef) -> JoinHandle<T> {
        JoinHandle { task: g.as_raw(), output: PhantomData }
    }

    /// The handle of a task that was not started because the runtime has ended.
    pub(crate) fn refused() -> JoinHandle<T> {
        JoinHandle { task: std::ptr::null(), output: PhantomData }
    }

    #[inline]
    fn state(&self) -> State {
        if self.task.is_null() {
            return State::Refused;
        }
        let g = GRef::from_raw(self.task.map_addr(|addr| addr & !TAKEN));
        if self.task.addr() & TAKEN == 0 { State::Live(g) } else { State::Taken(g) }
    }

    /// Asks the task to end. It is dropped at its next stop, on a worker, and its handle then
    /// gives a [`JoinError`] that [is cancelled](JoinError::is_cancelled). A task that has ended
    /// already is not affected, and a task in the middle of a poll goes on to the end of that
    /// poll. Returns at once.
    pub fn abort(&self) {
        if let State::Live(g) = self.state()
            && g.status().abort() == Wake::Queue
        {
            // SAFETY: the abort gave the task to this thread.
            ready::ready(unsafe { Runnable::claim(g) });
        }
    }

    /// Whether the task has ended. Its result may not have been taken yet.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match self.state() {
            State::Live(g) => g.status().is_done(),
            State::Taken(_) | State::Refused => true,
        }
    }

    /// The task's number; the one of a task that was refused by an ended runtime is 0.
    #[must_use]
    pub fn id(&self) -> Id {
        match self.state() {
            State::Live(g) | State::Taken(g) => Id(g.id()),
            State::Refused => Id(0),
        }
    }

    /// Registers `waker`, or finds the task ended.
    fn poll_done(g: GRef, waker: &Waker) -> Poll<()> {
        loop {
            match g.status().join() {
                Join::Done => return Poll::Ready(()),
                Join::Empty => {
                    g.join_waker().store(waker.clone());
                    if g.status().join_publish() {
                        return Poll::Pending;
                    }
                    // SAFETY: it was not published, so it is still the handle's.
                    drop(unsafe { g.join_waker().copy().take() });
                }
                Join::Registered if g.join_waker().will_wake(waker) => return Poll::Pending,
                Join::Registered => {
                    let old = g.join_waker().copy();
                    if g.status().join_unpublish() {
                        // SAFETY: the field is the handle's again.
                        drop(unsafe { old.take() });
                    }
                }
            }
        }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(poll_slice(cx));
        let g = match self.state() {
            State::Live(g) => g,
            State::Refused => return Poll::Ready(Err(JoinError::cancelled(0))),
            State::Taken(_) => panic!("JoinHandle polled after it was ready"),
        };
        ready!(note_wait(JoinHandle::<T>::poll_done(g, cx.waker()), cx, WaitReason::Join));
        let mut output = MaybeUninit::<Self::Output>::uninit();
        // SAFETY: the task has ended and the output is this handle's; `T` is the task's output
        // type (`new`).
        unsafe { (g.vtable().take_output)(g, output.as_mut_ptr().cast()) };
        self.task = self.task.map_addr(|addr| addr | TAKEN);
        // SAFETY: `take_output` has written it.
        Poll::Ready(unsafe { output.assume_init() })
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        match self.state() {
            State::Live(g) => detach(g),
            State::Taken(g) => ready::drop_ref(g),
            State::Refused => {}
        }
    }
}

fn detach(g: GRef) {
    let mut waker = RawJoinWaker::NONE;
    loop {
        let had_waker = match g.status().drop_join(|| waker = g.join_waker().copy()) {
            DropJoin::Retry => continue,
            DropJoin::Output => {
                // SAFETY: the task has ended and nobody has taken the output.
                unsafe { (g.vtable().drop_output)(g) };
                return ready::drop_ref(g);
            }
            DropJoin::Detached { had_waker } => had_waker,
            DropJoin::Queue { had_waker } => {
                // SAFETY: `drop_join` gave the task to this thread.
                ready::ready(unsafe { Runnable::claim(g) });
                had_waker
            }
        };
        if had_waker {
            // SAFETY: `drop_join` has taken the field.
            drop(unsafe { waker.take() });
        }
        return;
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("JoinHandle");
        s.field("id", &self.id().0).field("finished", &self.is_finished());
        if let State::Live(g) | State::Taken(g) = self.state() {
            s.field("name", &g.sched().name_of(g));
            s.field("task", &(g.vtable().type_name)());
            s.field("spawned_at", &format_args!("{}", g.spawned_at()));
        }
        s.finish()
    }
}

/// Why a task gave no result.
pub struct JoinError {
    id: Id,
    panic: Option<Payload>,
}

/// The payload of a panic.
struct Payload(Box<dyn Any + Send>);

// SAFETY: through `&Payload` only the type is looked at, and a `&'static str` or a `String`, which
// are Sync (`JoinError::message`).
unsafe impl Sync for Payload {}

impl JoinError {
    pub(crate) fn cancelled(id: u64) -> JoinError {
        JoinError { id: Id(id), panic: None }
    }

    pub(crate) fn panicked(id: u64, payload: Box<dyn Any + Send>) -> JoinError {
        JoinError { id: Id(id), panic: Some(Payload(payload)) }
    }

    /// Whether the task panicked, in its code or in its destructor.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        self.panic.is_some()
    }

    /// Whether the task was aborted, or its runtime has ended.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.panic.is_none()
    }

    /// The payload of the panic, for [`resume_unwind`](std::panic::resume_unwind).
    ///
    /// # Panics
    /// If the task did not panic.
    #[must_use]
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        match self.try_into_panic() {
            Ok(payload) => payload,
            Err(error) => panic!("`JoinError::into_panic` of an error that is no panic: {error}"),
        }
    }

    /// The payload of the panic.
    ///
    /// # Errors
    /// Gives the error back if the task did not panic.
    pub fn try_into_panic(mut self) -> Result<Box<dyn Any + Send>, JoinError> {
        match self.panic.take() {
            Some(payload) => Ok(payload.0),
            None => Err(self),
        }
    }

    /// The number of the task.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }

    /// The text of the panic, if it is one.
    fn message(&self) -> Option<&str> {
        let payload = &self.panic.as_ref()?.0;
        match payload.downcast_ref::<&'static str>() {
            Some(text) => Some(text),
            None => payload.downcast_ref::<String>().map(String::as_str),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_panic(), self.message()) {
            (true, Some(text)) => write!(f, "task {} panicked: {text}", self.id),
            (true, None) => write!(f, "task {} panicked", self.id),
            (false, _) => write!(f, "task {} was cancelled", self.id),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_panic() {
            true => write!(f, "JoinError::Panicked({}, {:?})", self.id, self.message()),
            false => write!(f, "JoinError::Cancelled({})", self.id),
        }
    }
}

impl std::error::Error for JoinError {}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> io::Error {
        io::Error::other(error)
    }
}
