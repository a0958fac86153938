//! The memory of a task that waits.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use super::Setup;
use crate::measure::{Stopwatch, memory_bytes};
use crate::{Report, Rt};

static PARKED: AtomicU64 = AtomicU64::new(0);

/// Keeps the waker of its task and waits without end: the smallest future a runtime cannot throw away.
#[derive(Debug, Default)]
struct Parked {
    waker: Option<Waker>,
}

impl Future for Parked {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.waker = Some(cx.waker().clone());
        // Relaxed: a statistic; the counting task only waits for its value.
        PARKED.fetch_add(1, Ordering::Relaxed);
        Poll::Pending
    }
}

/// Parks `n` tasks and divides the growth of memory by `n`. The tasks are never released: the process ends.
pub fn parked<R: Rt>(setup: &Setup, n: u64) -> Report {
    let (grown, elapsed) = R::run(setup.procs, async move {
        park::<R>(1000).await;
        let before = memory_bytes();
        let watch = Stopwatch::start();
        park::<R>(n).await;
        (memory_bytes() - before, watch.stop())
    });
    elapsed
        .per_op(n)
        .with("bytes", grown as f64 / n as f64)
        .with("future_bytes", size_of::<Parked>() as f64)
}

async fn park<R: Rt>(n: u64) {
    // Relaxed: see `Parked::poll`.
    let all = PARKED.load(Ordering::Relaxed) + n;
    for _ in 0..n {
        R::detach(Parked::default());
    }
    while PARKED.load(Ordering::Relaxed) < all {
        R::yield_now().await;
    }
}
