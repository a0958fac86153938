//! Panics in goroutines: they end that one, as an error for who joins it.

mod go_modes;

use std::backtrace::Backtrace;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use gort::prelude::*;
use gort::time::sleep;
use gort::{PanicPolicy, Runtime};
use gort_tests::{Child, OnDrop, is_child, panic_text};

use go_modes::{Mode, for_modes};

fn assert_alive(rt: &Runtime) {
    let sum = rt.run(|| {
        assert!(!thread::panicking());
        let all: Vec<_> = (0..20).map(|i| gort::go(move || i)).collect();
        sleep(Duration::from_micros(10)).wait();
        all.into_iter().map(|one| one.wait().unwrap()).sum::<i32>()
    });
    assert_eq!(sum, 190);
}

#[test]
fn in_the_body() {
    for_modes(|rt, _| {
        let error = rt.go(|| panic!("one {}", 1)).wait().unwrap_err();
        assert!(error.is_panic() && !error.is_cancelled());
        assert!(error.to_string().ends_with("panicked: one 1"), "{error}");
        assert_eq!(panic_text(&*error.into_panic()), "one 1");
        let later = rt.go(|| {
            gort::yield_now().wait();
            sleep(Duration::from_micros(10)).wait();
            panic_any(5_u8);
        });
        let payload = later.wait().unwrap_err().into_panic();
        assert_eq!(*payload.downcast::<u8>().unwrap(), 5);
        assert_alive(rt);
    });
}

#[test]
fn comes_out_of_run() {
    for_modes(|rt, _| {
        let run = || rt.run(|| panic_any(vec![1, 2]));
        let payload = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert_eq!(*payload.downcast::<Vec<i32>>().unwrap(), [1, 2]);
        assert_alive(rt);
    });
}

#[test]
fn is_passed_on_by_hand() {
    for_modes(|rt, _| {
        let outer = rt.go(|| {
            let inner = gort::go(|| panic_any("inner"));
            match inner.wait() {
                Ok(()) => unreachable!("it panics"),
                Err(error) => resume_unwind(error.into_panic()),
            }
        });
        assert_eq!(panic_text(&*outer.wait().unwrap_err().into_panic()), "inner");
    });
}

#[test]
fn in_a_poll_of_a_future_that_it_waits_for() {
    for_modes(|rt, _| {
        let goroutine = rt.go(|| {
            async {
                gort::yield_now().await;
                panic!("in the future");
            }
            .wait()
        });
        let payload = goroutine.wait().unwrap_err().into_panic();
        assert_eq!(panic_text(&*payload), "in the future");
        assert_alive(rt);
    });
}

#[test]
fn in_a_drop() {
    for_modes(|rt, _| {
        let ends = rt.go(|| drop(OnDrop::new(|| panic!("in a drop"))));
        assert_eq!(panic_text(&*ends.wait().unwrap_err().into_panic()), "in a drop");
        // Of a captured value, of one that has not begun, and of the output.
        let captured = OnDrop::new(|| panic!("captured"));
        let ends = rt.go(move || drop(captured));
        assert!(ends.wait().unwrap_err().is_panic());
        let unstarted = OnDrop::new(|| panic!("not begun"));
        rt.run(move || {
            let goroutine = gort::go(move || drop(unstarted));
            goroutine.abort();
        });
        drop(rt.go(|| OnDrop::new(|| panic!("the output"))));
        assert_alive(rt);
    });
}

/// A wait in a destructor during the unwinding (T9), and a second panic that is caught there.
#[test]
fn waits_and_panics_while_it_unwinds() {
    for_modes(|rt, _| {
        let log = Arc::new(Mutex::new(Vec::new()));
        let theirs = log.clone();
        let goroutine = rt.go(move || {
            let _last = OnDrop::new({
                let log = theirs.clone();
                move || log.lock().unwrap_or_else(|e| e.into_inner()).push("last")
            });
            let _guard = OnDrop::new(move || {
                let before = thread::current().id();
                for _ in 0..3 {
                    gort::yield_now().wait();
                    sleep(Duration::from_micros(20)).wait();
                    assert_eq!(gort::go(|| 3).wait().unwrap(), 3);
                }
                assert_eq!(before, thread::current().id());
                let inner = catch_unwind(|| panic!("inner"));
                assert!(inner.is_err() && thread::panicking());
                theirs.lock().unwrap_or_else(|e| e.into_inner()).push("guard");
            });
            panic!("outer");
        });
        assert_eq!(panic_text(&*goroutine.wait().unwrap_err().into_panic()), "outer");
        assert_eq!(*log.lock().unwrap_or_else(|e| e.into_inner()), ["guard", "last"]);
        assert_alive(rt);
    });
}

