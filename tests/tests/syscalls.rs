//! `gort::syscall`: announced short calls, which lose their P when they are not short.

mod go_modes;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use futures::FutureExt;
use gort::prelude::*;
use gort::{Runtime, syscall};
use gort_tests::{
    BOUND, Machine, OnDrop, Watchdog, alone, eventually, for_procs_alone, panic_text, spin,
    tick_until, until,
};

use go_modes::{MODES, Mode};

const LONG: Duration = Duration::from_millis(80);

fn retakes(rt: &Runtime) -> u64 {
    rt.handle().metrics().per_proc.iter().map(|p| p.retakes).sum()
}

/// Runs `body` as a task, a goroutine, the root of a `block_on`, and on a plain thread.
fn everywhere(rt: &Runtime, body: impl Fn(&str) + Send + Sync + 'static) {
    let body = Arc::new(body);
    let run = |place: &'static str| {
        let body = body.clone();
        move || body(place)
    };
    let (task, goroutine) = (run("a task"), run("a goroutine"));
    rt.spawn(async move { task() }).wait().unwrap();
    rt.go(goroutine).wait().unwrap();
    rt.block_on(async { run("a root")() });
    rt.block_on(async {
        let body = run("a local task");
        gort::spawn_local(async move { body() }).await.unwrap();
    });
    run("a plain thread")();
}

#[test]
fn it_returns_what_the_call_returns() {
    for_procs_alone(|rt| {
        everywhere(rt, |_| {
            let mut n = 0; // it may borrow
            let text = syscall(|| {
                n += 1;
                String::from("text")
            });
            assert_eq!((n, text.as_str()), (1, "text"));
            let nested = syscall(|| syscall(|| 1) + syscall(|| syscall(|| 2) + 3));
            assert_eq!(nested, 6);
            let panic = catch_unwind(AssertUnwindSafe(|| {
                syscall(|| std::panic::resume_unwind(Box::new("quiet")))
            }));
            assert_eq!(panic_text(&*panic.unwrap_err()), "quiet");
            assert_eq!(syscall(|| 7), 7);
        });
    });
}

/// Long calls at P = 1, in all places: a ticker goes on, and the call's place goes on after it.
#[test]
fn a_long_one_gives_its_p_to_others() {
    let _machine = alone();
    for mode in MODES {
        for procs in [1, 2] {
            go_modes::check(mode, procs, |rt, _| {
                let done = Arc::<AtomicBool>::default();
                let ticker = rt.spawn(tick_until(done.clone()));
                let machine = Machine::watch();
                everywhere(rt, |_| {
                    syscall(|| thread::sleep(LONG));
                    let waited = gort::spawn(async {
                        gort::yield_now().await;
                        5
                    })
                    .wait();
                    assert_eq!(waited.unwrap(), 5);
                    let nested = syscall(|| {
                        syscall(|| thread::sleep(LONG / 4));
                        thread::sleep(LONG / 2);
                        syscall(|| 8)
                    });
                    assert_eq!(nested, 8);
                });
                done.store(true, SeqCst);
                machine.judge(&[("the ticker", ticker.wait().unwrap())]);
                if procs == 1 {
                    assert!(retakes(rt) >= 2, "the P was not taken");
                }
            });
        }
    }
}

/// The P goes after a look or two of sysmon and not only at the end of a slice: at P = 1 each call
/// of 8 ms is shorter than that, and another task runs during nearly every one of them.
#[test]
fn it_is_retaken_before_the_end_of_a_slice() {
    const CALLS: usize = 40;
    let _machine = alone();
    for mode in MODES {
        go_modes::check(mode, 1, |rt, _| {
            let before = retakes(rt);
            let beside = Arc::new(AtomicUsize::new(0));
            let done = Arc::<AtomicBool>::default();
            let (counted, until) = (beside.clone(), done.clone());
            let other = rt.spawn(async move {
                while !until.load(SeqCst) {
                    counted.fetch_add(1, SeqCst);
                    gort::yield_now().await;
                }
            });
            let seen = beside.clone();
            let caller = rt.go(move || {
                let mut during = 0;
                for _ in 0..CALLS {
                    let before = seen.load(SeqCst);
                    syscall(|| thread::sleep(Duration::from_millis(8)));
                    during += usize::from(seen.load(SeqCst) > before);
                    gort::yield_now().wait();
                }
                during
            });
            let during = caller.wait().unwrap();
            done.store(true, SeqCst);
            other.wait().unwrap();
            eprintln!("{during} of {CALLS}, {} retakes", retakes(rt) - before);
            assert!(during >= CALLS / 2, "others ran during {during} of {CALLS} calls only");
        });
    }
}

