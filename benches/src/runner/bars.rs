//! The rows of the table and the bars gort has set itself.

use crate::runner::cells::GOROUTINES;

/// A limit on gort's median.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// At most this much of the best peer's, where less is better.
    OfBestPeer(f64),
    /// At least this much of the best peer's, where more is better.
    AtLeastOfBestPeer(f64),
    /// At most this much of gort's own with one processor.
    OfOneProc(f64),
    /// At most this much, whatever the others do.
    AtMost(f64),
    /// Goroutines take at most this much of what gort's tasks take, where less is better.
    GoroutinesOfTasks(f64),
    /// Goroutines do at least this much of what gort's tasks do, where more is better.
    GoroutinesAtLeastOfTasks(f64),
    /// Goroutines take at most this much of the best of Go and may, where less is better.
    GoroutinesOfBestPeer(f64),
    /// At most this much of one peer's.
    Of(&'static str, f64),
}

/// A metric of a workload that the table shows.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The workload.
    pub workload: &'static str,
    /// The metric in its report.
    pub metric: &'static str,
    /// Bars with one processor.
    pub one: &'static [Bar],
    /// Bars with two processors.
    pub two: &'static [Bar],
}

impl Row {
    /// Whether a larger value is the better one.
    pub fn more_is_better(&self) -> bool {
        self.metric.ends_with("req_per_s")
    }

    /// The runtime that the row is about.
    pub fn subject(&self) -> &'static str {
        if self.is_blocking() { "gort-go" } else { "gort" }
    }

    /// Whom it is compared with.
    pub fn peers(&self) -> &'static [&'static str] {
        if self.is_blocking() {
            GOROUTINE_PEERS
        } else if self.workload.starts_with("select") {
            &["go", "crossbeam"]
        } else {
            &["tokio", "smol", "go"]
        }
    }

    fn is_blocking(&self) -> bool {
        self.workload.starts_with(GOROUTINES)
    }

    /// The bars with `procs` processors.
    pub fn bars(&self, procs: usize) -> &'static [Bar] {
        if procs == 1 { self.one } else { self.two }
    }
}

/// Whom goroutines are compared with.
pub const GOROUTINE_PEERS: &[&str] = &["go", "may"];

use Bar::{
    AtLeastOfBestPeer, AtMost, GoroutinesAtLeastOfTasks, GoroutinesOfBestPeer, GoroutinesOfTasks,
    Of, OfBestPeer, OfOneProc,
};

const fn row(
    workload: &'static str,
    metric: &'static str,
    one: &'static [Bar],
    two: &'static [Bar],
) -> Row {
    Row { workload, metric, one, two }
}

