//! A runtime's [metrics](crate::Metrics) for the [`metrics`] facade, and so for Prometheus, StatsD
//! and whatever else has a recorder for it.
//!
//! The scheduler counts in any case. This module reads its counters, at a pace that the caller
//! chooses, and hands them to the recorder that is installed; what runs in between pays nothing.
//!
//! Everything has the label `runtime`, the [name of the runtime's
//! threads](crate::Builder::thread_name): runtimes that are to be told apart need different ones.
//! What belongs to a P also has the label `p`, its number. What stands after the sign of equality is
//! the field of [`Metrics`] or [`ProcMetrics`] that it comes from.
//!
//! | name | kind | |
//! |---|---|---|
//! | `gort_procs` | gauge | = `procs` |
//! | `gort_idle_procs` | gauge | = `idle_procs` |
//! | `gort_threads` | gauge | = `threads` |
//! | `gort_spinning_threads` | gauge | = `spinning` |
//! | `gort_detached_threads` | gauge | = `detached` |
//! | `gort_blocking_tasks` | gauge | = `blocking` |
//! | `gort_tasks` | gauge | = `tasks` |
//! | `gort_goroutines` | gauge | = `goroutines` |
//! | `gort_global_queue` | gauge | = `global_queue` |
//! | `gort_timers` | gauge | = `timers` |
//! | `gort_task_bytes` | gauge | = `task_memory` |
//! | `gort_stack_bytes` | gauge, without `runtime` | = `stack_memory`, of all runtimes of the process |
//! | `gort_membarrier` | gauge, without `runtime` | = `membarrier`, as 0 or 1 |
//! | `gort_spawned_total` | counter | = `spawned` |
//! | `gort_stuck_total` | counter | = `stuck` |
//! | `gort_dispatches_total` | counter per P | = `dispatches` |
//! | `gort_steals_total` | counter per P | = `steals` |
//! | `gort_retakes_total` | counter per P | = `retakes` |
//! | `gort_handoffs_total` | counter per P | = `handoffs` |
//! | `gort_timers_fired_total` | counter per P | = `timers_fired` |
//! | `gort_parks_total` | counter per P | = `parks` |
//! | `gort_netpolls_total` | counter per P | = `netpolls` |
//! | `gort_queue` | gauge per P | = `queue` |
//! | `gort_running` | gauge per P | = `running`, as 0 or 1 |
//! | `gort_latency_seconds_bucket` | counter with the label `le` | = `latency`: samples of at most so many seconds |
//! | `gort_latency_seconds_count` | counter | = `latency`: all samples |
//!
//! The buckets are those of a Prometheus histogram, so the 99th percentile of the last minute is
//! `histogram_quantile(0.99, sum by (le) (rate(gort_latency_seconds_bucket[1m])))`. There is no sum.
//! Where [`Handle::set_procs`] has taken Ps away their last values stay.

use std::time::Duration;

use metrics::{Label, Unit, counter, describe_counter, describe_gauge, gauge};

use crate::time::interval;
use crate::{Handle, JoinHandle, LatencyHistogram, Metrics, ProcMetrics};

/// A metric: its name, its unit, what it is, and where to find it.
type Row<From, Value> = (&'static str, Unit, &'static str, fn(&From) -> Value);

const GAUGES: [Row<Metrics, usize>; 11] = [
    ("gort_procs", Unit::Count, "Ps: how many tasks may run at once", |m| m.procs),
    ("gort_idle_procs", Unit::Count, "Ps that are idle", |m| m.idle_procs),
    ("gort_threads", Unit::Count, "worker threads that exist", |m| m.threads),
    ("gort_spinning_threads", Unit::Count, "threads that look for work", |m| m.spinning),
    ("gort_detached_threads", Unit::Count, "threads that run without a P", |m| m.detached),
    ("gort_blocking_tasks", Unit::Count, "tasks of spawn_blocking", |m| m.blocking),
    ("gort_tasks", Unit::Count, "tasks that have not ended", |m| m.tasks),
    ("gort_goroutines", Unit::Count, "goroutines that have not ended", |m| m.goroutines),
    ("gort_global_queue", Unit::Count, "runnable, in the global queue", |m| m.global_queue),
    ("gort_timers", Unit::Count, "timers that are armed", |m| m.timers),
    ("gort_task_bytes", Unit::Bytes, "memory of tasks", |m| m.task_memory),
];

/// The same for all runtimes of the process.
const OF_THE_PROCESS: [Row<Metrics, usize>; 2] = [
    ("gort_stack_bytes", Unit::Bytes, "address space of goroutine stacks", |m| m.stack_memory),
    ("gort_membarrier", Unit::Count, "the kernel does the barriers", |m| m.membarrier.into()),
];

const COUNTERS: [Row<Metrics, u64>; 3] = [
    ("gort_spawned_total", Unit::Count, "tasks and goroutines created", |m| m.spawned),
    ("gort_stuck_total", Unit::Count, "stuck tasks and goroutines reported", |m| m.stuck),
    (LATENCY_COUNT, Unit::Count, "waits for a P that were sampled", |m| m.latency.count()),
];

const PROC_GAUGES: [Row<ProcMetrics, usize>; 2] = [
    ("gort_queue", Unit::Count, "tasks in the queues of the P", |p| p.queue),
    ("gort_running", Unit::Count, "a thread holds the P", |p| p.running.into()),
];

