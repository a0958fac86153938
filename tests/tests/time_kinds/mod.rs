//! What the tests of timers share: each body runs as a task, as a goroutine in both affinity modes,
//! and in `block_on` of a plain thread, at P = 1, 2, 4, on a running or on a paused clock.

#![allow(dead_code, reason = "each test file uses its part")]

use std::future::Future;
use std::time::Duration;

use gort::prelude::*;
use gort::{Builder, JoinHandle, Runtime};
use gort_tests::{BOUND, Watchdog, beside_others};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SEC: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// What runs the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Task,
    Goroutine,
    /// With [`Builder::migrate_goroutines`].
    Migrating,
    Thread,
}

/// All of them.
pub(crate) const KINDS: [Kind; 4] = [Kind::Task, Kind::Goroutine, Kind::Migrating, Kind::Thread];

impl Kind {
    /// Starts `future` beside the body: as a goroutine if that is what the body is, else as a task.
    pub(crate) fn start<F>(self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match self {
            Kind::Task | Kind::Thread => gort::spawn(future),
            Kind::Goroutine | Kind::Migrating => gort::go(move || future.wait()),
        }
    }

    /// A builder with `procs` Ps for this kind.
    pub(crate) fn builder(self, procs: usize) -> Builder {
        let builder = Builder::new().procs(procs);
        match self {
            // SAFETY: the goroutines of these tests keep nothing of their thread over a wait.
            Kind::Migrating => unsafe { builder.migrate_goroutines() },
            _ => builder,
        }
    }

    fn run<F: Future<Output = ()> + Send + 'static>(self, rt: &Runtime, body: F) {
        match self {
            Kind::Task => joined(rt.block_on(rt.spawn(body))),
            Kind::Goroutine | Kind::Migrating => rt.run(move || body.wait()),
            Kind::Thread => rt.block_on(body),
        }
    }
}

fn joined(ended: Result<(), gort::JoinError>) {
    match ended {
        Ok(()) => {}
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => panic!("{error}"),
    }
}

/// Runs `test` on a running clock.
#[track_caller]
pub(crate) fn running<F: Future<Output = ()> + Send + 'static>(test: impl Fn(Kind) -> F) {
    for_kinds(false, test);
}

/// Runs `test` on a clock that is paused from the start.
#[track_caller]
pub(crate) fn paused<F: Future<Output = ()> + Send + 'static>(test: impl Fn(Kind) -> F) {
    for_kinds(true, test);
}

#[track_caller]
fn for_kinds<F: Future<Output = ()> + Send + 'static>(paused: bool, test: impl Fn(Kind) -> F) {
    let _machine = beside_others();
    for kind in KINDS {
        for procs in [1, 2, 4] {
            eprintln!("kind = {kind:?}, procs = {procs}");
            let rt = kind.builder(procs).start_paused(paused).build().expect("a runtime");
            let watchdog = Watchdog::start(rt.handle());
            kind.run(&rt, test(kind));
            drop(watchdog);
            assert!(rt.shutdown_timeout(BOUND), "the runtime did not end");
        }
    }
}
