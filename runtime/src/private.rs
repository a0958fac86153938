//! What `#[gort::main]`, `#[gort::test]` and the select macros expand to calls of. Not part of the
//! public API.
//!
//! The body of a plain `fn` is a goroutine, and the calling thread sleeps until it has ended.
//! Its value comes back by [`main_goroutine`], if it is `Send`. That of a `main` or of a test need
//! not be: by [`main_reported`] the goroutine does with it what the standard library would do,
//! prints the error that it may be, and only the exit code comes back.
//!
//! The body of an `async fn` is a future, and there are two ways to run it. Where it and its
//! output are `Send` it becomes an ordinary task: it runs on a worker, its spawns go to that
//! worker's own queue, and the calling thread sleeps in `block_on` of the join handle, with
//! nothing to do until the end. Elsewhere the calling thread has to run the body itself.
//!
//! The choice is made by method lookup: `Main(future).run(runtime)` takes the inherent method
//! if the bounds of its `impl` hold, and that of the trait [`MainLocal`] otherwise. rustc looks
//! at inherent methods first, and drops those whose `impl` does not apply. It can tell whether
//! a future is `Send` only when the type of the future is fully known, so this works in code
//! that a macro puts beside a named `async fn`, and not in generic code.
//!
//! In each case the runtime is dropped before the call returns, and also when the body panics.

use crate::{Builder, JoinHandle, Runtime, dump_on_sigquit};
use std::future::Future;
use std::panic::resume_unwind;
use std::process::{self, Termination};

pub use std::process::ExitCode;

/// What the select macros use.
pub mod select {
    pub use crate::chan::select::macros::{AnyCase, RecvCase, Selecting, SendCase, no_default};
    pub use gort_macros::{select_await, select_wait};
}

/// The runtime of `#[gort::main]`. Without one there is no program: says why, and exits.
pub fn main_runtime(builder: Builder) -> Runtime {
    // Where there is no handler, SIGQUIT ends the process without a word.
    let _ = dump_on_sigquit();
    builder.deadlock_detection_by_default().build().unwrap_or_else(|error| {
        eprintln!("gort: cannot start the runtime: {error}");
        process::exit(1)
    })
}

/// The runtime of `#[gort::test]`. Without one the test fails.
#[track_caller]
pub fn test_runtime(builder: Builder) -> Runtime {
    match builder.deadlock_detection_by_default().build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("gort: cannot start the runtime: {error}"),
    }
}

/// Runs the body of a plain `fn` as the first goroutine, and continues its panic on the calling
/// thread.
#[track_caller]
pub fn main_goroutine<F, T>(runtime: Runtime, body: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let body = runtime.go(body);
    join(runtime, body)
}

/// As [`main_goroutine`], with the exit code that the body's value stands for. An error is printed
/// as the standard library prints that of a `main`.
#[track_caller]
pub fn main_reported<F, T>(runtime: Runtime, body: F) -> ExitCode
where
    F: FnOnce() -> T + Send + 'static,
    T: Termination,
{
    main_goroutine(runtime, move || body().report())
}

/// The body of an `async fn`, about to be run.
#[derive(Debug)]
pub struct Main<F>(pub F);

impl<F> Main<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    /// Runs the body as a task, and continues its panic on the calling thread.
    #[track_caller]
    pub fn run(self, runtime: Runtime) -> F::Output {
        let body = runtime.spawn(self.0);
        join(runtime, body)
    }
}

/// Waits for the body, ends the runtime, and gives what the body returned or panicked with.
fn join<T>(runtime: Runtime, body: JoinHandle<T>) -> T {
    let ended = runtime.block_on(body);
    drop(runtime);
    match ended {
        Ok(output) => output,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        Err(error) => unreachable!("nobody else has the handle to abort it: {error}"),
    }
}

/// The way to run a future that has to stay on the calling thread.
pub trait MainLocal {
    /// What the body returns.
    type Output;

    /// Runs the body on the calling thread.
    fn run(self, runtime: Runtime) -> Self::Output;
}

impl<F: Future> MainLocal for Main<F> {
    type Output = F::Output;

    #[track_caller]
    fn run(self, runtime: Runtime) -> F::Output {
        runtime.block_on(self.0)
    }
}
