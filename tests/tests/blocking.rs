//! `gort::blocking` and `gort::spawn_blocking`: long calls that say so.

mod go_modes;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use gort::prelude::*;
use gort::{Builder, Runtime, blocking, spawn_blocking};
use gort_tests::{
    BOUND, Machine, OnDrop, Rng, Watchdog, alone, eventually, for_procs, for_procs_alone,
    panic_text, returns, threads, tick_in_goroutine, tick_until, until,
};

use go_modes::{MODES, Mode};

const LONG: Duration = Duration::from_millis(200);

/// Runs `body` as a task, a goroutine, a root, a local task of each kind of home, on a thread of
/// `spawn_blocking`, and on a plain thread.
fn everywhere(rt: &Runtime, mode: Mode, body: impl Fn() + Send + Sync + 'static) {
    let body = Arc::new(body);
    let again = || {
        let body = body.clone();
        move || body()
    };
    let task = again();
    rt.spawn(async move { task() }).wait().unwrap();
    rt.go(again()).wait().unwrap();
    rt.block_on(async { body() });
    let local = again();
    rt.block_on(async { gort::spawn_local(async move { local() }).await.unwrap() });
    if mode == Mode::Home {
        let local = again();
        rt.go(move || gort::spawn_local(async move { local() }).wait().unwrap()).wait().unwrap();
    }
    let entered = rt.enter();
    spawn_blocking(again()).wait().unwrap();
    drop(entered);
    body();
}

#[test]
fn it_borrows_and_returns() {
    go_modes::for_modes(|rt, mode| {
        everywhere(rt, mode, || {
            let mut words = vec!["pear".to_owned(), "fig".to_owned()];
            let longest = blocking(|| {
                words.sort();
                words.iter().max_by_key(|word| word.len())
            });
            assert_eq!(longest.map(String::as_str), Some("pear"));
            assert_eq!(words, ["fig", "pear"]);
            assert_eq!(blocking(|| blocking(|| 1) + blocking(|| blocking(|| 2))), 3);
        });
    });
}

#[test]
fn its_panic_comes_out() {
    go_modes::for_modes(|rt, mode| {
        everywhere(rt, mode, || {
            let dropped = Cell::new(0);
            let panic = catch_unwind(AssertUnwindSafe(|| {
                let _outer = OnDrop::new(|| dropped.set(dropped.get() + 1));
                blocking(|| std::panic::resume_unwind(Box::new("quiet")))
            }));
            assert_eq!(panic_text(&*panic.unwrap_err()), "quiet");
            assert_eq!(dropped.get(), 1);
            assert_eq!(blocking(|| 4), 4);
        });
    });
}

/// The closure uses the runtime: spawns, waits, wakes.
#[test]
fn it_may_wait_and_spawn_inside() {
    go_modes::for_modes(|rt, mode| {
        let handle = rt.handle();
        everywhere(rt, mode, move || {
            let sum = blocking(|| {
                let task = handle.spawn(async {
                    gort::yield_now().await;
                    1
                });
                let goroutine = handle.go(|| {
                    gort::time::sleep(Duration::from_millis(1)).wait();
                    2
                });
                task.wait().unwrap() + goroutine.wait().unwrap()
            });
            assert_eq!(sum, 3);
        });
    });
}

/// At P = 1, a ticker task and a ticker goroutine go on while others block, with and without
/// residents on the thread.
#[test]
fn others_go_on() {
    let _machine = alone();
    for mode in MODES {
        go_modes::check(mode, 1, |rt, _| {
            let done = Arc::<AtomicBool>::default();
            let ticker = rt.spawn(tick_until(done.clone()));
            let until = done.clone();
            let goroutine = rt.go(move || tick_in_goroutine(&until));
            gort::time::sleep(Duration::from_millis(5)).wait(); // both tick
            let machine = Machine::watch();
            for _ in 0..2 {
                rt.go(|| blocking(|| thread::sleep(LONG))).wait().unwrap();
                rt.spawn(async { blocking(|| thread::sleep(LONG)) }).wait().unwrap();
                rt.block_on(async { blocking(|| thread::sleep(LONG / 4)) });
            }
            done.store(true, SeqCst);
            let gaps = [("the task", ticker), ("the goroutine", goroutine)];
            machine.judge(&gaps.map(|(who, gap)| (who, gap.wait().unwrap())));
        });
    }
}

