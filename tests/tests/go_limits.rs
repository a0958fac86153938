//! Where it ends: stacks that overflow, address space that runs out, floods. And that stacks are
//! used again and again.

mod go_modes;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures::FutureExt;
use futures::channel::mpsc;
use futures::channel::oneshot;
use futures::sink::SinkExt;
use futures::stream::StreamExt;
use gort::prelude::*;
use gort::task;
use gort_tests::{Child, Ended, alone, eventually, is_child, settle};
use rustix::process::{Resource, Rlimit, setrlimit};

use go_modes::{MODES, Mode, check};

/// Runs this test anew in both modes, given in the environment.
#[track_caller]
fn in_both_modes(test: &str, look: impl Fn(&Ended)) {
    for mode in ["Home", "Migrate"] {
        look(&Child::of(test).env("GORT_TEST_MODE", mode).run());
    }
}

/// The mode that the child was given.
fn mode() -> Mode {
    match std::env::var("GORT_TEST_MODE").as_deref() {
        Ok("Migrate") => Mode::Migrate,
        _ => Mode::Home,
    }
}

fn limit_address_space(bytes: u64) {
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::As, limit).unwrap();
}

/// A frame of more than `N` bytes at each level; `n` levels.
#[inline(never)]
fn deep<const N: usize>(n: u64) -> u64 {
    let frame = std::hint::black_box([n as u8; N]);
    let below = if n == 0 { 0 } else { deep::<N>(n - 1) };
    below + u64::from(std::hint::black_box(&frame)[N / 2])
}

#[track_caller]
fn assert_overflow(ended: &Ended, name: &str, size: usize) {
    let text = &ended.stderr;
    assert_eq!(ended.code, Some(2), "{text}");
    let line = text.lines().find(|line| line.starts_with("fatal error: goroutine "));
    let line = line.unwrap_or_else(|| panic!("no report in: {text}"));
    let expected = format!("{name} stack overflow (stack_size {size} bytes, spawned at ");
    assert!(line.contains(&expected), "{line}");
    assert!(line.contains("go_limits.rs:") && line.ends_with(')'), "{line}");
}

#[test]
fn an_infinite_recursion_is_reported() {
    if is_child() {
        let rt = mode().runtime(2);
        let goroutine = rt.go(|| {
            gort::yield_now().wait();
            deep::<100>(u64::MAX)
        });
        unreachable!("{:?}", goroutine.wait());
    }
    in_both_modes("an_infinite_recursion_is_reported", |ended| {
        assert_overflow(ended, "", 1 << 18);
    });
}

/// Larger than all stacks: the compiler's probes touch the guard first.
#[test]
fn a_frame_of_a_mebibyte_is_reported() {
    if is_child() {
        let rt = mode().runtime(1);
        let _entered = rt.enter();
        let builder = task::Builder::new().name("glutton").stack_size(1 << 20);
        let goroutine = builder.go(|| deep::<{ 1 << 20 }>(0)).unwrap();
        unreachable!("{:?}", goroutine.wait());
    }
    in_both_modes("a_frame_of_a_mebibyte_is_reported", |ended| {
        assert_overflow(ended, "`glutton`", 1 << 20);
    });
}

#[test]
fn an_overflow_in_a_scope_is_reported() {
    if is_child() {
        let rt = mode().builder(2).stack_size(1 << 16).build().unwrap();
        rt.run(|| gort::scope(|s| drop(s.go(|| deep::<100>(u64::MAX)))));
        unreachable!("it has overflowed");
    }
    in_both_modes("an_overflow_in_a_scope_is_reported", |ended| {
        assert_overflow(ended, "", 1 << 16);
    });
}

/// What is no overflow is what it was: a thread's own stack is std's to report.
#[test]
fn an_overflow_of_a_thread_is_not_ours() {
    if is_child() {
        let rt = mode().runtime(1);
        rt.run(|| gort::yield_now().wait());
        let thread = std::thread::Builder::new().name("plain".into());
        let ended = thread.spawn(|| deep::<100>(u64::MAX)).unwrap().join();
        unreachable!("{ended:?}");
    }
    let ended = Child::of("an_overflow_of_a_thread_is_not_ours").run();
    assert_eq!(ended.code, None, "{}", ended.stderr);
    assert!(ended.stderr.contains("'plain'") && ended.stderr.contains("overflowed its stack"));
    assert!(!ended.stderr.contains("goroutine"), "{}", ended.stderr);
}

/// Deep ones, and then many small ones on the same stacks.
#[test]
fn deep_ones_then_many_small_ones() {
    let _machine = alone();
    for mode in MODES {
        check(mode, 2, |rt, _| {
            let deep_ones: Vec<_> = (0..50).map(|_| rt.go(|| deep::<1_000>(60))).collect();
            for one in deep_ones {
                one.wait().unwrap();
            }
            let (open, gate) = oneshot::channel::<()>();
            let gate = gate.shared();
            let arrived = Arc::new(AtomicUsize::new(0));
            let small: Vec<_> = (0..10_000)
                .map(|_| {
                    let (gate, arrived) = (gate.clone(), arrived.clone());
                    rt.go(move || {
                        arrived.fetch_add(1, SeqCst);
                        gate.wait().unwrap();
                    })
                })
                .collect();
            eventually("all wait", || arrived.load(SeqCst) == small.len());
            open.send(()).unwrap();
            small.into_iter().for_each(|one| one.wait().unwrap());
        });
    }
}