/// The rows of the workloads inside one process.
///
/// The absolute limits on the first four are alarm lines for a machine with two cores at about 3 GHz: more means that a lock,
/// a list, a clock or a malloc has crept in. A parked task may cost 160 bytes beside its future, which has 16; a
/// parked goroutine 4.6 KiB, page tables included.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("spawn_join", "wall_ns", &[OfBestPeer(0.4), AtMost(130.0)], &[OfBestPeer(0.3), OfOneProc(1.1), AtMost(130.0)]),
    row("skynet", "wall_ns", &[OfBestPeer(0.2), AtMost(110.0)], &[OfBestPeer(0.1), OfOneProc(1.0), AtMost(60.0)]),
    row("skynet", "peak_mib", &[], &[]),
    row("yield", "wall_ns", &[OfBestPeer(0.5), AtMost(40.0)], &[OfBestPeer(0.5), AtMost(25.0)]),
    row("oneshot", "wall_ns", &[OfBestPeer(0.5)], &[OfBestPeer(0.5)]),
    row("oneshot_own", "wall_ns", &[OfBestPeer(0.5)], &[OfBestPeer(0.5)]),
    row("oneshot_answer", "wall_ns", &[], &[]),
    row("mutex_1", "wall_ns", &[Of("go", 1.0)], &[Of("go", 1.0)]),
    row("mutex_8", "wall_ns", &[Of("go", 1.0)], &[Of("go", 1.0)]),
    row("pp", "wall_ns", &[AtMost(170.0)], &[AtMost(170.0)]),
    row("sjw1000", "wall_ns", &[], &[OfOneProc(1.0 / 1.7)]),
    row("fork2_5000", "wall_ns", &[], &[OfOneProc(0.7)]),
    row("sig20000", "wall_ns", &[], &[OfOneProc(0.75)]),
    row("spawn_many_local", "wall_ns", &[], &[]),
    row("spawn_many_remote_idle", "wall_ns", &[], &[]),
    row("spawn_many_remote_busy1", "wall_ns", &[], &[]),
    row("spawn_many_remote_busy2", "wall_ns", &[], &[]),
    row("yield_many", "wall_ns", &[], &[]),
    row("ping_pong", "wall_ns", &[], &[]),
    row("chained_spawn", "wall_ns", &[], &[]),
    row("timers", "cpu_ms", &[OfBestPeer(0.6)], &[OfBestPeer(0.6)]),
    row("timers", "wall_ms", &[], &[]),
    row("timer_cancel", "cpu_ns", &[OfBestPeer(0.6)], &[OfBestPeer(0.6)]),
    row("timeout_ready", "cpu_ns", &[OfBestPeer(0.6)], &[OfBestPeer(0.6)]),
    row("lateness", "late_p50_us", &[AtMost(100.0)], &[AtMost(100.0)]),
    row("lateness", "late_p99_us", &[], &[]),
    row("parked_100k", "bytes", &[AtMost(176.0)], &[AtMost(176.0)]),
    row("parked_1M", "bytes", &[AtMost(176.0)], &[AtMost(176.0)]),
    row("idle", "wakeups_per_s", &[AtMost(2.0)], &[AtMost(2.0)]),
    row("idle", "cpu_us_per_s", &[AtMost(100.0)], &[AtMost(100.0)]),
    row("stall_spin", "gap_ms", STALL, STALL),
    row("stall_sleep", "gap_ms", STALL, STALL),
    row("stall_mutex", "gap_ms", STALL, STALL),
    row("go_spawn_join", "wall_ns", &[Of("go", 0.4)], &[Of("go", 0.4)]),
    row("go_skynet", "wall_ns", &[Of("go", 0.4)], &[Of("go", 0.4)]),
    row("go_skynet", "peak_mib", &[], &[]),
    row("go_yield", "wall_ns", &[Of("go", 0.5)], &[Of("go", 0.5), Of("may", 1.0)]),
    row("go_mutex_1", "wall_ns", &[Of("go", 1.0)], &[Of("go", 1.0)]),
    row("go_mutex_8", "wall_ns", &[Of("go", 1.0)], &[Of("go", 1.0)]),
    row("go_parked_100k", "wall_ns", &[], &[]),
    row("go_parked_100k", "bytes", &[AtMost(4710.4)], &[AtMost(4710.4)]),
    row("go_parked_100k", "wake_ns", &[], &[]),
    row("go_parked_1M", "wall_ns", &[AtMost(1500.0)], &[AtMost(1500.0)]),
    row("go_parked_1M", "bytes", &[AtMost(4710.4)], &[AtMost(4710.4)]),
    row("go_parked_1M", "table_bytes", &[], &[]),
    row("go_parked_1M", "wake_ns", &[], &[]),
    row("go_stall_spin", "gap_ms", STALL, STALL),
    row("go_stall_sleep", "gap_ms", STALL, STALL),
    row("go_stall_mutex", "gap_ms", STALL, STALL),
    row("go_site_25", "gap_p50_ms", &[], &[]),
    row("go_site_25", "gap_p99_ms", &[], &[]),
    row("go_site_25", "gap_max_ms", &[], &[]),
    row("go_site_25", "start_p99_ms", &[], &[]),
    row("go_site_100", "gap_p50_ms", &[], &[]),
    row("go_site_100", "gap_p99_ms", &[], &[]),
    row("go_site_100", "gap_max_ms", &[], &[]),
    row("go_site_100", "start_p99_ms", &[], &[]),
    row("chan_pp", "wall_ns", &[OfBestPeer(0.5)], &[OfBestPeer(0.5)]),
    row("chan_1to1", "wall_ns", &[Of("go", 0.8)], &[Of("go", 0.8)]),
    row("chan_4to4", "wall_ns", &[Of("go", 0.8)], &[Of("go", 0.8)]),
    row("go_chan_pp", "wall_ns", &[OfBestPeer(0.5)], &[OfBestPeer(0.5)]),
    row("go_chan_1to1", "wall_ns", &[Of("go", 0.8)], &[Of("go", 0.8)]),
    row("go_chan_4to4", "wall_ns", &[Of("go", 0.8)], &[Of("go", 0.8)]),
    row("udp_pp", "wall_ns", &[], &[]),
    row("udp_echo", "wall_ns", &[OfBestPeer(1.0)], &[OfBestPeer(1.0)]),
    row("go_udp_pp", "wall_ns", &[], &[]),
    row("go_udp_echo", "wall_ns", &[OfBestPeer(1.0)], &[OfBestPeer(1.0)]),
    row("select2", "wall_ns", SELECT, SELECT),
    row("select8", "wall_ns", SELECT, SELECT),
    row("select64", "wall_ns", SELECT, SELECT),
    row("select_ready2", "wall_ns", SELECT, SELECT),
    row("select_ready8", "wall_ns", SELECT, SELECT),
    row("select_ready64", "wall_ns", SELECT, SELECT),
];

