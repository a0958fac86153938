//! `scope`: goroutines that borrow, and a scope that always waits for them.

mod go_modes;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use gort::prelude::*;
use gort::time::sleep;
use gort::{Runtime, scope};
use gort_tests::{Child, OnDrop, Probe, eventually, is_child, panic_text};

use go_modes::{Mode, for_modes};

/// Runs `body` where a scope can stand: on a plain thread, in a goroutine, in a task's poll.
fn everywhere(rt: &Runtime, body: fn()) {
    let entered = rt.enter();
    body();
    drop(entered);
    rt.run(body);
    rt.block_on(rt.spawn(async move { body() })).unwrap();
    rt.block_on(async move { body() });
}

#[test]
fn borrows() {
    for_modes(|rt, _| {
        everywhere(rt, || {
            let mut numbers = [1, 2, 3, 4];
            let text = String::from("shared");
            let (left, right) = numbers.split_at_mut(2);
            let lengths = scope(|s| {
                let a = s.go(|| {
                    left.iter_mut().for_each(|n| *n *= 10);
                    gort::yield_now().wait();
                    text.len()
                });
                let b = s.go(|| {
                    sleep(Duration::from_micros(10)).wait();
                    right.iter_mut().for_each(|n| *n += 1);
                    &text
                });
                a.wait().unwrap() + b.wait().unwrap().len()
            });
            assert_eq!((numbers, lengths), ([10, 20, 4, 5], 12));
        });
    });
}

#[test]
fn waits_for_those_without_a_handle() {
    for_modes(|rt, _| {
        everywhere(rt, || {
            let ended = AtomicUsize::new(0);
            scope(|s| {
                for i in 0..50 {
                    let ended = &ended;
                    s.go(move || {
                        for _ in 0..i % 5 {
                            gort::yield_now().wait();
                        }
                        ended.fetch_add(1, SeqCst);
                    });
                }
            });
            assert_eq!(ended.into_inner(), 50);
        });
    });
}

#[test]
fn an_empty_scope() {
    for_modes(|rt, _| everywhere(rt, || assert_eq!(scope(|_| 5), 5)));
}

#[test]
fn nested_scopes_and_children_that_start_children() {
    for_modes(|rt, _| {
        everywhere(rt, || {
            let ended = AtomicUsize::new(0);
            let ended = &ended;
            scope(|outer| {
                for _ in 0..4 {
                    outer.go(move || {
                        let local = AtomicUsize::new(0);
                        scope(|inner| {
                            for _ in 0..4 {
                                inner.go(|| {
                                    gort::yield_now().wait();
                                    local.fetch_add(1, SeqCst);
                                    outer.go(move || ended.fetch_add(1, SeqCst));
                                });
                            }
                        });
                        assert_eq!(local.into_inner(), 4);
                    });
                }
            });
            assert_eq!(ended.load(SeqCst), 16);
        });
    });
}

#[test]
fn a_panic_of_the_body_waits_too() {
    for_modes(|rt, _| {
        everywhere(rt, || {
            let ended = AtomicBool::new(false);
            let body = AssertUnwindSafe(|| {
                scope(|s| {
                    s.go(|| {
                        sleep(Duration::from_micros(100)).wait();
                        ended.store(true, SeqCst);
                    });
                    panic!("of the body");
                })
            });
            let payload = catch_unwind(body).unwrap_err();
            assert_eq!(panic_text(&*payload), "of the body");
            assert!(ended.into_inner());
        });
    });
}

#[test]
fn a_panic_of_a_child() {
    for_modes(|rt, _| {
        everywhere(rt, || {
            // Taken by its handle.
            let text = scope(|s| {
                let child = s.go(|| panic!("of the child"));
                panic_text(&*child.wait().unwrap_err().into_panic()).to_owned()
            });
            assert_eq!(text, "of the child");
            // By nobody.
            let ignored = catch_unwind(|| scope(|s| drop(s.go(|| panic!("of the child")))));
            let payload = ignored.unwrap_err();
            assert_eq!(panic_text(&*payload), "a goroutine of the scope panicked");
        });
    });
}