/// A neighbour that certainly lives on the thread of the one that blocks: a local task of the same
/// goroutine. It goes on; also if the one that blocks is a local task itself, and in a `block_on`.
#[test]
fn residents_go_on() {
    fn neighbours() -> Duration {
        let done = Arc::<AtomicBool>::default();
        let ticker = gort::spawn_local(tick_until(done.clone()));
        let ticks = Arc::<AtomicBool>::default();
        let first = ticks.clone();
        gort::spawn_local(async move {
            gort::time::sleep(Duration::from_millis(2)).await;
            first.store(true, SeqCst);
        })
        .wait()
        .unwrap();
        let home = thread::current().id();
        let worker = blocking(|| {
            thread::sleep(LONG);
            thread::current().id()
        });
        assert_ne!(home, worker, "it has to run elsewhere");
        gort::spawn_local(async { blocking(|| thread::sleep(LONG / 2)) }).wait().unwrap();
        done.store(true, SeqCst);
        ticker.wait().unwrap()
    }
    let _machine = alone();
    for mode in MODES {
        for procs in [1, 2] {
            go_modes::check(mode, procs, |rt, _| {
                let machine = Machine::watch();
                // In migrate mode a started goroutine has no home, and so no local tasks.
                let gap = match mode {
                    Mode::Home => rt.go(neighbours).wait().unwrap(),
                    Mode::Migrate => Duration::ZERO,
                };
                let root = rt.block_on(async { neighbours() });
                machine.judge(&[("the goroutine's", gap), ("the root's", root)]);
            });
        }
    }
}

/// It gives the P up at once: at P = 1 two can meet in a barrier, hundreds of times. Without that
/// each meeting would take a slice.
#[test]
fn two_that_meet() {
    const MEETINGS: usize = 300;
    let _machine = alone();
    for mode in MODES {
        go_modes::check(mode, 1, |rt, _| {
            let barrier = Arc::new(Barrier::new(2));
            let start = Instant::now();
            let all: Vec<_> = (0..2)
                .map(|i| {
                    let barrier = barrier.clone();
                    let body = move || {
                        for _ in 0..MEETINGS {
                            blocking(|| barrier.wait());
                        }
                    };
                    if i == 0 { rt.go(body) } else { rt.spawn(async move { body() }) }
                })
                .collect();
            all.into_iter().for_each(|one| one.wait().unwrap());
            eprintln!("{:?} each", start.elapsed() / MEETINGS as u32);
        });
    }
}

/// An abort waits for the closure, which borrows from the caller's stack.
#[test]
fn an_abort_waits_for_it() {
    go_modes::for_modes(|rt, _| {
        for local in [false, true] {
            let (begun, begins) = mpsc::channel();
            let go = Arc::<AtomicBool>::default();
            let goes = go.clone();
            let ended = Arc::<AtomicBool>::default();
            let seen = ended.clone();
            let caller = rt.go(move || {
                // A resident beside it, so that the closure runs elsewhere.
                let neighbour = local.then(|| rt_local(std::future::pending::<()>()));
                let on_stack = OnDrop::new(|| seen.store(true, SeqCst));
                blocking(|| {
                    begun.send(()).unwrap();
                    eventually("it may go on", || goes.load(SeqCst));
                    std::hint::black_box(&on_stack);
                });
                gort::yield_now().wait();
                gort::time::sleep(BOUND).wait();
                drop(neighbour);
            });
            begins.recv_timeout(BOUND).unwrap();
            caller.abort();
            assert!(!ended.load(SeqCst), "the abort does not wait");
            go.store(true, SeqCst);
            assert!(caller.wait().unwrap_err().is_cancelled());
            assert!(ended.load(SeqCst));
        }
    });
}

