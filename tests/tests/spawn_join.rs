//! `spawn` and `JoinHandle`: results, detaching, ids, sizes of bodies.

use std::collections::HashSet;
use std::future::{pending, ready};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;

use futures::channel::oneshot;
use futures::future::FutureExt;
use gort::prelude::*;
use gort_tests::{CountWaker, OnDrop, Probe, eventually, for_procs, for_procs_async, until};

#[test]
fn gives_the_output() {
    for_procs_async(|| async {
        assert_eq!(gort::spawn(async { 1 }).await.unwrap(), 1);
        assert_eq!(gort::spawn(ready("text".to_owned())).await.unwrap(), "text");
        gort::spawn(async {}).await.unwrap();
        assert_eq!(gort::spawn(async { [7u8; 5000] }).await.unwrap(), [7; 5000]);
    });
}

#[test]
fn a_tree_of_tasks() {
    fn tree(depth: u32) -> futures::future::BoxFuture<'static, u64> {
        async move {
            if depth == 0 {
                return 1;
            }
            let children: Vec<_> = (0..4).map(|_| gort::spawn(tree(depth - 1))).collect();
            let mut sum = 0;
            for child in children {
                sum += child.await.unwrap();
            }
            sum
        }
        .boxed()
    }
    for_procs(|rt| assert_eq!(rt.block_on(rt.spawn(tree(6))).unwrap(), 4096));
}

#[test]
fn from_plain_threads() {
    for_procs(|rt| {
        thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    let tasks: Vec<_> = (0..500).map(|i| rt.spawn(async move { i })).collect();
                    for (i, task) in tasks.into_iter().enumerate() {
                        assert_eq!(rt.block_on(task).unwrap(), i);
                    }
                });
            }
        });
    });
}

#[test]
fn joined_in_any_order_and_from_anywhere() {
    for_procs(|rt| {
        let (send, receive) = oneshot::channel::<()>();
        let late = rt.spawn(async move { receive.await.is_ok() });
        let early: Vec<_> = (0..100).map(|i| rt.spawn(async move { i })).collect();
        for (i, task) in early.into_iter().enumerate().rev() {
            assert_eq!(futures::executor::block_on(task).unwrap(), i);
        }
        let moved = thread::spawn(move || late.wait());
        send.send(()).unwrap();
        assert!(moved.join().unwrap().unwrap());
    });
}

#[test]
fn dropping_the_handle_detaches() {
    for_procs_async(|| async {
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let ran = ran.clone();
            drop(gort::spawn(async move {
                gort::yield_now().await;
                ran.fetch_add(1, SeqCst);
            }));
        }
        until("the detached tasks have run", || ran.load(SeqCst) == 100).await;
    });
}

#[test]
fn a_detached_tasks_output_is_dropped_once() {
    for_procs_async(|| async {
        let drops = Arc::new(AtomicUsize::new(0));
        let make = |drops: &Arc<AtomicUsize>| {
            let drops = drops.clone();
            OnDrop::new(move || {
                drops.fetch_add(1, SeqCst);
            })
        };
        let output = make(&drops);
        drop(gort::spawn(async move { output }));
        until("dropped by the worker", || drops.load(SeqCst) == 1).await;
        let output = make(&drops);
        let task = gort::spawn(async move { output });
        until("its end", || task.is_finished()).await;
        assert_eq!(drops.load(SeqCst), 1, "the handle owns it now");
        drop(task);
        assert_eq!(drops.load(SeqCst), 2);
        let output = make(&drops);
        let output = gort::spawn(async move { output }).await.unwrap();
        assert_eq!(drops.load(SeqCst), 2);
        drop(output);
        assert_eq!(drops.load(SeqCst), 3);
    });
}

