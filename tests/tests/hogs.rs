//! Tasks and goroutines that compute or block without a word: the others go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gort::prelude::*;
use gort_tests::for_procs;

/// How the hogs pass their time.
fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// The largest gap of a 1 ms ticker while `hogs` run.
fn gap_beside(rt: &gort::Runtime, hog: fn(Duration), goroutine: bool) -> Duration {
    let done = Arc::new(AtomicBool::new(false));
    let seen = done.clone();
    let ticker = rt.spawn(async move {
        let (mut worst, mut last) = (Duration::ZERO, Instant::now());
        while !seen.load(Ordering::Relaxed) {
            gort::time::sleep(Duration::from_millis(1)).await;
            worst = worst.max(last.elapsed());
            last = Instant::now();
        }
        worst
    });
    let time = Duration::from_millis(500);
    let hogs: Vec<_> =
        (0..2)
            .map(|_| {
                if goroutine {
                    rt.go(move || hog(time))
                } else {
                    rt.spawn(async move { hog(time) })
                }
            })
            .collect();
    hogs.into_iter().for_each(|hog| hog.wait().unwrap());
    done.store(true, Ordering::Relaxed);
    ticker.wait().unwrap()
}

#[test]
fn a_ticker_goes_on_beside_hogs() {
    for_procs(|rt| {
        for goroutine in [false, true] {
            for hog in [spin, std::thread::sleep] {
                let gap = gap_beside(rt, hog, goroutine);
                eprintln!("gap {gap:?}");
                assert!(gap < Duration::from_millis(60), "{gap:?}");
            }
        }
    });
}
