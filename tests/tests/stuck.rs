//! `Builder::on_stuck`: who holds a thread for too long is reported, once, and nobody else.

mod go_modes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use gort::prelude::*;
use gort::{Runtime, StuckReport};
use gort_tests::{BOUND, alone, beside_others};

use go_modes::{MODES, Mode};

const AFTER: Duration = Duration::from_millis(30);
/// Longer than any thread is off its core.
const LONG: Duration = Duration::from_millis(300);

/// What counts is the one called so: others may be stuck in something, too.
const HOG: &str = "hog";

fn reporting(procs: usize, after: Duration) -> (Runtime, Receiver<StuckReport>) {
    reporting_in(Mode::Home, procs, after)
}

fn reporting_in(mode: Mode, procs: usize, after: Duration) -> (Runtime, Receiver<StuckReport>) {
    let (send, receive) = mpsc::channel();
    let report = move |report: &StuckReport| {
        if report.name.as_deref() == Some(HOG) {
            drop(send.send(report.clone()));
        }
    };
    let rt = mode.builder(procs).on_stuck(after, report).build();
    (rt.expect("a runtime"), receive)
}

#[inline(never)]
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
                assert!(report.to_string().contains("`hog` kept P "), "{report}");
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

/// How a hog keeps its thread, and what the report calls that.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Computes,
    Sleeps,
}

#[inline(never)]
fn innermost(way: Way, until: &AtomicBool) {
    match way {
        Way::Computes => hog(until),
        Way::Sleeps => {
            while !until.load(Ordering::Acquire) {
                std::thread::sleep(2 * LONG);
            }
        }
    }
    std::hint::black_box(until); // it is no jump
}

#[inline(never)]
fn through_the_heap(way: Way, until: &AtomicBool) -> usize {
    let call: Box<dyn Fn()> = Box::new(|| innermost(way, until));
    std::hint::black_box(&call)();
    std::hint::black_box(1)
}

/// The report says in which code it is, whether that computes or sleeps; the dump says it again.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn the_stack_of_who_is_stuck() {
    let _machine = beside_others();
    let mut asleep = 0;
    for mode in MODES {
        for way in [Way::Computes, Way::Sleeps] {
            for is_goroutine in [false, true] {
                let (rt, reports) = reporting_in(mode, 2, AFTER);
                let done = Arc::<AtomicBool>::default();
                let until = done.clone();
                let entered = rt.enter();
                let builder = gort::task::Builder::new().name(HOG);
                let hog = if is_goroutine {
                    builder.go(move || through_the_heap(way, &until))
                } else {
                    builder.spawn(async move { through_the_heap(way, &until) })
                };
                drop(entered);
                let report = reports.recv_timeout(BOUND).expect("a report");
                let dump = rt.handle().dump();
                done.store(true, Ordering::Release);
                let text = report.to_string();
                eprintln!("{text}");
                let at = |name| text.find(name).unwrap_or_else(|| panic!("no {name}: {text}"));
                assert!(at("innermost\n") < at("through_the_heap\n"), "{text}");
                assert!(at("tests/stuck.rs:") > 0 && !text.contains("gort::"), "{text}");
                assert!(
                    format!("{report:#}").len() > text.len(),
                    "with the frames of gort: {report:#}"
                );
                if way == Way::Computes {
                    assert!(!report.was_asleep() && at("hog\n") < at("innermost\n"));
                } else {
                    asleep += u32::from(report.was_asleep()); // else it was between two sleeps
                }
                assert!(dump.stuck().contains(&report));
                let said = dump.to_string();
                let lately = said.find("\nstuck lately:\n").expect(&said);
                assert!(said[lately..].contains(&text), "{said}");
                hog.expect("a task").wait().expect("no panic");
            }
        }
    }
    assert!(asleep > 0);
}

/// Many threads beside it want the cores; so a thread of the runtime is off them for longer than the
/// bound, over and over, with a task that does nothing wrong.
#[cfg(target_os = "linux")]
#[test]
fn who_is_not_let_run_is_not_reported() {
    let _machine = alone();
    let (rt, reports) = reporting(2, Duration::from_millis(15));
    let done = Arc::<AtomicBool>::default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let others: Vec<_> = (0..12 * cores)
        .map(|_| {
            let until = done.clone();
            std::thread::spawn(move || hog(&until))
        })
        .collect();
    let entered = rt.enter();
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let until = done.clone();
        let task = async move {
            while !until.load(Ordering::Acquire) {
                gort_tests::spin(Duration::from_micros(50));
                gort::yield_now().await;
            }
        };
        tasks.push(gort::task::Builder::new().name(HOG).spawn(task).expect("a task"));
    }
    drop(entered);
    std::thread::sleep(3 * LONG);
    done.store(true, Ordering::Release);
    others.into_iter().for_each(|other| other.join().expect("no panic"));
    tasks.into_iter().for_each(|task| task.wait().expect("no panic"));
    let metrics = rt.handle().metrics();
    assert!(rt.shutdown_timeout(BOUND));
    let reported: Vec<_> = reports.try_iter().map(|report| report.to_string()).collect();
    eprintln!(
        "{} retakes, {} reports",
        metrics.per_proc.iter().map(|p| p.retakes).sum::<u64>(),
        metrics.stuck
    );
    assert_eq!(reported, [""; 0]);
}

/// Sixteen are kept.
#[test]
fn the_last_reports_are_kept() {
    let _machine = beside_others();
    let (rt, reports) = reporting(1, Duration::from_millis(6));
    let mut ids = Vec::new();
    for _ in 0..18 {
        let done = Arc::<AtomicBool>::default();
        let until = done.clone();
        let entered = rt.enter();
        let task = gort::task::Builder::new().name(HOG).spawn(async move { hog(&until) });
        drop(entered);
        ids.push(reports.recv_timeout(BOUND).expect("a report").id);
        done.store(true, Ordering::Release);
        task.expect("a task").wait().expect("no panic");
    }
    let dump = rt.handle().dump();
    assert_eq!(dump.stuck().len(), 16);
    let kept: Vec<_> = dump.stuck().iter().filter(|it| it.name.is_some()).map(|it| it.id).collect();
    assert!(ids.ends_with(&kept), "{kept:?} of {ids:?}");
}
