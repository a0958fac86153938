//! `Runtime`, `Handle`, and which runtime is the current one.

mod builder;

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::marker::PhantomData;
use std::panic::{Location, resume_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::task::{FutureObj, Spawn, SpawnError};

pub use builder::{Builder, PanicPolicy};

use crate::dump::Dump;
use crate::join::JoinHandle;
use crate::sched::Sched;
use crate::sched::m;
use crate::sched::ps::PROCS_MAX;
use crate::sched::states::States;
use crate::sched::stats::Metrics;
use crate::spawn::{go_on, spawn_on};
use crate::task::goroutine;
use crate::util::{clock, opaque};

/// How long a dropped runtime waits for tasks that are in the middle of a poll (a guess).
const DROP_GRACE: Duration = Duration::from_secs(5);

/// A scheduler with its threads.
///
/// Many can live in one process; each has its own tasks, timers and sockets. Dropping one ends
/// it: spawns are refused, every task is dropped at its next stop, and the drop waits, up to five
/// seconds, for those in the middle of a poll; later than that it leaves the thread in question to
/// end by itself and says so on stderr. Dropped inside one of its own tasks it does not wait. A
/// runtime may be dropped anywhere.
pub struct Runtime {
    handle: Handle,
    /// How long the drop waits.
    grace: Duration,
}

impl Runtime {
    /// A runtime with the default settings. See [`Builder`].
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn new() -> io::Result<Runtime> {
        Builder::new().build()
    }

    /// Runs `future` to its end on the calling thread, which blocks. The future need not be
    /// `Send`; its [local tasks](crate::spawn_local) run on this thread too, nothing else does.
    ///
    /// Works anywhere: inside a task of this or another runtime, the thread blocks, but its P is
    /// handed to another thread meanwhile.
    ///
    /// # Panics
    /// A panic of the future comes out of this call.
    #[track_caller]
    pub fn block_on<F: IntoFuture>(&self, future: F) -> F::Output {
        match goroutine::current() {
            Some(g) => goroutine::wait(g, future.into_future()),
            None => self.handle.sched.block_on(future.into_future()),
        }
    }

    /// Starts a task here. See [`spawn`](crate::spawn).
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.spawn(future)
    }

    /// Starts a goroutine here. See [`go`](crate::go).
    #[track_caller]
    pub fn go<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.handle.go(f)
    }

    /// Runs `f` as a goroutine and blocks the calling thread until it has ended.
    ///
    /// # Panics
    /// A panic of `f` comes out of this call; and if there is no memory for its stack.
    #[track_caller]
    pub fn run<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let sched = &self.handle.sched;
        let stack = match goroutine::take_stack(sched.config.stack_size) {
            Ok(stack) => stack,
            Err(error) => panic!("`Runtime::run`: no stack for the goroutine: {error}"),
        };
        let _running = sched.running();
        let body = go_on(sched, Location::caller(), Some(stack), None, f);
        match self.block_on(body) {
            Ok(output) => output,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(error) => panic!("`Runtime::run`: {error}"),
        }
    }

    /// A handle to spawn from anywhere.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Makes this the current runtime of the calling thread. See [`Handle::enter`].
    pub fn enter(&self) -> EnterGuard<'_> {
        self.handle.enter()
    }

    /// Ends the runtime as a drop does, but waits at most `grace` for tasks that are in the middle
    /// of a poll. True if everything has ended; false if some thread is left to end by itself.
    pub fn shutdown_timeout(mut self, grace: Duration) -> bool {
        self.grace = Duration::ZERO;
        self.handle.sched.shutdown(grace)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let sched = &self.handle.sched;
        if !sched.shutdown(self.grace) && !self.grace.is_zero() && !m::is_within(sched) {
            eprintln!(
                "gort: a task of runtime `{}` did not return to the scheduler within {:?} of its \
                 end; its thread goes on",
                sched.config.thread_name, self.grace
            );
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("procs", &self.handle.sched.procs()).finish()
    }
}

