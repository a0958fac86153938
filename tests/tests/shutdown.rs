//! The end of a runtime, in every order and place.
#![expect(clippy::waker_clone_wake, reason = "the wake by value is what is tested")]

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use gort::time::{interval, sleep, timeout};
use gort::{Handle, JoinHandle, Runtime};
use gort_tests::{
    Counts, OnDrop, Probe, Rng, alone, beside_others, eventually, returns, runtime, settle,
};

/// A counter of drops, and a guard that counts.
fn guard(drops: &Arc<AtomicUsize>) -> OnDrop<impl FnOnce() + Send + use<>> {
    let drops = drops.clone();
    OnDrop::new(move || {
        drops.fetch_add(1, SeqCst);
    })
}

/// A task that waits for ever, and drops `guard` with itself. As long as its handle is kept: a task
/// that nobody can wake or join is dropped at once.
fn park(rt: &(impl Spawner + ?Sized), guard: impl Send + 'static) -> JoinHandle<()> {
    rt.spawn_unit(async move {
        let _guard = guard;
        pending::<()>().await;
    })
}

/// A runtime or a handle.
trait Spawner {
    fn spawn_unit(&self, future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()>;
}

impl Spawner for Runtime {
    fn spawn_unit(&self, future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.spawn(future)
    }
}

impl Spawner for Handle {
    fn spawn_unit(&self, future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.spawn(future)
    }
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs `test` at P = 1, 2 and 4, each in a thread of its own that must come back.
fn each(what: &'static str, test: fn(Runtime)) {
    let _machine = beside_others();
    for procs in [1, 2, 4] {
        returns(what, move || test(runtime(procs)));
    }
}

#[test]
fn an_unused_runtime() {
    each("drop of an unused runtime", drop);
}

#[test]
fn parked_tasks_are_dropped_before_the_drop_returns() {
    each("drop with parked tasks", |rt| {
        let drops = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let guard = guard(&drops);
                rt.spawn(async move {
                    let _guard = guard;
                    pending::<()>().await;
                })
            })
            .collect();
        rt.block_on(gort::yield_now());
        drop(rt);
        assert_eq!(drops.load(SeqCst), 100);
        for mut task in tasks {
            assert!(task.is_finished());
            let Poll::Ready(result) = poll_once(&mut task) else { panic!("it has ended") };
            assert!(result.unwrap_err().is_cancelled());
        }
    });
}

#[test]
fn tasks_that_never_started_are_dropped_too() {
    each("drop with fresh tasks", |rt| {
        let drops = Arc::new(AtomicUsize::new(0));
        for _ in 0..10_000 {
            let guard = guard(&drops);
            drop(rt.spawn(async move { drop(guard) }));
        }
        drop(rt);
        assert_eq!(drops.load(SeqCst), 10_000);
    });
}

#[test]
fn tasks_that_yield_for_ever_are_dropped() {
    each("drop with busy tasks", |rt| {
        let drops = Arc::new(AtomicUsize::new(0));
        for _ in 0..10 {
            let guard = guard(&drops);
            drop(rt.spawn(async move {
                let _guard = guard;
                loop {
                    gort::yield_now().await;
                }
            }));
        }
        drop(rt);
        assert_eq!(drops.load(SeqCst), 10);
    });
}

#[test]
fn handles_wakers_and_sleeps_outlive_the_runtime() {
    each("use of leftovers", |rt| {
        let probe = Probe::new();
        let mut task = rt.spawn(probe.future());
        let handle = rt.handle();
        eventually("the first poll", || probe.polls() == 1);
        let mut armed = pin!(sleep(Duration::from_secs(1000)));
        {
            let _enter = rt.enter();
            assert!(poll_once(&mut armed).is_pending());
        }
        let mut unarmed = pin!(sleep(Duration::from_secs(1000)));
        let mut finished = rt.spawn(async { Box::new(5) });
        eventually("its end", || finished.is_finished());
        drop(rt);

        assert_eq!(probe.drops(), 1);
        for waker in probe.take_wakers() {
            waker.wake_by_ref();
            waker.clone().wake();
            drop(waker);
        }
        task.abort();
        assert!(matches!(poll_once(&mut task), Poll::Ready(Err(e)) if e.is_cancelled()));
        assert!(matches!(poll_once(&mut finished), Poll::Ready(Ok(n)) if *n == 5));
        let _enter = handle.enter();
        for sleep in [&mut armed, &mut unarmed] {
            let polled = catch_unwind(AssertUnwindSafe(|| poll_once(sleep)));
            assert!(polled.is_err(), "it would never be ready");
        }
        assert_eq!(handle.metrics().tasks, 0);
        assert!(format!("{handle:?}").contains("Handle"));
    });
}

