//! `abort` of goroutines: their destructors run, once, and nobody else notices.

mod go_modes;

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use gort::prelude::*;
use gort::time::sleep;
use gort_tests::{BOUND, OnDrop, Probe, eventually, returns};

use go_modes::{check, for_modes};

#[test]
fn before_it_ran() {
    for_modes(|rt, _| {
        let probe = Probe::new();
        let guard = probe.future();
        let goroutine = rt.run(move || {
            // The other Ps are kept from it: it is aborted in the slice that starts it.
            let goroutine = gort::go(move || {
                let _guard = guard;
                pending::<()>().wait();
            });
            goroutine.abort();
            goroutine
        });
        assert!(goroutine.wait().unwrap_err().is_cancelled());
        assert_eq!((probe.polls(), probe.drops()), (0, 1));
    });
}

#[test]
fn while_it_is_parked() {
    for_modes(|rt, _| {
        let probe = Probe::new();
        let future = probe.future();
        let dropped_by_unwinding = Arc::new(AtomicBool::new(false));
        let theirs = dropped_by_unwinding.clone();
        let goroutine = rt.go(move || {
            let _guard = OnDrop::new(|| theirs.store(thread::panicking(), SeqCst));
            future.wait();
        });
        eventually("it waits", || probe.polls() == 1);
        goroutine.abort();
        goroutine.abort();
        let error = goroutine.wait().unwrap_err();
        assert!(error.is_cancelled() && !error.is_panic(), "{error:?}");
        assert_eq!(probe.drops(), 1);
        assert!(dropped_by_unwinding.load(SeqCst));
    });
}

#[test]
fn while_it_runs() {
    for_modes(|rt, _| {
        let (started, is_started) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let goroutine = rt.go(move || {
            started.send(()).unwrap();
            may_go_on.recv_timeout(BOUND).unwrap();
            let ready = async { 1 }.wait(); // does not stop, so is no place to end
            pending::<()>().wait();
            ready
        });
        is_started.recv_timeout(BOUND).unwrap();
        goroutine.abort();
        go_on.send(()).unwrap();
        assert!(goroutine.wait().unwrap_err().is_cancelled());
    });
}

/// It has given its result by then.
#[test]
fn while_it_runs_and_never_waits_again() {
    for_modes(|rt, _| {
        let (started, is_started) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let goroutine = rt.go(move || {
            started.send(()).unwrap();
            may_go_on.recv_timeout(BOUND).unwrap();
            7
        });
        is_started.recv_timeout(BOUND).unwrap();
        goroutine.abort();
        go_on.send(()).unwrap();
        assert_eq!(goroutine.wait().unwrap(), 7);
    });
}

#[test]
fn a_catch_delays_it_to_the_next_wait() {
    for_modes(|rt, _| {
        let caught = Arc::new(AtomicUsize::new(0));
        let theirs = caught.clone();
        let probe = Probe::new();
        let future = probe.future();
        let goroutine = rt.go(move || {
            let mut future = Some(future);
            for _ in 0..10 {
                let waited = catch_unwind(AssertUnwindSafe(|| match future.take() {
                    Some(future) => future.wait(),
                    None => sleep(Duration::from_secs(60)).wait(),
                }));
                assert!(waited.is_err());
                assert!(!thread::panicking());
                theirs.fetch_add(1, SeqCst);
            }
            pending::<()>().wait();
        });
        eventually("it waits", || probe.polls() == 1);
        goroutine.abort();
        assert!(goroutine.wait().unwrap_err().is_cancelled());
        assert_eq!(caught.load(SeqCst), 10);
    });
}

/// What it makes of its end counts, as long as it does not wait.
#[test]
fn a_catch_may_give_a_result() {
    for_modes(|rt, _| {
        let probe = Probe::new();
        let future = probe.future();
        let goroutine = rt.go(move || match catch_unwind(AssertUnwindSafe(|| future.wait())) {
            Ok(()) => "waited",
            Err(_) => "aborted",
        });
        eventually("it waits", || probe.polls() == 1);
        goroutine.abort();
        assert_eq!(goroutine.wait().unwrap(), "aborted");
    });
}