/// A way to use a runtime from anywhere. Cheap to clone; does not keep the runtime running.
#[derive(Clone)]
pub struct Handle {
    sched: Arc<Sched>,
}

impl Handle {
    /// The handle of the current runtime: the one whose task calls, or the one this thread has
    /// entered, or is in `block_on` of.
    ///
    /// # Panics
    /// If there is none. The default runtime does not count here.
    #[must_use]
    #[track_caller]
    pub fn current() -> Handle {
        match Handle::try_current() {
            Some(handle) => handle,
            None => panic!("`Handle::current` was called outside of any gort runtime"),
        }
    }

    /// As [`current`](Handle::current), or None.
    #[must_use]
    pub fn try_current() -> Option<Handle> {
        try_current().map(|sched| Handle { sched })
    }

    /// Starts a task there. See [`spawn`](crate::spawn).
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        spawn_on(&self.sched, Location::caller(), None, future)
    }

    /// Starts a goroutine there. See [`go`](crate::go).
    #[track_caller]
    pub fn go<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        go_on(&self.sched, Location::caller(), None, None, f)
    }

    /// Makes this the current runtime of the calling thread until the guard is dropped, for
    /// [`spawn`](crate::spawn), timers and sockets. Guards nest. For plain threads: in a task, a
    /// goroutine or `block_on`, the runtime that runs it stays the current one.
    #[inline(never)]
    pub fn enter(&self) -> EnterGuard<'_> {
        opaque();
        ENTERED.with_borrow_mut(|stack| stack.push(self.sched.clone()));
        EnterGuard { _handle: PhantomData }
    }

    /// Changes how many tasks and goroutines may run at once, and returns how many it were before.
    /// Blocks nobody. A higher number holds at once; with a lower one, those that run go on to their
    /// next stop, or for 10 ms. Nothing is lost. Go: GOMAXPROCS.
    ///
    /// # Panics
    /// If `n` is not between 1 and 4096.
    #[track_caller]
    pub fn set_procs(&self, n: usize) -> usize {
        assert!(
            (1..=PROCS_MAX).contains(&n),
            "`Handle::set_procs`: {n} is not between 1 and {PROCS_MAX}"
        );
        self.sched.set_procs(n)
    }

    /// A snapshot of what every task and goroutine is doing, with the backtraces of goroutines that
    /// wait. May be called anywhere and at any time; blocks nobody, and takes about 20 us for each
    /// different stack. See [`gort::dump`](crate::dump).
    #[must_use]
    pub fn dump(&self) -> Dump {
        Dump::of(&self.sched, false)
    }

    /// How many tasks and goroutines run, are runnable, or wait. Looks at each once, at some
    /// nanoseconds apiece, while they go on; blocks nobody but an M that goes idle, for a moment.
    /// So the numbers are exact where nothing changes meanwhile. [`Handle::dump`] has the details.
    ///
    /// # Examples
    /// ```
    /// let runtime = gort::Runtime::new()?;
    /// let states = runtime.handle().states();
    /// assert_eq!(states, Default::default());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn states(&self) -> States {
        self.sched.states()
    }

    /// What the runtime's threads are called. See [`Builder::thread_name`].
    #[must_use]
    pub fn thread_name(&self) -> &str {
        &self.sched.config.thread_name
    }

    /// A snapshot of the scheduler's counters. Costs the runtime nothing until it is called.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.sched.metrics()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("metrics", &self.metrics()).finish()
    }
}

impl Spawn for Handle {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.status()?;
        drop(self.spawn(future));
        Ok(())
    }

    fn status(&self) -> Result<(), SpawnError> {
        if self.sched.is_closing() { Err(SpawnError::shutdown()) } else { Ok(()) }
    }
}

