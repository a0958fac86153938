//! What the scheduler counts. Each cell has one writer, the owner of its P,
//! so counting is a plain add; readers get a recent value, not a consistent cut.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::Sched;

/// Written by the P's owner, read by anyone.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Dispatches. Go: schedtick.
    pub(super) dispatches: AtomicU64,
    /// Gs that only the owner can see (`Local::hidden`): a hint for thieves and sysmon.
    pub(super) hidden: AtomicU32,
    /// Gs created here.
    pub(super) spawns: AtomicU64,
    /// Gs that ended here.
    pub(super) ends: AtomicU64,
    /// Successful steals.
    pub(super) steals: AtomicU64,
    /// Times this P went idle.
    pub(super) parks: AtomicU64,
    /// Polls of the netpoller.
    pub(super) netpolls: AtomicU64,
}

/// Adds to a counter; only the P's owner may.
#[inline]
pub(super) fn bump(counter: &AtomicU64) {
    // Relaxed: one writer; readers want statistics.
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl Counters {
    /// Publishes what thieves cannot see.
    #[inline]
    pub(super) fn set_hidden(&self, n: u32) {
        self.hidden.store(n, Ordering::Relaxed); // Relaxed: a hint
    }
}

/// A snapshot of a runtime's counters. See [`Handle::metrics`](crate::Handle::metrics).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Ps: how many tasks may run at once.
    pub procs: usize,
    /// Ps that are idle.
    pub idle_procs: usize,
    /// Worker threads that exist.
    pub threads: usize,
    /// Worker threads that look for work.
    pub spinning: usize,
    /// Tasks that have been spawned and have not ended.
    pub tasks: usize,
    /// Tasks in the global queue.
    pub global_queue: usize,
    /// Tasks spawned so far.
    pub spawned: u64,
    /// Bytes of task memory held from the allocator.
    pub task_memory: usize,
    /// One entry per P.
    pub per_proc: Vec<ProcMetrics>,
}

/// The counters of one P. See [`Metrics`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcMetrics {
    /// Times a task was run.
    pub dispatches: u64,
    /// Successful steals from other Ps.
    pub steals: u64,
    /// Times this P went idle.
    pub parks: u64,
    /// Polls of the netpoller.
    pub netpolls: u64,
    /// Tasks in its queues.
    pub queue: usize,
    /// Whether a thread holds it.
    pub running: bool,
}

impl Sched {
    /// A snapshot; blocks nobody but an M that goes idle, for a moment.
    pub(crate) fn metrics(&self) -> Metrics {
        let per_proc: Vec<ProcMetrics> = self.ps.iter().map(proc_metrics).collect();
        let sum = |f: fn(&Counters) -> &AtomicU64| -> u64 {
            self.ps.iter().map(|p| read(f(&p.counters))).sum()
        };
        let spawned = sum(|c| &c.spawns) + read(&self.outside.spawns);
        let ended = sum(|c| &c.ends) + read(&self.outside.ends);
        let idle = self.idle.counts();
        Metrics {
            procs: self.ps.len(),
            idle_procs: idle.procs,
            threads: self.idle.threads(),
            spinning: idle.spinning,
            tasks: spawned.saturating_sub(ended) as usize,
            global_queue: self.global.len(),
            spawned,
            task_memory: self.heap.bytes(),
            per_proc,
        }
    }
}

fn proc_metrics(p: &super::p::P) -> ProcMetrics {
    let c = &p.counters;
    ProcMetrics {
        dispatches: read(&c.dispatches),
        steals: read(&c.steals),
        parks: read(&c.parks),
        netpolls: read(&c.netpolls),
        // Relaxed: statistics.
        queue: p.stealers.len() + c.hidden.load(Ordering::Relaxed) as usize,
        running: !p.owner.load(Ordering::Relaxed).is_null(), // Relaxed: statistics
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed) // Relaxed: statistics
}
