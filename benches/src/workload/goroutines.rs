//! The workloads in blocking style, written once for all stackful runtimes.

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::site::site;
use super::stall::{self, Hog};
use super::{Setup, Workload, chan, mutex, udp};
use crate::chan::BlockingChannels;
use crate::measure::{Stopwatch, memory_bytes, page_table_bytes, peak_resident_bytes};
use crate::udp::BlockingDatagrams;
use crate::{Co, Report};

/// Goroutines that exist at once in [`spawn_join`].
const BATCH: u64 = 1000;

/// All workloads on coroutines `C` under their names.
pub fn all<C: BlockingChannels + BlockingDatagrams>() -> Vec<(&'static str, Workload)> {
    vec![
        ("go_spawn_join", |s| per_op::<C>(s, s.scaled(1_000_000), spawn_join::<C>)),
        ("go_skynet", skynet::<C>),
        ("go_yield", |s| per_op::<C>(s, s.scaled(1_000_000), yields::<C>)),
        ("go_mutex_1", |s| per_op::<C>(s, s.scaled(10_000_000), mutex::alone_blocking::<C>)),
        ("go_mutex_8", |s| per_op::<C>(s, s.scaled(4_000_000), mutex::contended_blocking::<C>)),
        ("go_parked_100k", |s| parked::<C>(s, 100_000)),
        ("go_parked_1M", |s| parked::<C>(s, 1_000_000)),
        ("go_stall_spin", |s| stall::coroutines::<C>(s, Hog::Spin)),
        ("go_stall_sleep", |s| stall::coroutines::<C>(s, Hog::Sleep)),
        ("go_stall_mutex", |s| stall::coroutines::<C>(s, Hog::Mutex)),
        ("go_site_25", site::<C, 25>),
        ("go_site_100", site::<C, 100>),
        ("go_chan_pp", |s| per_op::<C>(s, s.scaled(500_000), chan::blocking_ping_pong::<C>)),
        ("go_chan_1to1", |s| per_op::<C>(s, s.scaled(2_000_000), chan::blocking_one_to_one::<C>)),
        ("go_chan_4to4", |s| per_op::<C>(s, s.scaled(2_000_000), chan::blocking_four_to_four::<C>)),
        ("go_udp_pp", |s| per_op::<C>(s, s.scaled(100_000), udp::echo_blocking::<C, 1>)),
        ("go_udp_echo", |s| per_op::<C>(s, s.scaled(200_000), udp::echo_blocking::<C, 20>)),
    ]
}

/// The workload called `name`.
pub fn find<C: BlockingChannels + BlockingDatagrams>(name: &str) -> Option<Workload> {
    let found = all::<C>().into_iter().find(|(n, _)| *n == name);
    found.map(|(_, workload)| workload)
}

/// Runs `work` as the root: a tenth of `n` for warm-up, then all of it under the stopwatch.
fn per_op<C: Co>(setup: &Setup, n: u64, work: impl Fn(u64) -> u64 + Send + 'static) -> Report {
    let (elapsed, ops) = C::run(setup.procs, move || {
        work((n / 10_000).max(1) * 1000);
        let watch = Stopwatch::start();
        let ops = work(n);
        (watch.stop(), ops)
    });
    elapsed.per_op(ops).with("peak_mib", peak_resident_bytes() as f64 / 1048576.0)
}

/// Starts `n` goroutines that return at once, a thousand at a time, and joins each.
pub fn spawn_join<C: Co>(n: u64) -> u64 {
    let mut handles = Vec::with_capacity(BATCH as usize);
    let mut sum = 0;
    for _ in 0..n / BATCH {
        handles.extend((0..BATCH).map(|i| C::go(move || i)));
        sum += handles.drain(..).map(C::join).sum::<u64>();
    }
    assert_eq!(sum, n / BATCH * (BATCH * (BATCH - 1) / 2));
    n / BATCH * BATCH
}

/// A thousand goroutines that yield in turn, `n` yields in all.
pub fn yields<C: Co>(n: u64) -> u64 {
    let each = n / 1000;
    let handles: Vec<_> =
        (0..1000).map(|_| C::go(move || (0..each).for_each(|_| C::yield_now()))).collect();
    handles.into_iter().for_each(C::join);
    each * 1000
}

/// Skynet as in [`spawn`](super::spawn::skynet), with one more size, for runtimes that cannot do the others: 10,000 leaves
/// at a scale below 0.05.
pub fn skynet<C: Co>(setup: &Setup) -> Report {
    let leaves: u64 = match setup.scale {
        ..0.05 => 10_000,
        ..0.5 => 100_000,
        _ => 1_000_000,
    };
    let units = (0..=leaves.ilog10()).map(|level| 10_u64.pow(level)).sum::<u64>();
    per_op::<C>(setup, leaves, skynet_tree::<C>).with("units", units as f64)
}

fn skynet_tree<C: Co>(leaves: u64) -> u64 {
    let sum = C::join(C::go(move || skynet_node::<C>(0, leaves)));
    assert_eq!(sum, leaves * (leaves - 1) / 2);
    leaves
}

fn skynet_node<C: Co>(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let share = leaves / 10;
    let child = |i| C::go(move || skynet_node::<C>(first + i as u64 * share, share));
    let children: [_; 10] = array::from_fn(child);
    children.into_iter().map(C::join).sum()
}

/// Parks `n` goroutines at a gate, weighs them, opens the gate and joins them all.
pub fn parked<C: Co>(setup: &Setup, n: u64) -> Report {
    C::run(setup.procs, move || {
        let _first = Crowd::<C>::park(1000);
        let (memory, tables) = (memory_bytes(), page_table_bytes());
        let create = Stopwatch::start();
        let crowd = Crowd::<C>::park(n);
        let created = create.stop();
        let memory_grown = memory_bytes() - memory;
        let tables_grown = page_table_bytes() - tables;
        let wake = Stopwatch::start();
        crowd.release();
        let woken = wake.stop();
        created
            .per_op(n)
            .with("bytes", memory_grown as f64 / n as f64)
            .with("table_bytes", tables_grown as f64 / n as f64)
            .with("wake_ns", woken.wall.as_nanos() as f64 / n as f64)
    })
}

/// Goroutines that wait at one gate.
struct Crowd<C: Co> {
    gate: Arc<C::Gate>,
    handles: Vec<C::JoinHandle<()>>,
}

impl<C: Co> Crowd<C> {
    fn park(n: u64) -> Self {
        let gate = Arc::new(C::Gate::default());
        let there = Arc::new(AtomicU64::new(0));
        let waiter = |_| {
            let (gate, there) = (Arc::clone(&gate), Arc::clone(&there));
            C::go(move || {
                // Relaxed: a statistic; the counting goroutine only waits for its value.
                there.fetch_add(1, Ordering::Relaxed);
                drop(there);
                C::pass(&gate);
            })
        };
        let handles = (0..n).map(waiter).collect();
        // Relaxed: see above.
        while there.load(Ordering::Relaxed) < n {
            C::yield_now();
        }
        Self { gate, handles }
    }

    fn release(self) {
        C::open(&self.gate);
        self.handles.into_iter().for_each(C::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::co::{GortGo, May};

    fn small<C: Co>() {
        C::run(2, || {
            assert_eq!(spawn_join::<C>(2000), 2000);
            assert_eq!(yields::<C>(2000), 2000);
            assert_eq!(skynet_tree::<C>(100), 100);
            Crowd::<C>::park(100).release();
        });
    }

    #[test]
    fn on_gort() {
        small::<GortGo>();
    }

    #[test]
    fn on_may() {
        small::<May>();
    }
}