/// The children borrow from the parent's stack: it may not unwind before they have ended.
#[test]
fn an_aborted_parent_waits_for_its_children() {
    for_modes(|rt, _| {
        for in_the_body in [false, true] {
            let (open, gate) = oneshot::channel::<()>();
            let probe = Probe::new();
            let future = probe.future();
            let ended = Arc::new(AtomicBool::new(false));
            let theirs = ended.clone();
            let parent = rt.go(move || {
                let borrowed = [7_u8; 256];
                let _guard = OnDrop::new(|| assert!(theirs.load(SeqCst), "the child has ended"));
                scope(|s| {
                    s.go(|| {
                        gate.wait().unwrap();
                        gort::yield_now().wait();
                        assert!(borrowed.iter().all(|b| *b == 7));
                        theirs.store(true, SeqCst);
                    });
                    if in_the_body {
                        future.wait();
                    } else {
                        drop(future);
                    }
                });
                gort::yield_now().wait();
                unreachable!("it ends in the first wait that may");
            });
            eventually("it waits", || probe.polls() + probe.drops() > 0);
            parent.abort();
            for _ in 0..10 {
                rt.run(|| gort::yield_now().wait());
            }
            assert!(!parent.is_finished());
            open.send(()).unwrap();
            let error = parent.wait().unwrap_err();
            assert!(error.is_cancelled(), "{error}");
            assert!(ended.load(SeqCst));
        }
    });
}

#[test]
fn an_aborted_child() {
    for_modes(|rt, _| {
        everywhere(rt, || {
            let dropped = AtomicUsize::new(0);
            let guard = || {
                OnDrop::new(|| {
                    dropped.fetch_add(1, SeqCst);
                })
            };
            scope(|s| {
                let unstarted = guard();
                let child = s.go(move || drop(unstarted));
                child.abort();
                let parked = guard();
                let (_open, gate) = oneshot::channel::<()>();
                let waits = s.go(move || {
                    let _parked = parked;
                    gate.wait().is_ok()
                });
                gort::yield_now().wait();
                waits.abort();
                assert!(waits.wait().unwrap_err().is_cancelled());
                drop(child); // an abort is no panic: the scope does not mind
            });
            assert_eq!(dropped.into_inner(), 2);
        });
    });
}

/// In other runtimes than the one that the scope waits with.
#[test]
fn across_runtimes() {
    for_modes(|rt, mode| {
        let other = mode.runtime(1);
        let (mut here, mut there) = (0, 0);
        scope(|s| {
            for (rt, n) in [(rt, &mut here), (&other, &mut there)] {
                let _entered = rt.enter();
                s.go(move || {
                    sleep(Duration::from_micros(50)).wait();
                    *n = 5;
                });
            }
        });
        assert_eq!((here, there), (5, 5));
    });
}

/// What a child leaves behind is dropped before the scope ends, by whomever.
#[test]
fn results_that_nobody_takes() {
    for_modes(|rt, _| {
        everywhere(rt, || {
            let dropped = AtomicUsize::new(0);
            scope(|s| {
                for _ in 0..10 {
                    let handle = s.go(|| {
                        OnDrop::new(|| {
                            gort::yield_now().wait();
                            dropped.fetch_add(1, SeqCst);
                        })
                    });
                    if dropped.load(SeqCst).is_multiple_of(2) {
                        drop(handle);
                    }
                }
            });
            assert_eq!(dropped.into_inner(), 10);
        });
    });
}

/// The runtime ends while a scope waits: first the children end, then the parent.
#[test]
fn the_runtime_ends() {
    for mode in go_modes::MODES {
        for procs in [1, 2, 4] {
            let _machine = gort_tests::beside_others();
            let rt = mode.runtime(procs);
            let (probe, ends) = (Probe::new(), Arc::new(AtomicUsize::new(0)));
            let (future, theirs) = (probe.future(), ends.clone());
            drop(rt.go(move || {
                let borrowed = 5;
                let (borrowed, theirs) = (&borrowed, &theirs);
                scope(|s| {
                    s.go(move || {
                        let _guard = OnDrop::new(move || {
                            theirs.fetch_add(*borrowed, SeqCst);
                        });
                        future.wait();
                    });
                });
            }));
            eventually("the child waits", || probe.polls() == 1);
            assert!(rt.shutdown_timeout(gort_tests::BOUND));
            assert_eq!((probe.drops(), ends.load(SeqCst)), (1, 5));
        }
    }
}

/// The scope's wait must not panic while children run: there is nowhere to go.
#[test]
fn a_scope_whose_runtime_was_entered_only_inside() {
    if is_child() {
        let rt = Mode::Home.runtime(1);
        // No further threads: the default runtime cannot start.
        let limit = rustix::process::Rlimit { current: Some(1), maximum: Some(1) };
        rustix::process::setrlimit(rustix::process::Resource::Nproc, limit).unwrap();
        if thread::Builder::new().spawn(|| ()).is_ok() {
            eprintln!("skipped: the limit on threads does not hold here");
            return;
        }
        let mut n = 0;
        scope(|s| {
            let entered = rt.enter();
            s.go(|| {
                sleep(Duration::from_millis(5)).wait();
                n = 5;
            });
            drop(entered);
        });
        assert_eq!(n, 5);
        eprintln!("waited");
        return;
    }
    let ended = Child::of("a_scope_whose_runtime_was_entered_only_inside").run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