/// Many unwind and wait at once; the others keep their right to panic.
#[test]
fn many_wait_while_they_unwind() {
    for_modes(|rt, _| {
        let drops = Arc::new(AtomicUsize::new(0));
        let all: Vec<_> = (0..12)
            .map(|i| {
                let drops = drops.clone();
                rt.go(move || {
                    let _guard = OnDrop::new(move || {
                        sleep(Duration::from_micros(50 * i)).wait();
                        drops.fetch_add(1, SeqCst);
                    });
                    gort::yield_now().wait();
                    panic_any(i);
                })
            })
            .collect();
        for (i, goroutine) in all.into_iter().enumerate() {
            let payload = goroutine.wait().unwrap_err().into_panic();
            assert_eq!(*payload.downcast::<u64>().unwrap(), i as u64);
        }
        assert_eq!(drops.load(SeqCst), 12);
        assert_alive(rt);
    });
}

#[test]
fn caught_in_the_goroutine() {
    for_modes(|rt, _| {
        let n = rt.run(|| {
            let mut caught = 0;
            for i in 0..10 {
                let result = catch_unwind(|| {
                    gort::yield_now().wait();
                    panic_any(i);
                });
                caught += result.unwrap_err().downcast::<i32>().map_or(0, |i| *i);
                gort::yield_now().wait();
                assert!(!thread::panicking());
            }
            caught
        });
        assert_eq!(n, 45);
    });
}

#[inline(never)]
fn a_function_of_the_user() -> String {
    gort::yield_now().wait();
    let trace = Backtrace::force_capture();
    std::hint::black_box(trace.to_string())
}

/// The walk ends at the first frame of the stack.
#[test]
fn a_backtrace_ends() {
    for_modes(|rt, _| {
        let trace = rt.run(a_function_of_the_user);
        assert!(trace.contains("a_function_of_the_user"), "{trace}");
        assert!(trace.lines().count() < 200, "{trace}");
        assert!(
            !trace.contains("findrunnable"),
            "it does not run into the worker's stack: {trace}"
        );
    });
}

#[test]
fn a_printed_backtrace_ends() {
    if is_child() {
        let rt = Mode::Home.runtime(1);
        let error = rt.go(|| panic!("with a backtrace")).wait().unwrap_err();
        assert!(error.is_panic());
        eprintln!("and it goes on");
        return;
    }
    let ended = Child::of("a_printed_backtrace_ends").env("RUST_BACKTRACE", "full").run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("with a backtrace"), "{}", ended.stderr);
    assert!(ended.stderr.contains("and it goes on"), "{}", ended.stderr);
}

#[test]
fn ends_the_process_if_told_so() {
    if is_child() {
        let rt = Mode::Home.builder(1).on_panic(PanicPolicy::Abort).build().unwrap();
        // An abort is no panic.
        let goroutine = rt.go(|| std::future::pending::<()>().wait());
        goroutine.abort();
        assert!(goroutine.wait().unwrap_err().is_cancelled());
        eprintln!("still here");
        let _ = rt.go(|| panic!("the last words")).wait();
        unreachable!("the process has ended");
    }
    let ended = Child::of("ends_the_process_if_told_so").run();
    assert_eq!(ended.code, None, "{}", ended.stderr);
    assert!(ended.stderr.contains("still here"), "{}", ended.stderr);
    assert!(ended.stderr.contains("the last words"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("unreachable"), "{}", ended.stderr);
}