/// A local task, where there may be one.
fn rt_local<F: Future<Output = ()> + 'static>(future: F) -> Option<gort::JoinHandle<()>> {
    catch_unwind(AssertUnwindSafe(|| gort::spawn_local(future))).ok()
}

/// In destructors: of a task, of a goroutine that is being unwound.
#[test]
fn in_destructors() {
    go_modes::for_modes(|rt, _| {
        let count = Arc::new(AtomicUsize::new(0));
        let armed = || {
            let count = count.clone();
            OnDrop::new(move || {
                let n = blocking(|| {
                    thread::sleep(Duration::from_millis(2));
                    1
                });
                count.fetch_add(n, SeqCst);
            })
        };
        let in_task = armed();
        let task = rt.spawn(async move {
            let _in_task = in_task;
            std::future::pending::<()>().await;
        });
        task.abort();
        assert!(task.wait().unwrap_err().is_cancelled());
        let in_goroutine = armed();
        let (begun, begins) = mpsc::channel();
        let goroutine = rt.go(move || {
            let _in_goroutine = in_goroutine;
            begun.send(()).unwrap();
            std::future::pending::<()>().wait();
        });
        begins.recv_timeout(BOUND).unwrap();
        goroutine.abort();
        assert!(goroutine.wait().unwrap_err().is_cancelled());
        let in_panic = armed();
        let panics = rt.go(move || {
            let _in_panic = in_panic;
            std::panic::resume_unwind(Box::new("quiet"));
        });
        assert!(panics.wait().unwrap_err().is_panic());
        assert_eq!(count.load(SeqCst), 3);
    });
}

/// The runtime ends while calls are under way, in all places; the calls come back.
#[test]
fn the_end_while_it_blocks() {
    let _machine = alone();
    for mode in MODES {
        for procs in [1, 2] {
            let rt = mode.runtime(procs);
            let (begun, begins) = mpsc::channel();
            let (ended, ends) = mpsc::channel();
            let (stop, stopped) = (Arc::<AtomicBool>::default(), 4);
            for i in 0..stopped {
                let (begun, ended, stop) = (begun.clone(), ended.clone(), stop.clone());
                let body = move || {
                    let neighbour = rt_local(std::future::pending());
                    blocking(|| {
                        begun.send(()).unwrap();
                        while !stop.load(SeqCst) {
                            thread::sleep(Duration::from_millis(1));
                        }
                    });
                    // And once more, in a runtime that has ended.
                    assert_eq!(blocking(|| 1 + 1), 2);
                    assert!(spawn_blocking(|| 1).wait().unwrap_err().is_cancelled());
                    ended.send(()).unwrap();
                    drop(neighbour);
                };
                if i % 2 == 0 { drop(rt.go(body)) } else { drop(rt.spawn(async move { body() })) }
            }
            (0..stopped).for_each(|_| begins.recv_timeout(BOUND).unwrap());
            let handle = rt.handle();
            assert!(!rt.shutdown_timeout(Duration::from_millis(10)));
            stop.store(true, SeqCst);
            (0..stopped).for_each(|_| ends.recv_timeout(BOUND).unwrap());
            eventually("the threads have ended", || handle.metrics().threads == 0);
        }
    }
}

#[test]
fn two_thousand_at_once() {
    let _machine = alone();
    let before = threads();
    for_procs_alone(|rt| {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let all: Vec<_> = rt.block_on(async {
            (0..2000)
                .map(|i| {
                    let (now, most) = (now.clone(), most.clone());
                    spawn_blocking(move || {
                        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                        thread::sleep(Duration::from_millis(1));
                        now.fetch_sub(1, SeqCst);
                        i
                    })
                })
                .collect()
        });
        let _entered = rt.enter();
        let sum: usize = all.into_iter().map(|one| one.wait().unwrap()).sum();
        assert_eq!(sum, 1999 * 1000);
        assert!(most.load(SeqCst) <= 512, "{most:?} at once");
        // A joiner is woken by the body's end, before its thread looks for the next one.
        eventually("the line is empty", || rt.handle().metrics().blocking == 0);
    });
    eventually("all threads have ended", || threads() <= before);
}

