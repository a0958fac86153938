//! What the process holds, as the kernel counts it.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

fn status_field(path: &str, field: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Threads of this process that belong to runtimes, by the default name. The test harness starts
/// and ends threads of its own at any time.
///
/// # Panics
/// Where there is no `/proc`.
#[must_use]
pub fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc").flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("gort")).count()
}

/// Open descriptors of this process.
///
/// # Panics
/// Where there is no `/proc`.
#[must_use]
pub fn fds() -> usize {
    fs::read_dir("/proc/self/fd").expect("/proc").count() - 1 // the one that is read here
}

/// Bytes of memory that this process has in use.
#[must_use]
pub fn rss() -> usize {
    status_field("/proc/self/status", "VmRSS") as usize * 1024
}

/// How often the threads of this process have gone to sleep, by their names.
///
/// # Panics
/// Where there is no `/proc`.
#[must_use]
pub fn context_switches(prefix: &str) -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc");
    let paths = tasks.flatten().map(|task| task.path());
    paths
        .filter(|path| {
            fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with(prefix))
        })
        .map(|path| {
            let status = path.join("status");
            status_field(&status.to_string_lossy(), "voluntary_ctxt_switches")
        })
        .sum()
}

/// The CPU time of this process's threads whose name begins with `prefix`, to 10 ms.
///
/// # Panics
/// Where there is no `/proc`.
#[must_use]
pub fn cpu_time(prefix: &str) -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc");
    let ticks: u64 = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("stat")).ok())
        .filter_map(|stat| {
            let (head, tail) = stat.rsplit_once(')')?;
            let (_, name) = head.split_once('(')?;
            // After the name: state is field 3 of proc(5), utime 14, stime 15.
            let mut fields = tail.split_whitespace().skip(11).map_while(|f| f.parse::<u64>().ok());
            name.starts_with(prefix)
                .then(|| fields.next().unwrap_or(0) + fields.next().unwrap_or(0))
        })
        .sum();
    Duration::from_millis(10 * ticks)
}

/// Descriptors and threads of runtimes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Open descriptors.
    pub fds: usize,
    /// Threads of runtimes.
    pub threads: usize,
}

impl Counts {
    /// Now.
    #[must_use]
    pub fn now() -> Counts {
        Counts { fds: fds(), threads: threads() }
    }

    /// Waits until there is no more than there was at `self`: threads take a moment to be gone.
    ///
    /// # Panics
    /// If that does not come true.
    #[track_caller]
    pub fn assert_restored(self) {
        let start = Instant::now();
        loop {
            let now = Counts::now();
            if now.fds <= self.fds && now.threads <= self.threads {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "leaked: {self:?} became {now:?}");
            thread::sleep(Duration::from_millis(1)); // the pace of looking
        }
    }
}

/// Waits until the process's memory stays the same for a moment, and returns it.
#[must_use]
pub fn settle() -> usize {
    let mut last = rss();
    for _ in 0..100 {
        thread::sleep(Duration::from_millis(2)); // the pace of looking
        let now = rss();
        if now == last {
            break;
        }
        last = now;
    }
    last
}
