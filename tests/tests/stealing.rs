//! Work moves to the other Ps. "Both ran at once" is shown by a handshake: each of the two spins
//! until it has seen the other one, which on one P could never end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use futures::future::join_all;
use gort_tests::{BOUND, Watchdog, beside_others, runtime};

/// `n` parties that must be in [`Together::meet`] at the same time.
#[derive(Clone)]
struct Together(Arc<AtomicUsize>, usize);

impl Together {
    fn new(n: usize) -> Together {
        Together(Arc::default(), n)
    }

    /// Keeps its thread until all are here.
    fn meet(&self) {
        self.0.fetch_add(1, SeqCst);
        let start = Instant::now();
        while self.0.load(SeqCst) < self.1 {
            assert!(start.elapsed() < BOUND, "the others do not run");
            thread::yield_now();
        }
    }
}

/// Runs a test body as a task at `procs` Ps.
fn at<F: Future<Output = ()> + Send + 'static>(procs: usize, test: F) {
    let _machine = beside_others();
    let rt = runtime(procs);
    let _watchdog = Watchdog::start(rt.handle());
    match rt.block_on(rt.spawn(test)) {
        Ok(()) => {}
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[test]
fn fork_and_join() {
    for procs in [2, 4] {
        at(procs, async move {
            for _ in 0..50 {
                let together = Together::new(2);
                let theirs = together.clone();
                let child = gort::spawn(async move { theirs.meet() });
                together.meet();
                child.await.unwrap();
            }
        });
    }
}

/// The child was spawned before the slice that computes began (`fresh`, from an older slice).
#[test]
fn spawn_then_yield_then_compute() {
    at(2, async {
        for _ in 0..50 {
            let together = Together::new(2);
            let tasks = [0, 1].map(|_| {
                let theirs = together.clone();
                gort::spawn(async move { theirs.meet() })
            });
            gort::yield_now().await;
            join_all(tasks).await.into_iter().for_each(Result::unwrap);
        }
    });
}

/// The woken task sits in `next`, which only the bracket steal can take (S17).
#[test]
fn wake_a_partner_then_compute() {
    at(2, async {
        for _ in 0..50 {
            let together = Together::new(2);
            let theirs = together.clone();
            let (send, receive) = oneshot::channel::<()>();
            let partner = gort::spawn(async move {
                receive.await.unwrap();
                theirs.meet();
            });
            gort::yield_now().await;
            send.send(()).unwrap();
            together.meet();
            partner.await.unwrap();
        }
    });
}

/// The parent only yields: its requeued children are in the woken queue.
#[test]
fn yielded_tasks_spread() {
    at(2, async {
        for _ in 0..50 {
            let together = Together::new(2);
            let tasks = [0, 1].map(|_| {
                let theirs = together.clone();
                gort::spawn(async move {
                    gort::yield_now().await;
                    theirs.meet();
                })
            });
            join_all(tasks).await.into_iter().for_each(Result::unwrap);
        }
    });
}

/// S23: a chain reaction of wakes brings every P to work.
#[test]
fn all_procs_join_in() {
    for procs in [2, 4, 8] {
        at(procs, async move {
            for _ in 0..5 {
                let together = Together::new(procs);
                let tasks = (0..procs).map(|_| {
                    let theirs = together.clone();
                    gort::spawn(async move { theirs.meet() })
                });
                join_all(tasks.collect::<Vec<_>>()).await.into_iter().for_each(Result::unwrap);
            }
        });
    }
}

/// S15: work that comes through the global queue spreads too.
#[test]
fn injected_tasks_spread() {
    let _machine = beside_others();
    for procs in [2, 4] {
        let rt = runtime(procs);
        let _watchdog = Watchdog::start(rt.handle());
        for _ in 0..20 {
            let together = Together::new(procs);
            let tasks: Vec<_> = (0..procs)
                .map(|_| {
                    let theirs = together.clone();
                    rt.spawn(async move { theirs.meet() })
                })
                .collect();
            rt.block_on(join_all(tasks)).into_iter().for_each(Result::unwrap);
        }
    }
}

/// S15: 1000 from foreign threads: nothing lost, nothing twice, and all Ps get some.
#[test]
fn a_thousand_injected_from_foreign_threads() {
    let _machine = beside_others();
    let rt = runtime(2);
    let _watchdog = Watchdog::start(rt.handle());
    let ran = Arc::new(AtomicUsize::new(0));
    thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                let tasks: Vec<_> = (0..250)
                    .map(|_| {
                        let ran = ran.clone();
                        rt.spawn(async move {
                            let start = Instant::now();
                            while start.elapsed().as_micros() < 100 {
                                std::hint::spin_loop();
                            }
                            ran.fetch_add(1, SeqCst);
                        })
                    })
                    .collect();
                rt.block_on(join_all(tasks)).into_iter().for_each(Result::unwrap);
            });
        }
    });
    assert_eq!(ran.load(SeqCst), 1000);
    let m = rt.handle().metrics();
    assert!(m.per_proc.iter().all(|p| p.dispatches >= 10), "{m:?}");
}