/// A task that waits for something that does not exist any more is garbage, not a leak.
#[test]
fn a_task_that_nobody_can_reach_is_dropped() {
    for_procs_async(|| async {
        let probe = Probe::new();
        let task = gort::spawn(probe.future());
        until("the first poll", || probe.polls() == 1).await;
        let waker = probe.take_wakers();
        drop(task);
        for _ in 0..10 {
            gort::yield_now().await;
        }
        assert_eq!(probe.drops(), 0, "its waker lives");
        thread::spawn(move || drop(waker)).join().unwrap();
        until("it is dropped", || probe.drops() == 1).await;
        assert_eq!(probe.polls(), 1);
    });
}

#[test]
fn is_finished_becomes_true() {
    for_procs(|rt| {
        let (send, receive) = oneshot::channel::<()>();
        let task = rt.spawn(receive.map(|_| 5));
        assert!(!task.is_finished());
        send.send(()).unwrap();
        eventually("its end", || task.is_finished());
        assert_eq!(rt.block_on(task).unwrap(), 5);
    });
}

/// Who sees the end also sees what the task did.
#[test]
fn is_finished_publishes_what_the_task_did() {
    for_procs(|rt| {
        for i in 0..1000 {
            let cell = Arc::new(Mutex::new(0));
            let theirs = cell.clone();
            let task = rt.spawn(async move { *theirs.lock().unwrap() = i });
            eventually("its end", || task.is_finished());
            assert_eq!(*cell.lock().unwrap(), i);
        }
    });
}

#[test]
fn the_handle_wakes_its_latest_waker_only() {
    for_procs(|rt| {
        let (send, receive) = oneshot::channel::<()>();
        let mut task = rt.spawn(receive);
        let wakers: Vec<_> = (0..5).map(|_| CountWaker::pair()).collect();
        for (_, waker) in &wakers {
            assert!(task.poll_unpin(&mut Context::from_waker(waker)).is_pending());
            assert!(task.poll_unpin(&mut Context::from_waker(waker)).is_pending());
        }
        send.send(()).unwrap();
        eventually("the wake", || wakers[4].0.wakes() == 1);
        assert!(wakers[..4].iter().all(|(count, _)| count.wakes() == 0));
        let polled = task.poll_unpin(&mut Context::from_waker(&wakers[0].1));
        assert!(matches!(polled, Poll::Ready(Ok(Ok(())))));
        drop(task);
        let strong = wakers.iter().map(|(count, _)| Arc::strong_count(count));
        assert!(strong.into_iter().all(|n| n == 2), "no clone of a waker is left");
    });
}

/// The handle is polled with ever other wakers while the task ends.
#[test]
fn the_handle_is_polled_while_the_task_ends() {
    for_procs(|rt| {
        let wakers: Vec<_> = (0..3).map(|_| CountWaker::pair()).collect();
        for round in 0..2000 {
            let mut task = rt.spawn(async move { round });
            let mut i = 0;
            let got = loop {
                let mut cx = Context::from_waker(&wakers[i % 3].1);
                if let Poll::Ready(got) = task.poll_unpin(&mut cx) {
                    break got;
                }
                i += 1;
            };
            assert_eq!(got.unwrap(), round);
        }
        eventually("the last wakes", || {
            wakers.iter().all(|(count, _)| Arc::strong_count(count) == 2)
        });
    });
}

#[test]
fn the_handle_is_dropped_while_the_task_ends() {
    for_procs(|rt| {
        let drops = Arc::new(AtomicUsize::new(0));
        let (count, waker) = CountWaker::pair();
        for round in 0..3000 {
            let drops = drops.clone();
            let output = OnDrop::new(move || {
                drops.fetch_add(1, SeqCst);
            });
            let mut task = rt.spawn(async move { output });
            if round % 2 == 0 {
                let _ = task.poll_unpin(&mut Context::from_waker(&waker));
            }
            drop(task);
        }
        eventually("every output is dropped", || drops.load(SeqCst) == 3000);
        eventually("no waker is left", || Arc::strong_count(&count) == 2);
    });
}

#[test]
#[should_panic(expected = "polled after it was ready")]
fn polling_a_handle_after_the_end_panics() {
    gort::block_on(async {
        let mut task = gort::spawn(async {});
        (&mut task).await.unwrap();
        let _ = (&mut task).await;
    });
}

