//! `Handle::set_procs`: the number of Ps changes while everything goes on.

mod go_modes;

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use futures::{AsyncReadExt, AsyncWriteExt};
use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;
use gort::{Handle, Runtime};
use gort_tests::{BOUND, Machine, Rng, alone, eventually, panic_text, runtime, spin, tick_until};

use go_modes::{MODES, check};

#[test]
fn it_returns_the_old_value() {
    let _machine = alone();
    let rt = runtime(3);
    let handle = rt.handle();
    assert_eq!(handle.set_procs(1), 3);
    assert_eq!(handle.set_procs(64), 1);
    assert_eq!(handle.set_procs(64), 64);
    assert_eq!(handle.metrics().procs, 64);
    assert_eq!(handle.metrics().per_proc.len(), 64);
    let inside = handle.clone();
    assert_eq!(rt.block_on(rt.spawn(async move { inside.set_procs(2) })).unwrap(), 64);
    let inside = handle.clone();
    assert_eq!(rt.go(move || inside.set_procs(4)).wait().unwrap(), 2);
    assert_eq!(rt.block_on(async { handle.set_procs(4096) }), 4);
    assert_eq!(handle.set_procs(1), 4096);
    assert_eq!(rt.block_on(rt.spawn(async { 5 })).unwrap(), 5);
}

#[test]
fn a_number_out_of_range_panics() {
    let _machine = alone();
    let rt = runtime(2);
    for n in [0, 4097, usize::MAX] {
        let handle = rt.handle();
        let panic = catch_unwind(move || handle.set_procs(n)).unwrap_err();
        assert!(panic_text(&*panic).contains("set_procs"), "{}", panic_text(&*panic));
    }
    assert_eq!(rt.handle().metrics().procs, 2);
    assert_eq!(rt.block_on(rt.spawn(async { 5 })).unwrap(), 5);
}

#[test]
fn a_runtime_that_has_ended() {
    let _machine = alone();
    let rt = runtime(2);
    let handle = rt.handle();
    drop(rt);
    assert_eq!(handle.set_procs(5), 2);
    assert_eq!(handle.set_procs(1), 5);
}

/// How many hogs hold a P at once: no more than there are.
fn most_at_once(rt: &Runtime, n: usize) -> usize {
    let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let all: Vec<_> = (0..n)
        .map(|_| {
            let (now, most) = (now.clone(), most.clone());
            rt.spawn(async move {
                for _ in 0..20 {
                    most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                    thread::sleep(Duration::from_micros(200)); // shorter than a slice
                    now.fetch_sub(1, SeqCst);
                    gort::yield_now().await;
                }
            })
        })
        .collect();
    all.into_iter().for_each(|one| one.wait().unwrap());
    most.load(SeqCst)
}

/// More of them run at once with more, fewer with fewer. A thread that the machine takes the core
/// from for a slice loses its P, so there may now and then be one more.
#[test]
fn it_says_how_many_run_at_once() {
    let _machine = alone();
    let rt = runtime(1);
    assert!(most_at_once(&rt, 16) <= 8);
    rt.handle().set_procs(8);
    let most = most_at_once(&rt, 64);
    assert!(most >= 4, "{most} with 8");
    rt.handle().set_procs(2);
    eventually("six rest", || {
        let metrics = rt.handle().metrics();
        (metrics.procs, metrics.per_proc.len()) == (2, 2)
    });
    let most = most_at_once(&rt, 64);
    assert!(most <= 8, "{most} with 2");
}

