//! Benchmarks of gort against its peers.
//!
//! A comparison is only as good as the sameness of what is compared. So each workload is written **once**, generic over the
//! small trait [`Rt`], and compiled for gort, tokio and async-executor/smol: the tasks, the channels between them and the
//! stopwatch are the same code, and only `spawn`, `yield_now`, `sleep`, `timeout` and the threads underneath differ. Go runs
//! hand-written twins of the same programs (`go/`).
//!
//! The layers, each knowing only the ones above it in this list:
//!
//! - [`measure`]: wall clock, CPU clock, memory and context switches of a process; [`report`]: the result lines;
//! - [`rt`]: the trait and the peers; [`co`]: the same for stackful coroutines, where code blocks; [`slot`] and [`work`]: the channel and the busy loop that all of them share;
//! - [`chan`]: the channels of each;
//! - [`workload`]: what is measured;
//! - [`echo`]: the TCP echo servers and the load generator;
//! - [`http`]: servers of hyper and axum, and what asks them;
//! - [`runner`]: the program `peers`, which runs all cells interleaved in fresh processes and prints one table.
//!
//! `README.md` says how to run them and what each row means.

pub mod chan;
pub mod co;
pub mod echo;
pub mod http;
pub mod measure;
pub mod report;
pub mod rt;
pub mod runner;
pub mod slot;
pub mod udp;
pub mod work;
pub mod workload;

pub use co::Co;
pub use report::Report;
pub use rt::Rt;
