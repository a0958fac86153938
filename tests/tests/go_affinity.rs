//! Home M: a started goroutine stays on its thread, unless the runtime was built to migrate. And
//! mixed work under chaos, in both modes.

mod go_modes;

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use futures::channel::{mpsc, oneshot};
use futures::stream::StreamExt;
use gort::prelude::*;
use gort::time::sleep;
use gort_tests::{BOUND, Rng, Watchdog, beside_others, eventually};

use go_modes::{MODES, Mode, check};

/// Where the calling code runs now; not inlined, so that it looks each time.
#[inline(never)]
fn here() -> ThreadId {
    thread::current().id()
}

thread_local! {
    static OWN: Rc<Cell<usize>> = Rc::default();
}

/// Tasks that come and go on all Ps until the flag is set, so that everybody steals.
fn pressure(rt: &gort::Runtime, stop: &Arc<AtomicBool>) -> Vec<gort::JoinHandle<()>> {
    (0..4)
        .map(|_| {
            let stop = stop.clone();
            rt.spawn(async move {
                while !stop.load(SeqCst) {
                    let some: Vec<_> = (0..8).map(|_| gort::spawn(gort::yield_now())).collect();
                    for task in some {
                        task.await.unwrap();
                    }
                }
            })
        })
        .collect()
}

#[test]
fn the_thread_and_all_that_is_tied_to_it_stay() {
    let _machine = beside_others();
    for procs in [1, 2, 4] {
        check(Mode::Home, procs, |rt, _| {
            let stop = Arc::new(AtomicBool::new(false));
            let busy = pressure(rt, &stop);
            let all: Vec<_> = (0..16)
                .map(|_| {
                    rt.go(|| {
                        let id = here();
                        // Shared with a thread-local, as no migrating goroutine may (may#6).
                        let own = OWN.with(Rc::clone);
                        let lock = Mutex::new(0);
                        for i in 0..100 {
                            own.set(own.get() + 1);
                            let before = own.get();
                            let guard = lock.lock().unwrap(); // !Send, and held over waits
                            let strong = OWN.with(|own| {
                                gort::yield_now().wait(); // inside the thread-local's borrow
                                Rc::strong_count(own)
                            });
                            assert!(strong > 1);
                            match i % 3 {
                                0 => sleep(Duration::from_micros(10)).wait(),
                                1 => gort::spawn(gort::yield_now()).wait().unwrap(),
                                _ => gort::go(|| gort::yield_now().wait()).wait().unwrap(),
                            }
                            drop(guard);
                            assert_eq!(here(), id);
                            assert!(own.get() >= before);
                        }
                    })
                })
                .collect();
            all.into_iter().for_each(|one| one.wait().unwrap());
            stop.store(true, SeqCst);
            busy.into_iter().for_each(|task| task.wait().unwrap());
        });
    }
}

/// Those that have not begun are spread over all threads.
#[test]
fn unstarted_ones_are_stolen() {
    let _machine = beside_others();
    for mode in MODES {
        check(mode, 4, |rt, _| {
            let start = Instant::now();
            loop {
                let threads = rt.run(|| {
                    let all: Vec<_> = (0..200)
                        .map(|_| {
                            gort::go(|| {
                                let mut n = 0_u32;
                                for _ in 0..2_000 {
                                    n = std::hint::black_box(n + 1);
                                }
                                here()
                            })
                        })
                        .collect();
                    all.into_iter().map(|one| one.wait().unwrap()).collect::<HashSet<_>>()
                });
                if threads.len() > 1 {
                    break;
                }
                assert!(start.elapsed() < BOUND, "nobody steals");
            }
        });
    }
}

/// In the other mode a goroutine goes on wherever it is woken. A plain thread wakes it, so it comes
/// from the queue that all Ps share.
#[test]
fn a_migrating_goroutine_changes_threads() {
    let _machine = beside_others();
    for procs in [2, 4] {
        check(Mode::Migrate, procs, |rt, _| {
            let stop = Arc::new(AtomicBool::new(false));
            let busy = pressure(rt, &stop);
            let (mover, requests) = std::sync::mpsc::channel::<oneshot::Sender<()>>();
            let plain = thread::spawn(move || requests.iter().for_each(|r| r.send(()).unwrap()));
            let moved = rt.go(move || {
                let (start, began) = (Instant::now(), here());
                while here() == began {
                    assert!(start.elapsed() < BOUND, "it never moves");
                    let (wake, woken) = oneshot::channel();
                    mover.send(wake).unwrap();
                    woken.wait().unwrap();
                }
            });
            moved.wait().unwrap();
            plain.join().unwrap();
            stop.store(true, SeqCst);
            busy.into_iter().for_each(|task| task.wait().unwrap());
        });
    }
}

/// The home thread is busy or asleep, and wakes come from everywhere.
#[test]
fn woken_from_everywhere() {
    const ROUNDS: usize = 200;
    let _machine = beside_others();
    for mode in MODES {
        for procs in [1, 2, 4] {
            check(mode, procs, |rt, mode| {
                let (to_thread, mut thread_in) = mpsc::unbounded::<oneshot::Sender<()>>();
                let (to_task, mut task_in) = mpsc::unbounded::<oneshot::Sender<()>>();
                let plain = thread::spawn(move || {
                    while let Some(wake) = futures::executor::block_on(thread_in.next()) {
                        wake.send(()).unwrap();
                    }
                });
                let task = rt.spawn(async move {
                    while let Some(wake) = task_in.next().await {
                        wake.send(()).unwrap();
                    }
                });
                let all: Vec<_> = (0..8)
                    .map(|g| {
                        let (to_thread, to_task) = (to_thread.clone(), to_task.clone());
                        rt.go(move || {
                            let began = here();
                            for i in 0..ROUNDS {
                                let (send, receive) = oneshot::channel();
                                let by = if (g + i) % 2 == 0 { &to_thread } else { &to_task };
                                by.unbounded_send(send).unwrap();
                                receive.wait().unwrap();
                                assert!(mode == Mode::Migrate || here() == began);
                            }
                        })
                    })
                    .collect();
                drop((to_thread, to_task));
                all.into_iter().for_each(|one| one.wait().unwrap());
                task.wait().unwrap();
                plain.join().unwrap();
            });
        }
    }
}

