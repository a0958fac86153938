//! What the scheduler counts. Each cell has one writer, the owner of its P,
//! so counting is a plain add; readers get a recent value, not a consistent cut.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::Sched;
use super::g::VTable;
use super::latency::{Latencies, LatencyHistogram};
use crate::stack;
use crate::util::fence;

/// Written by the P's owner, read by anyone. One more, for threads without a P, is written by all
/// of them, with atomic additions.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Dispatches. Go: schedtick.
    pub(super) dispatches: AtomicU64,
    /// Gs that only the owner can see: twice the spawned ones, and 1 if there is a woken one. A
    /// hint for thieves and sysmon.
    pub(super) hidden: AtomicU32,
    /// Dispatches take long here, on the average of the last look: fair turns come more often.
    /// Written by sysmon.
    pub(super) slow: AtomicBool,
    /// Gs created here: tasks, goroutines.
    pub(super) spawns: [AtomicU64; 2],
    /// Gs that ended here: tasks, goroutines.
    pub(super) ends: [AtomicU64; 2],
    /// Successful steals.
    pub(super) steals: AtomicU64,
    /// Times sysmon took this P from an M that was away. Written by sysmon.
    pub(super) retakes: AtomicU64,
    /// Times the owner gave this P up before it had run dry.
    pub(super) handoffs: AtomicU64,
    /// Timers that have fired at the owner's hand.
    pub(super) timers: AtomicU64,
    /// Times this P went idle.
    pub(super) parks: AtomicU64,
    /// Polls of the netpoller.
    pub(super) netpolls: AtomicU64,
    /// How long Gs waited that were dispatched here.
    pub(super) latencies: Latencies,
}

