//! Go's `runtime/proc_test.go`, by name, as far as futures can tell the difference.
//!
//! Left out: all that is about the garbage collector and its stopped world, about locked threads
//! and about preemption of tasks that do not stop (those come with goroutines), `TestStealOrder`
//! (this runtime starts at a random P and goes round), `TestNetpollBreak` (beside the code, in
//! `gort-netpoll`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use futures::channel::{mpsc, oneshot};
use futures::future::join_all;
use futures::stream::StreamExt;
use gort::time::sleep;
use gort_tests::{BOUND, Watchdog, beside_others, for_procs_async, runtime};

/// A loop that yields sees a message from another task.
#[test]
fn test_yield_progress() {
    for_procs_async(|| async {
        let (send, mut receive) = mpsc::unbounded();
        let (stop, mut stopped) = oneshot::channel::<()>();
        let task = gort::spawn(async move {
            while stopped.try_recv() == Ok(None) {
                gort::yield_now().await;
            }
            send.unbounded_send(true).unwrap();
        });
        sleep(Duration::from_millis(10)).await;
        stop.send(()).unwrap();
        assert_eq!(receive.next().await, Some(true));
        task.await.unwrap();
    });
}

/// P tasks spin in lockstep: none of them ends unless all run at once. (Go runs more rounds; the
/// system's time slices make each of them slow on a machine with fewer cores.)
#[test]
fn test_goroutine_parallelism() {
    let _machine = beside_others();
    for procs in [2, 3, 4] {
        let rt = runtime(procs);
        let _watchdog = Watchdog::start(rt.handle());
        for _ in 0..5 {
            let x = Arc::new(AtomicU32::new(0));
            let tasks: Vec<_> = (0..procs as u32)
                .map(|p| {
                    let x = x.clone();
                    rt.spawn(async move {
                        for i in 0..3 {
                            let mine = procs as u32 * i + p;
                            let start = Instant::now();
                            while x.load(SeqCst) != mine {
                                assert!(start.elapsed() < BOUND, "the others do not run");
                                thread::yield_now();
                            }
                            x.store(mine + 1, SeqCst);
                        }
                    })
                })
                .collect();
            rt.block_on(join_all(tasks)).into_iter().for_each(Result::unwrap);
        }
    }
}

/// A timer fires though two tasks keep every P busy, each round of them ready at once.
#[test]
fn test_timer_fairness() {
    for_procs_async(|| async {
        let stop = Arc::new(AtomicBool::new(false));
        let (send, mut receive) = mpsc::unbounded::<()>();
        let mut tasks = Vec::new();
        for _ in 0..2 {
            let (stop, send) = (stop.clone(), send.clone());
            tasks.push(gort::spawn(async move {
                while !stop.load(SeqCst) {
                    send.unbounded_send(()).unwrap();
                    gort::yield_now().await;
                }
            }));
        }
        drop(send);
        let reader = gort::spawn(async move { while receive.next().await.is_some() {} });
        sleep(Duration::from_millis(10)).await;
        stop.store(true, SeqCst);
        join_all(tasks).await.into_iter().for_each(Result::unwrap);
        reader.await.unwrap();
    });
}

/// Go's BenchmarkPingPongHog as a test: a pair that wakes each other and a task that never rests
/// share one P within a factor (S14).
#[test]
fn test_ping_pong_hog() {
    let _machine = beside_others();
    let rt = runtime(1);
    let _watchdog = Watchdog::start(rt.handle());
    let share = rt.spawn(async {
        let stop = Arc::new(AtomicBool::new(false));
        let (hog_runs, pongs) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let hog = {
            let (stop, runs) = (stop.clone(), hog_runs.clone());
            gort::spawn(async move {
                while !stop.load(SeqCst) {
                    runs.fetch_add(1, SeqCst);
                    gort::yield_now().await;
                }
            })
        };
        let ((ping, mut pinged), (pong, mut ponged)) = (mpsc::unbounded(), mpsc::unbounded());
        let partner = gort::spawn(async move {
            while pinged.next().await.is_some() {
                pong.unbounded_send(()).unwrap();
            }
        });
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(50) {
            ping.unbounded_send(()).unwrap();
            ponged.next().await.unwrap();
            pongs.fetch_add(1, SeqCst);
        }
        stop.store(true, SeqCst);
        drop(ping);
        partner.await.unwrap();
        hog.await.unwrap();
        (hog_runs.load(SeqCst), pongs.load(SeqCst))
    });
    let (hog, pongs) = rt.block_on(share).unwrap();
    // One round in 61 dispatches goes to the hog at the least; a round trip is two dispatches.
    assert!(hog > 0 && pongs > 0, "{hog} against {pongs}");
    assert!(hog * 100 >= pongs, "the hog starves: {hog} against {pongs}");
    assert!(pongs * 100 >= hog, "the pair starves: {hog} against {pongs}");
}

/// 1024 procs at the start.
#[test]
fn test_big_gomaxprocs() {
    let _machine = beside_others();
    let rt = runtime(1024);
    let _watchdog = Watchdog::start(rt.handle());
    let tasks: Vec<_> = (0..2000).map(|i| rt.spawn(async move { i })).collect();
    let sum: u64 = rt.block_on(join_all(tasks)).into_iter().map(Result::unwrap).sum();
    assert_eq!(sum, 1999 * 2000 / 2);
}

/// As many tasks as the metrics say (Go: NumGoroutine against the dump).
#[test]
fn test_num_goroutine() {
    let _machine = beside_others();
    let rt = runtime(2);
    let handle = rt.handle();
    assert_eq!(handle.metrics().tasks, 0);
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = futures::FutureExt::shared(stopped);
    let tasks: Vec<_> = (0..25).map(|_| rt.spawn(stopped.clone())).collect();
    assert_eq!(handle.metrics().tasks, 25);
    stop.send(()).unwrap();
    rt.block_on(join_all(tasks)).into_iter().for_each(|ended| ended.unwrap().unwrap());
    gort_tests::eventually("none", || handle.metrics().tasks == 0);
}

/// Go: TestPingPongHog's cousin BenchmarkCreateGoroutines: chains of spawns of every length end.
#[test]
fn test_create_goroutines_capture() {
    for_procs_async(|| async {
        for n in [1u64, 10, 1000] {
            let (send, receive) = oneshot::channel();
            chain(n, send);
            assert_eq!(receive.await, Ok(()));
        }
    });
}

fn chain(n: u64, end: oneshot::Sender<()>) {
    use futures::FutureExt;
    drop(gort::spawn(
        async move {
            match n {
                0 => end.send(()).unwrap(),
                _ => chain(n - 1, end),
            }
        }
        .boxed(),
    ));
}
