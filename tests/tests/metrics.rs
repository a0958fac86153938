//! What `Handle::metrics` and `Handle::states` count, against what the test knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use gort::prelude::*;
use gort_tests::{eventually, for_procs};

#[test]
fn states_are_exact_where_nothing_changes() {
    for_procs(|rt| {
        let handle = rt.handle();
        let release = Arc::new(gort::sync::CancelToken::new());
        let waits = |_| {
            let release = release.clone();
            rt.spawn(async move { drop(release.cancelled().await) })
        };
        let tasks: Vec<_> = (0..300).map(waits).collect();
        let waits = |_| {
            let release = release.clone();
            rt.go(move || drop(release.cancelled().wait()))
        };
        let goroutines: Vec<_> = (0..200).map(waits).collect();
        let (done, begun) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (until, begins) = (done.clone(), begun.clone());
        let hog = rt.spawn(async move {
            begins.fetch_add(1, Ordering::AcqRel);
            while !until.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
        });
        eventually("one runs, the others wait", || {
            let states = handle.states();
            let sum = states.waiting + states.runnable + states.running + states.in_syscall;
            assert!(sum <= 501);
            (states.waiting, states.running, states.runnable) == (500, 1, 0)
        });
        assert_eq!(begun.load(Ordering::Acquire), 1);
        let metrics = handle.metrics();
        assert_eq!((metrics.tasks, metrics.goroutines, metrics.spawned), (301, 200, 501));
        done.store(true, Ordering::Release);
        hog.wait().expect("no panic");
        release.cancel();
        tasks.into_iter().for_each(|task| task.wait().expect("no panic"));
        goroutines.into_iter().for_each(|g| g.wait().expect("no panic"));
        eventually("all have ended", || handle.states() == gort::States::default());
    });
}

#[test]
fn timers_are_counted_while_they_are_armed() {
    for_procs(|rt| {
        let handle = rt.handle();
        let sleeps = (0..100).map(|_| rt.spawn(gort::time::sleep(Duration::from_secs(1000))));
        let sleeps: Vec<_> = sleeps.collect();
        eventually("all are armed", || handle.metrics().timers == 100);
        sleeps.iter().for_each(|sleep| sleep.abort());
        eventually("all are stopped", || handle.metrics().timers == 0);
        let before: u64 = handle.metrics().per_proc.iter().map(|p| p.timers_fired).sum();
        let short = || rt.spawn(gort::time::sleep(Duration::from_millis(1)));
        let sleeps: Vec<_> = (0..50).map(|_| short()).collect();
        sleeps.into_iter().for_each(|sleep| sleep.wait().expect("no panic"));
        let after: u64 = handle.metrics().per_proc.iter().map(|p| p.timers_fired).sum();
        assert_eq!(after - before, 50);
    });
}

#[test]
fn dispatches_add_up() {
    for_procs(|rt| {
        let handle = rt.handle();
        let dispatches = || -> u64 { handle.metrics().per_proc.iter().map(|p| p.dispatches).sum() };
        let before = dispatches();
        rt.block_on(rt.spawn(async {
            for _ in 0..10_000 {
                gort::yield_now().await;
            }
        }))
        .expect("no panic");
        let made = dispatches() - before;
        // The polls of the root are dispatches, too.
        assert!((10_001..10_100).contains(&made), "{made}");
    });
}

#[test]
fn latencies_are_sampled() {
    for_procs(|rt| {
        let latency = || rt.handle().metrics().latency;
        rt.run(|| {
            for _ in 0..100 {
                let tasks: Vec<_> = (0..100).map(|_| gort::spawn(gort::yield_now())).collect();
                tasks.into_iter().for_each(|task| task.wait().expect("no panic"));
            }
        });
        let count = latency().count();
        let made = 10_000 * 2; // each is queued when it is made, and when it yields
        assert!((made / 200..made / 4).contains(&count), "{count} samples of {made}");
        assert_eq!(latency().buckets().map(|(_, n)| n).sum::<u64>(), latency().count());
    });
}

/// A long wait for a P is seen, if it is a sample.
#[test]
fn a_long_wait_is_in_the_last_buckets() {
    const HOG: Duration = Duration::from_millis(3);
    for_procs(|rt| {
        rt.run(|| {
            for _ in 0..40 {
                let behind: Vec<_> = (0..100).map(|_| gort::spawn(async {})).collect();
                gort_tests::spin(HOG);
                behind.into_iter().for_each(|task| task.wait().expect("no panic"));
            }
        });
        let latency = rt.handle().metrics().latency;
        if rt.handle().metrics().procs == 1 {
            assert!(latency.quantile(1.0) >= HOG, "{:?}", latency.quantile(1.0));
        }
    });
}

/// The number in the line that begins with `name`.
#[track_caller]
fn value(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let Some(line) = line else { panic!("no line `{name}` in\n{text}") };
    line.trim().parse().unwrap_or_else(|_| panic!("`{name}` is `{line}` in\n{text}"))
}

#[test]
fn metrics_print_as_a_table() {
    for_procs(|rt| {
        rt.run(|| {
            for _ in 0..100 {
                let tasks: Vec<_> = (0..10).map(|_| gort::spawn(gort::yield_now())).collect();
                tasks.into_iter().for_each(|task| task.wait().expect("no panic"));
            }
        });
        let metrics = rt.handle().metrics();
        let text = metrics.to_string();
        assert_eq!(value(&text, "procs"), metrics.procs as u64);
        assert_eq!(value(&text, "spawned"), 1001);
        assert_eq!(value(&text, "latency samples"), metrics.latency.count());
        assert!(text.contains(&format!("{:?}\n", metrics.latency.quantile(0.99))), "{text}");

        let (fields, ps) = text.split_once("\n\n").expect("two parts");
        let widths = |part: &str| part.lines().map(|line| line.chars().count()).collect::<Vec<_>>();
        let aligned = |widths: Vec<usize>| widths.windows(2).all(|pair| pair[0] == pair[1]);
        assert!(aligned(widths(fields)) && aligned(widths(ps)), "{text}");
        assert_eq!((fields.lines().count(), ps.lines().count()), (20, 1 + metrics.procs));
        for (row, p) in ps.lines().skip(1).zip(&metrics.per_proc) {
            let cells: Vec<&str> = row.split_whitespace().collect();
            let dispatches = p.dispatches.to_string();
            assert_eq!((cells.len(), cells[2]), (10, &*dispatches), "{text}");
        }
    });
}
