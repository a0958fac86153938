//! Metrics as text.

use std::fmt;

use super::stats::{Metrics, ProcMetrics};

/// The columns of the table of Ps.
const COLUMNS: [&str; 10] = [
    "P",
    "status",
    "dispatches",
    "steals",
    "retakes",
    "hand-offs",
    "timers",
    "parks",
    "netpolls",
    "queue",
];

/// All fields: a line for each, then how long the quickest half, 90 % and 99 % of the sampled
/// dispatches and all of them were waited for at most, and then a table with a line per P. The names
/// and the order of the lines stay as they are; there may be more of them.
///
/// # Examples
/// ```
/// let runtime = gort::Builder::new().procs(2).build()?;
/// print!("{}", runtime.handle().metrics());
/// # Ok::<(), std::io::Error>(())
/// ```
/// ```text
/// procs                     2
/// idle procs                1
/// threads                   3
/// ...
/// latency p99         8.192µs
/// latency max       131.072µs
///
/// P   status  dispatches  steals  retakes  hand-offs  timers  parks  netpolls  queue
/// 0  running        1042       3        0          1       0     17        40      0
/// 1     idle         968       5        0          0       0     21        38      0
/// ```
impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines();
        let names = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let values = lines.iter().map(|(_, value)| width(value)).max().unwrap_or(0);
        for (name, value) in lines {
            writeln!(f, "{name:names$}  {value:>values$}")?;
        }
        f.write_str("\n")?;
        let ps = self.per_proc.iter().enumerate().map(|(id, p)| p.cells(id));
        print_table(f, &[COLUMNS.map(str::to_owned)].into_iter().chain(ps).collect::<Vec<_>>())
    }
}

impl Metrics {
    fn lines(&self) -> [(&'static str, String); 20] {
        let within = |share| format!("{:?}", self.latency.quantile(share));
        [
            ("procs", self.procs.to_string()),
            ("idle procs", self.idle_procs.to_string()),
            ("threads", self.threads.to_string()),
            ("spinning", self.spinning.to_string()),
            ("detached", self.detached.to_string()),
            ("blocking", self.blocking.to_string()),
            ("membarrier", if self.membarrier { "yes" } else { "no" }.to_owned()),
            ("tasks", self.tasks.to_string()),
            ("goroutines", self.goroutines.to_string()),
            ("spawned", self.spawned.to_string()),
            ("global queue", self.global_queue.to_string()),
            ("timers", self.timers.to_string()),
            ("stuck", self.stuck.to_string()),
            ("task memory", self.task_memory.to_string()),
            ("stack memory", self.stack_memory.to_string()),
            ("latency samples", self.latency.count().to_string()),
            ("latency p50", within(0.5)),
            ("latency p90", within(0.9)),
            ("latency p99", within(0.99)),
            ("latency max", within(1.0)),
        ]
    }
}

impl ProcMetrics {
    fn cells(&self, id: usize) -> [String; COLUMNS.len()] {
        [
            id.to_string(),
            if self.running { "running" } else { "idle" }.to_owned(),
            self.dispatches.to_string(),
            self.steals.to_string(),
            self.retakes.to_string(),
            self.handoffs.to_string(),
            self.timers_fired.to_string(),
            self.parks.to_string(),
            self.netpolls.to_string(),
            self.queue.to_string(),
        ]
    }
}

/// Each column as wide as its widest cell, two spaces apart.
fn print_table<const N: usize>(f: &mut fmt::Formatter<'_>, rows: &[[String; N]]) -> fmt::Result {
    let widths: [usize; N] =
        std::array::from_fn(|i| rows.iter().map(|row| width(&row[i])).max().unwrap_or(0));
    for row in rows {
        for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
            let gap = if i == 0 { "" } else { "  " };
            write!(f, "{gap}{cell:>width$}")?;
        }
        f.write_str("\n")?;
    }
    Ok(())
}

fn width(text: &str) -> usize {
    text.chars().count()
}
