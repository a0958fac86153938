//! The limit of threads, `Builder::max_threads`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use gort::Builder;
use gort::prelude::*;
use gort_tests::{Child, alone, eventually, is_child};

/// The text, and nothing that the program says later.
#[track_caller]
fn assert_exhausted(test: &str) {
    let ended = Child::of(test).run();
    let text = &ended.stderr;
    assert_eq!(ended.code, Some(2), "{text}");
    let fatal = "runtime: program exceeds 10-thread limit\nfatal error: thread exhaustion\n";
    assert!(text.contains(fatal), "{text}");
    assert!(!text.contains("not reached"), "{text}");
}

/// Go: TestThreadExhaustion. Twenty that block, each in a call that says so.
#[test]
fn thread_exhaustion() {
    if is_child() {
        let rt = Builder::new().procs(1).max_threads(10).build().unwrap();
        let begun = Arc::new(AtomicUsize::new(0));
        for _ in 0..20 {
            let begun = begun.clone();
            drop(rt.go(move || {
                gort::blocking(|| {
                    begun.fetch_add(1, SeqCst);
                    loop {
                        thread::park();
                    }
                })
            }));
        }
        eventually("all block", || begun.load(SeqCst) == 20);
        eprintln!("not reached");
        std::process::exit(0);
    }
    assert_exhausted("thread_exhaustion");
}

/// The same in announced system calls, as in Go.
#[test]
fn thread_exhaustion_in_syscalls() {
    if is_child() {
        let rt = Builder::new().procs(1).max_threads(10).build().unwrap();
        for _ in 0..20 {
            drop(rt.go(|| gort::syscall(|| thread::sleep(Duration::from_secs(20)))));
        }
        thread::sleep(Duration::from_secs(20));
        eprintln!("not reached");
        std::process::exit(0);
    }
    assert_exhausted("thread_exhaustion_in_syscalls");
}

/// No P is taken when there could be no thread to hold it: at the limit, who has not said how long
/// it takes is waited for.
#[test]
fn a_hand_off_is_not_fatal() {
    let _machine = alone();
    for procs in [1, 2] {
        let rt = Builder::new().procs(procs).max_threads(4).build().unwrap();
        let _entered = rt.enter();
        let all: Vec<_> = (0..24)
            .map(|i| {
                let long = move || {
                    thread::sleep(Duration::from_millis(15));
                    i
                };
                if i % 2 == 0 { rt.go(long) } else { rt.spawn(async move { long() }) }
            })
            .collect();
        let sum: usize = all.into_iter().map(|one| one.wait().unwrap()).sum();
        assert_eq!(sum, 23 * 12);
        assert!(rt.handle().metrics().threads <= 4);
    }
}

/// As many as the limit says are no reason to end.
#[test]
fn up_to_the_limit() {
    let _machine = alone();
    for procs in [1, 2] {
        let rt = Builder::new().procs(procs).max_threads(10).build().unwrap();
        for _ in 0..3 {
            let begun = Arc::new(AtomicUsize::new(0));
            let all: Vec<_> = (0..10 - procs)
                .map(|_| {
                    let begun = begun.clone();
                    rt.go(move || {
                        gort::blocking(|| {
                            begun.fetch_add(1, SeqCst);
                            eventually("all block", || begun.load(SeqCst) == 10 - procs);
                        })
                    })
                })
                .collect();
            all.into_iter().for_each(|one| one.wait().unwrap());
            assert_eq!(rt.block_on(rt.spawn(async { 5 })).unwrap(), 5);
            assert!(rt.handle().metrics().threads <= 10);
        }
    }
}

/// Plain threads that wait in `block_on` are not counted.
#[test]
fn plain_threads_are_not_counted() {
    let _machine = alone();
    let rt = Builder::new().procs(1).max_threads(2).build().unwrap();
    thread::scope(|scope| {
        for i in 0..20 {
            let rt = &rt;
            scope.spawn(move || {
                let task = rt.spawn(async move {
                    gort::time::sleep(Duration::from_millis(5)).await;
                    i
                });
                assert_eq!(rt.block_on(task).unwrap(), i);
            });
        }
    });
    assert!(rt.handle().metrics().threads <= 2);
}

#[test]
fn a_limit_of_nothing_is_refused() {
    let error = Builder::new().max_threads(0).build().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}