#[test]
fn spawn_after_the_end_is_cancelled() {
    each("spawn after the end", |rt| {
        let handle = rt.handle();
        drop(rt);
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = guard(&drops);
        let mut task = handle.spawn(async move { drop(guard) });
        assert_eq!(drops.load(SeqCst), 1, "the future is dropped at once");
        assert!(task.is_finished());
        assert!(matches!(poll_once(&mut task), Poll::Ready(Err(e)) if e.is_cancelled()));
        let _enter = handle.enter();
        assert!(gort::block_on(gort::spawn(async {})).unwrap_err().is_cancelled());
        assert_eq!(gort::block_on(async { 3 }), 3);
    });
}

#[test]
fn joiners_of_every_kind_are_woken_by_the_end() {
    each("joiners at the end", |rt| {
        let other = runtime(1);
        let never = || rt.spawn(pending::<()>());
        let in_other = other.spawn(never());
        let on_thread = thread::spawn({
            let task = never();
            move || futures::executor::block_on(task)
        });
        let entered = thread::spawn({
            let (handle, task) = (rt.handle(), never());
            move || {
                let _enter = handle.enter();
                gort::block_on(task)
            }
        });
        drop(rt);
        assert!(other.block_on(in_other).unwrap().unwrap_err().is_cancelled());
        assert!(on_thread.join().unwrap().unwrap_err().is_cancelled());
        assert!(entered.join().unwrap().unwrap_err().is_cancelled());
    });
}

/// The waker's thread has no part in the runtime, which may be gone before its wake returns.
#[test]
fn a_foreign_wake_races_with_the_end() {
    for _ in 0..300 {
        let rt = runtime(1);
        let (send, receive) = oneshot::channel::<()>();
        let task = rt.spawn(receive);
        let goroutine = rt.go(move || gort::block_on(task));
        let sender = thread::spawn(move || send.send(()));
        drop(rt);
        let _sent = sender.join().unwrap();
        drop(goroutine);
    }
}

#[test]
fn inside_its_own_task() {
    each("drop inside an own task", |rt| {
        let handle = rt.handle();
        let rt = Arc::new(Mutex::new(Some(rt)));
        let (drops, theirs) = (Arc::new(AtomicUsize::new(0)), rt.clone());
        let (parked, after) = (guard(&drops), guard(&drops));
        let went_on = Arc::new(AtomicBool::new(false));
        let mark = went_on.clone();
        let _task = park(&handle, parked);
        let mut task = handle.spawn(async move {
            let _after = after;
            drop(theirs.lock().unwrap().take());
            mark.store(true, SeqCst);
            gort::yield_now().await;
            panic!("a task goes on to the end of its poll, and no further");
        });
        eventually("the end", || task.is_finished() && drops.load(SeqCst) == 2);
        assert!(went_on.load(SeqCst));
        assert!(matches!(poll_once(&mut task), Poll::Ready(Err(e)) if e.is_cancelled()));
    });
}

#[test]
fn by_the_last_arc_in_a_task() {
    each("drop of the last Arc in a task", |rt| {
        let rt = Arc::new(rt);
        let theirs = rt.clone();
        let (send, receive) = mpsc::channel();
        drop(rt.spawn(async move {
            gort::yield_now().await;
            drop(theirs);
            send.send(()).unwrap();
        }));
        drop(rt);
        // Either the task was cancelled or it has dropped the runtime; both end it.
        let _ = receive.recv();
    });
}

#[test]
fn inside_its_own_block_on() {
    each("drop inside its own block_on", |rt| {
        let handle = rt.handle();
        let drops = Arc::new(AtomicUsize::new(0));
        let _enter = handle.enter();
        let refused = gort::block_on(async {
            let guards: Vec<_> = (0..10).map(|_| guard(&drops)).collect();
            let tasks: Vec<_> =
                guards.into_iter().map(|g| gort::spawn(async move { drop(g) })).collect();
            drop(rt);
            for task in tasks {
                let _ = task.await; // it may have run, and may have been cancelled
            }
            gort::spawn(async {}).await.unwrap_err().is_cancelled()
        });
        assert!(refused);
        assert_eq!(drops.load(SeqCst), 10);
    });
}