/// The P goes to the thread that cannot do without it, though another one is busy with it.
#[test]
fn a_busy_p_is_handed_to_a_home_thread() {
    let _machine = beside_others();
    for procs in [1, 2] {
        check(Mode::Home, procs, |rt, _| {
            let stop = Arc::new(AtomicBool::new(false));
            // Two goroutines that began on two threads, one of which blocks in a poll meanwhile.
            let busy = pressure(rt, &stop);
            let all: Vec<_> = (0..10)
                .map(|i| {
                    rt.go(move || {
                        for _ in 0..20 {
                            sleep(Duration::from_micros(i * 10)).wait();
                            gort::spawn(async { async { gort::yield_now().await }.wait() })
                                .wait()
                                .unwrap();
                        }
                    })
                })
                .collect();
            all.into_iter().for_each(|one| one.wait().unwrap());
            stop.store(true, SeqCst);
            busy.into_iter().for_each(|task| task.wait().unwrap());
        });
    }
}

/// Some of everything, with dispatches shaken by a seed, which is printed.
#[test]
fn mixed_work_under_chaos() {
    let _machine = beside_others();
    let mut rng = Rng::from_env();
    for mode in MODES {
        for procs in [1, 2, 4] {
            for _ in 0..3 {
                let seed = rng.below(u64::MAX);
                let rt = mode.builder(procs).chaos(seed).build().unwrap();
                let watchdog = Watchdog::start(rt.handle());
                mixed(&rt, &mut rng);
                drop(watchdog);
                assert!(rt.shutdown_timeout(BOUND), "the runtime did not end");
            }
        }
    }
}

fn mixed(rt: &gort::Runtime, rng: &mut Rng) {
    let done = Arc::new(AtomicUsize::new(0));
    let mut handles = Vec::new();
    for _ in 0..100 {
        let (done, kind, n) = (done.clone(), rng.below(6), rng.below(20));
        handles.push(rt.go(move || {
            match kind {
                0 => (0..n).for_each(|_| gort::yield_now().wait()),
                1 => sleep(Duration::from_micros(n * 10)).wait(),
                2 => {
                    let (send, receive) = oneshot::channel();
                    drop(gort::spawn(async move { send.send(n).unwrap() }));
                    assert_eq!(receive.wait(), Ok(n));
                }
                3 => {
                    let total = AtomicUsize::new(0);
                    gort::scope(|s| {
                        for _ in 0..n {
                            s.go(|| total.fetch_add(1, SeqCst));
                        }
                    });
                    assert_eq!(total.into_inner() as u64, n);
                }
                4 => {
                    let parked = gort::go(|| std::future::pending::<()>().wait());
                    gort::yield_now().wait();
                    parked.abort();
                    assert!(parked.wait().unwrap_err().is_cancelled());
                }
                _ => assert!(gort::go(|| panic!("chaos")).wait().unwrap_err().is_panic()),
            }
            done.fetch_add(1, SeqCst);
        }));
    }
    for handle in handles {
        handle.wait().unwrap();
    }
    assert_eq!(done.load(SeqCst), 100);
    eventually("all are gone", || {
        let now = rt.handle().metrics();
        now.goroutines == 0 && now.tasks == 0
    });
}

/// Goroutines belong to a runtime, whatever their thread has entered. A guard that one of them keeps
/// over a wait, and drops on another thread, is nothing to the others.
#[test]
fn to_enter_a_runtime_is_nothing_to_goroutines() {
    let _machine = beside_others();
    for mode in MODES {
        for procs in [1, 2] {
            check(mode, procs, |rt, _| {
                let other = Mode::Home.runtime(3);
                let here = || gort::Handle::current().metrics().procs;
                let all: Vec<_> = (0..20)
                    .map(|_| {
                        let handle = other.handle();
                        rt.go(move || {
                            let entered = handle.enter();
                            gort::yield_now().wait();
                            gort::spawn(gort::yield_now()).wait().unwrap();
                            drop(entered);
                            here()
                        })
                    })
                    .collect();
                assert_eq!(rt.go(here).wait().unwrap(), procs);
                assert_eq!(rt.spawn(async move { here() }).wait().unwrap(), procs);
                assert!(all.into_iter().all(|one| one.wait().unwrap() == procs));
                assert_eq!(rt.go(here).wait().unwrap(), procs);
                assert_eq!(other.handle().metrics().spawned, 0);
            });
        }
    }
}

/// gort looks up what belongs to the thread anew after each wait. `ci/lto.sh` runs this program as
/// the optimiser makes it.
#[test]
fn nothing_of_the_old_thread_is_used_after_a_wait() {
    let _machine = beside_others();
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_go_child"));
    let ended = gort_tests::returns("the program", move || { program }.output().unwrap());
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}
