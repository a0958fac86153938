//! Sleeping, timeouts, intervals.
//!
//! Timers have nanosecond deadlines. On an idle runtime they are some tens of microseconds late;
//! on a busy one, by as much as the running tasks take to stop. They run on the monotonic clock.
//!
//! All these futures work on any executor and in any runtime: outside of gort they use the default
//! runtime's timers. Dropping one cancels it.

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
