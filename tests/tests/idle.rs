//! An idle runtime costs nothing, and wakes in time.

use std::time::{Duration, Instant};

use gort::Builder;
use gort::time::sleep;
use gort_tests::{alone, context_switches, cpu_time, eventually};

/// No CPU, and fewer than two wake-ups a second, also after there was work, and with a timer and
/// parked tasks pending.
#[test]
fn an_idle_runtime_sleeps() {
    let _machine = alone();
    let runtimes: Vec<_> = [1, 2, 4]
        .into_iter()
        .map(|procs| {
            let rt = Builder::new().procs(procs).thread_name(format!("idle{procs}")).build();
            (procs, rt.unwrap())
        })
        .collect();
    for (_, rt) in &runtimes {
        let work = rt.spawn(async {
            let tasks: Vec<_> = (0..200).map(|_| gort::spawn(gort::yield_now())).collect();
            for task in tasks {
                task.await.unwrap();
            }
            drop(gort::spawn(sleep(Duration::from_secs(1000))));
            sleep(Duration::from_millis(1)).await;
        });
        rt.block_on(work).unwrap();
        eventually("idle", || {
            let m = rt.handle().metrics();
            m.idle_procs == m.procs
        });
    }
    let names: Vec<_> = runtimes.iter().map(|(procs, _)| format!("idle{procs}")).collect();
    // sysmon looks around a little longer before it sleeps, too.
    eventually("nobody has woken for a while", || {
        let all = || -> u64 { names.iter().map(|name| context_switches(name)).sum() };
        let before = all();
        std::thread::sleep(Duration::from_millis(300));
        all() == before
    });
    let measure = |name: &String| (context_switches(name), cpu_time(name));
    let before: Vec<_> = names.iter().map(measure).collect();
    std::thread::sleep(Duration::from_secs(3)); // the time that is measured
    for (name, (switches, cpu)) in names.iter().zip(before) {
        let (now, cpu_now) = measure(name);
        assert!(now - switches < 6, "{name}: {} wake-ups in 3 s", now - switches);
        assert!(cpu_now - cpu <= Duration::from_millis(10), "{name}: {:?}", cpu_now - cpu);
    }
    for (_, rt) in &runtimes {
        assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    }
}

/// The median is some tens of microseconds on a quiet machine; here it only shows that nobody
/// rounds up to milliseconds. A plain thread's sleeps, in turn with the runtime's, say what the
/// machine adds.
#[test]
fn sleeps_on_an_idle_runtime_are_hardly_late() {
    let _machine = alone();
    for procs in [1, 2] {
        let rt = gort_tests::runtime(procs);
        let (mut ours, mut plain) = (Vec::new(), Vec::new());
        for i in 0..200 {
            let limit = Duration::from_micros(200 + 7 * i);
            let task = async move {
                let start = Instant::now();
                sleep(limit).await;
                start.elapsed() - limit
            };
            ours.push(rt.block_on(rt.spawn(task)).unwrap());
            let start = Instant::now();
            std::thread::sleep(limit); // what it is compared with
            plain.push(start.elapsed() - limit);
        }
        let (ours, plain) = (median(ours), median(plain));
        assert!(ours < 2 * plain + Duration::from_micros(750), "{ours:?}, a thread {plain:?}");
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// S28: many bursts of one task do not breed threads.
#[test]
fn bursts_do_not_breed_threads() {
    let _machine = alone();
    for procs in [1, 2, 4] {
        let rt = gort_tests::runtime(procs);
        for _ in 0..1000 {
            rt.block_on(rt.spawn(async {})).unwrap();
        }
        let threads = rt.handle().metrics().threads;
        assert!(threads <= procs + 1, "{threads} threads at P = {procs}");
    }
}

/// A poll that never ends and an idle P: sysmon and the searchers come to rest all the same.
#[test]
fn a_stuck_task_keeps_nobody_else_awake() {
    let _machine = alone();
    let rt = Builder::new().procs(4).thread_name("stuck").build().unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let task = rt.spawn(async move {
        let _ = held.recv();
    });
    std::thread::sleep(Duration::from_millis(300));
    let before = cpu_time("stuck");
    std::thread::sleep(Duration::from_secs(1)); // the time that is measured
    let used = cpu_time("stuck") - before;
    assert!(used <= Duration::from_millis(150), "{used:?} of CPU in a second");
    drop(release);
    rt.block_on(task).unwrap();
}
