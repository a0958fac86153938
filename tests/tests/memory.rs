//! What tasks cost, and that they give it back.

use std::future::pending;
use std::time::Duration;

use gort::time::{sleep, timeout};
use gort_tests::{alone, eventually, for_procs_alone, runtime, settle};

/// S20: a million tasks, one after the other, in batches and across threads.
#[test]
fn a_million_tasks_leave_nothing() {
    let _machine = alone();
    for_procs_alone(|rt| {
        let batch = |n: usize| {
            rt.block_on(rt.spawn(async move {
                for _ in 0..n / 100 {
                    let tasks: Vec<_> = (0..100).map(|i| gort::spawn(async move { i })).collect();
                    for task in tasks {
                        task.await.unwrap();
                    }
                }
            }))
            .unwrap();
        };
        batch(20_000);
        let (before, held) = (settle(), rt.handle().metrics().task_memory);
        batch(330_000);
        let grown = settle().saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes");
        let more = rt.handle().metrics().task_memory - held;
        assert!(more <= 4 << 20, "{more} bytes of cells");
    });
}

/// Spawned by plain threads and joined there: cells travel from one side to the other.
#[test]
fn tasks_from_plain_threads_leave_nothing() {
    let _machine = alone();
    for_procs_alone(|rt| {
        let batch = |n: usize| {
            for _ in 0..n {
                let tasks: Vec<_> = (0..100).map(|i| rt.spawn(async move { i })).collect();
                for task in tasks {
                    rt.block_on(task).unwrap();
                }
            }
        };
        batch(20);
        let before = rt.handle().metrics().task_memory;
        batch(200);
        let after = rt.handle().metrics().task_memory;
        assert!(after <= before + (2 << 20), "{before} became {after}");
    });
}

/// "At most 160 bytes plus the future."
#[test]
fn a_parked_task_costs_160_bytes_and_its_future() {
    const TASKS: usize = 100_000;
    let _machine = alone();
    let rt = runtime(1);
    let future = pending::<()>();
    let size = std::mem::size_of_val(&future);
    let mut tasks = Vec::with_capacity(TASKS);
    tasks.push(rt.spawn(future));
    let held = rt.handle().metrics().task_memory;
    let before = settle();
    tasks.extend((1..TASKS).map(|_| rt.spawn(pending::<()>())));
    eventually("all are parked", || {
        let m = rt.handle().metrics();
        m.idle_procs == 1 && m.global_queue == 0
    });
    let used = settle().saturating_sub(before) / TASKS;
    let cells = (rt.handle().metrics().task_memory - held) / TASKS;
    // The vector of handles was reserved, but its pages are touched now.
    let handle = std::mem::size_of_val(&tasks[0]);
    assert!(cells <= 160 + size, "{cells} bytes of cells");
    assert!(used <= 160 + size + handle + 64, "{used} bytes: the queue's own blocks are in it");
    drop(rt);
}

#[test]
fn timers_and_timeouts_leave_nothing() {
    let _machine = alone();
    for_procs_alone(|rt| {
        let batch = |n: u32| {
            rt.block_on(rt.spawn(async move {
                for _ in 0..n {
                    let _ = timeout(Duration::from_secs(1000), gort::yield_now()).await;
                    drop(gort::spawn(sleep(Duration::from_nanos(100))));
                    sleep(Duration::from_nanos(1)).await;
                }
            }))
            .unwrap();
        };
        batch(2_000);
        let before = settle();
        batch(20_000);
        let grown = settle().saturating_sub(before);
        assert!(grown < 4 << 20, "{grown} bytes");
    });
}

/// Aborted and orphaned tasks, and handles that are kept for long.
#[test]
fn every_way_to_end_gives_the_memory_back() {
    let _machine = alone();
    for_procs_alone(|rt| {
        let batch = || {
            rt.block_on(rt.spawn(async {
                for _ in 0..200 {
                    let tasks: Vec<_> = (0..50).map(|_| gort::spawn(pending::<()>())).collect();
                    gort::yield_now().await;
                    for (i, task) in tasks.into_iter().enumerate() {
                        match i % 3 {
                            0 => drop(task),
                            1 => {
                                task.abort();
                                let _ = task.await;
                            }
                            _ => task.abort(),
                        }
                    }
                }
            }))
            .unwrap();
            eventually("none is left", || rt.handle().metrics().tasks == 0);
        };
        batch();
        let before = rt.handle().metrics().task_memory;
        (0..5).for_each(|_| batch());
        let after = rt.handle().metrics().task_memory;
        assert!(after <= before + (1 << 20), "{before} became {after}");
    });
}
