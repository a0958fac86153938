//! Sleeping, timeouts, intervals, timers; and a clock for tests.
//!
//! Timers have nanosecond deadlines. On an idle runtime they are some tens of microseconds late;
//! on a busy one, by as much as the running tasks take to stop. They run on the monotonic clock.
//!
//! All these futures work on any executor and in any runtime: outside of gort they use the default
//! runtime's timers. Dropping one cancels it.
//!
//! # The test clock
//! Each runtime has a clock of its own, and that clock can be [paused](pause), or paused from the
//! start with [`Builder::start_paused`](crate::Builder::start_paused) or
//! `#[gort::test(start_paused = true)]`. A paused clock stands still as long as anything can go
//! on, and then jumps to the time of the earliest timer. So tests with long times are quick, and
//! they are exact: a sleep ends at its deadline and not a nanosecond later, on any number of Ps.
//!
//! ```
//! use gort::time::{Duration, Instant, sleep, timeout};
//!
//! #[gort::test(start_paused = true)]
//! async fn gives_up_after_a_minute() {
//!     let start = Instant::now();
//!     let slow = gort::spawn(sleep(Duration::from_secs(3600)));
//!     assert!(timeout(Duration::from_secs(60), slow).await.is_err());
//!     assert_eq!(start.elapsed(), Duration::from_secs(60));
//! }
//! ```
//!
//! The clock jumps when all of this holds (Go: "durably blocked"):
//!
//! * every task and goroutine of the runtime waits, in `.await` or `.wait()`;
//! * no thread runs code of the runtime, be it a task that computes, one that blocks its thread
//!   (`std::thread::sleep`, a `std::sync::Mutex`, a system call), or the future of a `block_on`;
//! * the runtime has no open socket. Its peers live in real time: if the clock jumped whenever all
//!   wait for an answer, each timeout would be over before the answer could come. (tokio's clock
//!   does that.) With open sockets the clock stands until [`advance`] moves it.
//!
//! Threads outside of the runtime, other runtimes among them, are not waited for. What they wake
//! arrives at whatever time the clock shows then.
//!
//! What becomes due at one instant runs in random order, and is over before the clock moves on.
//! [`settle`] waits for that without moving the clock; [`advance`] moves it by hand.
//!
//! [`Instant::now`] shows the clock of the runtime that calls, or that the thread has
//! [entered](crate::Handle::enter); instants of different clocks cannot be compared, nor can those
//! of a clock that has been paused be converted to [`std::time::Instant`]s that mean the same.

mod instant;
mod interval;
mod pause;
mod sleep;
mod timeout;
mod timer;

pub use instant::Instant;
pub use interval::{Interval, interval, interval_at};
pub use pause::{advance, pause, resume, settle};
pub use sleep::{Sleep, sleep, sleep_until};
pub use std::time::Duration;
pub use timeout::{Elapsed, Timeout, timeout, timeout_at};
pub use timer::{Fired, Timer, after_func};
