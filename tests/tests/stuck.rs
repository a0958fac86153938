//! `Builder::on_stuck`: who holds a thread for too long is reported, once, and nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use gort::prelude::*;
use gort::{Runtime, StuckReport};
use gort_tests::{BOUND, beside_others};

const AFTER: Duration = Duration::from_millis(30);

fn reporting(procs: usize) -> (Runtime, Receiver<StuckReport>) {
    let (send, receive) = mpsc::channel();
    let report = move |report: &StuckReport| drop(send.send(report.clone()));
    let rt = gort::Builder::new().procs(procs).on_stuck(AFTER, report).build();
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
                let (rt, reports) = reporting(procs);
                let done = Arc::<AtomicBool>::default();
                let until = done.clone();
                let entered = rt.enter();
                let builder = gort::task::Builder::new().name("hog");
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
                    (Some("hog"), is_goroutine)
                );
                assert_eq!((report.spawned_at.file(), report.spawned_at.line()), (file!(), line));
                assert!(report.running_for >= AFTER, "{report}");
                assert!(report.to_string().contains("`hog` has been running for "), "{report}");
                assert_eq!(rt.handle().metrics().stuck, 1);
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
    let (rt, reports) = reporting(1);
    let done = Arc::<AtomicBool>::default();
    let until = done.clone();
    let hog = rt.spawn(async move { hog(&until) });
    rt.spawn(async {}).wait().expect("no panic");
    assert!(reports.recv_timeout(BOUND).expect("a report").lost_its_p);
    done.store(true, Ordering::Release);
    hog.wait().expect("no panic");
}

#[test]
fn who_has_announced_it_is_not_reported() {
    let _machine = beside_others();
    let (rt, reports) = reporting(2);
    let long = || std::thread::sleep(4 * AFTER);
    let tasks = [
        rt.spawn(async move { gort::blocking(long) }),
        rt.spawn(async move { gort::syscall(long) }),
        rt.go(move || gort::blocking(long)),
        rt.spawn(gort::time::sleep(4 * AFTER)),
    ];
    tasks.into_iter().for_each(|task| task.wait().expect("no panic"));
    assert!(rt.shutdown_timeout(BOUND));
    assert!(reports.try_recv().is_err());
}