/// T9: the panic count is the thread's, so the thread waits, and its P is handed over.
#[test]
fn a_drop_that_waits_blocks_its_thread_only() {
    for_modes(|rt, _| {
        let (answer, question) = oneshot::channel::<()>();
        let probe = Probe::new();
        let future = probe.future();
        let in_drop = Arc::new(AtomicBool::new(false));
        let theirs = in_drop.clone();
        let goroutine = rt.go(move || {
            let _guard = OnDrop::new(move || {
                let before = thread::current().id();
                theirs.store(true, SeqCst);
                question.wait().unwrap();
                sleep(Duration::from_micros(100)).wait();
                assert_eq!(before, thread::current().id());
                assert!(thread::panicking());
            });
            future.wait();
        });
        eventually("it waits", || probe.polls() == 1);
        goroutine.abort();
        eventually("the destructor waits", || in_drop.load(SeqCst));
        // Others go on, at P = 1 too, and nobody there believes to be panicking.
        let others: Vec<_> = (0..20)
            .map(|_| {
                rt.go(|| {
                    assert!(!thread::panicking());
                    gort::yield_now().wait();
                    sleep(Duration::from_micros(10)).wait();
                    assert!(!thread::panicking());
                })
            })
            .collect();
        others.into_iter().for_each(|other| other.wait().unwrap());
        assert!(!goroutine.is_finished());
        answer.send(()).unwrap();
        assert!(goroutine.wait().unwrap_err().is_cancelled());
    });
}

/// The closure is dropped on a system stack, where no goroutine can park. At one P it certainly has
/// not begun: then an abort would find it waiting in the drop, and end that.
#[test]
fn before_it_ran_with_a_drop_that_waits() {
    let _machine = gort_tests::beside_others();
    for mode in go_modes::MODES {
        check(mode, 1, |rt, _| {
            let waited = Arc::new(AtomicUsize::new(0));
            for _ in 0..10 {
                let theirs = waited.clone();
                let guard = OnDrop::new(move || {
                    sleep(Duration::from_micros(10)).wait();
                    let mut sum = 0;
                    gort::scope(|s| {
                        s.go(|| {
                            gort::yield_now().wait();
                            sum += 1;
                        });
                    });
                    theirs.fetch_add(sum, SeqCst);
                });
                let goroutine = rt.run(move || {
                    let goroutine = gort::go(move || drop(guard));
                    goroutine.abort();
                    goroutine
                });
                goroutine.wait().unwrap_or_else(|error| assert!(error.is_cancelled()));
            }
            assert_eq!(waited.load(SeqCst), 10);
        });
    }
}

#[test]
fn from_everywhere() {
    for_modes(|rt, _| {
        let parked = || {
            let probe = Probe::new();
            let future = probe.future();
            let goroutine = rt.go(move || future.wait());
            eventually("it waits", || probe.polls() == 1);
            (goroutine, probe)
        };
        let (goroutine, probe) = parked();
        let (goroutine, by_goroutine) = (Arc::new(goroutine), probe);
        let theirs = goroutine.clone();
        rt.run(move || theirs.abort());
        eventually("its end", || goroutine.is_finished());
        assert_eq!(by_goroutine.drops(), 1);

        let (goroutine, probe) = parked();
        let goroutine = Arc::new(goroutine);
        let theirs = goroutine.clone();
        rt.spawn(async move { theirs.abort() }).wait().unwrap();
        eventually("its end", || goroutine.is_finished());
        assert_eq!(probe.drops(), 1);

        let (goroutine, probe) = parked();
        let goroutine = thread::spawn(|| {
            goroutine.abort();
            goroutine
        });
        assert!(goroutine.join().unwrap().wait().unwrap_err().is_cancelled());
        assert_eq!(probe.drops(), 1);

        let other = gort_tests::runtime(1);
        let (goroutine, probe) = parked();
        other.run(move || {
            goroutine.abort();
            assert!(goroutine.wait().unwrap_err().is_cancelled());
        });
        assert_eq!(probe.drops(), 1);
    });
}

