//! The watchdog: a lost wake-up does not fail a test by itself, for the next wake repairs it.

use std::io::Write;
use std::process::abort;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gort::{Handle, Metrics};

/// The distance of two looks.
const PERIOD: Duration = Duration::from_millis(10);
/// The rule is "runnable and an idle P for 10 ms". A thread that has been woken may wait far
/// longer for its core on a machine that runs other things, so the same picture must be seen this
/// often in a row, without one dispatch in between. A lost wake-up is seen for ever.
const LOOKS: u32 = 40;
/// A test that takes longer hangs.
const HANG: Duration = Duration::from_secs(100);

/// Watches a runtime until it is dropped. When work is queued beside an idle P and nothing is
/// dispatched, or when the test hangs, it prints the metrics and aborts the process.
#[derive(Debug)]
pub struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts watching.
    #[must_use]
    pub fn start(handle: Handle) -> Watchdog {
        let name = thread::current().name().unwrap_or("a test").to_owned();
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let start = Instant::now();
            let mut bad = 0;
            let mut last = handle.metrics();
            while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                let now = handle.metrics();
                bad = if is_stuck(&last, &now) { bad + 1 } else { 0 };
                if bad == LOOKS {
                    fail(&name, "work is queued beside an idle P and nothing happens", &now);
                }
                if start.elapsed() > HANG {
                    fail(&name, "the test hangs", &now);
                }
                last = now;
            }
        });
        Watchdog { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the watchdog does not panic");
        }
    }
}

fn is_stuck(last: &Metrics, now: &Metrics) -> bool {
    let queued = now.global_queue + now.per_proc.iter().map(|p| p.queue).sum::<usize>();
    queued > 0 && now.idle_procs > 0 && progress(last) == progress(now)
}

fn progress(m: &Metrics) -> (u64, u64, usize) {
    (m.per_proc.iter().map(|p| p.dispatches).sum(), m.spawned, m.tasks)
}

fn fail(test: &str, what: &str, metrics: &Metrics) {
    // Not `eprintln`: the harness captures that, and would lose it.
    let _ = writeln!(std::io::stderr(), "watchdog of `{test}`: {what}: {metrics:#?}");
    abort();
}
