//! Chance: what nobody thought of. Seeds are printed; `GORT_TEST_SEED` repeats one.
#![expect(clippy::waker_clone_wake, reason = "the wake by value is what is tested")]

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use futures::future::{BoxFuture, FutureExt, poll_fn};
use gort::time::{sleep, timeout};
use gort::{Handle, JoinHandle};
use gort_tests::{OnDrop, Rng, alone, eventually, for_procs_alone};

/// How long each number of Ps is tested.
const TIME: Duration = Duration::from_secs(2);

/// What was created and what has gone.
#[derive(Default)]
struct Census {
    created: AtomicUsize,
    dropped: AtomicUsize,
}

impl Census {
    fn guard(self: &Arc<Census>) -> OnDrop<impl FnOnce() + Send + use<>> {
        self.created.fetch_add(1, SeqCst);
        let census = self.clone();
        OnDrop::new(move || {
            census.dropped.fetch_add(1, SeqCst);
        })
    }
}

/// A task of random deeds, which may spawn others.
fn life(census: Arc<Census>, mut rng: Rng, depth: u32) -> BoxFuture<'static, u64> {
    let guard = census.guard();
    async move {
        let _guard = guard;
        let mut handles: Vec<JoinHandle<u64>> = Vec::new();
        for _ in 0..rng.below(12) {
            match rng.below(11) {
                0 | 1 => gort::yield_now().await,
                2 => sleep(Duration::from_nanos(rng.below(300_000))).await,
                3 | 4 if depth > 0 => {
                    handles.push(gort::spawn(life(census.clone(), rng.split(), depth - 1)));
                }
                5 => {
                    if let Some(handle) = handles.pop() {
                        let _ = handle.await;
                    }
                }
                6 => {
                    if let Some(handle) = handles.pop() {
                        handle.abort();
                        if rng.one_in(2) {
                            let _ = handle.await;
                        }
                    }
                }
                7 => drop(handles.pop()),
                8 => wake_from_elsewhere(rng.below(3)).await,
                9 => {
                    let limit = Duration::from_nanos(rng.below(100_000));
                    let _ = timeout(limit, pending::<()>()).await;
                }
                _ => {
                    let until = Instant::now() + Duration::from_nanos(rng.below(20_000));
                    while Instant::now() < until {
                        std::hint::spin_loop();
                    }
                }
            }
        }
        rng.below(100)
    }
    .boxed()
}

/// Waits for a wake that comes from a task, from itself, or from a waker that is cloned around.
async fn wake_from_elsewhere(kind: u64) {
    let (send, receive) = oneshot::channel::<()>();
    match kind {
        0 => {
            drop(gort::spawn(async move { send.send(()) }));
            receive.await.unwrap();
        }
        1 => {
            let mut woken = false;
            poll_fn(|cx| {
                if std::mem::replace(&mut woken, true) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                cx.waker().clone().wake();
                Poll::Pending
            })
            .await;
        }
        _ => {
            let mut send = Some(send);
            let mut receive = receive;
            poll_fn(|cx| {
                if let Some(send) = send.take() {
                    let waker: Waker = cx.waker().clone();
                    drop(gort::spawn(async move {
                        waker.wake_by_ref();
                        gort::yield_now().await;
                        send.send(()).unwrap();
                        waker.wake();
                    }));
                }
                receive.poll_unpin(cx).map(Result::unwrap)
            })
            .await;
        }
    }
}

/// A plain thread that spawns, joins, aborts and blocks.
fn outside(handle: &Handle, census: &Arc<Census>, mut rng: Rng, end: Instant) {
    let _enter = handle.enter();
    let mut kept = Vec::new();
    while Instant::now() < end {
        let task = handle.spawn(life(census.clone(), rng.split(), 3));
        match rng.below(6) {
            0 => drop(task),
            1 => task.abort(),
            2 => drop(futures::executor::block_on(task)),
            3 => drop(gort::block_on(task)),
            4 => {
                let work = life(census.clone(), rng.split(), 1);
                drop(gort::block_on(async {
                    let local = gort::spawn_local(work);
                    let _ = task.await;
                    local.await
                }));
            }
            _ => kept.push(task),
        }
        if kept.len() > 30 {
            kept.drain(..rng.below(30) as usize).for_each(|task: JoinHandle<u64>| task.abort());
        }
        if rng.one_in(50) {
            thread::sleep(Duration::from_micros(rng.below(1000))); // lets the runtime go idle
        }
    }
    kept.iter().for_each(JoinHandle::abort);
}

#[test]
fn random_lives() {
    let _machine = alone();
    let rng = std::cell::RefCell::new(Rng::from_env());
    for_procs_alone(|rt| {
        let census = Arc::<Census>::default();
        let end = Instant::now() + TIME;
        thread::scope(|s| {
            for _ in 0..3 {
                let (handle, rng) = (rt.handle(), rng.borrow_mut().split());
                let census = &census;
                s.spawn(move || outside(&handle, census, rng, end));
            }
        });
        eventually("every task ends", || rt.handle().metrics().tasks == 0);
        let (created, dropped) = (census.created.load(SeqCst), census.dropped.load(SeqCst));
        assert!(created > 100, "{created}");
        assert_eq!(created, dropped);
    });
}

/// The edge between idle and busy, again and again: one task at a time, from one or two threads.
#[test]
fn the_edge_of_idleness() {
    let _machine = alone();
    let rng = std::cell::RefCell::new(Rng::from_env());
    for_procs_alone(|rt| {
        let end = Instant::now() + TIME;
        thread::scope(|s| {
            for _ in 0..2 {
                let mut rng = rng.borrow_mut().split();
                s.spawn(move || {
                    while Instant::now() < end {
                        let pause = rng.below(60_000);
                        let task = rt.spawn(async move {
                            if pause.is_multiple_of(2) {
                                sleep(Duration::from_nanos(pause)).await;
                            }
                            gort::spawn(async {}).await.unwrap();
                        });
                        if rng.one_in(2) {
                            rt.block_on(task).unwrap();
                        } else {
                            futures::executor::block_on(task).unwrap();
                        }
                        let until = Instant::now() + Duration::from_nanos(rng.below(60_000));
                        while Instant::now() < until {
                            std::hint::spin_loop();
                        }
                    }
                });
            }
        });
    });
}