/// Timers that were armed at Ps which do not count any more fire in time, whether anything else
/// goes on or not.
#[test]
fn timers_of_ps_that_rest() {
    let _machine = alone();
    for mode in MODES {
        for busy in [false, true] {
            check(mode, 8, |rt, _| {
                let late = Arc::new(AtomicUsize::new(0));
                let armed = Arc::new(AtomicUsize::new(0));
                let machine = Machine::watch();
                let all: Vec<_> = (0..64)
                    .map(|i| {
                        let (late, armed) = (late.clone(), armed.clone());
                        rt.spawn(async move {
                            let wait = Duration::from_millis(50 + 3 * i);
                            let start = Instant::now();
                            let sleep = gort::time::sleep(wait);
                            spin(Duration::from_micros(300)); // so that all Ps get some
                            armed.fetch_add(1, SeqCst);
                            sleep.await;
                            late.fetch_max((start.elapsed() - wait).as_millis() as usize, SeqCst);
                        })
                    })
                    .collect();
                eventually("all are armed", || armed.load(SeqCst) == 64);
                assert_eq!(rt.handle().set_procs(1), 8);
                let done = Arc::<AtomicBool>::default();
                let stop = done.clone();
                let hog = busy.then(|| {
                    rt.spawn(async move {
                        while !stop.load(SeqCst) {
                            gort::yield_now().await;
                        }
                    })
                });
                all.into_iter().for_each(|one| one.wait().unwrap());
                done.store(true, SeqCst);
                hog.into_iter().for_each(|hog| hog.wait().unwrap());
                let late = Duration::from_millis(late.load(SeqCst) as u64);
                machine.judge(&[("the latest timer", late)]);
            });
        }
    }
}

/// From 8 to 1 while every P is held by a hog, and back.
#[test]
fn hogs_hold_the_ps() {
    let _machine = alone();
    for mode in MODES {
        check(mode, 8, |rt, _| {
            for _ in 0..2 {
                let (stop, begun) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
                let hogs: Vec<_> = (0..8)
                    .map(|i| {
                        let (stop, begun) = (stop.clone(), begun.clone());
                        let body = move || {
                            begun.fetch_add(1, SeqCst);
                            while !stop.load(SeqCst) {
                                thread::sleep(Duration::from_millis(1));
                            }
                        };
                        if i % 2 == 0 { rt.go(body) } else { rt.spawn(async move { body() }) }
                    })
                    .collect();
                eventually("all run", || begun.load(SeqCst) == 8);
                assert_eq!(rt.handle().set_procs(1), 8);
                assert_eq!(rt.spawn(async { 5 }).wait().unwrap(), 5);
                eventually("one P is idle", || {
                    let metrics = rt.handle().metrics();
                    metrics.idle_procs == 1 && metrics.detached >= 7
                });
                assert_eq!(rt.handle().set_procs(8), 1);
                assert_eq!(rt.go(|| gort::yield_now().wait()).wait().unwrap(), ());
                stop.store(true, SeqCst);
                hogs.into_iter().for_each(|one| one.wait().unwrap());
                eventually("all is quiet", || rt.handle().metrics().idle_procs == 8);
            }
        });
    }
}

/// A goroutine is woken while a hog has the only P, so its thread waits for one; a new one will do.
#[test]
fn a_goroutine_waits_for_a_p() {
    let _machine = alone();
    check(go_modes::Mode::Home, 1, |rt, _| {
        let (wake, wakes) = futures::channel::oneshot::channel::<()>();
        let (here, home) = mpsc::channel();
        let goroutine = rt.go(move || {
            here.send(thread::current().id()).unwrap();
            wakes.wait().unwrap();
            Instant::now()
        });
        let home = home.recv_timeout(BOUND).unwrap();
        // A hog on another thread than the goroutine's, which a first hog must keep busy.
        let stop = Arc::<AtomicBool>::default();
        let mut hogs = Vec::new();
        loop {
            let (begun, begins) = mpsc::channel();
            let stopped = stop.clone();
            hogs.push(rt.spawn(async move {
                let here = thread::current().id();
                begun.send(here).unwrap();
                while !stopped.load(SeqCst) && (here != home || FREE.load(SeqCst) == 0) {
                    std::hint::spin_loop();
                }
            }));
            if begins.recv_timeout(BOUND).unwrap() != home {
                break;
            }
        }
        FREE.store(1, SeqCst);
        eventually("its own thread sleeps", || rt.handle().metrics().detached == 0);
        let machine = Machine::watch();
        let woken = Instant::now();
        wake.send(()).unwrap();
        rt.handle().set_procs(2);
        let stopper = thread::spawn(move || {
            thread::sleep(Duration::from_millis(400));
            stop.store(true, SeqCst);
        });
        let gap = goroutine.wait().unwrap() - woken;
        stopper.join().unwrap();
        hogs.into_iter().for_each(|hog| hog.wait().unwrap());
        machine.judge(&[("the goroutine", gap)]);
    });
}

