//! What a process can say about itself, and about another process: CPU time, memory, context switches.
//!
//! Wall time alone hides the cost of spinning and of a second core kept awake, so every timed section is measured by two
//! clocks: the monotonic one and the CPU time of the whole process, all threads included.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::Report;

/// CPU time used so far by all threads of this process.
pub fn process_cpu() -> Duration {
    let t = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec.try_into().unwrap_or(0), t.tv_nsec.try_into().unwrap_or(0))
}

/// Measures one section of a program on both clocks.
#[derive(Debug)]
pub struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

/// What a [`Stopwatch`] measured.
#[derive(Clone, Copy, Debug)]
pub struct Elapsed {
    /// Time on the wall.
    pub wall: Duration,
    /// CPU time of all threads of the process.
    pub cpu: Duration,
}

impl Stopwatch {
    /// Starts both clocks.
    pub fn start() -> Self {
        Self { cpu: process_cpu(), wall: Instant::now() }
    }

    /// Reads both clocks.
    pub fn stop(&self) -> Elapsed {
        Elapsed { wall: self.wall.elapsed(), cpu: process_cpu().saturating_sub(self.cpu) }
    }
}

impl Elapsed {
    /// `wall_ns` and `cpu_ns`, both per operation.
    pub fn per_op(&self, ops: u64) -> Report {
        let ops = ops.max(1) as f64;
        Report::new()
            .with("wall_ns", self.wall.as_nanos() as f64 / ops)
            .with("cpu_ns", self.cpu.as_nanos() as f64 / ops)
    }

    /// `wall_ms` and `cpu_ms` of the whole section.
    pub fn total(&self) -> Report {
        Report::new()
            .with("wall_ms", self.wall.as_secs_f64() * 1e3)
            .with("cpu_ms", self.cpu.as_secs_f64() * 1e3)
    }
}

/// Memory of this process in bytes: what is resident and the page tables, which are not counted there.
pub fn memory_bytes() -> u64 {
    status_kib("VmRSS:") * 1024 + page_table_bytes()
}

/// Page tables of this process in bytes.
pub fn page_table_bytes() -> u64 {
    status_kib("VmPTE:") * 1024
}

/// The most memory this process ever had resident, in bytes.
pub fn peak_resident_bytes() -> u64 {
    status_kib("VmHWM:") * 1024
}

fn status_kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field_of(&status, field).unwrap_or(0)
}

fn field_of(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// How often the threads of this process went to sleep by themselves, without the main thread.
///
/// The main thread is left out because it does the waiting while an idle runtime is watched.
pub fn sleeps_of_other_threads() -> u64 {
    let main = std::process::id().to_string();
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return 0;
    };
    tasks
        .flatten()
        .filter(|task| task.file_name().to_str() != Some(&main))
        .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
        .filter_map(|status| field_of(&status, "voluntary_ctxt_switches:"))
        .sum()
}

/// Threads of this process.
pub fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// CPU time used so far by the live threads of process `pid`.
///
/// # Errors
/// An [`io::Error`] if the process is gone.
pub fn cpu_of(pid: u32) -> io::Result<Duration> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let schedstat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let on_cpu = schedstat.split_whitespace().next().and_then(|ns| ns.parse().ok());
        total += on_cpu.unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}

/// The value at quantile `q` (0 to 1) of `sorted`, which must not be empty.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len() - 1;
    sorted[((last as f64 * q).round() as usize).min(last)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_ramp() {
        let ramp: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(quantile(&ramp, 0.5), 50.0);
        assert_eq!(quantile(&ramp, 0.99), 99.0);
        assert_eq!(quantile(&ramp, 1.0), 100.0);
    }

    #[test]
    fn this_process_has_memory_and_cpu_time() {
        assert!(memory_bytes() > page_table_bytes());
        assert!(page_table_bytes() > 0);
        assert!(peak_resident_bytes() > 0);
        assert!(cpu_of(std::process::id()).is_ok());
    }
}