/// A P whose owner is stuck in a long poll is robbed of everything, whichever queue it is in.
#[test]
fn a_stuck_proc_loses_its_queues() {
    at(2, async {
        let done = Arc::new(AtomicUsize::new(0));
        let spawn = |n: usize| {
            for _ in 0..n {
                let done = done.clone();
                drop(gort::spawn(async move {
                    gort::yield_now().await;
                    done.fetch_add(1, SeqCst);
                }));
            }
        };
        for round in 1..=20 {
            spawn(300);
            let start = Instant::now();
            while done.load(SeqCst) < 300 * round {
                assert!(start.elapsed() < BOUND, "{} of {}", done.load(SeqCst), 300 * round);
                thread::yield_now(); // this poll does not end before they have
            }
            gort::yield_now().await;
        }
    });
}

/// With procs = k, never more than k tasks are in a poll at once (S3).
#[test]
fn never_more_than_procs_at_once() {
    let _machine = beside_others();
    for procs in [1, 2, 3] {
        let rt = runtime(procs);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (now, most) = (now.clone(), most.clone());
                rt.spawn(async move {
                    for _ in 0..50 {
                        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                        thread::yield_now();
                        now.fetch_sub(1, SeqCst);
                        gort::yield_now().await;
                    }
                })
            })
            .collect();
        rt.block_on(join_all(tasks)).into_iter().for_each(Result::unwrap);
        assert!(most.load(SeqCst) <= procs, "{} at P = {procs}", most.load(SeqCst));
    }
}

/// No P ever runs dry, and no third thread may take the P of the one that stands still: whoever is
/// busy has to look.
#[test]
fn the_busy_relieve_those_that_stand_still() {
    let _machine = beside_others();
    let rt = gort::Builder::new().procs(2).max_threads(2).build().unwrap();
    let _watchdog = Watchdog::start(rt.handle());
    let done = Arc::new(AtomicUsize::new(0));
    let both = Together::new(2);
    let busy = rt.spawn({
        let (both, done) = (both.clone(), done.clone());
        async move {
            both.meet();
            while done.load(SeqCst) < 4 {
                let start = Instant::now();
                while start.elapsed() < Duration::from_micros(20) {}
                gort::yield_now().await;
            }
        }
    });
    let stands = rt.spawn(async move {
        both.meet();
        let spawn = |_| gort::spawn(count(done.clone()));
        let spawned: Vec<_> = (0..4).map(spawn).collect();
        let start = Instant::now();
        while done.load(SeqCst) < 4 {
            assert!(start.elapsed() < BOUND, "nobody took what waits here");
        }
        join_all(spawned).await
    });
    rt.block_on(async { (busy.await.unwrap(), stands.await.unwrap()) });
}

async fn count(done: Arc<AtomicUsize>) {
    done.fetch_add(1, SeqCst);
}