/// Go: S57, "tight getpid loop: no handoff". With an idle P and nothing to do there is no reason to
/// take this one, however long the loop.
#[test]
fn a_tight_loop_of_short_ones_hands_nothing_off() {
    let _machine = alone();
    for mode in MODES {
        go_modes::check(mode, 2, |rt, _| {
            let before = retakes(rt);
            let (plain, announced) = rt
                .go(|| {
                    let time = |f: &dyn Fn()| {
                        let start = Instant::now();
                        (0..50_000).for_each(|_| f());
                        start.elapsed()
                    };
                    // The best of some: the machine may run other things.
                    let best = |f: &dyn Fn()| (0..5).map(|_| time(f)).min().unwrap();
                    let call = || {
                        std::hint::black_box(rustix::process::getpgid(None)).unwrap();
                    };
                    (best(&call), best(&|| syscall(call)))
                })
                .wait()
                .unwrap();
            eprintln!("50,000 calls: {plain:?}, announced {announced:?}");
            // In a debug build every step is a call: some 100 ns. Entering the kernel takes as long.
            assert!(announced < 10 * plain + Duration::from_millis(20), "{announced:?}");
            assert_eq!(retakes(rt) - before, 0);
        });
    }
}

/// Go: TestPreemptionAfterSyscall. Loops of calls that are shorter than, as long as, and longer than
/// what sysmon sees; more of them than Ps.
#[test]
fn preemption_after_syscall() {
    const ROUTINES: usize = 8;
    let _machine = alone();
    for mode in MODES {
        for micros in [10, 100, 1000] {
            let rt = mode.runtime(2);
            let watchdog = Watchdog::start(rt.handle());
            let start = Instant::now();
            for _ in 0..5 {
                let (stop, begun) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
                let all: Vec<_> = (0..ROUTINES)
                    .map(|_| {
                        let (stop, begun) = (stop.clone(), begun.clone());
                        rt.go(move || {
                            begun.fetch_add(1, SeqCst);
                            while !stop.load(SeqCst) {
                                syscall(|| spin(Duration::from_micros(micros)));
                            }
                        })
                    })
                    .collect();
                rt.block_on(until("all have begun", || begun.load(SeqCst) == ROUTINES));
                stop.store(true, SeqCst);
                all.into_iter().for_each(|one| one.wait().unwrap());
            }
            eprintln!("{mode:?}, {micros} us: {:?}", start.elapsed());
            drop(watchdog);
            assert!(rt.shutdown_timeout(BOUND));
        }
    }
}

/// Go: TestTimerFairness2. Two that do nothing but short calls and waits that need not wait.
#[test]
fn timer_fairness_2() {
    for_procs_alone(|rt| {
        let all: Vec<_> = (0..2)
            .map(|_| {
                rt.go(|| {
                    let mut timer = gort::time::sleep(Duration::from_millis(20));
                    let ready = gort::spawn(async {});
                    while !ready.is_finished() {
                        gort::yield_now().wait();
                    }
                    let mut ready = Some(ready);
                    let start = Instant::now();
                    while (&mut timer).now_or_never().is_none() {
                        syscall(|| rustix::process::getpgid(None)).unwrap();
                        if let Some(ready) = ready.take() {
                            ready.wait().unwrap();
                        }
                        futures::future::ready(()).wait();
                        assert!(start.elapsed() < BOUND, "the timer does not fire");
                    }
                })
            })
            .collect();
        all.into_iter().for_each(|one| one.wait().unwrap());
    });
}

