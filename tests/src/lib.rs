//! What the tests of gort share. Each file in `tests/` is one subject.
//!
//! The rules of this suite:
//!
//! * A behaviour is tested at P = 1, 2 and 4 ([`for_procs`]), always under the [`Watchdog`], which
//!   ends the process when work and an idle P lie side by side, or when a test hangs.
//! * Nobody sleeps to wait for somebody else. What must happen "some time" is awaited with
//!   [`eventually`] or [`until`]; their bound is so generous that only a hang reaches it.
//! * What depends on chance draws from [`Rng`], whose seed is printed and can be given back.
//! * Counts that belong to the whole process (descriptors, threads, memory) are taken while no
//!   other test of the same file runs ([`alone`]).
//! * How a process ends is seen by running the test anew as a [`Child`].

mod child;
mod counts;
mod gap;
mod probe;
mod rng;
mod shim;
mod watchdog;

pub use child::{Child, Ended, is_child};
pub use counts::{Counts, context_switches, cpu_time, fds, rss, settle, threads};
pub use gap::{Gap, Machine, spin, tick_in_goroutine, tick_until};
pub use probe::{CountWaker, OnDrop, Probe, ProbeFuture};
pub use rng::Rng;
pub use shim::{c_call, c_call_between, c_deep, c_deep_call};
pub use watchdog::Watchdog;

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use gort::Runtime;

/// The bound of everything that "must happen some time". The machine that runs this may be busy
/// with ten other things; a hang lasts longer.
pub const BOUND: Duration = Duration::from_secs(30);

/// Tests that use the machine beside others hold it shared, those that count hold it alone.
static MACHINE: RwLock<()> = RwLock::new(());

/// Keeps [`alone`] out. Not needed inside [`for_procs`], which does it.
pub fn beside_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until no other test of this file runs, and keeps it so until the guard is dropped.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// A runtime with `procs` Ps.
///
/// # Panics
/// If it cannot be built.
#[track_caller]
pub fn runtime(procs: usize) -> Runtime {
    gort::Builder::new().procs(procs).build().expect("a runtime")
}

/// Runs `test` on a fresh runtime of 1, 2 and 4 Ps, each under a [`Watchdog`], and then ends the
/// runtime, which must succeed.
///
/// # Panics
/// As `test` does, and if the runtime does not end.
#[track_caller]
pub fn for_procs(test: impl Fn(&Runtime)) {
    let _machine = beside_others();
    for_procs_alone(test);
}

/// As [`for_procs`], for tests that hold the machine [`alone`].
///
/// # Panics
/// As [`for_procs`].
#[track_caller]
pub fn for_procs_alone(test: impl Fn(&Runtime)) {
    for procs in [1, 2, 4] {
        eprintln!("procs = {procs}");
        let rt = runtime(procs);
        let watchdog = Watchdog::start(rt.handle());
        test(&rt);
        drop(watchdog);
        assert!(rt.shutdown_timeout(BOUND), "the runtime did not end");
    }
}

/// As [`for_procs`], with the test body as one task.
///
/// # Panics
/// As [`for_procs`].
#[track_caller]
pub fn for_procs_async<F>(test: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    for_procs(|rt| match rt.block_on(rt.spawn(test())) {
        Ok(()) => {}
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => panic!("{error}"),
    });
}

/// Waits for a condition on a plain thread.
///
/// # Panics
/// If it does not come true within [`BOUND`].
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < BOUND, "waited in vain: {what}");
        thread::sleep(Duration::from_micros(200)); // the pace of looking, not a synchronisation
    }
}

/// Waits for a condition in a task, which yields meanwhile.
///
/// # Panics
/// If it does not come true within [`BOUND`].
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < BOUND, "waited in vain: {what}");
        gort::yield_now().await;
    }
}

/// Runs `f` on a thread of its own, for calls that might never return.
///
/// # Panics
/// As `f` does, and if it has not returned within [`BOUND`]; the thread is then left behind.
#[track_caller]
pub fn returns<R: Send + 'static>(what: &str, f: impl FnOnce() -> R + Send + 'static) -> R {
    let (send, receive) = mpsc::channel();
    let thread = thread::spawn(move || send.send(f()));
    match receive.recv_timeout(BOUND) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("does not return: {what}"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(payload) => std::panic::resume_unwind(payload),
            Ok(_) => unreachable!("the value was sent"),
        },
    }
}

/// The text of a panic's payload, or "".
#[must_use]
pub fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    match payload.downcast_ref::<&'static str>() {
        Some(text) => text,
        None => payload.downcast_ref::<String>().map_or("", String::as_str),
    }
}
