//! Creating tasks and waiting for them.

use std::array;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::channel::oneshot;

use super::{Setup, per_op};
use crate::work::{compute, prepare};
use crate::{Report, Rt};

/// Tasks that exist at once in [`spawn_join`].
const BATCH: u64 = 1000;

/// Spawns `n` tasks that return at once, a thousand at a time, and awaits each.
pub async fn spawn_join<R: Rt>(n: u64) -> u64 {
    spawn_join_batches::<R, _>(n, |i| async move { i }).await
}

/// [`spawn_join`] with `NANOS` of computing in each task.
pub async fn spawn_join_working<R: Rt, const NANOS: u64>(n: u64) -> u64 {
    prepare();
    let child = |i| async move {
        compute(Duration::from_nanos(NANOS));
        i
    };
    spawn_join_batches::<R, _>(n, child).await
}

async fn spawn_join_batches<R, F>(n: u64, child: impl Fn(u64) -> F + Send) -> u64
where
    R: Rt,
    F: Future<Output = u64> + Send + 'static,
{
    let mut handles = Vec::with_capacity(BATCH as usize);
    let mut sum = 0;
    for _ in 0..n / BATCH {
        handles.extend((0..BATCH).map(|i| R::spawn(child(i))));
        for handle in handles.drain(..) {
            sum += handle.await;
        }
    }
    assert_eq!(sum, n / BATCH * (BATCH * (BATCH - 1) / 2));
    n / BATCH * BATCH
}

/// Skynet: a tree of tasks with ten children each and 1,000,000 leaves; each leaf returns its number, each node the sum.
/// One operation is one leaf; `units` counts all tasks.
pub fn skynet<R: Rt>(setup: &Setup) -> Report {
    let leaves: u64 = if setup.scale < 0.5 { 100_000 } else { 1_000_000 };
    let warm_up_and_tree = move |n: u64| async move {
        // `per_op` warms up with fewer than it measures; the tree has only these two sizes.
        skynet_tree::<R>(if n < leaves { leaves / 10 } else { leaves }).await
    };
    let unscaled = Setup { scale: 1.0, ..*setup };
    let units = (0..=leaves.ilog10()).map(|level| 10_u64.pow(level)).sum::<u64>();
    per_op::<R, _>(&unscaled, leaves, warm_up_and_tree).with("units", units as f64)
}

/// One skynet with `leaves` leaves, a power of ten.
pub async fn skynet_tree<R: Rt>(leaves: u64) -> u64 {
    let sum = R::spawn(skynet_node::<R>(0, leaves)).await;
    assert_eq!(sum, leaves * (leaves - 1) / 2);
    leaves
}

// Not an `async fn`: that one's `Send` could not be known in its own body, which spawns it.
#[allow(clippy::manual_async_fn)]
fn skynet_node<R: Rt>(first: u64, leaves: u64) -> impl Future<Output = u64> + Send {
    async move {
        if leaves == 1 {
            return first;
        }
        let share = leaves / 10;
        let child = |i| R::spawn(skynet_node::<R>(first + i as u64 * share, share));
        let children: [_; 10] = array::from_fn(child);
        let mut sum = 0;
        for child in children {
            sum += child.await;
        }
        sum
    }
}

/// tokio's `chained_spawn`: chains of a thousand tasks, each spawned by the one before.
pub async fn chained_spawn<R: Rt>(n: u64) -> u64 {
    const LENGTH: u64 = 1000;
    for _ in 0..n / LENGTH {
        let (done, end) = oneshot::channel();
        link::<R>(done, LENGTH - 1);
        end.await.expect("the last task of the chain reports");
    }
    n / LENGTH * LENGTH
}

fn link<R: Rt>(done: oneshot::Sender<()>, rest: u64) {
    R::detach(async move {
        if rest == 0 {
            done.send(()).expect("the root waits for the chain");
        } else {
            link::<R>(done, rest - 1);
        }
    });
}

/// Spawns a task, computes, joins, while the task computes as long: two processors can halve it.
pub async fn fork2<R: Rt, const NANOS: u64>(n: u64) -> u64 {
    prepare();
    let work = Duration::from_nanos(NANOS);
    for _ in 0..n {
        let child = R::spawn(async move { compute(work) });
        compute(work);
        child.await;
    }
    n
}

/// tokio's `spawn_many_local`: ten thousand tasks that nobody joins; the last one to end reports.
pub async fn spawn_many_local<R: Rt>(n: u64) -> u64 {
    const ROUND: u64 = 10_000;
    let rounds = n.div_ceil(ROUND);
    for _ in 0..rounds {
        let (countdown, zero) = Countdown::new(ROUND);
        for _ in 0..ROUND {
            let countdown = Arc::clone(&countdown);
            R::detach(async move { countdown.tick() });
        }
        zero.await.expect("the last task reports");
    }
    rounds * ROUND
}

/// tokio's `ping_pong`: a thousand pairs of tasks, each pair exchanging one message each way over fresh oneshots.
pub async fn ping_pong<R: Rt>(n: u64) -> u64 {
    const PAIRS: u64 = 1000;
    for _ in 0..n / PAIRS {
        let (countdown, zero) = Countdown::new(PAIRS);
        for _ in 0..PAIRS {
            R::detach(ping::<R>(Arc::clone(&countdown)));
        }
        zero.await.expect("the last pair reports");
    }
    n / PAIRS * PAIRS
}

async fn ping<R: Rt>(countdown: Arc<Countdown>) {
    let (there, request) = oneshot::channel();
    let (back, reply) = oneshot::channel();
    R::detach(async move {
        request.await.expect("ping is sent");
        back.send(()).expect("ping waits for pong");
    });
    there.send(()).expect("pong waits for ping");
    reply.await.expect("pong is sent");
    countdown.tick();
}

/// Reports when it has been ticked as often as was agreed.
#[derive(Debug)]
pub struct Countdown {
    left: AtomicU64,
    zero: std::sync::Mutex<Option<oneshot::Sender<()>>>,
}

impl Countdown {
    /// A countdown from `n` and the future of its end.
    pub fn new(n: u64) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (zero, reached) = oneshot::channel();
        let countdown = Self { left: AtomicU64::new(n), zero: std::sync::Mutex::new(Some(zero)) };
        (Arc::new(countdown), reached)
    }

    /// Counts down by one.
    pub fn tick(&self) {
        // AcqRel: whoever sees zero also sees what all others did before their ticks.
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let zero = self.zero.lock().ok().and_then(|mut place| place.take());
            zero.map(|zero| zero.send(()).ok());
        }
    }
}
