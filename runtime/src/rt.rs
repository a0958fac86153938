//! `Runtime`, `Builder`, `Handle`, and which runtime is the current one.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::marker::PhantomData;
use std::panic::{Location, resume_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::task::{FutureObj, Spawn, SpawnError};

use crate::dump::{self, Dump};
use crate::join::JoinHandle;
use crate::sched::Sched;
use crate::sched::life::Config;
use crate::sched::m;
use crate::sched::ps::PROCS_MAX;
use crate::sched::schedtrace::Debug;
use crate::sched::states::States;
use crate::sched::stats::Metrics;
use crate::sched::stuck::{OnStuck, StuckReport};
use crate::spawn::{go_on, spawn_on};
use crate::stack::SizeClass;
use crate::task::goroutine;
use crate::util::{clock, opaque};

/// Go's limit.
const MAX_THREADS: usize = 10_000;
/// How long a dropped runtime waits for tasks that are in the middle of a poll (a guess).
const DROP_GRACE: Duration = Duration::from_secs(5);

/// What a task's panic does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PanicPolicy {
    /// It ends the task; its `JoinHandle` gets a [`JoinError`](crate::JoinError) with the payload.
    #[default]
    Catch,
    /// It ends the process, after the panic message.
    Abort,
}

/// Settings of a [`Runtime`].
///
/// # Examples
/// ```
/// let runtime = gort::Builder::new().procs(2).thread_name("web").build()?;
/// assert_eq!(runtime.block_on(async { 7 }), 7);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Builder {
    procs: Option<usize>,
    max_threads: Option<usize>,
    thread_name: Option<String>,
    panic_policy: PanicPolicy,
    stack_size: Option<usize>,
    migrate: bool,
    chaos: Option<u64>,
    start_paused: bool,
    on_stuck: Option<OnStuck>,
    deadlock: Option<bool>,
}

impl Builder {
    /// The defaults: as many procs as the process may use CPUs (the affinity mask and the cgroup's
    /// quota count), or as the environment variable `GORT_PROCS` says.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// How many tasks may run at once, 1 to 4096. Go: GOMAXPROCS. Wins over `GORT_PROCS`.
    pub fn procs(mut self, n: usize) -> Builder {
        self.procs = Some(n);
        self
    }

    /// How many worker threads there may be, 10,000 unless this says otherwise. There are as many as
    /// there are Ps, and one more for each call that blocks its thread at the same time. When one
    /// more would be needed the process ends: `fatal error: thread exhaustion`, exit code 2. Go:
    /// SetMaxThreads.
    pub fn max_threads(mut self, n: usize) -> Builder {
        self.max_threads = Some(n);
        self
    }

    /// What the threads are called, before a number. The default is `gort`.
    pub fn thread_name(mut self, name: impl Into<String>) -> Builder {
        self.thread_name = Some(name.into());
        self
    }

    /// What a task's panic does. The default is [`PanicPolicy::Catch`].
    pub fn on_panic(mut self, policy: PanicPolicy) -> Builder {
        self.panic_policy = policy;
        self
    }

    /// The size of goroutine stacks in bytes, guard included; it is rounded up to 16 KiB, 64 KiB,
    /// 256 KiB (the default) or 1 MiB. See [`task::Builder`](crate::task::Builder) for single ones.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// Lets started goroutines move between threads, as Go's do, instead of staying where they
    /// began. A woken goroutine then runs next on the P that woke it, or wherever one is free.
    ///
    /// # Safety
    /// The Rust language ties things to threads, and code on a goroutine's stack cannot tell that
    /// its thread has changed over a wait. Whoever calls this vouches for all code that the
    /// program runs in goroutines of this runtime, libraries included: over a wait (anything that
    /// may park: `.wait()`, reads and writes of gort's sockets)
    ///
    /// * no reference into a thread-local is alive, nor a value that must stay on its thread: an
    ///   `Rc` that a thread-local also holds, a `std::sync::MutexGuard`, a span's enter guard;
    /// * no function touches a thread-local both before and after the wait, if the wait may be
    ///   inlined into it: the compiler keeps the address that it found on the first thread.
    #[allow(unsafe_code)] // no unsafe operation: the contract is the caller's
    pub unsafe fn migrate_goroutines(mut self) -> Builder {
        self.migrate = true;
        self
    }

    /// Chaos mode, for tests: every fourth dispatch, chosen at random, is put off, so that orders
    /// come about that the machine would hardly make. The seed is printed; `GORT_CHAOS=SEED` sets
    /// it from outside and wins.
    pub fn chaos(mut self, seed: u64) -> Builder {
        self.chaos = Some(seed);
        self
    }

    /// Whether the runtime's clock stands still from the beginning, as if
    /// [`gort::time::pause`](crate::time::pause) had been called first. For tests.
    pub fn start_paused(mut self, yes: bool) -> Builder {
        self.start_paused = yes;
        self
    }

    /// Whether the process ends when nobody in it can go on:
    /// `fatal error: all goroutines are asleep - deadlock!`, a [dump](crate::dump) and exit code 2, as
    /// in Go. It is so by default under `#[gort::main]` and `#[gort::test]`, and while
    /// [`Runtime::run`] waits; not elsewhere.
    ///
    /// There is no false alarm: it is not reported while there are timers, sockets, blocking calls,
    /// or threads of the process that neither belong to gort nor wait in it, which may hold a
    /// `Sender` or a `Waker`. Linux only.
    pub fn deadlock_detection(mut self, yes: bool) -> Builder {
        self.deadlock = Some(yes);
        self
    }

