//! Go's G-M-P scheduler for Rust.
//!
//! ```
//! use std::time::Duration;
//!
//! #[gort::main]
//! async fn main() {
//!     let answer = gort::spawn(async {
//!         gort::time::sleep(Duration::from_millis(1)).await;
//!         6 * 7
//!     });
//!     assert_eq!(answer.await.unwrap(), 42);
//! }
//! ```
//!
//! Or with goroutines, plain functions that wait anywhere without holding up a thread:
//!
//! ```
//! use gort::prelude::*;
//! use std::time::Duration;
//!
//! #[gort::main]
//! fn main() {
//!     let answer = gort::go(|| {
//!         gort::time::sleep(Duration::from_millis(1)).wait();
//!         6 * 7
//!     });
//!     assert_eq!(answer.wait().unwrap(), 42);
//! }
//! ```
//!
//! A runtime has `procs` Ps, the rights to run a task, and threads that hold them. Each P has its
//! own queues, timers and free memory; a P that runs out of work takes it from another. When none
//! has any, one thread waits in the kernel for sockets and timers and the others sleep: an idle
//! runtime costs nothing.
//!
//! # Fairness
//! Whatever runs or yields: a runnable task, an expired timer and a ready socket each get their
//! turn within a bounded number of dispatches, as long as a P is free at all. Woken tasks, the
//! global queue and the network are looked at on every 61st dispatch at the latest (on every 8th
//! where dispatches take microseconds), the oldest spawn on every 1021st (on every 16th), timers at
//! every 8th (at each one), and sysmon polls the network every 10 ms if nobody else does.
//!
//! A task or goroutine that never stops costs the others at most about one such tick: when it has
//! computed, or blocked its thread, for 10 ms, and somebody could use its P, sysmon gives that to
//! another thread. What cannot be helped are the neighbours: what is joined inside the same future,
//! and goroutines that live on the same thread. [`blocking`], [`syscall`] and [`spawn_blocking`] tell
//! beforehand. One that always finds its awaits ready yields after 10 ms, too.
//!
//! # Features
//! | feature | default | |
//! |---|---|---|
//! | `macros` | yes | [`main`], [`test`](macro@test), and the `select!` family |
//! | `net` | yes | [`net`]: sockets and pipes |
//! | `process` | yes | child processes |
//! | `signal` | yes | signals of the system |
//! | `backtrace` | yes | the stacks in a [`dump`], by the `backtrace` crate |
//! | `hyper`, `axum`, `quinn` | no | `compat`: what these libraries ask of a runtime; none brings tokio's |
//! | `metrics` | no | `compat::metrics`: the scheduler's counters for the recorder of the `metrics` crate |
//! | `tokio-io` | no | tokio's `AsyncRead` and `AsyncWrite` for all streams; no tokio runtime comes with it |
//! | `tracing` | no | a span for each [task and goroutine](task#spans), as tokio-console reads them |
//!
//! # Unsafe code
//! Only these modules hold any, each block with its reason:
//!
//! | module | why |
//! |---|---|
//! | `sched` | the cells of tasks, their status word and its obligations; the owner's part of a P |
//! | `task` | bodies behind an erased pointer; the waker's vtable |
//! | `join` | the result behind an erased pointer |
//! | `spawn` | the other end of both |
//! | `chan` | values behind a lock; lists through pinned futures |
//! | `scope` | the lifetime of what a scoped goroutine borrows |
//! | `compat::hyper`, `net::hyper_io` | reads into memory that nobody has written yet |
//! | `process` | `pre_exec`, passed on to std |
//! | `coro` | the stacks of coroutines, and what is sent between them |
//! | `dump` | frames of stacks that stand still; a signal handler |
//! | `ffi` | the innermost call of C, behind a thread-local |
//! | `iter` | the lifetime of what a scoped one borrows |
//! | `net::close` | what a descriptor names is replaced while others hold it |
//! | `net::unix::cred` | asking who the peer is: what the kernel writes |
//! | `stack` | the arenas, the switch, the fault handler, the tables of the unwinder |
//! | `sync` | the values behind locks; the wait list through pinned futures |
//! | `thread` | what a blocking call borrows, on another thread |
//! | `util::note`, `util::fence`, `util` | futex and membarrier; the number of the thread |
#![deny(unsafe_code)]
#![cfg_attr(loom, allow(dead_code))]