/// Leaves the runtime again when dropped. See [`Handle::enter`]. Guards that are dropped in
/// another order than the reverse of their making leave in the reverse order all the same.
#[derive(Debug)]
#[must_use = "the runtime is left when the guard is dropped"]
pub struct EnterGuard<'a> {
    /// Not `Send`: it stands for an entry in the thread's own list.
    _handle: PhantomData<(&'a Handle, *const ())>,
}

impl Drop for EnterGuard<'_> {
    #[inline(never)]
    fn drop(&mut self) {
        opaque();
        // A thread that is being torn down has no list any more.
        let _ = ENTERED.try_with(|stack| stack.borrow_mut().pop());
    }
}

thread_local! {
    static ENTERED: RefCell<Vec<Arc<Sched>>> = const { RefCell::new(Vec::new()) };
}

#[inline(never)]
fn entered() -> Option<Arc<Sched>> {
    opaque();
    ENTERED.try_with(|stack| stack.borrow().last().cloned()).ok().flatten()
}

static DEFAULT: OnceLock<Runtime> = OnceLock::new();

/// The runtime of those who have not made one.
fn default_runtime() -> &'static Arc<Sched> {
    let start = || match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => panic!("gort: cannot start the default runtime: {error}"),
    };
    &DEFAULT.get_or_init(start).handle.sched
}

/// Whether a panic of the task that calls will end the process.
pub(crate) fn aborts_on_panic() -> bool {
    m::current().is_some_and(|m| m.sched().config.abort_on_panic)
}

/// Calls `f` with the current scheduler, or the default one.
#[track_caller]
pub(crate) fn with_current<R>(f: impl FnOnce(&Arc<Sched>) -> R) -> R {
    match try_current() {
        Some(sched) => f(&sched),
        None => f(default_runtime()),
    }
}

/// The current scheduler.
pub(crate) fn try_current() -> Option<Arc<Sched>> {
    m::current().map(|m| m.sched().arc()).or_else(entered)
}

/// The time of the current runtime, or of the default one.
#[cold]
pub(crate) fn now() -> u64 {
    match m::current() {
        Some(m) => m.sched().now(),
        None => match (entered(), DEFAULT.get()) {
            (Some(sched), _) => sched.now(),
            (None, Some(default)) => default.handle.sched.now(),
            (None, None) => clock::now(),
        },
    }
}

/// Runs `future` to its end on the calling thread, which blocks, with the current runtime, or the
/// default one, which is started on first use.
///
/// See [`Runtime::block_on`], also for calls inside a task.
///
/// # Panics
/// A panic of the future comes out of this call. If the default runtime cannot be started, it
/// panics with the reason.
///
/// # Examples
/// ```
/// let n = gort::block_on(async { gort::spawn(async { 41 + 1 }).await.unwrap() });
/// assert_eq!(n, 42);
/// ```
#[inline]
#[track_caller]
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    match goroutine::current() {
        Some(g) => goroutine::wait(g, future.into_future()),
        None => with_current(Arc::clone).block_on(future.into_future()),
    }
}

/// As `block_on`; an abort of the goroutine that calls does not end it.
#[track_caller]
pub(crate) fn block_on_to_the_end<F: Future>(future: F) -> F::Output {
    match goroutine::current() {
        Some(g) => goroutine::wait_to_the_end(g, future),
        None => with_current(Arc::clone).block_on(future),
    }
}

/// Waiting for a future where there is no `.await`: on a plain thread.
///
/// # Examples
/// ```
/// use gort::prelude::*;
/// let n = gort::spawn(async { 41 + 1 }).wait().unwrap();
/// assert_eq!(n, 42);
/// ```
pub trait Wait: IntoFuture + Sized {
    /// Blocks until the future is ready and gives its output, as [`block_on`] does.
    #[inline]
    #[track_caller]
    fn wait(self) -> Self::Output {
        block_on(self)
    }
}

impl<F: IntoFuture> Wait for F {}
