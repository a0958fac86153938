//! Traces: what is in them, that it is well-formed, and that nothing is missing in silence.
//!
//! A trace records every runtime of the process, so these tests run one at a time.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use gort::prelude::*;
use gort::trace::{self, FlightRecorder, Summary};
use gort::{Metrics, ProcMetrics, Runtime};
use gort_tests::{BOUND, alone, eventually, for_procs_alone, returns, runtime};
use serde_json::Value;

/// A file that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let file = format!("gort-trace-{}-{name}.json", std::process::id());
        Scratch(std::env::temp_dir().join(file))
    }
}

impl AsRef<Path> for Scratch {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a trace says.
struct Read {
    events: Vec<Value>,
    lost: u64,
}

impl Read {
    fn parse(bytes: &[u8]) -> Read {
        let whole: Value = serde_json::from_slice(bytes).expect("valid JSON");
        let events = whole["traceEvents"].as_array().expect("events").clone();
        let lost = whole["otherData"]["lost"].as_str().expect("a count").parse().expect("a number");
        let read = Read { events, lost };
        read.check_slices();
        read.check_arrows();
        read
    }

    fn file(path: impl AsRef<Path>, summary: Summary) -> Read {
        let read = Read::parse(&std::fs::read(path).expect("the file"));
        assert_eq!(read.lost, summary.lost);
        read
    }

    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |e| e["name"] == name && e["ph"] != "f")
    }

    fn count(&self, name: &str) -> u64 {
        self.named(name).count() as u64
    }

    fn sum(&self, name: &str, arg: &str) -> u64 {
        self.named(name).map(|e| e["args"][arg].as_u64().expect("a number")).sum()
    }

    fn slices(&self) -> impl Iterator<Item = &Value> {
        self.events.iter().filter(|e| e["ph"] == "X")
    }

    /// Those of one track never overlap, and no G is on two tracks at once.
    fn check_slices(&self) {
        let mut tracks: BTreeMap<_, Vec<(u64, u64)>> = BTreeMap::new();
        for slice in self.slices() {
            let (from, long) = (nanos(&slice["ts"]), nanos(&slice["dur"]));
            let (pid, tid) = (slice["pid"].as_u64(), slice["tid"].as_u64());
            tracks.entry((pid, tid, None)).or_default().push((from, from + long));
            if let Some(id) = slice["args"]["id"].as_u64() {
                tracks.entry((pid, None, Some(id))).or_default().push((from, from + long));
            }
        }
        for (track, mut slices) in tracks {
            slices.sort_unstable();
            let apart = slices.windows(2).all(|w| w[0].1 <= w[1].0);
            assert!(apart, "slices of {track:?} overlap; {} events lost", self.lost);
        }
    }

    /// An arrow that ends has begun.
    fn check_arrows(&self) {
        let ids = |ph: &str| -> HashSet<u64> {
            let arrows = self.events.iter().filter(|e| e["ph"] == ph);
            arrows.map(|e| e["id"].as_u64().expect("an id")).collect()
        };
        assert!(ids("f").is_subset(&ids("s")));
    }
}

/// Microseconds with three decimals.
fn nanos(micros: &Value) -> u64 {
    (micros.as_f64().expect("a time") * 1000.0).round() as u64
}

/// A bit of everything.
fn work(rt: &Runtime, n: usize) {
    rt.run(move || {
        let (tx, rx) = gort::chan::bounded(4);
        let sums = (0..4).map(|_| {
            let rx = rx.clone();
            gort::go(move || rx.into_iter().sum::<usize>())
        });
        let sums: Vec<_> = sums.collect();
        drop(rx);
        let tasks: Vec<_> = (0..n)
            .map(|i| {
                let tx = tx.clone();
                gort::spawn(async move {
                    match i % 8 {
                        0 => gort::time::sleep(Duration::from_micros(50)).await,
                        1 => gort::yield_now().await,
                        2 => drop(gort::spawn_blocking(|| ()).await),
                        _ => {}
                    }
                    tx.send(i).await.expect("a receiver");
                })
            })
            .collect();
        drop(tx);
        tasks.into_iter().for_each(|task| task.wait().expect("no panic"));
        let sum: usize = sums.into_iter().map(|sum| sum.wait().expect("no panic")).sum();
        assert_eq!(sum, n * (n - 1) / 2);
    });
}

fn sum(metrics: &Metrics, count: impl Fn(&ProcMetrics) -> u64) -> u64 {
    metrics.per_proc.iter().map(count).sum()
}

