//! gort among the combinators and executors of others: `futures` and `tokio-test`.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use futures::future::{self, Either, FutureExt, RemoteHandle};
use futures::sink::SinkExt;
use futures::stream::{self, FuturesUnordered, StreamExt};
use futures::task::{LocalSpawn, LocalSpawnExt, Spawn, SpawnExt};
use gort::LocalSpawner;
use gort::prelude::*;
use gort::time::{interval, sleep};
use gort_tests::{eventually, for_procs, for_procs_async, panic_text, runtime};
use tokio_test::{assert_pending, assert_ready};

const MS: Duration = Duration::from_millis(1);

#[test]
fn handle_is_a_spawner() {
    for_procs(|rt| {
        let spawner: &dyn Spawn = &rt.handle();
        let remote: RemoteHandle<i32> = spawner.spawn_with_handle(async { 4 }).unwrap();
        assert_eq!(futures::executor::block_on(remote), 4);
        let (send, receive) = oneshot::channel();
        spawner.spawn(async move { send.send(5).unwrap() }).unwrap();
        assert_eq!(rt.block_on(receive).unwrap(), 5);
        assert!(spawner.status().is_ok());
    });
}

#[test]
fn a_spawner_of_an_ended_runtime_says_so() {
    let rt = runtime(1);
    let handle = rt.handle();
    drop(rt);
    assert!(handle.status().unwrap_err().is_shutdown());
    assert!(handle.spawn_obj(Box::pin(async {}).into()).unwrap_err().is_shutdown());
}

/// In `block_on`, in a goroutine, and in a local task of each.
#[test]
fn a_local_spawner_spawns_where_local_tasks_may_live() {
    async fn run() {
        let spawner = LocalSpawner::current();
        let shared = Rc::new(Cell::new(0));
        let theirs = shared.clone();
        let outer = spawner.clone();
        let sum = spawner.spawn_local_with_handle(async move {
            for i in 1..=10 {
                let theirs = theirs.clone();
                outer
                    .spawn_local(async move {
                        gort::yield_now().await;
                        theirs.set(theirs.get() + i);
                    })
                    .unwrap();
            }
            while theirs.get() < 55 {
                gort::yield_now().await;
            }
            theirs.get()
        });
        assert_eq!(sum.unwrap().await, 55);
        assert!(spawner.status_local().is_ok());
    }
    for_procs(|rt| {
        rt.block_on(run());
        rt.run(|| run().wait());
    });
}

#[test]
fn a_local_spawner_refuses_where_they_may_not() {
    for_procs(|rt| {
        let spawner = rt.block_on(async { LocalSpawner::current() });
        assert!(spawner.status_local().unwrap_err().is_shutdown());
        let dropped = Rc::new(());
        let theirs = dropped.clone();
        let refused = spawner.spawn_local_obj(Box::pin(async move { drop(theirs) }).into());
        assert!(refused.unwrap_err().is_shutdown());
        assert_eq!(Rc::strong_count(&dropped), 1);
        let task = rt.spawn(async { LocalSpawner::current() }.map(drop));
        let error = rt.block_on(task).unwrap_err();
        assert!(panic_text(&*error.into_panic()).contains("`gort::LocalSpawner::current` needs"));
    });
}

#[test]
fn futures_unordered_of_join_handles() {
    for_procs_async(|| async {
        let mut tasks: FuturesUnordered<_> = (0..100)
            .map(|i| {
                gort::spawn(async move {
                    sleep(Duration::from_micros((i * 37) % 400)).await;
                    i
                })
            })
            .collect();
        let mut sum = 0;
        while let Some(n) = tasks.next().await {
            sum += n.unwrap();
        }
        assert_eq!(sum, 4950);
    });
}

/// A yield inside `FuturesUnordered` is polled with that one's waker, not with the task's.
#[test]
fn yields_inside_futures_unordered() {
    async fn run() {
        let mut parts: FuturesUnordered<_> = (0..20)
            .map(|i| async move {
                for _ in 0..i {
                    gort::yield_now().await;
                }
                i
            })
            .collect();
        let mut sum = 0;
        while let Some(n) = parts.next().await {
            sum += n;
        }
        assert_eq!(sum, 190);
    }
    for_procs(|rt| {
        rt.block_on(run());
        rt.block_on(rt.spawn(run())).unwrap();
        rt.block_on(async { gort::spawn_local(run()).await.unwrap() });
    });
    let rt = runtime(1);
    let _enter = rt.enter();
    futures::executor::block_on(run());
}