/// Lets the hog on the goroutine's thread end.
static FREE: AtomicUsize = AtomicUsize::new(0);

/// Go: TestStopTheWorldDeadlock. Somebody spawns for ever, others change the number of Ps.
#[test]
fn stop_the_world_deadlock() {
    fn perpetuum_mobile(handle: Handle, stop: Arc<AtomicBool>, ended: Arc<AtomicBool>) {
        if stop.load(SeqCst) {
            return ended.store(true, SeqCst);
        }
        let next = handle.clone();
        drop(handle.go(move || perpetuum_mobile(next, stop, ended)));
    }
    let _machine = alone();
    for mode in MODES {
        check(mode, 3, |rt, _| {
            let (stop, ended) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
            perpetuum_mobile(rt.handle(), stop.clone(), ended.clone());
            let resizers: Vec<_> = (0..2)
                .map(|i| {
                    let handle = rt.handle();
                    let body = move || {
                        for n in 0..1000 {
                            handle.set_procs(1 + (n + i) % 4);
                            if n % 16 == 0 {
                                gort::yield_now().wait();
                            }
                        }
                    };
                    if i == 0 { rt.go(body) } else { rt.spawn(async move { body() }) }
                })
                .collect();
            resizers.into_iter().for_each(|one| one.wait().unwrap());
            stop.store(true, SeqCst);
            eventually("the spawner has ended", || ended.load(SeqCst));
        });
    }
}

