//! The end of a runtime, for its goroutines: parked ones are unwound, where they live.

mod go_modes;

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use gort::prelude::*;
use gort::time::sleep;
use gort_tests::{BOUND, Counts, OnDrop, Probe, alone, eventually, returns};

use go_modes::{MODES, Mode};

fn for_all(test: impl Fn(gort::Runtime, Mode)) {
    let _machine = alone();
    for mode in MODES {
        for procs in [1, 2, 4] {
            eprintln!("mode = {mode:?}, procs = {procs}");
            let counts = Counts::now();
            test(mode.runtime(procs), mode);
            counts.assert_restored();
        }
    }
}

#[test]
fn parked_ones_are_unwound_on_their_threads() {
    for_all(|rt, mode| {
        let homes = Arc::new(Mutex::new(Vec::new()));
        let arrived = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let (homes, arrived) = (homes.clone(), arrived.clone());
            drop(rt.go(move || {
                let began = thread::current().id();
                let _guard = OnDrop::new(move || {
                    let (ends, unwinds) = (thread::current().id(), thread::panicking());
                    homes.lock().unwrap_or_else(|e| e.into_inner()).push((began, ends, unwinds));
                });
                arrived.fetch_add(1, SeqCst);
                sleep(Duration::from_secs(3_600)).wait();
            }));
        }
        eventually("all wait", || arrived.load(SeqCst) == 100);
        assert!(rt.shutdown_timeout(BOUND));
        let homes = homes.lock().unwrap_or_else(|e| e.into_inner());
        assert_eq!(homes.len(), 100);
        assert!(homes.iter().all(|(_, _, unwinds)| *unwinds));
        if mode == Mode::Home {
            assert!(homes.iter().all(|(began, ends, _)| began == ends), "{homes:?}");
        }
    });
}

#[test]
fn unstarted_ones_are_dropped() {
    for_all(|rt, _| {
        let drops = Arc::new(AtomicUsize::new(0));
        let theirs = drops.clone();
        let handles = rt.run(move || {
            let rt_handle = gort::Handle::current();
            (0..500)
                .map(|_| {
                    let drops = theirs.clone();
                    let guard = OnDrop::new(move || {
                        drops.fetch_add(1, SeqCst);
                    });
                    rt_handle.go(move || {
                        let _guard = guard;
                        pending::<()>().wait();
                    })
                })
                .collect::<Vec<_>>()
        });
        assert!(rt.shutdown_timeout(BOUND));
        assert_eq!(drops.load(SeqCst), 500);
        for handle in handles {
            assert!(futures::executor::block_on(handle).unwrap_err().is_cancelled());
        }
    });
}

#[test]
fn inside_its_own_goroutine() {
    for_all(|rt, _| {
        let drops = Arc::new(AtomicUsize::new(0));
        let theirs = drops.clone();
        let handle = rt.handle();
        let goroutine = handle.go(move || {
            let _guard = OnDrop::new(move || {
                theirs.fetch_add(1, SeqCst);
            });
            drop(rt);
            // Refused from here on, and the next wait is the last.
            assert!(gort::go(|| 1).wait().unwrap_err().is_cancelled());
            gort::yield_now().wait();
            unreachable!("it has ended in the wait");
        });
        let ended = futures::executor::block_on(goroutine);
        assert!(ended.as_ref().is_err_and(gort::JoinError::is_cancelled), "{ended:?}");
        assert_eq!(drops.load(SeqCst), 1);
    });
}

#[test]
fn a_goroutine_for_an_ended_runtime_is_refused() {
    for_all(|rt, _| {
        let handle = rt.handle();
        drop(rt);
        let probe = Probe::new();
        let guard = probe.future();
        let refused = handle.go(move || drop(guard));
        assert_eq!(probe.drops(), 1);
        assert!(futures::executor::block_on(refused).unwrap_err().is_cancelled());
        let entered = handle.enter();
        let builder = gort::task::Builder::new().name("late").stack_size(1 << 16);
        let refused = builder.go(|| ()).unwrap();
        drop(entered);
        assert!(futures::executor::block_on(refused).unwrap_err().is_cancelled());
    });
}

/// One in the middle of its slice is given time.
#[test]
fn a_running_one_ends_by_itself() {
    for_all(|rt, _| {
        let (send, receive) = std::sync::mpsc::channel();
        let goroutine = rt.go(move || {
            send.send(()).unwrap();
            thread::sleep(Duration::from_millis(20)); // a long slice
            8
        });
        receive.recv_timeout(BOUND).unwrap();
        assert!(rt.shutdown_timeout(BOUND));
        assert_eq!(futures::executor::block_on(goroutine).unwrap(), 8);
    });
}

/// What is parked in one runtime on something of another.
#[test]
fn a_goroutine_that_waits_for_another_runtime() {
    for_all(|rt, mode| {
        let other = mode.runtime(1);
        let never = other.go(|| pending::<()>().wait());
        let probe = Probe::new();
        let guard = probe.future();
        let waits = rt.go(move || {
            let _guard = guard;
            never.wait()
        });
        assert!(rt.shutdown_timeout(BOUND));
        assert_eq!(probe.drops(), 1);
        assert!(futures::executor::block_on(waits).unwrap_err().is_cancelled());
        assert!(other.shutdown_timeout(BOUND));
    });
}

/// Destructors that wait for each other and for timers, while everything ends.
#[test]
fn drops_that_wait() {
    for_all(|rt, _| {
        let ends = Arc::new(AtomicUsize::new(0));
        let probes: Vec<_> = (0..4).map(|_| Probe::new()).collect();
        for probe in &probes {
            let (future, ends) = (probe.future(), ends.clone());
            drop(rt.go(move || {
                let _guard = OnDrop::new(move || {
                    // Refused, at once.
                    assert!(gort::go(|| ()).wait().is_err());
                    // Refused or run, but not forgotten.
                    sleep(Duration::from_millis(1)).wait();
                    ends.fetch_add(1, SeqCst);
                });
                future.wait();
            }));
        }
        eventually("all wait", || probes.iter().all(|probe| probe.polls() == 1));
        let start = Instant::now();
        assert!(rt.shutdown_timeout(BOUND), "took {:?}", start.elapsed());
        assert_eq!(ends.load(SeqCst), 4);
    });
}

#[test]
fn dropped_on_its_own_worker_by_a_goroutine_of_another() {
    for_all(|rt, mode| {
        let other = mode.runtime(2);
        let arrived = Arc::new(AtomicUsize::new(0));
        let theirs = arrived.clone();
        let parked = rt.go(move || {
            theirs.fetch_add(1, SeqCst);
            sleep(Duration::from_secs(3_600)).wait();
        });
        eventually("it waits", || arrived.load(SeqCst) == 1);
        returns("the drop", move || {
            other.run(move || drop(rt));
            assert!(futures::executor::block_on(parked).unwrap_err().is_cancelled());
        });
    });
}