/// Two hogs may each run for one tick of sysmon (10 ms) before they lose their P, and the kernel takes its share.
const STALL: &[Bar] = &[AtMost(25.0)];

/// The rows of each echo cell.
#[rustfmt::skip]
const ECHO_ROWS: &[Row] = &[
    row("", "cpu_us", ECHO_CPU, ECHO_CPU),
    row("", "req_per_s", ECHO_RATE, ECHO_RATE),
    row("", "p50_us", &[], &[]),
    row("", "p99_us", &[OfBestPeer(1.0)], &[OfBestPeer(1.0)]),
    row("", "p99.9_us", &[], &[]),
];

/// The rows of hyper and axum. What the sleeping handler costs the others is a matter of tens of milliseconds.
#[rustfmt::skip]
const HTTP_ROWS: &[Row] = &[
    row("http_64", "req_per_s", HTTP_RATE, HTTP_RATE),
    row("http_64", "cpu_us", &[OfBestPeer(1.0)], &[OfBestPeer(1.0)]),
    row("http_64", "p50_us", &[], &[]),
    row("http_64", "p99_us", &[Of("tokio", 1.0)], &[Of("tokio", 1.0)]),
    row("http2_1000", "req_per_s", HTTP_RATE, HTTP_RATE),
    row("http2_1000", "cpu_us", &[OfBestPeer(1.0)], &[OfBestPeer(1.0)]),
    row("http2_1000", "p50_us", &[], &[]),
    row("http2_1000", "p99_us", &[Of("tokio", 1.0)], &[Of("tokio", 1.0)]),
    row("http_nap", "p50_us", &[], &[]),
    row("http_nap", "p99_us", &[AtMost(30_000.0)], &[AtMost(30_000.0)]),
];

const HTTP_RATE: &[Bar] = &[AtLeastOfBestPeer(1.0)];
const SELECT: &[Bar] = &[OfBestPeer(1.0)];
const ECHO_CPU: &[Bar] = &[OfBestPeer(1.0), GoroutinesOfTasks(1.05), GoroutinesOfBestPeer(1.0)];
const ECHO_RATE: &[Bar] = &[AtLeastOfBestPeer(0.95), GoroutinesAtLeastOfTasks(0.95)];

/// All rows, in the order of the table.
pub fn rows() -> Vec<Row> {
    let names = ["echo_50x64", "echo_50x4096", "echo_1000x64", "echo_1000x4096"];
    let echo = names
        .into_iter()
        .flat_map(|name| ECHO_ROWS.iter().map(move |row| Row { workload: name, ..*row }));
    ROWS.iter().copied().chain(echo).chain(HTTP_ROWS.iter().copied()).collect()
}