/// Adds to a counter; only the P's owner may.
#[inline]
pub(super) fn bump(counter: &AtomicU64) {
    // Relaxed: one writer; readers want statistics.
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// As `bump`, by more than one.
#[inline]
pub(super) fn add(counter: &AtomicU64, n: u64) {
    // Relaxed: as above.
    counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}

impl Counters {
    /// The counter of spawns for this kind of G.
    #[inline]
    pub(super) fn spawns_of(&self, vtable: &VTable) -> &AtomicU64 {
        &self.spawns[usize::from(vtable.is_goroutine)]
    }

    /// The counter of ends for this kind of G.
    #[inline]
    pub(super) fn ends_of(&self, vtable: &VTable) -> &AtomicU64 {
        &self.ends[usize::from(vtable.is_goroutine)]
    }

    /// Dispatches so far, as a hint.
    #[inline]
    pub(super) fn dispatches(&self) -> u64 {
        read(&self.dispatches)
    }

    /// Gs that only the owner can see, as a hint.
    fn hidden_gs(&self) -> usize {
        let hidden = self.hidden.load(Ordering::Relaxed); // Relaxed: a hint
        (hidden >> 1) as usize + (hidden & 1) as usize
    }

    /// Publishes what thieves cannot see.
    #[inline]
    pub(super) fn set_hidden(&self, n: u32) {
        self.hidden.store(n, Ordering::Relaxed); // Relaxed: a hint
    }
}

/// A snapshot of a runtime's counters. See [`Handle::metrics`](crate::Handle::metrics). `{}` prints it as a
/// table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Ps: how many tasks may run at once.
    pub procs: usize,
    /// Ps that are idle.
    pub idle_procs: usize,
    /// Worker threads that exist.
    pub threads: usize,
    /// Worker threads that run a task or goroutine without a P, which was taken from them: others
    /// run beside them. Of those that compute there are at most `max(8, 4 * procs)`; those that sleep
    /// in a system call count as threads only (`Builder::max_threads`).
    pub detached: usize,
    /// Tasks of [`spawn_blocking`](crate::spawn_blocking) that run or wait for a thread.
    pub blocking: usize,
    /// Whether the kernel's `membarrier` serves the threads' way in and out of the scheduler. If it
    /// is refused (seccomp), each such way costs a memory fence, some 10 ns.
    pub membarrier: bool,
    /// Worker threads that look for work.
    pub spinning: usize,
    /// Tasks that have been spawned and have not ended.
    pub tasks: usize,
    /// Goroutines that have been started and have not ended.
    pub goroutines: usize,
    /// Tasks and goroutines in the global queue.
    pub global_queue: usize,
    /// Tasks and goroutines created so far.
    pub spawned: u64,
    /// Bytes of address space made usable for goroutine stacks, guards included, over all runtimes
    /// of the process. What was touched of it is resident.
    pub stack_memory: usize,
    /// Bytes of task memory held from the allocator.
    pub task_memory: usize,
    /// Tasks and goroutines reported to [`Builder::on_stuck`](crate::Builder::on_stuck).
    pub stuck: u64,
    /// Timers that are armed.
    pub timers: usize,
    /// How long tasks and goroutines wait until they run.
    pub latency: LatencyHistogram,
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
    /// Times sysmon took this P from a thread that computed or blocked for 10 ms, or was in a
    /// [`syscall`](crate::syscall) for 1 ms, while others could use it.
    pub retakes: u64,
    /// Times a thread gave this P up although it had not run dry: before it blocked, at the end of
    /// a round of `block_on`, or to a thread that could not do without.
    pub handoffs: u64,
    /// Timers that fired at the hand of the thread that held it.
    pub timers_fired: u64,
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
    fn sum(&self, counter: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        let ps: u64 = self.ps.iter().map(|p| read(counter(&p.counters))).sum();
        ps + read(counter(&self.outside))
    }

    fn ended(&self, kind: usize) -> u64 {
        self.sum(|c| &c.ends[kind])
    }

    /// Gs that have been created and have not ended.
    pub(super) fn live(&self) -> usize {
        let live = |kind| self.sum(|c| &c.spawns[kind]).saturating_sub(self.ended(kind));
        (live(0) + live(1)) as usize
    }

    /// The counters of each P.
    pub(crate) fn proc_metrics(&self) -> Vec<ProcMetrics> {
        self.ps.iter().take(self.ps.procs()).map(proc_metrics).collect()
    }

    /// A snapshot; blocks nobody but an M that goes idle, for a moment.
    pub(crate) fn metrics(&self) -> Metrics {
        let per_proc = self.proc_metrics();
        let spawned = [0, 1].map(|kind| self.sum(|c| &c.spawns[kind]));
        let live = |kind: usize| spawned[kind].saturating_sub(self.ended(kind)) as usize;
        let idle = self.idle.counts();
        Metrics {
            procs: self.ps.procs(),
            idle_procs: idle.procs,
            threads: self.idle.workers(),
            detached: self.detached(),
            blocking: self.idle.lock().blocking.len(),
            membarrier: fence::is_asymmetric(),
            spinning: idle.spinning,
            tasks: live(0),
            goroutines: live(1),
            global_queue: self.global.len(),
            spawned: spawned.iter().sum(),
            stack_memory: stack::pool::stats().iter().map(|s| s.committed_bytes()).sum(),
            task_memory: self.heap.bytes(),
            stuck: self.stuck_count(),
            timers: self.ps.iter().map(|p| p.timers.armed()).sum(),
            latency: self.latency(),
            per_proc,
        }
    }
}

fn proc_metrics(p: &super::p::P) -> ProcMetrics {
    let c = &p.counters;
    ProcMetrics {
        dispatches: read(&c.dispatches),
        steals: read(&c.steals),
        retakes: read(&c.retakes),
        handoffs: read(&c.handoffs),
        timers_fired: read(&c.timers),
        parks: read(&c.parks),
        netpolls: read(&c.netpolls),
        // Relaxed: statistics.
        queue: p.stealers.len() + c.hidden_gs(),
        running: !p.owner.load(Ordering::Relaxed).is_null(), // Relaxed: statistics
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed) // Relaxed: statistics
}