#[test]
fn of_itself() {
    for_modes(|rt, _| {
        let (send, receive) = oneshot::channel::<gort::JoinHandle<()>>();
        let probe = Probe::new();
        let guard = probe.future();
        let goroutine = rt.go(move || {
            let _guard = guard;
            let me = receive.wait().unwrap();
            me.abort();
            gort::yield_now().wait();
            unreachable!("it ends in the wait");
        });
        send.send(goroutine).unwrap();
        eventually("the unwinding", || probe.drops() == 1);
        eventually("its end", || rt.handle().metrics().goroutines == 0);
    });
}

/// The stack of an aborted goroutine leaves no trace in the panic count of its thread.
#[test]
fn nobody_panics_afterwards() {
    for_modes(|rt, _| {
        for _ in 0..50 {
            let probe = Probe::new();
            let future = probe.future();
            let goroutine = rt.go(move || future.wait());
            eventually("it waits", || probe.polls() == 1);
            goroutine.abort();
            assert!(goroutine.wait().unwrap_err().is_cancelled());
            rt.go(|| assert!(!thread::panicking())).wait().unwrap();
            rt.spawn(async { assert!(!thread::panicking()) }).wait().unwrap();
        }
    });
}

/// An abort in the inner wait unwinds through the poll of the outer one.
#[test]
fn in_a_wait_inside_a_poll() {
    for_modes(|rt, _| {
        let (outer, inner) = (Probe::new(), Probe::new());
        let futures = (outer.future(), inner.future());
        let goroutine = rt.go(move || {
            let (guard, mut inner) = (futures.0, Some(futures.1));
            poll_fn(move |_| {
                let _held = &guard;
                if let Some(inner) = inner.take() {
                    inner.wait();
                }
                Poll::Ready(())
            })
            .wait();
        });
        eventually("it waits", || inner.polls() == 1);
        goroutine.abort();
        assert!(goroutine.wait().unwrap_err().is_cancelled());
        assert_eq!((outer.drops(), inner.drops()), (1, 1));
    });
}

/// A race of everything with everything: the end is always one of the two.
#[test]
fn at_any_moment() {
    for_modes(|rt, _| {
        let drops = Arc::new(AtomicUsize::new(0));
        let mut ended = (0, 0);
        for i in 0..300 {
            let theirs = drops.clone();
            let goroutine = rt.go(move || {
                let _guard = OnDrop::new(|| {
                    theirs.fetch_add(1, SeqCst);
                });
                for _ in 0..i % 4 {
                    gort::yield_now().wait();
                }
            });
            for _ in 0..i % 7 * 20 {
                std::hint::spin_loop();
            }
            goroutine.abort();
            match goroutine.wait() {
                Ok(()) => ended.0 += 1,
                Err(error) => {
                    assert!(error.is_cancelled(), "{error}");
                    ended.1 += 1;
                }
            }
            // One that never began had no guard yet.
            assert!(drops.load(SeqCst) <= i + 1);
        }
        assert_eq!(ended.0 + ended.1, 300);
    });
}

/// A thread that waits for an aborted goroutine in the poll of a task that runs beside it.
#[test]
fn joined_in_a_poll_on_its_own_thread() {
    let _machine = gort_tests::beside_others();
    for mode in go_modes::MODES {
        check(mode, 1, |rt, _| {
            let handle = rt.handle();
            returns("the join", move || {
                let probe = Probe::new();
                let future = probe.future();
                let goroutine = handle.go(move || future.wait());
                eventually("it waits", || probe.polls() == 1);
                let task = handle.spawn(async move {
                    goroutine.abort();
                    assert!(goroutine.wait().unwrap_err().is_cancelled());
                });
                task.wait().unwrap();
            });
        });
    }
}