#[test]
fn join_and_select() {
    for_procs_async(|| async {
        let (a, b) = futures::join!(gort::spawn(async { 1 }), async {
            gort::yield_now().await;
            2
        });
        assert_eq!(a.unwrap() + b, 3);
        let mut never = pin!(sleep(Duration::from_secs(1000)).fuse());
        let mut soon = pin!(sleep(MS).fuse());
        let mut task = gort::spawn(future::pending::<()>()).fuse();
        futures::select! {
            () = never => panic!("too early"),
            () = soon => {},
            _ = task => panic!("never"),
        }
        let (send, receive) = oneshot::channel::<u32>();
        drop(gort::spawn(async move { send.send(8) }));
        match future::select(receive, Box::pin(sleep(Duration::from_secs(1000)))).await {
            Either::Left((got, _)) => assert_eq!(got.unwrap(), 8),
            Either::Right(_) => panic!("too early"),
        }
    });
}

#[test]
fn join_of_yields_in_one_task() {
    for_procs_async(|| async {
        let yields = (0..10).map(|_| async {
            for _ in 0..10 {
                gort::yield_now().await;
            }
        });
        future::join_all(yields).await;
    });
}

#[test]
fn buffered_streams_and_bounded_channels() {
    for_procs_async(|| async {
        let (mut send, receive) = mpsc::channel::<u32>(3);
        let producer = gort::spawn(async move {
            for i in 0..500 {
                send.send(i).await.unwrap();
            }
        });
        let doubled: Vec<_> = receive
            .map(|i| gort::spawn(async move { 2 * i }))
            .buffered(8)
            .map(Result::unwrap)
            .collect()
            .await;
        producer.await.unwrap();
        assert_eq!(doubled, (0..500).map(|i| 2 * i).collect::<Vec<_>>());
        let ticks = interval(MS).take(3).zip(stream::iter(0..));
        assert_eq!(ticks.map(|(_, i)| i).collect::<Vec<i32>>().await, [0, 1, 2]);
    });
}

#[test]
fn shared_futures_wake_all_tasks() {
    for_procs_async(|| async {
        let shared = gort::spawn(async {
            sleep(MS).await;
            7
        })
        .map(Result::unwrap)
        .shared();
        let tasks: Vec<_> = (0..10).map(|_| gort::spawn(shared.clone())).collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), 7);
        }
    });
}

#[test]
fn a_local_pool_runs_gort_futures() {
    let rt = runtime(2);
    let _enter = rt.enter();
    let mut pool = futures::executor::LocalPool::new();
    let spawner = pool.spawner();
    for i in 0..10 {
        let work = async move {
            sleep(Duration::from_micros(100 * i)).await;
            assert_eq!(gort::spawn(async move { i }).await.unwrap(), i);
        };
        spawner.spawn_local(work).unwrap();
    }
    pool.run();
}

#[test]
fn a_sleep_under_tokio_test() {
    for_procs(|rt| {
        let _enter = rt.enter();
        let mut task = tokio_test::task::spawn(sleep(5 * MS));
        assert_pending!(task.poll());
        assert!(!task.is_woken());
        eventually("the wake", || task.is_woken());
        assert_ready!(task.poll());
    });
}

#[test]
fn a_join_handle_under_tokio_test() {
    for_procs(|rt| {
        let (send, receive) = oneshot::channel::<u8>();
        let mut task = tokio_test::task::spawn(rt.spawn(receive));
        assert_pending!(task.poll());
        assert_pending!(task.poll());
        send.send(3).unwrap();
        eventually("the wake", || task.is_woken());
        assert_eq!(assert_ready!(task.poll()).unwrap(), Ok(3));
    });
}

#[test]
fn an_interval_under_tokio_test() {
    for_procs(|rt| {
        let _enter = rt.enter();
        let mut ticks = tokio_test::task::spawn(interval(2 * MS));
        for _ in 0..3 {
            assert_pending!(ticks.poll_next());
            eventually("the wake", || ticks.is_woken());
            assert!(assert_ready!(ticks.poll_next()).is_some());
        }
    });
}

#[test]
fn a_yield_under_tokio_test() {
    let mut yielded = tokio_test::task::spawn(gort::yield_now());
    assert_pending!(yielded.poll());
    assert!(yielded.is_woken());
    assert_ready!(yielded.poll());
}
