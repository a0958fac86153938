//! The waker matrix: when it fires, against what the task is doing. After async-task's
//! `waker_pending.rs`, `waker_ready.rs` and their like.
#![expect(clippy::waker_clone_wake, reason = "the wake by value is what is tested")]

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::thread;

use futures::task::AtomicWaker;
use gort::{JoinHandle, Runtime};
use gort_tests::{Probe, eventually, for_procs, runtime};

/// A task that has been polled once and waits, with its record.
fn parked(rt: &Runtime) -> (Arc<Probe>, JoinHandle<()>) {
    let probe = Probe::new();
    let task = rt.spawn(probe.future());
    settled(rt);
    assert_eq!(probe.polls(), 1);
    (probe, task)
}

/// Waits until nothing is left to run.
fn settled(rt: &Runtime) {
    let handle = rt.handle();
    let mut quiet = 0;
    eventually("quiet", || {
        let m = handle.metrics();
        let queued = m.global_queue + m.per_proc.iter().map(|p| p.queue).sum::<usize>();
        quiet = if m.idle_procs == m.procs && queued == 0 { quiet + 1 } else { 0 };
        quiet == 5
    });
}

#[test]
fn nobody_polls_without_a_wake() {
    for_procs(|rt| {
        let (probe, task) = parked(rt);
        for _ in 0..100 {
            rt.block_on(rt.spawn(gort::yield_now())).unwrap();
        }
        assert_eq!((probe.polls(), probe.drops()), (1, 0));
        task.abort();
    });
}

#[test]
fn a_wake_while_parked_is_one_poll() {
    for_procs(|rt| {
        let (probe, task) = parked(rt);
        for polls in 2..20 {
            if polls % 2 == 0 {
                probe.waker().wake_by_ref();
            } else {
                probe.waker().wake();
            }
            settled(rt);
            assert_eq!(probe.polls(), polls);
        }
        probe.finish();
        probe.waker().wake();
        rt.block_on(task).unwrap();
        assert_eq!((probe.polls(), probe.drops()), (20, 1));
    });
}

#[test]
fn many_wakes_while_queued_are_one_poll() {
    for_procs(|rt| {
        // The only P, or all of them, are kept busy while the wakes come.
        let (busy, is_busy) = mpsc::channel();
        let (probe, task) = parked(rt);
        let holds: Vec<_> = (0..rt.handle().metrics().procs)
            .map(|_| {
                let (release, held) = mpsc::channel::<()>();
                let busy = busy.clone();
                drop(rt.spawn(async move {
                    busy.send(()).unwrap();
                    let _ = held.recv();
                }));
                is_busy.recv().unwrap();
                release
            })
            .collect();
        let waker = probe.waker();
        for _ in 0..100 {
            waker.wake_by_ref();
            waker.clone().wake();
        }
        assert_eq!(probe.polls(), 1);
        drop(holds);
        settled(rt);
        assert_eq!(probe.polls(), 2);
        drop((waker, task));
    });
}

#[test]
fn wakes_by_itself_during_its_poll_are_one_poll() {
    for_procs(|rt| {
        for by_ref in [true, false] {
            let probe = Probe::with_hook(move |n, cx| {
                for _ in 0..(if n < 5 { 10 } else { 0 }) {
                    if by_ref {
                        cx.waker().wake_by_ref();
                    } else {
                        cx.waker().clone().wake();
                    }
                }
            });
            let task = rt.spawn(probe.future());
            settled(rt);
            assert_eq!(probe.polls(), 5);
            task.abort();
            assert!(rt.block_on(task).is_err());
            assert_eq!((probe.polls(), probe.drops()), (5, 1));
        }
    });
}

#[test]
fn a_wake_from_another_thread_during_its_poll() {
    for_procs(|rt| {
        let (to_thread, from_poll) = mpsc::channel::<Waker>();
        let (done, woken) = mpsc::channel();
        let thread = thread::spawn(move || {
            for waker in from_poll {
                waker.wake();
                done.send(()).unwrap();
            }
        });
        let probe = Probe::with_hook(move |n, cx| {
            if n <= 3 {
                to_thread.send(cx.waker().clone()).unwrap();
                woken.recv().unwrap();
            }
        });
        let task = rt.spawn(probe.future());
        settled(rt);
        assert_eq!(probe.polls(), 4, "each of the three wakes made one poll");
        drop(probe.take_wakers());
        task.abort();
        assert!(rt.block_on(task).is_err());
        drop(probe);
        thread.join().unwrap();
    });
}

#[test]
fn a_wake_during_the_last_poll_and_after_the_end() {
    for_procs(|rt| {
        let probe = Probe::with_hook(|_, cx| cx.waker().wake_by_ref());
        probe.finish();
        let task = rt.spawn(probe.future());
        rt.block_on(task).unwrap();
        let wakers = probe.take_wakers();
        for waker in &wakers {
            waker.wake_by_ref();
            waker.clone().wake();
        }
        thread::spawn(move || wakers.into_iter().for_each(Waker::wake)).join().unwrap();
        settled(rt);
        assert_eq!((probe.polls(), probe.drops()), (1, 1));
    });
}

