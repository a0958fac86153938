//! The workloads, each written once for every runtime.
//!
//! A workload is a plain function from a [`Setup`] to a [`Report`]; [`all`] lists them under the names that the tables use.
//! Most are an `async fn(n) -> operations` that runs as the root task ([`per_op`] adds warm-up and stopwatch); the others
//! need more than that, memory or a foreign thread, and drive the runtime themselves.

use std::future::Future;

use crate::chan::Channels;
use crate::measure::{Stopwatch, peak_resident_bytes};
use crate::udp::Datagrams;
use crate::{Report, Rt};

pub mod chan;
pub mod coro;
pub mod goroutines;
pub mod idle;
pub mod memory;
pub mod mutex;
pub mod oneshot;
pub mod remote;
pub mod select;
pub mod site;
pub mod spawn;
pub mod stall;
pub mod switch;
pub mod timers;
pub mod udp;

use stall::Hog;

/// How large a run is.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Threads that run tasks.
    pub procs: usize,
    /// Factor on the number of operations; 1 in a full run.
    pub scale: f64,
}

impl Setup {
    /// `full` operations, scaled, in whole thousands.
    pub fn scaled(&self, full: u64) -> u64 {
        ((full as f64 * self.scale / 1000.0).round() as u64).max(1) * 1000
    }
}

/// A workload on some runtime.
pub type Workload = fn(&Setup) -> Report;

/// All workloads on runtime `R` under their names.
pub fn all<R: Channels + Datagrams>() -> Vec<(&'static str, Workload)> {
    vec![
        ("spawn_join", |s| per_op::<R, _>(s, 1_000_000, spawn::spawn_join::<R>)),
        ("skynet", spawn::skynet::<R>),
        ("yield", |s| per_op::<R, _>(s, 1_000_000, switch::yields::<R>)),
        ("chained_spawn", |s| per_op::<R, _>(s, 1_000_000, spawn::chained_spawn::<R>)),
        ("oneshot", |s| per_op::<R, _>(s, 500_000, switch::oneshot_ping_pong::<R>)),
        ("oneshot_own", |s| per_op::<R, _>(s, 500_000, oneshot::ping_pong::<R>)),
        ("oneshot_answer", |s| per_op::<R, _>(s, 500_000, oneshot::answers::<R>)),
        ("mutex_1", |s| per_op::<R, _>(s, 10_000_000, mutex::alone::<R>)),
        ("mutex_8", |s| per_op::<R, _>(s, 4_000_000, mutex::contended::<R>)),
        ("pp", |s| per_op::<R, _>(s, 500_000, switch::slot_ping_pong::<R>)),
        ("sjw1000", |s| per_op::<R, _>(s, 300_000, spawn::spawn_join_working::<R, 1_000>)),
        ("fork2_5000", |s| per_op::<R, _>(s, 40_000, spawn::fork2::<R, 5_000>)),
        ("sig20000", |s| per_op::<R, _>(s, 10_000, switch::signal::<R, 20_000>)),
        ("spawn_many_local", |s| per_op::<R, _>(s, 500_000, spawn::spawn_many_local::<R>)),
        ("spawn_many_remote_idle", remote::idle::<R>),
        ("spawn_many_remote_busy1", remote::busy_yielding::<R>),
        ("spawn_many_remote_busy2", remote::busy_spawning::<R>),
        ("yield_many", |s| per_op::<R, _>(s, 1_000_000, switch::yield_many::<R>)),
        ("ping_pong", |s| per_op::<R, _>(s, 200_000, spawn::ping_pong::<R>)),
        ("timers", timers::storm::<R>),
        ("timer_cancel", |s| per_op::<R, _>(s, 500_000, timers::create_and_cancel::<R>)),
        ("timeout_ready", |s| per_op::<R, _>(s, 2_000_000, timers::timeout_ready::<R>)),
        ("lateness", timers::lateness::<R>),
        ("parked_100k", |s| memory::parked::<R>(s, 100_000)),
        ("parked_1M", |s| memory::parked::<R>(s, 1_000_000)),
        ("idle", idle::idle::<R>),
        ("stall_spin", |s| stall::tasks::<R>(s, Hog::Spin)),
        ("stall_sleep", |s| stall::tasks::<R>(s, Hog::Sleep)),
        ("stall_mutex", |s| stall::tasks::<R>(s, Hog::Mutex)),
        ("chan_pp", |s| per_op::<R, _>(s, 500_000, chan::ping_pong::<R>)),
        ("chan_1to1", |s| per_op::<R, _>(s, 2_000_000, chan::one_to_one::<R>)),
        ("chan_4to4", |s| per_op::<R, _>(s, 2_000_000, chan::four_to_four::<R>)),
        ("udp_pp", |s| per_op::<R, _>(s, 100_000, udp::echo::<R, 1>)),
        ("udp_echo", |s| per_op::<R, _>(s, 200_000, udp::echo::<R, 20>)),
    ]
}

/// The workload called `name`.
pub fn find<R: Channels + Datagrams>(name: &str) -> Option<Workload> {
    let found = all::<R>().into_iter().find(|(n, _)| *n == name);
    found.map(|(_, workload)| workload)
}

/// Runs `work` as the root task: a tenth for warm-up, then all of it under the stopwatch.
pub fn per_op<R, F>(setup: &Setup, full: u64, work: impl Fn(u64) -> F + Send + 'static) -> Report
where
    R: Rt,
    F: Future<Output = u64> + Send + 'static,
{
    let n = setup.scaled(full);
    let (elapsed, ops) = R::run(setup.procs, async move {
        work((n / 10_000).max(1) * 1000).await;
        let watch = Stopwatch::start();
        let ops = work(n).await;
        (watch.stop(), ops)
    });
    elapsed.per_op(ops).with("peak_mib", peak_resident_bytes() as f64 / 1048576.0)
}