/// The call unwinds after it has lost its P; a destructor on the way waits.
#[test]
fn a_long_one_that_panics() {
    let _machine = alone();
    for mode in MODES {
        go_modes::check(mode, 1, |rt, _| {
            let done = Arc::<AtomicBool>::default();
            let ticker = rt.spawn(tick_until(done.clone()));
            let waited = Arc::new(AtomicUsize::new(0));
            for _ in 0..3 {
                let count = waited.clone();
                let body = move || {
                    let _armed = OnDrop::new(move || {
                        gort::time::sleep(Duration::from_millis(1)).wait();
                        count.fetch_add(1, SeqCst);
                    });
                    syscall(|| {
                        thread::sleep(Duration::from_millis(20));
                        std::panic::resume_unwind(Box::new("quiet"))
                    })
                };
                let task = body.clone();
                assert!(rt.go(body).wait().unwrap_err().is_panic());
                assert!(rt.spawn(async move { task() }).wait().unwrap_err().is_panic());
            }
            assert_eq!(waited.load(SeqCst), 6);
            done.store(true, SeqCst);
            ticker.wait().unwrap();
        });
    }
}

/// Whoever waits inside of an announced call has ended the announcement: what else runs on that
/// thread is not in a system call, and is counted when its P is taken.
#[test]
fn a_wait_inside_of_one() {
    let _machine = alone();
    for mode in MODES {
        go_modes::check(mode, 1, |rt, _| {
            let (send, receive) = futures::channel::oneshot::channel::<()>();
            let begun = Arc::<AtomicBool>::default();
            let begins = begun.clone();
            let odd = rt.go(move || {
                syscall(|| {
                    begins.store(true, SeqCst);
                    receive.wait().unwrap();
                });
            });
            eventually("it waits", || begun.load(SeqCst) && rt.handle().metrics().idle_procs == 1);
            let (stop, ticks) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
            let all: Vec<_> = (0..2)
                .map(|_| {
                    let stop = stop.clone();
                    rt.spawn(async move {
                        while !stop.load(SeqCst) {
                            std::hint::spin_loop();
                        }
                    })
                })
                .collect();
            let ticker = rt.spawn(tick_until(ticks.clone()));
            eventually("both hogs are detached", || rt.handle().metrics().detached == 2);
            stop.store(true, SeqCst);
            all.into_iter().for_each(|one| one.wait().unwrap());
            ticks.store(true, SeqCst);
            ticker.wait().unwrap();
            send.send(()).unwrap();
            odd.wait().unwrap();
        });
    }
}

/// The hand-over of the P and the return of the call race, thousands of times; T11.
#[test]
fn calls_that_end_when_sysmon_looks() {
    let _machine = alone();
    for (mode, procs) in [(Mode::Home, 1), (Mode::Migrate, 2)] {
        go_modes::check(mode, procs, |rt, _| {
            let sum = Arc::new(AtomicUsize::new(0));
            let all: Vec<_> = (0..8u64)
                .map(|i| {
                    let sum = sum.clone();
                    let body = move || {
                        for n in 0..40u64 {
                            let micros = 700 + (n * 37 + i * 91) % 700;
                            syscall(|| thread::sleep(Duration::from_micros(micros)));
                            sum.fetch_add(1, SeqCst);
                            if n % 7 == 0 {
                                drop(gort::spawn(async {}));
                            }
                        }
                    };
                    if i % 2 == 0 { rt.go(body) } else { rt.spawn(async move { body() }) }
                })
                .collect();
            all.into_iter().for_each(|one| one.wait().unwrap());
            assert_eq!(sum.load(SeqCst), 8 * 40);
            eventually("none is detached", || rt.handle().metrics().detached == 0);
        });
    }
}
