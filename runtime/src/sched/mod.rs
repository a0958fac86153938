//! The core. Only code here changes a status or moves a G between queues.
//!
//! | file | owns |
//! |---|---|
//! | `status` | the status word: who owns a body, its result, its memory |
//! | `g`, `heap` | the header of a G; the cells they live in |
//! | `p`, `runq` | the queues of a P |
//! | `m`, `bracket` | the thread; the bracket around user code |
//! | `schedule`, `ready` | the loop: find, run, stop; the ways into its queues |
//! | `idle`, `startm`, `rest`, `steal` | who is idle, who wakes whom, who sleeps, what a search pays |
//! | `handoff`, `preempt`, `sites` | taking the P of an M that stays away; time slices |
//! | `blocking`, `lock` | announced blocking; goroutines that are locked to their thread |
//! | `residents` | what lives on one thread |
//! | `ps` | how many Ps there are |
//! | `timers`, `paused` | the timer heaps; the test clock |
//! | `sysmon`, `stuck` | the watchman; whom it reports |
//! | `wait` | why a G waits |
//! | `dump`, `schedtrace` | a look at everything |
//! | `dead` | deadlocks |
//! | `stats`, `latency`, `states`, `print` | what is counted |
//! | `tags` | names and labels |
//! | `trace` | the hooks of the tracer |
//! | `spans` | the hooks of the feature `tracing` |
//! | `life` | start and end of a scheduler |
//! | `outside` | threads that are not workers: spawn, `block_on` |
//!
//! `README.md` has the parking proof.

#[cfg(not(loom))]
pub(crate) mod blocking;
#[cfg(not(loom))]
pub(crate) mod bracket;
#[cfg(not(loom))]
pub(crate) mod dead;
#[cfg(not(loom))]
pub(crate) mod dump;
#[cfg(not(loom))]
pub(crate) mod g;
#[cfg(not(loom))]
pub(crate) mod handoff;
#[cfg(all(test, loom))]
mod handoff_model;
#[cfg(not(loom))]
pub(crate) mod heap;
#[cfg(not(loom))]
mod idle;
#[cfg(all(test, loom))]
mod idle_model;
#[cfg(not(loom))]
pub(crate) mod latency;
#[cfg(not(loom))]
pub(crate) mod life;
#[cfg(not(loom))]
pub(crate) mod lock;
#[cfg(not(loom))]
pub(crate) mod m;
#[cfg(not(loom))]
pub(crate) mod outside;
#[cfg(not(loom))]
mod p;
#[cfg(not(loom))]
pub(crate) mod paused;
#[cfg(all(test, loom))]
mod paused_model;
#[cfg(not(loom))]
pub(crate) mod preempt;
#[cfg(not(loom))]
mod print;
#[cfg(not(loom))]
pub(crate) mod ps;
#[cfg(not(loom))]
pub(crate) mod ready;
#[cfg(not(loom))]
mod residents;
#[cfg(not(loom))]
mod rest;
#[cfg(not(loom))]
mod runq;
#[cfg(all(test, loom))]
mod runq_model;
#[cfg(not(loom))]
pub(crate) mod schedtrace;
#[cfg(not(loom))]
mod schedule;
#[cfg(not(loom))]
mod sites;
#[cfg(all(not(loom), feature = "tracing"))]
pub(crate) mod spans;
#[cfg(all(not(loom), not(feature = "tracing")))]
#[path = "no_spans.rs"]
pub(crate) mod spans;
#[cfg(not(loom))]
mod startm;
#[cfg(not(loom))]
pub(crate) mod states;
#[cfg(not(loom))]
pub(crate) mod stats;
pub(crate) mod status;
#[cfg(all(test, loom))]
mod status_model;
#[cfg(not(loom))]
mod steal;
#[cfg(not(loom))]
pub(crate) mod stuck;
#[cfg(not(loom))]
mod sysmon;
#[cfg(not(loom))]
pub(crate) mod tags;
#[cfg(not(loom))]
pub(crate) mod timers;
#[cfg(all(test, loom))]
mod timers_model;
#[cfg(not(loom))]
pub(crate) mod trace;
pub(crate) mod wait;

#[cfg(not(loom))]
pub(crate) use life::Sched;