#[cfg(all(not(loom), feature = "macros"))]
#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
#[allow(unsafe_code)] // see the ledger above
pub mod chan;
#[cfg(not(loom))]
pub mod compat;
#[cfg(not(loom))]
#[allow(unsafe_code)] // see the ledger above
pub mod coro;
#[cfg(not(loom))]
#[allow(unsafe_code)] // see the ledger above
pub mod dump;
#[cfg(not(loom))]
#[allow(unsafe_code)] // see the ledger above
pub mod ffi;
#[cfg(not(loom))]
pub mod fs;
#[cfg(not(loom))]
#[allow(unsafe_code)] // see the ledger above
pub mod iter;
#[cfg(not(loom))]
#[allow(unsafe_code)] // see the ledger above
mod join;
#[cfg(not(loom))]
pub mod labels;
#[cfg(all(not(loom), feature = "net"))]
pub mod net;
#[cfg(not(loom))]
mod os_thread;
#[cfg(not(loom))]
pub mod prelude;
#[cfg(all(not(loom), unix, feature = "process"))]
pub mod process;
#[cfg(not(loom))]
mod rt;
#[allow(unsafe_code)] // see the ledger above
mod sched;
#[cfg(not(loom))]
#[allow(unsafe_code)] // see the ledger above
mod scope;
#[cfg(all(not(loom), unix, feature = "signal"))]
pub mod signal;
#[cfg(not(loom))]
#[allow(unsafe_code)] // see the ledger above
mod spawn;
#[cfg(not(loom))]
#[allow(unsafe_code)] // see the ledger above
mod stack;
#[allow(unsafe_code)] // see the ledger above
pub mod sync;
#[cfg(not(loom))]
pub mod task;
#[cfg(not(loom))]
#[allow(unsafe_code)] // see the ledger above
mod thread;
#[cfg(not(loom))]
pub mod time;
#[cfg(not(loom))]
pub mod trace;
#[allow(unsafe_code)] // see the ledger above
mod util;

#[cfg(doc)]
#[doc = include_str!("../docs/soundness.md")]
pub mod soundness {}

#[cfg(not(loom))]
pub use exports::*;

#[cfg(not(loom))]
mod exports {
    pub use crate::dump::{Dump, dump_on_sigquit};
    pub use crate::join::{JoinError, JoinHandle};
    pub use crate::os_thread::{OsThreadGuard, lock_os_thread};
    pub use crate::rt::{Builder, EnterGuard, Handle, PanicPolicy, Runtime, Wait, block_on};
    pub use crate::sched::latency::LatencyHistogram;
    pub use crate::sched::states::States;
    pub use crate::sched::stats::{Metrics, ProcMetrics};
    pub use crate::sched::stuck::StuckReport;
    pub use crate::scope::{Scope, ScopedJoinHandle, scope};
    pub use crate::spawn::{
        LocalSpawner, YieldNow, go, spawn, spawn_blocking, spawn_local, yield_now,
    };
    pub use crate::thread::{blocking, syscall};

    /// Runs `main`, a plain `fn` (as a goroutine) or an `async fn`, on a runtime of its own.
    ///
    /// ```
    /// use gort::prelude::*;
    ///
    /// #[gort::main(procs = 2)]
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let n = gort::go(|| "42".parse::<u32>()).wait()??;
    ///     assert_eq!(n, 42);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// ```
    /// #[gort::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let n = gort::spawn(async { 41 + 1 }).await?;
    ///     assert_eq!(n, 42);
    ///     Ok(())
    /// }
    /// ```
    #[cfg(feature = "macros")]
    pub use gort_macros::main;
    /// Runs a plain `fn` (as a goroutine) or an `async fn` as a test, each on a runtime of its own.
    ///
    /// ```
    /// use gort::prelude::*;
    ///
    /// #[gort::test]
    /// fn adds() {
    ///     assert_eq!(gort::go(|| 1 + 1).wait().unwrap(), 2);
    /// }
    ///
    /// #[gort::test(procs = 2)]
    /// async fn adds_elsewhere() {
    ///     assert_eq!(gort::spawn(async { 1 + 1 }).await.unwrap(), 2);
    /// }
    /// ```
    #[cfg(feature = "macros")]
    pub use gort_macros::test;
}
