//! What the tests of `gort::sync` share: each body is written once, as a future, and run by tasks,
//! by goroutines in both affinity modes and by plain threads, at P = 1, 2, 4.

#![allow(dead_code, reason = "each test file uses its part")]

#[path = "../go_modes/mod.rs"]
mod go_modes;

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::thread;

use gort::prelude::*;
use gort::{JoinHandle, Runtime};
use gort_tests::beside_others;

use go_modes::{Mode, check};

/// Who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A task: `.await`.
    Task,
    /// A goroutine: `.wait()`.
    Goroutine,
    /// A plain thread: `.wait()`.
    Thread,
    /// All of them in turn.
    Mixed,
}

/// One that runs.
pub(crate) enum Running<T> {
    Here(JoinHandle<T>),
    Thread(thread::JoinHandle<T>),
}

impl Kind {
    /// Starts number `i` of the test.
    pub(crate) fn start<F>(self, rt: &Runtime, i: usize, body: F) -> Running<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match (self, i % 3) {
            (Kind::Task, _) | (Kind::Mixed, 0) => Running::Here(rt.spawn(body)),
            (Kind::Goroutine, _) | (Kind::Mixed, 1) => Running::Here(rt.go(move || body.wait())),
            _ => Running::Thread(thread::spawn(move || body.wait())),
        }
    }
}

impl<T> Running<T> {
    /// Its result.
    #[track_caller]
    pub(crate) fn join(self) -> T {
        match self {
            Running::Here(handle) => handle.wait().unwrap(),
            Running::Thread(handle) => handle.join().unwrap(),
        }
    }
}

/// Joins all.
#[track_caller]
pub(crate) fn join_all<T>(all: Vec<Running<T>>) -> Vec<T> {
    all.into_iter().map(Running::join).collect()
}

/// Runs `test` for each kind at P = 1, 2 and 4; what has goroutines, in both modes.
#[track_caller]
pub(crate) fn for_kinds(test: impl Fn(&Runtime, Kind)) {
    let _machine = beside_others();
    for procs in [1, 2, 4] {
        for kind in [Kind::Task, Kind::Goroutine, Kind::Thread, Kind::Mixed] {
            eprintln!("kind = {kind:?}");
            check(Mode::Home, procs, |rt, _| test(rt, kind));
            if matches!(kind, Kind::Goroutine | Kind::Mixed) {
                check(Mode::Migrate, procs, |rt, _| test(rt, kind));
            }
        }
    }
}

/// Polls a future once, with a waker that does nothing.
pub(crate) fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The output of a future that must not wait.
#[track_caller]
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    match poll_once(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}