/// A root in the middle of its poll holds a P. The end must leave that alone until the poll ends.
#[test]
fn while_a_root_is_in_the_middle_of_its_poll() {
    each("drop during a root's poll", |rt| {
        let handle = rt.handle();
        let drops = Arc::new(AtomicUsize::new(0));
        let middle = Arc::new(Barrier::new(2));
        let (theirs, there) = (drops.clone(), middle.clone());
        let root = thread::spawn(move || {
            let _enter = handle.enter();
            gort::block_on(async move {
                let spawn = || {
                    let guard = guard(&theirs);
                    gort::spawn(async move { drop(guard) })
                };
                let mut tasks: Vec<JoinHandle<()>> = (0..100).map(|_| spawn()).collect();
                there.wait();
                // What follows runs beside the shutdown: spawns, frees and wakes at this P.
                for _ in 0..2_000 {
                    tasks.push(spawn());
                    drop(tasks.swap_remove(0));
                }
                for task in tasks {
                    let _ = task.await;
                }
            });
        });
        middle.wait();
        drop(rt);
        root.join().unwrap();
        eventually("every task is dropped", || drops.load(SeqCst) == 2_100);
    });
}

/// As above, over and over, and nothing may be left: not the poller's descriptors either, which
/// the scheduler keeps as long as one of its cells is thought to be alive.
#[test]
fn ends_beside_a_busy_root_leave_nothing() {
    let _machine = alone();
    let before = Counts::now();
    for round in 0..100 {
        returns("an end beside a busy root", move || {
            let rt = runtime(1 + round % 3);
            let handle = rt.handle();
            let (started, start) = mpsc::channel();
            let root = thread::spawn(move || {
                let _enter = handle.enter();
                gort::block_on(async move {
                    let mut kept = Vec::new();
                    for i in 0.. {
                        let task = gort::spawn(async { gort::yield_now().await });
                        if task.id().to_string() == "0" {
                            break;
                        }
                        kept.push(task);
                        if i == 10 {
                            started.send(()).unwrap();
                        }
                        if i % 100 == 0 {
                            kept.clear();
                        }
                    }
                });
            });
            start.recv().unwrap();
            drop(rt);
            root.join().unwrap();
        });
    }
    before.assert_restored();
}

#[test]
fn inside_a_task_of_another_runtime() {
    each("drop inside a task of another runtime", |rt| {
        let other = runtime(2);
        let drops = Arc::new(AtomicUsize::new(0));
        let parked = guard(&drops);
        let _task = park(&rt, parked);
        let task = other.spawn(async move { drop(rt) });
        other.block_on(task).unwrap();
        assert_eq!(drops.load(SeqCst), 1);
    });
}

#[test]
fn inside_block_on_of_another_runtime() {
    each("drop inside block_on of another runtime", |rt| {
        let other = runtime(1);
        let drops = Arc::new(AtomicUsize::new(0));
        let parked = guard(&drops);
        let _task = park(&rt, parked);
        other.block_on(async move {
            gort::yield_now().await;
            drop(rt);
            gort::yield_now().await;
        });
        assert_eq!(drops.load(SeqCst), 1);
    });
}

/// Each runtime's task waits for a task of the other; both are dropped, in both orders.
#[test]
fn two_runtimes_joined_crosswise() {
    each("two runtimes joined crosswise", |a| {
        let b = runtime(1);
        let (to_a, from_a) = oneshot::channel::<JoinHandle<()>>();
        let (to_b, from_b) = oneshot::channel::<JoinHandle<()>>();
        let in_a = a.spawn(async move {
            let other = from_a.await.unwrap();
            let _ = other.await;
        });
        let in_b = b.spawn(async move {
            let other = from_b.await.unwrap();
            let _ = other.await;
        });
        to_a.send(in_b).ok().unwrap();
        to_b.send(in_a).ok().unwrap();
        drop(a);
        drop(b);
    });
}