#[test]
fn counts_agree_with_the_metrics() {
    let _machine = alone();
    for procs in [1, 2, 4] {
        let path = Scratch::new("counts");
        let trace = trace::start(&path).expect("a trace");
        let rt = runtime(procs);
        let handle = rt.handle();
        work(&rt, 400);
        assert!(rt.shutdown_timeout(BOUND));
        let read = Read::file(&path, trace.stop().expect("a file"));
        assert_eq!(read.lost, 0, "so few events fit into the rings");
        let metrics = handle.metrics();
        assert_eq!(read.count("spawn"), metrics.spawned);
        assert_eq!(read.count("steal"), sum(&metrics, |p| p.steals));
        assert_eq!(read.count("park"), sum(&metrics, |p| p.parks));
        assert_eq!(read.count("netpoll"), sum(&metrics, |p| p.netpolls));
        assert_eq!(read.count("hand-off"), sum(&metrics, |p| p.handoffs));
        assert_eq!(read.count("retake"), sum(&metrics, |p| p.retakes));
        assert_eq!(read.sum("timers", "fired"), sum(&metrics, |p| p.timers_fired));
        let ended = read.slices().filter(|s| s["args"]["end"] == "end");
        let ended = ended.filter(|s| s["cat"] != "root");
        assert_eq!(ended.count() as u64, metrics.spawned, "each has ended once");
    }
}

#[test]
fn slices_have_names_kinds_and_ends() {
    let _machine = alone();
    for_procs_alone(|rt| {
        let path = Scratch::new("names");
        let named = |name: &str| gort::task::Builder::new().name(name);
        let release = gort::sync::Notify::new();
        let trace = trace::start(&path).expect("a trace");
        rt.run(move || {
            named("a \"quoted\" name").go(|| gort::yield_now().wait()).unwrap().wait().unwrap();
            named("still here").spawn(async move { release.notified().await }).unwrap();
            gort::spawn(async {}).wait().unwrap();
        });
        let read = Read::file(&path, trace.stop().expect("a file"));
        let quoted: Vec<_> = read.named("a \"quoted\" name").collect();
        assert!(quoted.iter().all(|s| s["cat"] == "goroutine"));
        assert!(quoted.iter().any(|s| s["args"]["end"] == "yield"));
        assert!(quoted.iter().any(|s| s["args"]["end"] == "end"));
        let still: Vec<_> = read.named("still here").collect();
        assert!(still.iter().all(|s| s["cat"] == "task"));
        let here = |s: &Value| s["name"].as_str().is_some_and(|name| name.contains("trace.rs:"));
        assert!(read.slices().any(|s| here(s) && s["cat"] == "task"), "where it was spawned");
    });
}

/// Computes until somebody else sets the flag.
fn hog(until: &AtomicBool) {
    while !until.load(Ordering::Acquire) {
        std::hint::spin_loop();
    }
}

#[test]
fn a_task_that_loses_its_p_goes_on_beside() {
    let _machine = alone();
    let path = Scratch::new("retake");
    let trace = trace::start(&path).expect("a trace");
    let rt = runtime(1);
    let (begun, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let (begins, until) = (begun.clone(), done.clone());
    let hogging = gort::task::Builder::new().name("hog");
    let entered = rt.enter();
    let hogging = hogging.spawn(async move {
        begins.store(true, Ordering::Release);
        hog(&until);
    });
    drop(entered);
    eventually("it runs", || begun.load(Ordering::Acquire));
    drop(rt.spawn(async move { done.store(true, Ordering::Release) })); // on the only P
    hogging.expect("a task").wait().expect("no panic");
    assert!(rt.shutdown_timeout(BOUND));
    let read = Read::file(&path, trace.stop().expect("a file"));
    let hog: Vec<_> = read.named("hog").collect();
    assert_eq!(hog.len(), 2);
    assert_eq!((&hog[0]["args"]["end"], &hog[0]["tid"]), (&"lost its P".into(), &0.into()));
    assert_eq!(hog[1]["args"]["end"], "end");
    assert_ne!(hog[1]["tid"], 0);
    assert_eq!(read.count("retake"), 1);
}

/// Keeps a runtime busy until it is told to stop.
fn load(rt: &Runtime, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        work(rt, 200);
    }
}

#[test]
fn starts_and_stops_under_load() {
    let _machine = alone();
    for_procs_alone(|rt| {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| load(rt, &stop));
            let _stops = Stops(&stop);
            let path = Scratch::new("load");
            for _ in 0..3 {
                let trace = trace::start(&path).expect("a trace");
                work(rt, 100);
                let read = Read::file(&path, trace.stop().expect("a file"));
                assert!(read.count("spawn") >= 100 || read.lost > 0);
            }
        });
    });
}

/// Ends the load, also when an assertion fails.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn runtimes_come_and_go_meanwhile() {
    let _machine = alone();
    let path = Scratch::new("runtimes");
    let trace = trace::start(&path).expect("a trace");
    let spawned: u64 = (0..6)
        .map(|i| {
            let rt = runtime(1 + i % 2);
            work(&rt, 20);
            let handle = rt.handle();
            assert!(rt.shutdown_timeout(BOUND));
            handle.metrics().spawned
        })
        .sum();
    let read = Read::file(&path, trace.stop().expect("a file"));
    assert_eq!(read.named("process_name").count(), 6);
    assert_eq!(read.count("spawn"), spawned);
}

