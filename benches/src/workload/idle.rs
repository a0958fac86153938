//! What a runtime costs that has nothing to do: one timer far away, one socket that listens.

use std::thread;
use std::time::Duration;

use super::Setup;
use crate::measure::{Stopwatch, sleeps_of_other_threads};
use crate::{Report, Rt};

const SETTLE: Duration = Duration::from_millis(300);

/// CPU time and wake-ups per second of the runtime's threads over three idle seconds, or one in a quick run.
pub fn idle<R: Rt>(setup: &Setup) -> Report {
    R::with(setup.procs, |handle| {
        let far = R::spawn_on(handle, async { R::sleep(Duration::from_secs(3600)).await });
        let listening = R::spawn_on(handle, R::accept_one());
        thread::sleep(SETTLE);
        let seconds = if setup.scale < 0.5 { 1 } else { 3 };
        let report = watch(Duration::from_secs(seconds));
        drop((far, listening));
        report
    })
}

fn watch(duration: Duration) -> Report {
    let slept = sleeps_of_other_threads();
    let watch = Stopwatch::start();
    thread::sleep(duration);
    let elapsed = watch.stop();
    let woken = sleeps_of_other_threads() - slept;
    Report::new()
        .with("wakeups_per_s", woken as f64 / elapsed.wall.as_secs_f64())
        .with("cpu_us_per_s", elapsed.cpu.as_secs_f64() * 1e6 / elapsed.wall.as_secs_f64())
}
