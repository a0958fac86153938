//! What `#[gort::main]` and `#[gort::test]` expand to calls of. Not part of the public API.
//!
//! The body of the function is a future, and there are two ways to run it. Where it and its
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
//! Either way the runtime is dropped before `run` returns, and also when the body panics.

use crate::{Builder, Runtime};
use std::future::Future;
use std::panic::resume_unwind;
use std::process;

/// The runtime of `#[gort::main]`. Without one there is no program: says why, and exits.
pub fn main_runtime(builder: Builder) -> Runtime {
    builder.build().unwrap_or_else(|error| {
        eprintln!("gort: cannot start the runtime: {error}");
        process::exit(1)
    })
}

/// The runtime of `#[gort::test]`. Without one the test fails.
#[track_caller]
pub fn test_runtime(builder: Builder) -> Runtime {
    match builder.build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("gort: cannot start the runtime: {error}"),
    }
}

/// The body of a `main` or of a test, about to be run.
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
        match runtime.block_on(body) {
            Ok(output) => output,
            Err(error) if error.is_panic() => {
                drop(runtime);
                resume_unwind(error.into_panic())
            }
            Err(error) => unreachable!("nobody else has the handle to abort it: {error}"),
        }
    }
}

/// The way to run a body that has to stay on the calling thread.
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