/// Two runtimes whose last owners are tasks of each other.
#[test]
fn two_runtimes_that_own_each_other() {
    each("two runtimes that own each other", |a| {
        let b = runtime(1);
        let (a_handle, b_handle) = (a.handle(), b.handle());
        let (send, receive) = mpsc::channel();
        let done = send.clone();
        drop(a_handle.spawn(async move {
            gort::yield_now().await;
            drop(b);
            let _ = done.send(());
        }));
        drop(b_handle.spawn(async move {
            gort::yield_now().await;
            drop(a);
            let _ = send.send(());
        }));
        // Each task either comes to its drop or is dropped, with the runtime that it owns.
        while receive.recv().is_ok() {}
        eventually("both have ended", || {
            a_handle.metrics().tasks == 0 && b_handle.metrics().tasks == 0
        });
    });
}

#[test]
fn destructors_that_spawn_wake_and_block() {
    each("destructors at the end", |rt| {
        let drops = Arc::new(AtomicUsize::new(0));
        let (waking, woken) = oneshot::channel::<()>();
        let handle = rt.handle();
        let spawns = {
            let (drops, handle) = (drops.clone(), handle.clone());
            OnDrop::new(move || {
                let inner = guard(&drops);
                let here = gort::spawn(async move { drop(inner) });
                assert!(here.is_finished(), "spawns are refused");
                drop(handle.spawn(async {}));
                drops.fetch_add(1, SeqCst);
            })
        };
        let wakes = {
            let drops = drops.clone();
            OnDrop::new(move || {
                drop(waking); // wakes the one below
                drops.fetch_add(1, SeqCst);
            })
        };
        let blocks = {
            let drops = drops.clone();
            OnDrop::new(move || {
                gort::block_on(async { gort::yield_now().await });
                drops.fetch_add(1, SeqCst);
            })
        };
        let waiter = guard(&drops);
        let _waiter = rt.spawn(async move {
            let _guard = waiter;
            let _ = woken.await;
            pending::<()>().await;
        });
        let _task = park(&rt, (spawns, wakes, blocks));
        drop(rt);
        assert_eq!(drops.load(SeqCst), 5);
    });
}

#[test]
fn destructors_that_panic() {
    each("panics at the end", |rt| {
        let mut task = rt.spawn(async {
            let _guard = OnDrop::new(|| panic!("in the end"));
            pending::<()>().await;
        });
        let (polled, is_polled) = mpsc::channel();
        drop(rt.spawn(async move { polled.send(()) }));
        is_polled.recv().unwrap();
        gort::block_on(gort::yield_now());
        drop(rt);
        let Poll::Ready(result) = poll_once(&mut task) else { panic!("it has ended") };
        drop(result); // a panic if it had started, else cancelled
    });
}

#[test]
fn a_task_stuck_in_a_poll_is_left_to_itself() {
    let _machine = beside_others();
    for procs in [1, 2, 4] {
        let rt = runtime(procs);
        let handle = rt.handle();
        let (release, held) = mpsc::channel::<()>();
        let (started, start) = mpsc::channel();
        let drops = Arc::new(AtomicUsize::new(0));
        let (stuck, parked) = (guard(&drops), guard(&drops));
        let _task = park(&rt, parked);
        let task = rt.spawn(async move {
            let _stuck = stuck;
            started.send(()).unwrap();
            let _ = held.recv(); // blocks the thread, as no task should
            gort::yield_now().await;
        });
        start.recv().unwrap();
        let begin = Instant::now();
        assert!(!rt.shutdown_timeout(Duration::from_millis(20)));
        assert!(begin.elapsed() >= Duration::from_millis(20));
        assert!(!task.is_finished());
        assert!(handle.spawn(async {}).is_finished(), "spawns are refused");
        drop(release);
        eventually("the rest of the end", || task.is_finished() && drops.load(SeqCst) == 2);
    }
}

#[test]
fn shutdown_timeout_of_zero_does_not_wait() {
    each("shutdown_timeout(0)", |rt| {
        let drops = Arc::new(AtomicUsize::new(0));
        let parked = guard(&drops);
        let _task = park(&rt, parked);
        rt.shutdown_timeout(Duration::ZERO);
        eventually("the end", || drops.load(SeqCst) == 1);
    });
}

