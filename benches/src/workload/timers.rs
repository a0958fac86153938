//! Timers: many, cancelled, unneeded, and one at a time.

use std::future::{Future, poll_fn, ready};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::Setup;
use crate::measure::{Stopwatch, quantile};
use crate::{Report, Rt};

/// 100,000 tasks that sleep 1 to 50 ms each, started at once.
pub fn storm<R: Rt>(setup: &Setup) -> Report {
    R::run(setup.procs, async {
        sleepers::<R>(1000).await;
        let watch = Stopwatch::start();
        sleepers::<R>(100_000).await;
        watch.stop().total()
    })
}

/// `n` tasks that sleep 1 to 50 ms each; waits for all.
pub async fn sleepers<R: Rt>(n: u64) -> u64 {
    let spawn = |i| R::spawn(R::sleep(Duration::from_millis(1 + i * 7 % 50)));
    let tasks: Vec<_> = (0..n).map(spawn).collect();
    for task in tasks {
        task.await;
    }
    n
}

/// Arms a timer by polling a sleep once and drops it.
///
/// Yields after every hundred, as a task would, so that tokio's cooperative budget (128) never turns the poll into a no-op.
pub async fn create_and_cancel<R: Rt>(n: u64) -> u64 {
    for _ in 0..n / 100 {
        for _ in 0..100 {
            poll_once(R::sleep(Duration::from_secs(10))).await;
        }
        R::yield_now().await;
    }
    n / 100 * 100
}

async fn poll_once(future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// A timeout around a future that is ready at once.
pub async fn timeout_ready<R: Rt>(n: u64) -> u64 {
    let mut sum = 0;
    for i in 0..n {
        sum += R::timeout(Duration::from_secs(10), ready(i)).await.expect("it is ready");
    }
    assert_eq!(sum, n * (n - 1) / 2);
    n
}

/// How late one sleep after another ends on a runtime that has nothing else to do.
pub fn lateness<R: Rt>(setup: &Setup) -> Report {
    let sleeps = if setup.scale < 0.5 { 100 } else { 300 };
    let mut late: Vec<f64> = R::run(setup.procs, async move {
        let mut late = Vec::with_capacity(sleeps);
        for i in 0..sleeps {
            late.push(oversleep::<R>(Duration::from_micros(1000 + i as u64 * 613 % 4000)).await);
        }
        late
    });
    late.sort_by(f64::total_cmp);
    Report::new()
        .with("late_p50_us", quantile(&late, 0.5))
        .with("late_p99_us", quantile(&late, 0.99))
}

async fn oversleep<R: Rt>(duration: Duration) -> f64 {
    let start = Instant::now();
    R::sleep(duration).await;
    (start.elapsed().as_secs_f64() - duration.as_secs_f64()) * 1e6
}
