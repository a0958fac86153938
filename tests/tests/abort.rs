//! `JoinHandle::abort` at every moment of a task's life.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use gort::time::sleep;
use gort_tests::{OnDrop, Probe, eventually, for_procs, for_procs_async, until};

#[test]
fn before_the_first_poll() {
    for_procs_async(|| async {
        let probe = Probe::new();
        let task = gort::spawn(probe.future());
        task.abort(); // at one P nobody can have started it
        let polls = probe.polls();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(probe.drops(), 1);
        assert!(polls <= 1);
    });
}

#[test]
fn while_parked() {
    for_procs_async(|| async {
        let probe = Probe::new();
        let task = gort::spawn(probe.future());
        until("it is parked", || probe.polls() == 1).await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!((probe.polls(), probe.drops()), (1, 1));
    });
}

#[test]
fn while_parked_for_ever_in_a_sleep() {
    for_procs_async(|| async {
        let task = gort::spawn(sleep(Duration::MAX));
        gort::yield_now().await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    });
}

/// The poll goes on to its end, the next one does not come.
#[test]
fn in_the_middle_of_a_poll() {
    for_procs(|rt| {
        let (started, start) = mpsc::channel();
        let (go_on, held) = mpsc::channel::<()>();
        let reached = Arc::new(AtomicUsize::new(0));
        let theirs = reached.clone();
        let task = rt.spawn(async move {
            started.send(()).unwrap();
            held.recv().unwrap();
            theirs.store(1, SeqCst);
            gort::yield_now().await;
            theirs.store(2, SeqCst);
        });
        start.recv().unwrap();
        task.abort();
        assert!(!task.is_finished());
        go_on.send(()).unwrap();
        assert!(rt.block_on(task).unwrap_err().is_cancelled());
        assert_eq!(reached.load(SeqCst), 1);
    });
}

/// A task that reaches its end in the poll during which it is aborted has its result.
#[test]
fn in_the_middle_of_the_last_poll() {
    for_procs(|rt| {
        let (started, start) = mpsc::channel();
        let (go_on, held) = mpsc::channel::<()>();
        let task = rt.spawn(async move {
            started.send(()).unwrap();
            held.recv().unwrap();
            5
        });
        start.recv().unwrap();
        task.abort();
        go_on.send(()).unwrap();
        assert_eq!(rt.block_on(task).unwrap(), 5);
    });
}

#[test]
fn after_the_end() {
    for_procs_async(|| async {
        let task = gort::spawn(async { 5 });
        until("its end", || task.is_finished()).await;
        task.abort();
        task.abort();
        assert_eq!(task.await.unwrap(), 5);
    });
}

#[test]
fn by_itself() {
    for_procs_async(|| async {
        let (send, receive) = oneshot::channel::<gort::JoinHandle<()>>();
        let (polled, after) = (Arc::new(AtomicUsize::new(0)), Probe::new());
        let (theirs, inner) = (polled.clone(), after.future());
        let task = gort::spawn(async move {
            let myself = receive.await.unwrap();
            myself.abort();
            theirs.store(1, SeqCst);
            inner.await;
        });
        send.send(task).unwrap();
        until("it is dropped", || after.drops() == 1).await;
        assert_eq!(polled.load(SeqCst), 1);
    });
}

#[test]
fn many_times_from_many_threads() {
    for_procs(|rt| {
        let probe = Probe::new();
        let task = rt.spawn(probe.future());
        thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| (0..100).for_each(|_| task.abort()));
            }
        });
        assert!(rt.block_on(task).unwrap_err().is_cancelled());
        assert_eq!(probe.drops(), 1);
    });
}

#[test]
fn together_with_a_wake() {
    for_procs(|rt| {
        for _ in 0..500 {
            let probe = Probe::new();
            let task = rt.spawn(probe.future());
            eventually("the first poll", || probe.polls() == 1);
            let waker = probe.waker();
            probe.finish();
            let wakes = thread::spawn(move || waker.wake());
            task.abort();
            let result = rt.block_on(task);
            assert!(result.is_ok() || result.unwrap_err().is_cancelled());
            wakes.join().unwrap();
            assert_eq!(probe.drops(), 1);
        }
    });
}

#[test]
fn a_task_that_yields_for_ever() {
    for_procs_async(|| async {
        let task = gort::spawn(async {
            loop {
                gort::yield_now().await;
            }
        });
        gort::yield_now().await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    });
}

/// An abort ends one task, not those that it has spawned.
#[test]
fn children_go_on() {
    for_procs_async(|| async {
        let (send, receive) = oneshot::channel();
        let parent = gort::spawn(async move {
            let child = gort::spawn(async {
                for _ in 0..100 {
                    gort::yield_now().await;
                }
                6
            });
            send.send(child).ok().unwrap();
            pending::<()>().await;
        });
        let child = receive.await.unwrap();
        parent.abort();
        assert!(parent.await.unwrap_err().is_cancelled());
        assert_eq!(child.await.unwrap(), 6);
    });
}

/// Dropping a future around a handle does not abort the task.
#[test]
fn a_dropped_join_is_no_abort() {
    for_procs_async(|| async {
        let ran = Arc::new(AtomicUsize::new(0));
        let theirs = ran.clone();
        let (send, receive) = oneshot::channel::<()>();
        let task = gort::spawn(async move {
            receive.await.unwrap();
            theirs.store(1, SeqCst);
        });
        let limit = Duration::from_micros(100);
        assert!(gort::time::timeout(limit, task).await.is_err());
        send.send(()).unwrap();
        until("it has run", || ran.load(SeqCst) == 1).await;
    });
}

/// T5: destructors run on a worker and may use the runtime.
#[test]
fn destructors_run_where_tasks_run() {
    for_procs(|rt| {
        let (send, receive) = mpsc::channel();
        let guard = OnDrop::new(move || {
            let inner = gort::spawn(async { 3 });
            send.send((thread::current().id(), inner)).unwrap();
        });
        let probe = Probe::new();
        let inner = probe.future();
        let task = rt.spawn(async move {
            let _guard = guard;
            inner.await;
        });
        eventually("it is parked", || probe.polls() == 1);
        task.abort();
        let (thread, inner) = receive.recv().unwrap();
        assert_ne!(thread, thread::current().id());
        assert_eq!(rt.block_on(inner).unwrap(), 3);
        assert!(rt.block_on(task).unwrap_err().is_cancelled());
    });
}

#[test]
fn the_error_says_so() {
    for_procs_async(|| async {
        let task = gort::spawn(pending::<()>());
        let id = task.id();
        task.abort();
        let error = task.await.unwrap_err();
        assert!(error.is_cancelled() && !error.is_panic());
        assert_eq!(error.to_string(), format!("task {id} was cancelled"));
        let error = error.try_into_panic().unwrap_err();
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::Other);
    });
}