#[test]
fn shutdown_timeout_may_be_for_ever() {
    each("shutdown_timeout(MAX)", |rt| assert!(rt.shutdown_timeout(Duration::MAX)));
}

#[test]
fn timers_of_other_executors_learn_of_the_end() {
    each("a foreign timer at the end", |rt| {
        let handle = rt.handle();
        let (armed, is_armed) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut sleep = pin!(sleep(Duration::from_secs(1000)));
            let mut armed = Some(armed);
            futures::executor::block_on(poll_fn(|cx| {
                let _enter = handle.enter();
                let polled = sleep.as_mut().poll(cx);
                if let Some(armed) = armed.take() {
                    armed.send(()).unwrap();
                }
                polled
            }));
        });
        is_armed.recv().unwrap();
        drop(rt);
        assert!(thread.join().is_err(), "the poll after the end panics, and says so");
    });
}

#[test]
fn a_used_runtime_leaves_no_thread_and_no_descriptor() {
    let _machine = alone();
    let before = Counts::now();
    for procs in [1, 2, 4] {
        let rt = runtime(procs);
        let tasks: Vec<_> = (0..100)
            .map(|i| {
                rt.spawn(async move {
                    sleep(Duration::from_micros(i)).await;
                    let mut ticks = interval(Duration::from_micros(50));
                    ticks.tick().await;
                    let _ = timeout(Duration::from_micros(10), pending::<()>()).await;
                })
            })
            .collect();
        rt.block_on(async {
            for task in tasks {
                task.await.unwrap();
            }
        });
        drop(rt);
    }
    before.assert_restored();
}

#[test]
fn a_thousand_runtimes_leave_nothing() {
    let _machine = alone();
    let cycle = |i: usize| {
        let rt = runtime(1 + i % 4);
        let kept = rt.spawn(pending::<()>());
        let n = rt.block_on(async move {
            let tasks: Vec<_> = (0..10).map(|n| gort::spawn(async move { n })).collect();
            drop(gort::spawn(sleep(Duration::from_secs(1000))));
            let mut sum = 0;
            for task in tasks {
                sum += task.await.unwrap();
            }
            sum
        });
        assert_eq!(n, 45);
        if i.is_multiple_of(2) {
            drop(kept);
            drop(rt);
        } else {
            drop(rt);
            drop(kept);
        }
    };
    (0..100).for_each(cycle);
    let (before, memory) = (Counts::now(), settle());
    (0..1000).for_each(cycle);
    before.assert_restored();
    let grown = settle().saturating_sub(memory);
    assert!(grown < 1000 * 4096, "{} bytes per runtime", grown / 1000);
}

/// Threads spawn, join, abort and arm timers while the runtime ends at some moment.
#[test]
fn ends_at_random_moments() {
    let _machine = alone();
    let before = Counts::now();
    let mut rng = Rng::from_env();
    for round in 0..150 {
        let (spawned, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let rt = runtime([1, 2, 4][round % 3]);
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (handle, mut rng) = (rt.handle(), rng.split());
                let (spawned, dropped) = (spawned.clone(), dropped.clone());
                thread::spawn(move || spawn_until_refused(&handle, &mut rng, &spawned, &dropped))
            })
            .collect();
        thread::sleep(Duration::from_micros(rng.below(1500))); // the random moment
        returns("the end", move || drop(rt));
        for thread in threads {
            thread.join().unwrap();
        }
        eventually("each future is dropped once", || spawned.load(SeqCst) == dropped.load(SeqCst));
    }
    before.assert_restored();
}

fn spawn_until_refused(
    handle: &Handle,
    rng: &mut Rng,
    spawned: &AtomicUsize,
    dropped: &Arc<AtomicUsize>,
) {
    let mut kept: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let (guard, kind) = (guard(dropped), rng.below(4));
        spawned.fetch_add(1, SeqCst);
        let task = handle.spawn(async move {
            let _guard = guard;
            match kind {
                0 => {}
                1 => gort::yield_now().await,
                2 => sleep(Duration::from_micros(100)).await,
                _ => pending().await,
            }
        });
        if task.id().to_string() == "0" {
            return;
        }
        match rng.below(4) {
            0 => task.abort(),
            1 => drop(task),
            _ => kept.push(task),
        }
        if kept.len() > 20 {
            kept.clear();
        }
    }
}
