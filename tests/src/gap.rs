//! How long something that should step all the time stood still.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gort::Wait;

/// The distance of two steps.
const PERIOD: Duration = Duration::from_millis(1);
/// What is allowed beside hogs: two slices, two looks of sysmon, and much air.
const GAP: Duration = Duration::from_millis(60);
/// Threads that must get a core one after the other before somebody steps again: sysmon, a worker
/// that was about to leave the core, the one that gets the P, the one that steps.
const CHAIN: u32 = 4;

/// The largest distance of two steps so far.
#[derive(Debug)]
pub struct Gap {
    last: Instant,
    worst: Duration,
}

impl Gap {
    /// The first step is now.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it reads the clock")]
    pub fn new() -> Gap {
        Gap { last: Instant::now(), worst: Duration::ZERO }
    }

    /// One more step.
    pub fn step(&mut self) {
        let now = Instant::now();
        self.worst = self.worst.max(now - self.last);
        self.last = now;
    }

    /// The result.
    #[must_use]
    pub fn worst(&self) -> Duration {
        self.worst
    }
}

/// Steps each millisecond as a task, or as a plain function in a goroutine, until `done`.
pub async fn tick_until(done: Arc<AtomicBool>) -> Duration {
    let mut gap = Gap::new();
    while !done.load(Ordering::SeqCst) {
        gort::time::sleep(PERIOD).await;
        gap.step();
    }
    gap.worst()
}

/// As [`tick_until`], waiting in a goroutine each time.
#[must_use]
pub fn tick_in_goroutine(done: &AtomicBool) -> Duration {
    let mut gap = Gap::new();
    while !done.load(Ordering::SeqCst) {
        gort::time::sleep(PERIOD).wait();
        gap.step();
    }
    gap.worst()
}

/// What the machine, which may run other things, takes away from threads that should run.
///
/// Two plain threads, one of which sleeps for a millisecond at a time and then wakes the other, and
/// one thread bound to each CPU, which sees it when that CPU is taken away altogether: the largest
/// gap of any of them. A P that changes hands needs several threads in a row.
#[derive(Debug)]
pub struct Machine {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Duration>>,
}

impl Machine {
    /// Begins to measure.
    #[must_use]
    pub fn watch() -> Machine {
        let stop = Arc::<AtomicBool>::default();
        let (send, receive) = mpsc::channel();
        let woken = thread::spawn(move || {
            let mut gap = Gap::new();
            while receive.recv().is_ok() {
                gap.step();
            }
            gap.worst()
        });
        let wakes = step_until(&stop, move || {
            let _ = send.send(());
        });
        let mut threads = vec![woken, wakes];
        threads.extend(cpus().into_iter().map(|cpu| step_until(&stop, move || bind(cpu))));
        Machine { stop, threads }
    }

    /// The largest gap of the plain threads.
    ///
    /// # Panics
    /// Not at all.
    #[must_use]
    pub fn worst(self) -> Duration {
        self.stop.store(true, Ordering::SeqCst);
        let gaps = self.threads.into_iter().map(|thread| thread.join().expect("it only steps"));
        gaps.max().expect("there are two at least")
    }

    /// Compares the gaps that were measured meanwhile with what is allowed, over what the machine
    /// itself has taken.
    ///
    /// # Panics
    /// If one of them is too large.
    #[track_caller]
    pub fn judge(self, gaps: &[(&str, Duration)]) {
        let machine = self.worst();
        eprintln!("machine {machine:?}, {gaps:?}");
        for (who, gap) in gaps {
            assert!(
                *gap <= GAP + CHAIN * machine,
                "{who} stood still for {gap:?}, plain threads {machine:?}"
            );
        }
    }
}

/// A plain thread that steps each millisecond, and calls `each`, until `stop`.
fn step_until(
    stop: &Arc<AtomicBool>,
    mut each: impl FnMut() + Send + 'static,
) -> JoinHandle<Duration> {
    let stop = stop.clone();
    thread::spawn(move || {
        let mut gap = Gap::new();
        while !stop.load(Ordering::SeqCst) {
            each();
            thread::sleep(PERIOD);
            gap.step();
        }
        gap.worst()
    })
}

/// The CPUs that this process may use, some of them.
#[cfg(target_os = "linux")]
fn cpus() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).take(16).collect()
}

#[cfg(not(target_os = "linux"))]
fn cpus() -> Vec<usize> {
    Vec::new()
}

/// Binds this thread to a CPU, if the system allows it.
#[cfg(target_os = "linux")]
fn bind(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

#[cfg(not(target_os = "linux"))]
fn bind(_: usize) {}

/// Computes for so long without any call of gort.
pub fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}
