//! `Builder::on_stuck`: who holds a thread for too long is reported, once, and nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use gort::prelude::*;
use gort::{Runtime, StuckReport};
use gort_tests::{BOUND, beside_others};

const AFTER: Duration = Duration::from_millis(30);
/// Longer than any thread is off its core.
const LONG: Duration = Duration::from_millis(300);

/// The threads of these tests may lose their cores for longer than that, and then anybody is stuck:
/// what counts is the one called so.
const HOG: &str = "hog";

fn reporting(procs: usize, after: Duration) -> (Runtime, Receiver<StuckReport>) {
    let (send, receive) = mpsc::channel();
    let report = move |report: &StuckReport| {
        if report.name.as_deref() == Some(HOG) {
            drop(send.send(report.clone()));
        }
    };
    let rt = gort::Builder::new().procs(procs).on_stuck(after, report).build();
    (rt.expect("a runtime"), receive)
}

fn hog(until: &AtomicBool) {
    while !until.load(Ordering::Acquire) {
        std::hint::spin_loop();
    }
}

#[test]
fn who_is_stuck_is_reported_once() {
    let _machine = beside_others();
    for procs in [1, 2, 4] {
        for is_goroutine in [false, true] {
            for others_wait in [false, true] {
                let (rt, reports) = reporting(procs, AFTER);
                let done = Arc::<AtomicBool>::default();
                let until = done.clone();
                let entered = rt.enter();
                let builder = gort::task::Builder::new().name(HOG);
                let line = line!() + 1;
                let hog = if is_goroutine {
                    builder.go(move || hog(&until))
                } else {
                    builder.spawn(async move { hog(&until) })
                };
                drop(entered);
                let hog = hog.expect("a task");
                let others: Vec<_> =
                    (0..procs * usize::from(others_wait)).map(|_| rt.spawn(async {})).collect();
                others.into_iter().for_each(|other| other.wait().expect("no panic"));
                let report = reports.recv_timeout(BOUND).expect("a report");
                assert_eq!(
                    (report.name.as_deref(), report.is_goroutine),
                    (Some(HOG), is_goroutine)
                );
                assert_eq!(report.spawned_at.file(), file!());
                assert!((line..line + 8).contains(&report.spawned_at.line()));
                assert!(report.running_for >= AFTER, "{report}");
                assert!(report.to_string().contains("`hog` has been running for "), "{report}");
                assert!(rt.handle().metrics().stuck >= 1);
                done.store(true, Ordering::Release);
                hog.wait().expect("no panic");
                assert!(rt.shutdown_timeout(BOUND));
                assert!(reports.try_recv().is_err(), "once");
            }
        }
    }
}

/// With one P, others run only if it is taken from the hog.
#[test]
fn a_lost_p_is_told() {
    let _machine = beside_others();
    let (rt, reports) = reporting(1, AFTER);
    let done = Arc::<AtomicBool>::default();
    let until = done.clone();
    let entered = rt.enter();
    let builder = gort::task::Builder::new().name(HOG);
    let hog = builder.spawn(async move { hog(&until) }).expect("a task");
    drop(entered);
    rt.spawn(async {}).wait().expect("no panic");
    assert!(reports.recv_timeout(BOUND).expect("a report").lost_its_p);
    done.store(true, Ordering::Release);
    hog.wait().expect("no panic");
}

#[test]
fn who_has_announced_it_is_not_reported() {
    let _machine = beside_others();
    let (rt, reports) = reporting(2, LONG);
    let long = || std::thread::sleep(3 * LONG);
    let named = || gort::task::Builder::new().name(HOG);
    let entered = rt.enter();
    let tasks = [
        named().spawn(async move { gort::blocking(long) }),
        named().spawn(async move { gort::syscall(long) }),
        named().go(move || gort::blocking(long)),
        named().spawn(gort::time::sleep(3 * LONG)),
    ];
    drop(entered);
    tasks.into_iter().for_each(|task| task.expect("a task").wait().expect("no panic"));
    assert!(rt.shutdown_timeout(BOUND));
    assert!(reports.try_recv().is_err());
}