/// S1: ids are unique, also under many threads.
#[test]
fn ids_are_unique() {
    for_procs(|rt| {
        let ids = Mutex::new(HashSet::new());
        thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    let mine: Vec<_> = (0..5_000).map(|_| rt.spawn(async {}).id()).collect();
                    let inner = rt.spawn(async {
                        (0..5_000).map(|_| gort::spawn(async {}).id()).collect::<Vec<_>>()
                    });
                    let theirs = rt.block_on(inner).unwrap();
                    ids.lock().unwrap().extend(mine.into_iter().chain(theirs));
                });
            }
        });
        assert_eq!(ids.into_inner().unwrap().len(), 4 * 10_000);
    });
}

#[test]
fn the_id_stays_with_the_task() {
    for_procs_async(|| async {
        let task = gort::spawn(pending::<()>());
        let id = task.id();
        task.abort();
        assert_eq!(task.await.unwrap_err().id(), id);
        assert!(!id.to_string().is_empty());
    });
}

#[test]
fn debug_says_what_and_where() {
    for_procs(|rt| {
        let task = rt.spawn(pending::<()>());
        let text = format!("{task:?}");
        assert!(text.contains("Pending") && text.contains("spawn_join.rs"), "{text}");
        assert!(text.contains("finished: false"), "{text}");
    });
}

#[repr(align(256))]
struct Aligned(u8);

/// Bodies and outputs of every size, and of an alignment that no slab has.
#[test]
fn bodies_of_every_size() {
    async fn sized<const N: usize>() -> usize {
        let body = [1u8; N];
        gort::yield_now().await;
        body.iter().map(|b| usize::from(*b)).sum()
    }
    for_procs_async(|| async {
        for _ in 0..100 {
            assert_eq!(gort::spawn(sized::<0>()).await.unwrap(), 0);
            assert_eq!(gort::spawn(sized::<1>()).await.unwrap(), 1);
            assert_eq!(gort::spawn(sized::<100>()).await.unwrap(), 100);
            assert_eq!(gort::spawn(sized::<400>()).await.unwrap(), 400);
            assert_eq!(gort::spawn(sized::<3000>()).await.unwrap(), 3000);
            assert_eq!(gort::spawn(sized::<5000>()).await.unwrap(), 5000);
            assert_eq!(gort::spawn(sized::<100_000>()).await.unwrap(), 100_000);
            let aligned = gort::spawn(async {
                let here = Aligned(3);
                gort::yield_now().await;
                assert!(std::ptr::from_ref(&here).addr().is_multiple_of(256));
                here
            });
            assert_eq!(aligned.await.unwrap().0, 3);
        }
    });
}

#[test]
fn a_body_does_not_move() {
    for_procs_async(|| async {
        let task = gort::spawn(async {
            let here = 5u64;
            let address = std::ptr::from_ref(&here).addr();
            for _ in 0..100 {
                gort::yield_now().await;
                assert_eq!(std::ptr::from_ref(&here).addr(), address);
            }
        });
        task.await.unwrap();
    });
}

#[test]
fn metrics_count_tasks() {
    for_procs(|rt| {
        let handle = rt.handle();
        let tasks: Vec<_> = (0..10).map(|_| rt.spawn(pending::<()>())).collect();
        eventually("ten tasks wait", || {
            let m = handle.metrics();
            m.tasks == 10 && m.idle_procs == m.procs
        });
        let m = handle.metrics();
        assert_eq!((m.spawned, m.global_queue, m.procs), (10, 0, m.per_proc.len()));
        assert!(m.per_proc.iter().all(|p| p.queue == 0 && !p.running), "{m:?}");
        tasks.iter().for_each(|task| task.abort());
        eventually("none is left", || {
            let m = handle.metrics();
            m.tasks == 0 && m.per_proc.iter().all(|p| p.queue == 0)
        });
        let mut task = tasks.into_iter().next().unwrap();
        assert!(task.poll_unpin(&mut Context::from_waker(Waker::noop())).is_ready());
    });
}
