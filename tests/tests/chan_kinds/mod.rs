//! What the tests of channels share: each body is an async block, and runs as a task, as a
//! goroutine that waits for it, on a plain thread, on a thread of another executor, and as a mix of
//! all, in both affinity modes, at P = 1, 2, 4.

#![allow(dead_code, reason = "each test file uses its part")]

#[path = "../go_modes/mod.rs"]
pub(crate) mod go_modes;

use std::cell::Cell;
use std::future::Future;
use std::thread;

use gort::{Handle, JoinHandle, Runtime, Wait};

use self::go_modes::for_modes;

/// Who runs a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Task,
    Goroutine,
    Thread,
    Foreign,
}

static KINDS: [Kind; 4] = [Kind::Task, Kind::Goroutine, Kind::Thread, Kind::Foreign];

/// A runtime, and whom it should start bodies as.
#[derive(Debug)]
pub(crate) struct Env<'a> {
    pub(crate) rt: &'a Runtime,
    kinds: &'static [Kind],
    started: Cell<usize>,
}

/// A body that was started.
#[derive(Debug)]
pub(crate) enum Body<T> {
    Gort(JoinHandle<T>),
    Thread(thread::JoinHandle<T>),
}

impl<T> Body<T> {
    /// Waits, on the test's own thread, for the body's result, or continues its panic.
    #[track_caller]
    pub(crate) fn join(self) -> T {
        let payload = match self {
            Body::Gort(handle) => match handle.wait() {
                Ok(output) => return output,
                Err(error) => error.into_panic(),
            },
            Body::Thread(handle) => match handle.join() {
                Ok(output) => return output,
                Err(payload) => payload,
            },
        };
        std::panic::resume_unwind(payload)
    }
}

impl Env<'_> {
    /// Starts a body, as the kind whose turn it is.
    pub(crate) fn start<F>(&self, body: F) -> Body<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let turn = self.started.replace(self.started.get() + 1);
        start(&self.rt.handle(), self.kinds[turn % self.kinds.len()], body)
    }

    /// Starts a body and waits for it.
    #[track_caller]
    pub(crate) fn run<F>(&self, body: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.start(body).join()
    }

    /// Whether all bodies are on this runtime, where one thread after the other is slow.
    pub(crate) fn is_light(&self) -> bool {
        self.kinds.iter().all(|kind| matches!(kind, Kind::Task | Kind::Goroutine))
    }
}

/// Starts a body as `kind`.
pub(crate) fn start<F>(rt: &Handle, kind: Kind, body: F) -> Body<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    match kind {
        Kind::Task => Body::Gort(rt.spawn(body)),
        Kind::Goroutine => Body::Gort(rt.go(move || body.wait())),
        Kind::Thread => {
            let rt = rt.clone();
            Body::Thread(thread::spawn(move || {
                let _entered = rt.enter();
                body.wait()
            }))
        }
        Kind::Foreign => {
            let rt = rt.clone();
            Body::Thread(thread::spawn(move || {
                let _entered = rt.enter(); // for timers
                futures::executor::block_on(body)
            }))
        }
    }
}

/// Runs `test` with each kind of bodies, and with all of them in turns.
#[track_caller]
pub(crate) fn for_kinds(test: impl Fn(&Env<'_>)) {
    for_modes(|rt, _| {
        for kinds in KINDS.chunks(1).chain([&KINDS[..]]) {
            eprintln!("kinds = {kinds:?}");
            test(&Env { rt, kinds, started: Cell::new(0) });
        }
    });
}