const PROC_COUNTERS: [Row<ProcMetrics, u64>; 7] = [
    ("gort_dispatches_total", Unit::Count, "times a task was run", |p| p.dispatches),
    ("gort_steals_total", Unit::Count, "successful steals", |p| p.steals),
    ("gort_retakes_total", Unit::Count, "times sysmon took the P", |p| p.retakes),
    ("gort_handoffs_total", Unit::Count, "times a thread gave the P up", |p| p.handoffs),
    ("gort_timers_fired_total", Unit::Count, "timers that fired", |p| p.timers_fired),
    ("gort_parks_total", Unit::Count, "times the P went idle", |p| p.parks),
    ("gort_netpolls_total", Unit::Count, "polls of the netpoller", |p| p.netpolls),
];

const LATENCY_COUNT: &str = "gort_latency_seconds_count";
const LATENCY_BUCKET: &str = "gort_latency_seconds_bucket";

/// Tells the installed recorder what the metrics are and what they are measured in. Once is enough,
/// after the recorder has been installed.
pub fn describe() {
    let gauges = GAUGES.iter().chain(&OF_THE_PROCESS);
    gauges.for_each(|&(name, unit, text, _)| describe_gauge!(name, unit, text));
    PROC_GAUGES.iter().for_each(|&(name, unit, text, _)| describe_gauge!(name, unit, text));
    COUNTERS.iter().for_each(|&(name, unit, text, _)| describe_counter!(name, unit, text));
    PROC_COUNTERS.iter().for_each(|&(name, unit, text, _)| describe_counter!(name, unit, text));
    describe_counter!(LATENCY_BUCKET, Unit::Count, "how long they waited, by seconds");
}

/// Hands a snapshot of the runtime's metrics to the installed recorder; without one it does nothing.
/// Blocks nobody; it takes some microseconds, and more of them with more Ps.
///
/// # Examples
/// ```
/// # fn install_some_recorder() {}
/// install_some_recorder();
/// let runtime = gort::Runtime::new()?;
/// gort::compat::metrics::describe();
/// gort::compat::metrics::record(&runtime.handle());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn record(handle: &Handle) {
    let metrics = handle.metrics();
    let of_runtime = [Label::new("runtime", handle.thread_name().to_owned())];
    record_all(&metrics, &OF_THE_PROCESS, &[], &[]);
    record_all(&metrics, &GAUGES, &COUNTERS, &of_runtime);
    for (id, p) in metrics.per_proc.iter().enumerate() {
        let labels = with(&of_runtime, Label::new("p", id.to_string()));
        record_all(p, &PROC_GAUGES, &PROC_COUNTERS, &labels);
    }
    record_latency(&metrics.latency, &of_runtime);
}

fn record_all<From>(
    from: &From,
    gauges: &[Row<From, usize>],
    counters: &[Row<From, u64>],
    labels: &[Label],
) {
    for &(name, _, _, value) in gauges {
        gauge!(name, labels.to_vec()).set(value(from) as f64);
    }
    for &(name, _, _, value) in counters {
        counter!(name, labels.to_vec()).absolute(value(from));
    }
}

/// Each bucket with all that are below it, as Prometheus has them.
fn record_latency(latency: &LatencyHistogram, labels: &[Label]) {
    let mut sum = 0;
    let bucket = |le: String| counter!(LATENCY_BUCKET, with(labels, Label::new("le", le)));
    let last = latency.buckets().count() - 1;
    for (i, (end, count)) in latency.buckets().enumerate() {
        sum += count;
        let le = if i == last { "+Inf".to_owned() } else { end.as_secs_f64().to_string() };
        bucket(le).absolute(sum);
    }
}

fn with(labels: &[Label], another: Label) -> Vec<Label> {
    labels.iter().cloned().chain([another]).collect()
}

/// [Records](record) the runtime's metrics now and every `period` from now on, in a task of that
/// runtime, until the [`Publisher`] is dropped or the runtime ends.
///
/// On a [paused](crate::time::pause) clock the period is one of that clock. While there is a
/// publisher there is a timer, so a [deadlock](crate::Builder::deadlock_detection) of all others is
/// not reported.
///
/// # Panics
/// If `period` is zero.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// let runtime = gort::Runtime::new()?;
/// let publisher = gort::compat::metrics::publish(&runtime.handle(), Duration::from_secs(10));
/// // ... the program ...
/// drop(publisher);
/// # Ok::<(), std::io::Error>(())
/// ```
#[track_caller]
pub fn publish(handle: &Handle, period: Duration) -> Publisher {
    assert!(!period.is_zero(), "`compat::metrics::publish`: the period must not be zero");
    let of = handle.clone();
    let task = handle.spawn(async move {
        let mut ticks = interval(period);
        loop {
            record(&of);
            ticks.tick().await;
        }
    });
    Publisher { task: Some(task) }
}

/// Publishes until it is dropped. See [`publish`].
#[derive(Debug)]
#[must_use = "dropping it ends the publishing"]
pub struct Publisher {
    /// None once it is detached.
    task: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Lets it go on until the runtime ends.
    pub fn detach(mut self) {
        self.task = None;
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.iter().for_each(JoinHandle::abort);
    }
}