/// Everything at once, while the number of Ps jumps between 1 and 64: tasks that are woken, spawned
/// and joined, timers, sockets, hogs, roots. Nothing is lost.
#[test]
fn at_random_under_load() {
    const TIME: Duration = Duration::from_millis(1200);
    let _machine = alone();
    let seed = Rng::from_env();
    for mode in MODES {
        check(mode, 4, |rt, _| {
            let mut rng = seed.clone();
            let end = Instant::now() + TIME;
            let running = move || Instant::now() < end;
            let mut all = Vec::new();
            for i in 0..24u64 {
                let mut rng = rng.split();
                all.push(rt.spawn(async move {
                    let (mut sum, mut expected) = (0, 0);
                    while running() {
                        let n = rng.below(100);
                        expected += n;
                        sum += match rng.below(6) {
                            0 => gort::spawn(async move { n }).await.unwrap(),
                            1 => gort::go(move || n).await.unwrap(),
                            2 => {
                                gort::time::sleep(Duration::from_micros(rng.below(3000))).await;
                                n
                            }
                            3 if i == 0 => {
                                spin(Duration::from_millis(15));
                                n
                            }
                            4 if i < 3 => gort::spawn_blocking(move || n).await.unwrap(),
                            _ => {
                                gort::yield_now().await;
                                n
                            }
                        };
                    }
                    assert_eq!(sum, expected);
                }));
            }
            let listener = rt.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
            let addr = listener.local_addr().unwrap();
            let server = rt.spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    drop(gort::spawn(async move {
                        let mut byte = [0];
                        while AsyncReadExt::read_exact(&mut stream, &mut byte).await.is_ok() {
                            AsyncWriteExt::write_all(&mut stream, &byte).await.unwrap();
                        }
                    }));
                }
            });
            for _ in 0..4 {
                all.push(rt.spawn(async move {
                    let mut stream = TcpStream::connect(addr).await.unwrap();
                    let mut rounds = 0u8;
                    while running() {
                        rounds = rounds.wrapping_add(1);
                        AsyncWriteExt::write_all(&mut stream, &[rounds]).await.unwrap();
                        let mut back = [0];
                        AsyncReadExt::read_exact(&mut stream, &mut back).await.unwrap();
                        assert_eq!(back[0], rounds);
                    }
                }));
            }
            for _ in 0..2 {
                let (mut rng, handle) = (rng.split(), rt.handle());
                all.push(rt.go(move || {
                    while running() {
                        handle.set_procs(1 + rng.below(64) as usize);
                        gort::time::sleep(Duration::from_micros(rng.below(2000))).wait();
                    }
                }));
            }
            let ticker_done = Arc::<AtomicBool>::default();
            let ticker = rt.spawn(tick_until(ticker_done.clone()));
            thread::scope(|scope| {
                for _ in 0..2 {
                    let (mut rng, handle) = (rng.split(), rt.handle());
                    scope.spawn(move || {
                        while running() {
                            let old = handle.set_procs(1 + rng.below(64) as usize);
                            assert!((1..=64).contains(&old));
                            thread::sleep(Duration::from_micros(rng.below(3000)));
                        }
                    });
                    scope.spawn(|| {
                        while running() {
                            assert_eq!(rt.block_on(rt.spawn(async { 3 })).unwrap(), 3);
                        }
                    });
                }
            });
            all.into_iter().for_each(|one| one.wait().unwrap());
            server.abort();
            assert!(server.wait().unwrap_err().is_cancelled());
            ticker_done.store(true, SeqCst);
            ticker.wait().unwrap();
            let metrics = rt.handle().metrics();
            assert_eq!(metrics.per_proc.len(), metrics.procs);
            // All is quiet again, and all Ps that count are idle.
            rt.handle().set_procs(5);
            eventually("all five are idle", || rt.handle().metrics().idle_procs == 5);
            eventually("nothing is left", || {
                let metrics = rt.handle().metrics();
                (metrics.global_queue, metrics.detached, metrics.blocking) == (0, 0, 0)
            });
            assert!(start_all(rt, 5), "five run at once again");
        });
    }
}

/// Whether so many tasks run at once: each waits for all.
fn start_all(rt: &Runtime, n: usize) -> bool {
    let here = Arc::new(AtomicUsize::new(0));
    let all: Vec<_> = (0..n)
        .map(|_| {
            let here = here.clone();
            rt.spawn(async move {
                here.fetch_add(1, SeqCst);
                let start = Instant::now();
                while here.load(SeqCst) < n && start.elapsed() < BOUND {
                    thread::yield_now();
                }
                here.load(SeqCst) == n
            })
        })
        .collect();
    all.into_iter().all(|one| one.wait().unwrap())
}

/// In chaos mode, with hogs: the Ps come and go all the time.
#[test]
fn at_random_in_chaos_mode() {
    let _machine = alone();
    let mut rng = Rng::from_env();
    for mode in MODES {
        let rt = mode.builder(2).chaos(rng.below(1 << 32)).build().unwrap();
        let sum = Arc::new(AtomicUsize::new(0));
        let all: Vec<_> = (0..120)
            .map(|i| {
                let (sum, handle, mut rng) = (sum.clone(), rt.handle(), rng.split());
                let mut body = move || {
                    spin(Duration::from_micros(rng.below(2500)));
                    handle.set_procs(1 + rng.below(8) as usize);
                    let task = gort::spawn(async {});
                    gort::yield_now().wait();
                    task.wait().unwrap();
                    sum.fetch_add(i, SeqCst);
                };
                if i % 2 == 0 { rt.go(body) } else { rt.spawn(async move { body() }) }
            })
            .collect();
        all.into_iter().for_each(|one| one.wait().unwrap());
        assert_eq!(sum.load(SeqCst), 119 * 60);
        assert!(rt.shutdown_timeout(BOUND));
    }
}
