//! The feature `metrics`: what arrives at a recorder, against what the test knows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use gort::Runtime;
use gort::compat::metrics::{describe, publish, record};
use gort::prelude::*;
use gort_tests::{BOUND, eventually};
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};

/// Keeps the last value of everything, by name and labels.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Store>>);

#[derive(Default)]
struct Store {
    /// Counters as they are, gauges as the bits of their `f64`.
    cells: HashMap<Key, Arc<AtomicU64>>,
    described: HashMap<String, Option<Unit>>,
}

impl Kept {
    fn cell(&self, key: &Key) -> Arc<AtomicU64> {
        self.0.lock().unwrap().cells.entry(key.clone()).or_default().clone()
    }

    fn note(&self, name: KeyName, unit: Option<Unit>) {
        assert!(self.0.lock().unwrap().described.insert(name.as_str().to_owned(), unit).is_none());
    }

    /// The values of all metrics of that name that have this label.
    fn values(&self, name: &str, label: (&str, &str)) -> Vec<u64> {
        let store = self.0.lock().unwrap();
        let has = |key: &Key| key.labels().any(|l| (l.key(), l.value()) == label);
        let found = store.cells.iter().filter(|(key, _)| key.name() == name && has(key));
        found.map(|(_, cell)| cell.load(Ordering::Relaxed)).collect()
    }

    fn sum(&self, name: &str, of: &str) -> u64 {
        self.values(name, ("runtime", of)).iter().sum()
    }

    fn gauge(&self, name: &str, of: &str) -> f64 {
        let values = self.values(name, ("runtime", of));
        assert_eq!(values.len(), 1, "{name}");
        f64::from_bits(values[0])
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.note(name, unit);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.note(name, unit);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.note(name, unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// The recorder of the whole process; each test has runtimes of other names.
fn global() -> &'static Kept {
    static GLOBAL: OnceLock<Kept> = OnceLock::new();
    GLOBAL.get_or_init(|| {
        let kept = Kept::default();
        assert!(metrics::set_global_recorder(kept.clone()).is_ok());
        kept
    })
}

fn runtime(name: &str, procs: usize) -> Runtime {
    gort::Builder::new().procs(procs).thread_name(name).build().expect("a runtime")
}

#[test]
fn sums_agree_with_the_counts_of_the_test() {
    for procs in [1, 2, 4] {
        let kept = Kept::default();
        let rt = runtime("sums", procs);
        let polls = Arc::<AtomicU64>::default();
        let task = |_| {
            let polls = polls.clone();
            rt.spawn(async move {
                polls.fetch_add(1, Ordering::Relaxed);
                gort::time::sleep(Duration::from_millis(1)).await;
                polls.fetch_add(1, Ordering::Relaxed);
            })
        };
        let tasks: Vec<_> = (0..50).map(task).collect();
        let goroutine = |_| {
            let polls = polls.clone();
            rt.go(move || {
                polls.fetch_add(1, Ordering::Relaxed);
            })
        };
        let goroutines: Vec<_> = (0..30).map(goroutine).collect();
        tasks.into_iter().for_each(|task| task.wait().expect("no panic"));
        goroutines.into_iter().for_each(|g| g.wait().expect("no panic"));
        let waits: Vec<_> = (0..7).map(|_| rt.spawn(std::future::pending::<()>())).collect();
        let handle = rt.handle();
        eventually("all wait", || handle.states().waiting == 7);

        with_local_recorder(&kept, || record(&handle));
        assert_eq!(kept.sum("gort_spawned_total", "sums"), 87);
        assert_eq!(kept.gauge("gort_tasks", "sums"), 7.0);
        assert_eq!(kept.gauge("gort_goroutines", "sums"), 0.0);
        assert_eq!(kept.gauge("gort_procs", "sums"), procs as f64);
        assert_eq!(kept.sum("gort_timers_fired_total", "sums"), 50);
        let dispatches = kept.sum("gort_dispatches_total", "sums");
        assert!(dispatches >= polls.load(Ordering::Relaxed) + 7, "{dispatches}");
        assert_eq!(polls.load(Ordering::Relaxed), 130);
        for p in 0..procs {
            let of_p = kept.values("gort_dispatches_total", ("p", &p.to_string()));
            assert_eq!(of_p.len(), 1);
        }
        let samples = handle.metrics().latency.count();
        assert_eq!(kept.sum("gort_latency_seconds_count", "sums"), samples);
        assert_eq!(kept.values("gort_latency_seconds_bucket", ("le", "+Inf")), [samples]);
        assert_eq!(kept.values("gort_latency_seconds_bucket", ("runtime", "sums")).len(), 32);
        drop(waits);
        assert!(rt.shutdown_timeout(BOUND));
    }
}

#[test]
fn all_that_is_recorded_is_described() {
    let kept = Kept::default();
    let rt = runtime("described", 2);
    with_local_recorder(&kept, || {
        describe();
        record(&rt.handle());
    });
    let store = kept.0.lock().unwrap();
    let mut recorded: Vec<_> = store.cells.keys().map(|key| key.name().to_owned()).collect();
    recorded.sort();
    recorded.dedup();
    let mut described: Vec<_> = store.described.keys().cloned().collect();
    described.sort();
    assert_eq!(recorded, described);
    assert_eq!(store.described["gort_task_bytes"], Some(Unit::Bytes));
}

#[test]
fn a_publisher_goes_on_until_it_is_dropped() {
    let kept = global();
    let rt = gort::Builder::new().procs(2).thread_name("paced").start_paused(true).build();
    let rt = rt.expect("a runtime");
    let handle = rt.handle();
    rt.block_on(async {
        let publisher = publish(&handle, Duration::from_secs(10));
        gort::time::settle().await;
        assert_eq!(kept.sum("gort_spawned_total", "paced"), 1);
        for round in 1..=3 {
            gort::spawn(async {}).await.expect("no panic");
            gort::time::advance(Duration::from_secs(10)).await;
            gort::time::settle().await;
            assert_eq!(kept.sum("gort_spawned_total", "paced"), 1 + round);
        }
        drop(publisher);
        gort::spawn(async {}).await.expect("no panic");
        gort::time::advance(Duration::from_secs(60)).await;
        gort::time::settle().await;
        assert_eq!(kept.sum("gort_spawned_total", "paced"), 4);
        assert_eq!(handle.metrics().tasks, 0);
    });
}

#[test]
fn a_publisher_ends_with_its_runtime() {
    let kept = global();
    let rt = runtime("ends", 1);
    let publisher = publish(&rt.handle(), Duration::from_millis(1));
    publish(&rt.handle(), Duration::from_secs(1000)).detach();
    eventually("it publishes", || kept.sum("gort_dispatches_total", "ends") >= 10);
    assert!(rt.shutdown_timeout(BOUND));
    drop(publisher);
}

#[test]
#[should_panic(expected = "must not be zero")]
fn a_period_is_longer_than_nothing() {
    let rt = runtime("zero", 1);
    drop(publish(&rt.handle(), Duration::ZERO));
}