/// Stacks run out: `task::Builder::go` says so, `go` gives a panic as its result, and what runs
/// already goes on.
#[test]
fn stacks_that_the_system_refuses() {
    if is_child() {
        limit_address_space(1 << 30);
        let rt = mode().runtime(2);
        let _entered = rt.enter();
        let (open, gate) = oneshot::channel::<()>();
        let gate = gate.shared();
        let mut parked = Vec::new();
        let error = loop {
            let gate = gate.clone();
            let builder = task::Builder::new().stack_size(1 << 20);
            match builder.go(move || gate.wait().is_ok()) {
                Ok(goroutine) => parked.push(goroutine),
                Err(error) => break error,
            }
            assert!(parked.len() < 2_000, "the limit holds");
        };
        eprintln!("{} stacks, then: {error}", parked.len());
        assert!(error.to_string().contains("RLIMIT_AS"), "{error}");
        assert!(parked.len() > 10);
        // Tasks need none, and a stack that comes back is used again.
        assert_eq!(rt.spawn(async { 5 }).wait().unwrap(), 5);
        open.send(()).unwrap();
        assert!(parked.into_iter().all(|one| one.wait().unwrap()));
        let again = task::Builder::new().stack_size(1 << 20).go(|| 6);
        assert_eq!(again.unwrap().wait().unwrap(), 6);
        return;
    }
    in_both_modes("stacks_that_the_system_refuses", |ended| {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    });
}

/// S86: as many as come, none of them ever ends. Each that finds no stack says so to who joins it;
/// the rest of the process lives.
#[test]
fn a_flood() {
    if is_child() {
        limit_address_space(1 << 30);
        let rt = mode().runtime(2);
        let (open, gate) = oneshot::channel::<()>();
        let gate = gate.shared();
        let flood: Vec<_> = (0..6_000)
            .map(|_| {
                let gate = gate.clone();
                rt.go(move || gate.wait().is_ok())
            })
            .collect();
        assert_eq!(rt.spawn(async { 5 }).wait().unwrap(), 5);
        eventually("those without a stack have ended", || {
            flood.iter().any(gort::JoinHandle::is_finished)
        });
        open.send(()).unwrap();
        let mut refused = 0;
        for goroutine in flood {
            match goroutine.wait() {
                Ok(waited) => assert!(waited),
                Err(error) => {
                    refused += 1;
                    let text = error.to_string();
                    assert!(error.is_panic() && text.contains("gort: cannot start"), "{text}");
                    assert!(text.contains("RLIMIT_AS"), "{text}");
                }
            }
        }
        eprintln!("{refused} were refused");
        assert!((1..6_000).contains(&refused));
        assert_eq!(rt.run(|| 7), 7);
        return;
    }
    in_both_modes("a_flood", |ended| {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    });
}

/// S86, the remedy: a bounded channel as a semaphore.
#[test]
fn a_flood_behind_a_semaphore() {
    const BOUND: usize = 300;
    const ALL: usize = 5_000;
    let _machine = alone();
    for mode in MODES {
        for procs in [1, 2, 4] {
            check(mode, procs, |rt, _| {
                let (live, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
                let (l, p) = (live.clone(), peak.clone());
                rt.run(move || {
                    // Tokens go round: taken to start, given back at the end.
                    let (mut give, mut take) = mpsc::channel(BOUND);
                    for _ in 0..BOUND {
                        give.send(()).wait().unwrap();
                    }
                    for i in 0..ALL {
                        take.next().wait().unwrap();
                        let (live, peak, mut give) = (l.clone(), p.clone(), give.clone());
                        drop(gort::go(move || {
                            peak.fetch_max(live.fetch_add(1, SeqCst) + 1, SeqCst);
                            for _ in 0..i % 3 {
                                gort::yield_now().wait();
                            }
                            live.fetch_sub(1, SeqCst);
                            give.send(()).wait().unwrap();
                        }));
                    }
                    for _ in 0..BOUND {
                        take.next().wait().unwrap();
                    }
                });
                assert_eq!(live.load(SeqCst), 0);
                assert!((1..=BOUND).contains(&peak.load(SeqCst)));
            });
        }
    }
}

/// A million, one after the other: stacks and cells are used again.
#[test]
fn a_million_leave_nothing() {
    let _machine = alone();
    for mode in MODES {
        check(mode, 2, |rt, _| {
            let batch = |n: usize| {
                rt.run(move || {
                    for i in 0..n {
                        assert_eq!(gort::go(move || i).wait().unwrap(), i);
                    }
                });
            };
            batch(20_000);
            let (before, stacks) = (settle(), rt.handle().metrics().stack_memory);
            batch(500_000);
            let grown = settle().saturating_sub(before);
            assert!(grown < 8 << 20, "{grown} bytes");
            let more = rt.handle().metrics().stack_memory - stacks;
            assert!(more <= 32 << 20, "{more} bytes of stacks");
        });
    }
}