/// The events that were missed and those that are there make all of them.
#[test]
fn nothing_is_lost_silently() {
    let _machine = alone();
    let path = Scratch::new("lost");
    let rt = runtime(2);
    let trace = trace::start(&path).expect("a trace");
    const TASKS: u64 = 20_000;
    rt.run(|| {
        for _ in 0..TASKS / 1000 {
            let tasks: Vec<_> = (0..1000).map(|_| gort::spawn(async {})).collect();
            tasks.into_iter().for_each(|task| task.wait().expect("no panic"));
        }
    });
    let summary = trace.stop().expect("a file");
    let read = Read::file(&path, summary);
    assert!(summary.events + summary.lost >= 3 * TASKS, "made, started, ended: {summary:?}");
    assert!(read.count("spawn") + read.lost > TASKS);
    assert!(read.lost > 0 || read.count("spawn") == TASKS + 1);
}

// Go: TestFlightRecorder
#[test]
fn flight_recorder() {
    let _machine = alone();
    for_procs_alone(|rt| {
        let recorder = FlightRecorder::start(BOUND, 16 << 20).expect("a recorder");
        work(rt, 100);
        let mut bytes = Vec::new();
        let summary = recorder.write_to(&mut bytes).expect("written");
        let first = Read::parse(&bytes);
        assert!(summary.lost == 0 && first.count("spawn") > 100);
        work(rt, 100);
        bytes.clear();
        recorder.write_to(&mut bytes).expect("written");
        assert!(Read::parse(&bytes).count("spawn") > first.count("spawn"));
    });
}

// Go: TestFlightRecorder, its MinAge and MaxBytes
#[test]
fn flight_recorder_forgets() {
    let _machine = alone();
    let rt = runtime(2);
    for (age, bytes) in [(Duration::from_nanos(1), 1 << 30), (BOUND, 1 << 10)] {
        let recorder = FlightRecorder::start(age, bytes).expect("a recorder");
        work(&rt, 400);
        eventually("all is forgotten", || {
            drop(rt.spawn(async {})); // a look forgets what the one before has found
            let mut out = Vec::new();
            let summary = recorder.write_to(&mut out).expect("written");
            Read::parse(&out);
            summary.events < 100
        });
    }
}

// Go: TestFlightRecorderConcurrentWriteTo
#[test]
fn flight_recorder_concurrent_write_to() {
    let _machine = alone();
    for_procs_alone(|rt| {
        let recorder = FlightRecorder::start(Duration::from_millis(200), 1 << 17).expect("one");
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| load(rt, &stop));
            let dump = || {
                for _ in 0..2 {
                    let mut bytes = Vec::new();
                    recorder.write_to(&mut bytes).expect("written");
                    Read::parse(&bytes);
                }
            };
            let dumps: Vec<_> = (0..2).map(|_| scope.spawn(dump)).collect();
            dumps.into_iter().for_each(|dump| dump.join().expect("no panic"));
            stop.store(true, Ordering::Release);
        });
    });
}

// Go: TestFlightRecorderDoubleStart, which is an error there
#[test]
fn several_record_at_once() {
    let _machine = alone();
    let path = Scratch::new("several");
    let trace = trace::start(&path).expect("a trace");
    let recorders = [(); 2].map(|()| FlightRecorder::start(BOUND, 16 << 20).expect("a recorder"));
    let rt = runtime(2);
    work(&rt, 50);
    assert!(rt.shutdown_timeout(BOUND));
    let spawned = Read::file(&path, trace.stop().expect("a file")).count("spawn");
    for recorder in recorders {
        let mut bytes = Vec::new();
        recorder.write_to(&mut bytes).expect("written");
        assert_eq!(Read::parse(&bytes).count("spawn"), spawned);
    }
}

/// Also when every P is stuck it tells who has it, and since when.
#[test]
fn flight_recorder_while_all_is_stuck() {
    let _machine = alone();
    let rt = runtime(2);
    let recorder = FlightRecorder::start(Duration::from_nanos(1), 1 << 20).expect("a recorder");
    let (done, running) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let hogs = [(); 2].map(|()| {
        let (done, running) = (done.clone(), running.clone());
        rt.spawn(async move {
            running.fetch_add(1, Ordering::AcqRel);
            hog(&done);
        })
    });
    eventually("both run", || running.load(Ordering::Acquire) == 2);
    let read = returns("write_to", move || {
        let mut bytes = Vec::new();
        recorder.write_to(&mut bytes).expect("written");
        Read::parse(&bytes)
    });
    assert_eq!(read.slices().filter(|s| s["args"]["end"] == "runs").count(), 2);
    done.store(true, Ordering::Release);
    hogs.into_iter().for_each(|hog| hog.wait().expect("no panic"));
}

#[test]
fn a_file_that_cannot_be_made() {
    let directory = std::env::temp_dir();
    assert!(trace::start(directory).is_err());
}