#[test]
fn results_and_panics_of_spawn_blocking() {
    for_procs(|rt| {
        rt.block_on(async {
            assert_eq!(spawn_blocking(|| "result").await.unwrap(), "result");
            let error: Result<(), _> =
                spawn_blocking(|| std::panic::resume_unwind(Box::new("quiet"))).await;
            assert_eq!(panic_text(&*error.unwrap_err().into_panic()), "quiet");
            let nested =
                spawn_blocking(|| spawn_blocking(|| gort::spawn(async { 5 }).wait()).wait());
            assert_eq!(nested.await.unwrap().unwrap().unwrap(), 5);
            let handle = spawn_blocking(gort::Handle::current).await.unwrap();
            assert_eq!(handle.spawn(async { 6 }).await.unwrap(), 6);
        });
    });
}

/// It takes nothing from the Ps: at P = 1 a chain of hogs in `spawn_blocking` is not even noticed.
#[test]
fn spawn_blocking_delays_nobody() {
    let _machine = alone();
    for_procs_alone(|rt| {
        let done = Arc::<AtomicBool>::default();
        let ticker = rt.spawn(tick_until(done.clone()));
        let machine = Machine::watch();
        let all: Vec<_> =
            rt.block_on(async { (0..8).map(|_| spawn_blocking(|| thread::sleep(LONG))).collect() });
        all.into_iter().for_each(|one| one.wait().unwrap());
        done.store(true, SeqCst);
        machine.judge(&[("the ticker", ticker.wait().unwrap())]);
        assert_eq!(rt.handle().metrics().per_proc.iter().map(|p| p.retakes).sum::<u64>(), 0);
    });
}

/// Its thread has no P, and gets none by what it calls in between: nobody loses a slice to it, its
/// place is free afterwards, and those that wait in line come to their turn.
#[test]
fn a_blocking_task_that_calls_back() {
    fn call_back(which: usize) {
        match which % 4 {
            0 => gort::syscall(|| ()),
            1 => gort::block_on(gort::yield_now()),
            2 => gort::spawn(async {}).wait().unwrap(),
            _ => blocking(|| ()),
        }
    }
    let _machine = alone();
    for_procs_alone(|rt| {
        let _entered = rt.enter();
        for which in 0..4 {
            let one = spawn_blocking(move || {
                call_back(which);
                thread::sleep(LONG / 4);
            });
            one.wait().unwrap();
            eventually("its place is free", || rt.handle().metrics().blocking == 0);
        }
        let retakes = rt.handle().metrics().per_proc.iter().map(|p| p.retakes).sum::<u64>();
        assert_eq!(retakes, 0, "it had a P");
        // More than may run at once.
        let all: Vec<_> = (0..600).map(|i| spawn_blocking(move || call_back(i))).collect();
        all.into_iter().for_each(|one| one.wait().unwrap());
        eventually("all places are free", || rt.handle().metrics().blocking == 0);
    });
}

/// With few threads they wait in line. An abort of one that waits keeps it from running; one that
/// runs is not stopped.
#[test]
fn abort_of_a_blocking_task() {
    for_procs(|rt| {
        let rt = Builder::new().procs(rt.handle().metrics().procs).max_threads(6).build().unwrap();
        let (stop, begun) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let first = Arc::<AtomicBool>::default();
        let entered = rt.enter();
        let all: Vec<_> = (0..10)
            .map(|i| {
                let (stop, begun, first) = (stop.clone(), begun.clone(), first.clone());
                spawn_blocking(move || {
                    begun.fetch_add(1, SeqCst);
                    first.fetch_or(i == 0, SeqCst);
                    while !stop.load(SeqCst) {
                        thread::sleep(Duration::from_millis(1));
                    }
                    i
                })
            })
            .collect();
        drop(entered);
        eventually("the first one runs", || first.load(SeqCst));
        let metrics = rt.handle().metrics();
        assert!(metrics.threads <= 6, "{metrics:?}");
        assert_eq!(metrics.blocking, 10);
        all[0].abort();
        all[9].abort();
        stop.store(true, SeqCst);
        for (i, one) in all.into_iter().enumerate() {
            match one.wait() {
                Ok(n) => assert!(n == i && i != 9, "{i}"),
                Err(error) => assert!(error.is_cancelled() && i == 9, "{i}: {error:?}"),
            }
        }
        assert_eq!(begun.load(SeqCst), 9);
        assert!(rt.shutdown_timeout(BOUND));
    });
}

