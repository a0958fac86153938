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

/// Two plain threads: one sleeps for a millisecond at a time and then wakes the other, which steps.
/// How long it stands still says what the machine, which may run other things, takes away from a
/// thread that should run. A P that changes hands needs several in a row.
#[derive(Debug)]
pub struct Machine {
    stop: Arc<AtomicBool>,
    threads: (JoinHandle<()>, JoinHandle<Duration>),
}

impl Machine {
    /// Begins to measure.
    #[must_use]
    pub fn watch() -> Machine {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let (send, receive) = mpsc::channel();
        let first = thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) && send.send(()).is_ok() {
                thread::sleep(PERIOD);
            }
        });
        let second = thread::spawn(move || {
            let mut gap = Gap::new();
            while receive.recv().is_ok() {
                gap.step();
            }
            gap.worst()
        });
        Machine { stop, threads: (first, second) }
    }

    /// The largest gap of the plain threads.
    ///
    /// # Panics
    /// Not at all.
    #[must_use]
    pub fn worst(self) -> Duration {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.0.join().expect("it only sleeps");
        self.threads.1.join().expect("it only receives")
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

/// Computes for so long without any call of gort.
pub fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}