    /// As `deadlock_detection`, where the user has not said anything.
    #[cfg(feature = "macros")]
    pub(crate) fn deadlock_detection_by_default(mut self) -> Builder {
        self.deadlock.get_or_insert(true);
        self
    }

    /// Calls `report` for each task or goroutine that runs for `after` without coming back to the
    /// scheduler: it computes or blocks, and what lives on its thread waits. Once for each such
    /// time, some milliseconds late, on a thread for blocking tasks, while it goes on. One that has
    /// announced it, by [`syscall`](crate::syscall), [`blocking`](crate::blocking) or
    /// [`spawn_blocking`](crate::spawn_blocking), is not reported. The report says
    /// [which code](StuckReport::frames) it was in, and the last 16 are in each
    /// [dump](Dump::stuck).
    ///
    /// # Examples
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    ///
    /// let (send, receive) = mpsc::channel();
    /// let runtime = gort::Builder::new()
    ///     .on_stuck(Duration::from_millis(20), move |report| drop(send.send(report.to_string())))
    ///     .build()?;
    /// let hog = runtime.spawn(async { std::thread::sleep(Duration::from_millis(200)) });
    /// println!("{}", receive.recv().unwrap());
    /// runtime.block_on(hog).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_stuck(
        mut self,
        after: Duration,
        report: impl Fn(&StuckReport) + Send + Sync + 'static,
    ) -> Builder {
        self.on_stuck = Some(OnStuck { after, call: Arc::new(report) });
        self
    }

    /// Starts the runtime with its first worker; others are started when there is work for them.
    ///
    /// # Errors
    /// `InvalidInput` for a number of procs that is out of range, in [`Builder::procs`] or in
    /// `GORT_PROCS`, for a stack size above 1 MiB, for a `GORT_CHAOS` that is not a number or a
    /// `GORT_DEBUG` with one that is not, and for a thread name with a NUL in it; and whatever the system says when it
    /// refuses a thread or the poller's descriptors.
    pub fn build(self) -> io::Result<Runtime> {
        let procs = match self.procs {
            Some(n) => check_procs(n, "Builder::procs")?,
            None => default_procs()?,
        };
        let thread_name = self.thread_name.unwrap_or_else(|| "gort".to_owned());
        if thread_name.contains('\0') {
            return Err(invalid("Builder::thread_name: a NUL is not allowed in a name".into()));
        }
        let abort_on_panic = self.panic_policy == PanicPolicy::Abort;
        let stack_size = match self.stack_size {
            None => SizeClass::DEFAULT,
            Some(n) => SizeClass::fit(n).ok_or_else(|| {
                invalid(format!("Builder::stack_size: {n} bytes are more than 1 MiB"))
            })?,
        };
        let max_threads = self.max_threads.unwrap_or(MAX_THREADS);
        if max_threads == 0 {
            return Err(invalid("Builder::max_threads: there must be at least one".into()));
        }
        let chaos = chaos_seed(self.chaos)?;
        let debug = debug()?;
        let (migrate, start_paused) = (self.migrate, self.start_paused);
        let config = Config {
            procs,
            max_threads,
            thread_name,
            abort_on_panic,
            stack_size,
            migrate,
            chaos,
            start_paused,
            on_stuck: self.on_stuck,
            deadlock: self.deadlock,
            debug,
        };
        dump::install();
        let sched = Sched::start(config)?;
        Ok(Runtime { handle: Handle { sched }, grace: DROP_GRACE })
    }
}

fn check_procs(n: usize, what: &str) -> io::Result<usize> {
    if (1..=PROCS_MAX).contains(&n) {
        return Ok(n);
    }
    Err(invalid(format!("{what}: {n} is not between 1 and {PROCS_MAX}")))
}

fn default_procs() -> io::Result<usize> {
    match std::env::var_os("GORT_PROCS") {
        None => Ok(std::thread::available_parallelism().map_or(1, usize::from).min(PROCS_MAX)),
        Some(value) => {
            let text = value.to_string_lossy();
            let n = text.trim().parse();
            let n = n.map_err(|_| invalid(format!("GORT_PROCS: {text:?} is not a number")))?;
            check_procs(n, "GORT_PROCS")
        }
    }
}

fn chaos_seed(built: Option<u64>) -> io::Result<Option<u64>> {
    let seed = match std::env::var_os("GORT_CHAOS") {
        None => built,
        Some(value) => {
            let text = value.to_string_lossy();
            let seed = text.trim().parse();
            Some(seed.map_err(|_| invalid(format!("GORT_CHAOS: {text:?} is not a number")))?)
        }
    };
    if let Some(seed) = seed {
        eprintln!("gort: chaos mode, GORT_CHAOS={seed}");
    }
    Ok(seed)
}

fn debug() -> io::Result<Debug> {
    let text = std::env::var("GORT_DEBUG").unwrap_or_default();
    Debug::parse(&text).map_err(|part| invalid(format!("GORT_DEBUG: {part:?} is not a number")))
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

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
