//! tokio's three `spawn_many_remote`: spawning from a thread that does not belong to the runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Setup;
use crate::measure::Stopwatch;
use crate::{Report, Rt};

/// How long a busy task keeps its worker, as in tokio's bench.
const STALL: Duration = Duration::from_micros(10);

/// The workers sleep when the foreign thread starts to spawn.
pub fn idle<R: Rt>(setup: &Setup) -> Report {
    let n = setup.scaled(200_000);
    R::with(setup.procs, |handle| measure::<R>(handle, n, 10_000))
}

/// Two tasks per worker compute and yield without end.
pub fn busy_yielding<R: Rt>(setup: &Setup) -> Report {
    let n = setup.scaled(2_000);
    R::with(setup.procs, |handle| {
        let busy = Busy::new();
        let tasks: Vec<_> = (0..2 * setup.procs)
            .map(|_| R::spawn_on(handle, busy.clone().yield_on::<R>()))
            .collect();
        let report = measure::<R>(handle, n, 1000);
        busy.end();
        tasks.into_iter().for_each(smol::future::block_on);
        report
    })
}

/// One task per worker computes and spawns its successor without end.
pub fn busy_spawning<R: Rt>(setup: &Setup) -> Report {
    let n = setup.scaled(2_000);
    R::with(setup.procs, |handle| {
        let busy = Busy::new();
        for _ in 0..setup.procs {
            let busy = busy.clone();
            R::finish(handle, async move { busy.spawn_on::<R>() });
        }
        let report = measure::<R>(handle, n, 1000);
        busy.end();
        report
    })
}

/// Spawns `n` tasks from the present thread, `round` at a time, and joins them in a task.
fn measure<R: Rt>(handle: &R::Handle, n: u64, round: u64) -> Report {
    let rounds = n.div_ceil(round);
    spawn_round::<R>(handle, round);
    let watch = Stopwatch::start();
    for _ in 0..rounds {
        spawn_round::<R>(handle, round);
    }
    watch.stop().per_op(rounds * round)
}

fn spawn_round<R: Rt>(handle: &R::Handle, round: u64) {
    let spawn = |_| R::spawn_on(handle, async {});
    let tasks: Vec<_> = (0..round).map(spawn).collect();
    R::finish(handle, async move {
        for task in tasks {
            task.await;
        }
    });
}

/// Tasks that keep the workers busy until told to end.
#[derive(Clone, Debug)]
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    fn end(&self) {
        // Relaxed: the flag carries no data, the tasks only have to see it some time.
        self.0.store(false, Ordering::Relaxed);
    }

    fn goes_on(&self) -> bool {
        // Relaxed: see `end`.
        self.0.load(Ordering::Relaxed)
    }

    async fn yield_on<R: Rt>(self) {
        while self.goes_on() {
            R::yield_now().await;
            stall();
        }
    }

    fn spawn_on<R: Rt>(self) {
        R::detach(async move {
            if self.goes_on() {
                stall();
                self.spawn_on::<R>();
            }
        });
    }
}

fn stall() {
    let start = Instant::now();
    while start.elapsed() < STALL {
        thread::yield_now();
    }
}
