//! `Builder`: what can be said about a runtime before it starts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{DROP_GRACE, Handle, Runtime};
use crate::dump;
use crate::sched::Sched;
use crate::sched::life::Config;
use crate::sched::ps::PROCS_MAX;
use crate::sched::schedtrace::Debug;
use crate::sched::stuck::{OnStuck, StuckReport};
use crate::stack::SizeClass;

/// Go's limit.
const MAX_THREADS: usize = 10_000;

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
    /// [dump](crate::dump::Dump::stuck).
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