/// The runtime is dropped while some run and others wait in line: these are cancelled, and dropped.
#[test]
fn the_end_while_some_wait_in_line() {
    let _machine = alone();
    for procs in [1, 2] {
        let rt = Builder::new().procs(procs).max_threads(5).build().unwrap();
        let (stop, dropped) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let begun = Arc::<AtomicUsize>::default();
        let entered = rt.enter();
        let all: Vec<_> = (0..20)
            .map(|_| {
                let (stop, dropped, begun) = (stop.clone(), dropped.clone(), begun.clone());
                let armed = OnDrop::new(move || {
                    dropped.fetch_add(1, SeqCst);
                });
                spawn_blocking(move || {
                    let _armed = armed;
                    begun.fetch_add(1, SeqCst);
                    while !stop.load(SeqCst) {
                        thread::sleep(Duration::from_millis(1));
                    }
                })
            })
            .collect();
        drop(entered);
        eventually("some run", || begun.load(SeqCst) > 0);
        let (some, gone) = (begun.clone(), dropped.clone());
        let stopper = thread::spawn(move || {
            let all_others = || some.load(SeqCst) + gone.load(SeqCst) == 20;
            eventually("those in line are dropped", all_others);
            stop.store(true, SeqCst);
        });
        assert!(returns("the end", move || rt.shutdown_timeout(BOUND)));
        let ran = all.into_iter().map(|one| one.wait()).filter(Result::is_ok).count();
        assert_eq!(ran, begun.load(SeqCst));
        assert!(ran < 20, "those in line must not run");
        assert_eq!(dropped.load(SeqCst), 20, "each closure is dropped once");
        stopper.join().unwrap();
    }
}

/// Chaos mode takes the other way on each call: another thread. Everything at once, with a check
/// sum.
#[test]
fn a_mix_in_chaos_mode() {
    let _machine = alone();
    let mut rng = Rng::from_env();
    for mode in MODES {
        for procs in [1, 2] {
            let rt = mode.builder(procs).chaos(rng.below(1 << 32)).build().unwrap();
            let watchdog = Watchdog::start(rt.handle());
            let all: Vec<_> = (0..60)
                .map(|i: u64| {
                    let mut rng = rng.split();
                    let body = move || {
                        let mut sum = 0;
                        for _ in 0..4 {
                            let pause = Duration::from_micros(rng.below(1500));
                            sum += blocking(|| {
                                thread::sleep(pause);
                                i
                            });
                            if rng.one_in(3) {
                                sum += spawn_blocking(move || i).wait().unwrap() - i;
                            }
                        }
                        sum
                    };
                    let mut body = body;
                    match i % 3 {
                        0 => rt.go(body),
                        1 => rt.spawn(async move { body() }),
                        _ => rt.spawn(async move {
                            gort::yield_now().await;
                            let (done, mut local) = (Arc::new(AtomicUsize::new(0)), body);
                            let sum = local();
                            done.store(1, SeqCst);
                            until("done", || done.load(SeqCst) == 1).await;
                            sum
                        }),
                    }
                })
                .collect();
            let sum: u64 = all.into_iter().map(|one| one.wait().unwrap()).sum();
            assert_eq!(sum, 4 * 59 * 30);
            drop(watchdog);
            assert!(rt.shutdown_timeout(BOUND));
        }
    }
}