/// The memory of an ended task is used again; an old waker must not reach its new owner.
#[test]
fn an_old_waker_does_not_wake_the_next_tenant() {
    for_procs(|rt| {
        let old = Probe::new();
        old.finish();
        rt.block_on(rt.spawn(old.future())).unwrap();
        let old_waker = old.waker();
        let tenants: Vec<_> = (0..200).map(|_| parked(rt)).collect();
        for _ in 0..100 {
            old_waker.wake_by_ref();
        }
        old_waker.wake();
        drop(old.take_wakers());
        settled(rt);
        assert!(tenants.iter().all(|(probe, _)| probe.polls() == 1));
    });
}

#[test]
fn wakers_compare_and_clone() {
    for_procs(|rt| {
        let ((a, _task_a), (b, _task_b)) = (parked(rt), parked(rt));
        let clones: Vec<_> = (0..1000).map(|_| a.waker()).collect();
        assert!(clones.iter().all(|clone| clone.will_wake(&a.waker())));
        assert!(!a.waker().will_wake(&b.waker()));
        drop(clones);
        assert_eq!((a.polls(), a.drops()), (1, 0));
    });
}

/// The waker is all that is left of a task; it is dropped far away.
#[test]
fn the_last_waker_is_dropped_on_a_foreign_thread() {
    for_procs(|rt| {
        let (probe, task) = parked(rt);
        let wakers = probe.take_wakers();
        drop(task);
        settled(rt);
        assert_eq!(probe.drops(), 0);
        thread::spawn(move || drop(wakers)).join().unwrap();
        eventually("the drop", || probe.drops() == 1);
        assert_eq!(probe.polls(), 1);
    });
}

#[test]
fn the_last_waker_is_dropped_by_another_task() {
    for_procs(|rt| {
        let (probe, task) = parked(rt);
        let wakers = probe.take_wakers();
        drop(task);
        rt.block_on(rt.spawn(async move { drop(wakers) })).unwrap();
        eventually("the drop", || probe.drops() == 1);
    });
}

#[test]
fn the_last_waker_wakes_a_detached_task() {
    for_procs(|rt| {
        let (probe, task) = parked(rt);
        drop(task);
        probe.finish();
        let mut wakers = probe.take_wakers();
        let last = wakers.pop().unwrap();
        drop(wakers);
        thread::spawn(move || last.wake()).join().unwrap();
        eventually("its end", || probe.drops() == 1);
        assert_eq!(probe.polls(), 2);
    });
}

#[test]
fn a_waker_of_one_runtime_is_used_in_another() {
    for_procs(|rt| {
        let other = runtime(2);
        let (probe, task) = parked(rt);
        probe.finish();
        let waker = probe.waker();
        other.block_on(other.spawn(async move { waker.wake() })).unwrap();
        rt.block_on(task).unwrap();
        assert_eq!(probe.polls(), 2);
    });
}

/// Threads wake one task as fast as they can. Each wake must be followed by a poll that began
/// after it.
#[test]
fn many_threads_wake_one_task() {
    const THREADS: usize = 4;
    const WAKES: usize = 5_000;
    for_procs(|rt| {
        let (sent, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let slot = Arc::new(AtomicWaker::new());
        let task = {
            let (sent, seen, slot) = (sent.clone(), seen.clone(), slot.clone());
            rt.spawn(poll_fn(move |cx| {
                slot.register(cx.waker());
                let n = sent.load(SeqCst);
                seen.store(n, SeqCst);
                if n == THREADS * WAKES { Poll::Ready(()) } else { Poll::Pending }
            }))
        };
        thread::scope(|s| {
            for _ in 0..THREADS {
                s.spawn(|| {
                    for _ in 0..WAKES {
                        sent.fetch_add(1, SeqCst);
                        slot.wake();
                    }
                });
            }
        });
        rt.block_on(task).unwrap();
        assert_eq!(seen.load(SeqCst), THREADS * WAKES);
    });
}

/// As above with clones that are made, woken and dropped everywhere, while the task goes on.
#[test]
fn clones_are_woken_and_dropped_everywhere() {
    for_procs(|rt| {
        for _ in 0..20 {
            let probe = Probe::with_hook(|n, cx| {
                if n % 3 == 0 {
                    cx.waker().wake_by_ref();
                }
            });
            let task = rt.spawn(probe.future());
            eventually("the first poll", || probe.polls() > 0);
            thread::scope(|s| {
                for i in 0..4 {
                    let (probe, waker) = (&probe, probe.waker());
                    s.spawn(move || {
                        for j in 0..200 {
                            let clone = waker.clone();
                            match (i + j) % 4 {
                                0 => clone.wake(),
                                1 => clone.wake_by_ref(),
                                2 => drop(clone),
                                _ => drop(probe.waker()),
                            }
                        }
                    });
                }
            });
            probe.finish();
            probe.waker().wake();
            rt.block_on(task).unwrap();
            assert_eq!(probe.drops(), 1);
        }
    });
}

/// Wakes that race the end of the task.
#[test]
fn wakes_race_the_end() {
    for_procs(|rt| {
        for _ in 0..300 {
            let (probe, task) = {
                let probe = Probe::new();
                let task = rt.spawn(probe.future());
                eventually("the first poll", || probe.polls() == 1);
                (probe, task)
            };
            probe.finish();
            let wakers: Vec<_> = (0..4).map(|_| probe.waker()).collect();
            thread::scope(|s| {
                for waker in wakers {
                    s.spawn(move || waker.wake());
                }
            });
            rt.block_on(task).unwrap();
            // One poll, if the first one had not looked yet when `finish` was called.
            assert!(probe.polls() <= 2, "{}", probe.polls());
            assert_eq!(probe.drops(), 1);
        }
    });
}
