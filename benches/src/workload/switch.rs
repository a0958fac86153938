//! Changing from one task to another.

use std::time::Duration;

use futures::channel::oneshot;

use crate::Rt;
use crate::slot::Slot;
use crate::work::{compute, prepare};

/// A thousand tasks that yield in turn, `n` yields in all.
pub async fn yields<R: Rt>(n: u64) -> u64 {
    yield_among::<R>(1000, n / 1000).await
}

/// tokio's `yield_many`: two hundred tasks that yield a thousand times each.
pub async fn yield_many<R: Rt>(n: u64) -> u64 {
    yield_among::<R>(200, n / 200).await
}

async fn yield_among<R: Rt>(tasks: u64, each: u64) -> u64 {
    let spawn = |_| {
        R::spawn(async move {
            for _ in 0..each {
                R::yield_now().await;
            }
        })
    };
    let handles: Vec<_> = (0..tasks).map(spawn).collect();
    for handle in handles {
        handle.await;
    }
    tasks * each
}

/// A message that carries the way back.
struct Ball(oneshot::Sender<Option<Ball>>);

/// `n` round trips between two tasks; each message is a oneshot and carries the sender for its answer.
pub async fn oneshot_ping_pong<R: Rt>(n: u64) -> u64 {
    let (serve, first) = oneshot::channel();
    let partner = R::spawn(return_balls(first));
    let mut racket = serve;
    for _ in 0..n {
        let (next, answer) = oneshot::channel();
        racket.send(Some(Ball(next))).ok().expect("the partner waits");
        let Ball(back) = answer.await.expect("the partner answers").expect("the partner goes on");
        racket = back;
    }
    racket.send(None).ok().expect("the partner waits");
    partner.await;
    n
}

async fn return_balls(mut incoming: oneshot::Receiver<Option<Ball>>) {
    while let Ok(Some(Ball(back))) = incoming.await {
        let (next, answer) = oneshot::channel();
        back.send(Some(Ball(next))).ok().expect("the root waits");
        incoming = answer;
    }
}

/// `n` round trips between two tasks over two channels for one value.
pub async fn slot_ping_pong<R: Rt>(n: u64) -> u64 {
    let (there, back) = (Slot::default(), Slot::default());
    let partner = R::spawn(answer(there.clone(), back.clone(), Duration::ZERO, n));
    for i in 0..n {
        there.send(i).await;
        assert_eq!(back.recv().await, i);
    }
    partner.await;
    n
}

/// Wakes a partner and computes, while the partner computes as long: two processors can halve it.
pub async fn signal<R: Rt, const NANOS: u64>(n: u64) -> u64 {
    prepare();
    let work = Duration::from_nanos(NANOS);
    let (there, back) = (Slot::default(), Slot::default());
    let partner = R::spawn(answer(there.clone(), back.clone(), work, n));
    for i in 0..n {
        there.send(i).await;
        compute(work);
        assert_eq!(back.recv().await, i);
    }
    partner.await;
    n
}

async fn answer(requests: Slot<u64>, answers: Slot<u64>, work: Duration, n: u64) {
    for _ in 0..n {
        let i = requests.recv().await;
        if !work.is_zero() {
            compute(work);
        }
        answers.send(i).await;
    }
}
