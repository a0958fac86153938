//! `ffi::call` and `ffi::callback`: C on the thread's stack, its callbacks on the goroutine's.

mod coro_places;
mod go_modes;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use gort::ffi::{self, Panicked};
use gort::iter::pull;
use gort::prelude::*;
use gort::task;
use gort::time::sleep;
use gort_tests::{
    OnDrop, Probe, Rng, c_call, c_call_between, c_deep, c_deep_call, eventually, panic_text,
};

use coro_places::{assert_calm, everywhere};
use go_modes::{MODES, check, for_modes};

/// Has C call `f` back, and gives what that returns.
fn round_trip<R>(f: impl FnOnce() -> R) -> R {
    let (mut f, mut result) = (Some(f), None);
    ffi::call(|| {
        c_call(|| {
            let f = f.take().expect("once");
            result = ffi::callback(f).ok();
        });
    });
    result.expect("`call` raises a panic again")
}

/// An address on the stack of the caller.
#[inline(never)]
fn here() -> usize {
    let mark = 0_u8;
    std::hint::black_box(&raw const mark).addr()
}

fn near(a: usize, b: usize) -> bool {
    a.abs_diff(b) < 64 << 10
}

#[test]
fn there_and_back() {
    everywhere(|| {
        assert_eq!(ffi::call(|| 5), 5);
        assert_eq!(round_trip(|| 6), 6);
        let mut borrowed = vec![1];
        round_trip(|| borrowed.push(2));
        assert_eq!(borrowed, [1, 2]);
        assert_eq!(ffi::callback(|| 7), Ok(7));
    });
}

/// Four deep, with frames of C in between that must be left alone.
#[test]
fn nested() {
    fn descend(depth: u8) -> u32 {
        if depth == 0 {
            gort::yield_now().wait();
            return 1;
        }
        let mut below = 0;
        let intact = ffi::call(|| {
            c_call_between(depth, || {
                ffi::callback(|| {
                    below = descend(depth - 1);
                    below += descend(depth - 1);
                })
                .unwrap();
            })
        });
        assert!(intact);
        below
    }
    everywhere(|| assert_eq!(descend(4), 16));
}

#[test]
fn which_stack_is_which() {
    for_modes(|rt, _| {
        rt.run(|| {
            let mine = here();
            let (mut system, mut back, mut inner) = (0, 0, 0);
            ffi::call(|| {
                system = here();
                c_call(|| {
                    ffi::callback(|| {
                        back = here();
                        inner = ffi::call(here);
                    })
                    .unwrap();
                });
            });
            assert!(near(mine, back), "the callback runs where the goroutine was");
            assert!(!near(mine, system) && near(system, inner));
        });
    });
}

/// C code with deep stacks in a goroutine of 64 KiB.
#[test]
fn deep_c() {
    for_modes(|rt, _| {
        rt.run(|| {
            let small = task::Builder::new().stack_size(64 << 10).go(|| {
                ffi::call(|| c_deep(1_000));
                let mut n = 0;
                ffi::call(|| {
                    c_deep_call(500, || {
                        ffi::callback(|| {
                            gort::yield_now().wait();
                            ffi::call(|| c_deep(300));
                            n += 1;
                        })
                        .unwrap();
                    });
                });
                n
            });
            assert_eq!(small.unwrap().wait().unwrap(), 1);
        });
    });
}

/// A callback waits; others run meanwhile, also on the same thread.
#[test]
fn a_callback_may_wait() {
    for_modes(|rt, _| {
        let sum = rt.run(|| {
            let all: Vec<_> = (0..10_u64)
                .map(|i| {
                    gort::go(move || {
                        let (send, receive) = oneshot::channel();
                        let other = gort::go(move || {
                            gort::yield_now().wait();
                            send.send(i).unwrap();
                        });
                        let home = thread::current().id();
                        let got = round_trip(|| {
                            let got = receive.wait().unwrap();
                            sleep(Duration::from_micros(50)).wait();
                            gort::yield_now().wait();
                            assert_eq!(thread::current().id(), home);
                            got
                        });
                        other.wait().unwrap();
                        got
                    })
                })
                .collect();
            all.into_iter().map(|one| one.wait().unwrap()).sum::<u64>()
        });
        assert_eq!(sum, 45);
    });
}

/// Two goroutines of one thread, both inside callbacks: the one whose frames lie below goes on,
/// tells the other one, and returns into its frames when they are the topmost.
#[test]
fn the_lower_one_goes_on_first() {
    for procs in [1, 2] {
        for _ in 0..20 {
            let rt = gort::Builder::new().procs(procs).build().unwrap();
            rt.run(|| {
                let ends = Arc::new(AtomicUsize::new(0));
                let (to_lower, lower_waits) = oneshot::channel::<()>();
                let (to_upper, upper_waits) = oneshot::channel::<()>();
                let e = ends.clone();
                let lower = move || {
                    let intact = ffi::call(|| {
                        let mut once = Some((lower_waits, to_upper));
                        c_call_between(1, || {
                            let (wait, tell) = once.take().unwrap();
                            ffi::callback(|| {
                                wait.wait().unwrap();
                                tell.send(()).unwrap();
                            })
                            .unwrap();
                        })
                    });
                    assert!(intact);
                    e.fetch_add(1, SeqCst);
                };
                let e = ends.clone();
                let upper = move || {
                    let intact = ffi::call(|| {
                        let mut once = Some((to_lower, upper_waits));
                        c_call_between(2, || {
                            let (tell, wait) = once.take().unwrap();
                            ffi::callback(|| {
                                tell.send(()).unwrap();
                                wait.wait().unwrap();
                            })
                            .unwrap();
                        })
                    });
                    assert!(intact);
                    e.fetch_add(1, SeqCst);
                };
                let both = [gort::go(lower), gort::go(upper)];
                both.into_iter().for_each(|one| one.wait().unwrap());
                assert_eq!(ends.load(SeqCst), 2);
            });
        }
    }
}

/// Many goroutines call, are called back, wait and call again, to a random depth.
#[test]
fn many_at_once() {
    fn dive(mut rng: Rng, depth: u32) -> u64 {
        let mut sum = 1;
        for _ in 0..2 {
            match rng.below(4) {
                0 => gort::yield_now().wait(),
                1 => sleep(Duration::from_micros(rng.below(100))).wait(),
                2 => sum += gort::spawn(async { 1 }).wait().unwrap(),
                _ => {}
            }
            if depth > 0 {
                let rng = rng.split();
                let mut below = 0;
                let mark = depth as u8;
                let mut rng = Some(rng);
                assert!(ffi::call(|| c_call_between(mark, || {
                    let rng = rng.take().unwrap();
                    ffi::callback(|| below = dive(rng, depth - 1)).unwrap();
                })));
                sum += below;
            }
        }
        sum
    }

    let rng = Rng::from_env();
    for_modes(|rt, _| {
        let mut rng = rng.clone();
        let all: Vec<_> = (0..30)
            .map(|_| {
                let rng = rng.split();
                rt.go(move || dive(rng, 3))
            })
            .collect();
        for one in all {
            assert!(one.wait().unwrap() >= 15);
        }
    });
}

#[test]
fn panics_are_kept_for_the_end_of_the_call() {
    everywhere(|| {
        let seen = Cell::new(false);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            ffi::call(|| {
                c_call(|| {
                    let first: Result<(), _> = ffi::callback(|| resume_unwind(Box::new("first")));
                    assert!(matches!(first, Err(Panicked { .. })));
                    let second: Result<(), _> = ffi::callback(|| resume_unwind(Box::new("second")));
                    seen.set(second.is_err());
                    assert_calm();
                    // C is told to return, but may do this first.
                    assert_eq!(ffi::callback(|| 1), Ok(1));
                });
                5
            })
        }));
        assert_eq!(panic_text(&*caught.unwrap_err()), "first");
        assert!(seen.get());
        // One of the closure itself, on the thread's stack.
        let caught = catch_unwind(|| ffi::call(|| resume_unwind(Box::new("direct"))));
        assert_eq!(panic_text(&*caught.unwrap_err() as &(dyn std::any::Any + Send)), "direct");
        assert_calm();
    });
}

/// An abort ends the wait; the goroutine ends after the frames of C.
#[test]
fn an_abort_waits_for_c() {
    for_modes(|rt, _| {
        let probe = Probe::new();
        let future = probe.future();
        let order = Arc::new(AtomicUsize::new(0));
        let theirs = order.clone();
        let goroutine = rt.go(move || {
            let _last = OnDrop::new(|| assert_eq!(theirs.fetch_add(1, SeqCst), 2));
            let mut future = Some(future);
            ffi::call(|| {
                c_call(|| {
                    let result = ffi::callback(|| {
                        let _first = OnDrop::new(|| assert_eq!(theirs.fetch_add(1, SeqCst), 0));
                        future.take().unwrap().wait();
                    });
                    assert!(matches!(result, Err(Panicked { .. })));
                    assert_eq!(theirs.fetch_add(1, SeqCst), 1);
                });
            });
            unreachable!("aborted");
        });
        eventually("it waits", || probe.polls() > 0);
        goroutine.abort();
        assert!(goroutine.wait().unwrap_err().is_cancelled());
        assert_eq!((order.load(SeqCst), probe.drops()), (3, 1));
    });
}

/// The end of the runtime ends a callback that waits, and then the goroutine.
#[test]
fn the_end_of_the_runtime() {
    for mode in MODES {
        for procs in [1, 2, 4] {
            let (waiting, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            check(mode, procs, |rt, _| {
                for _ in 0..3 {
                    let (waiting, ended) = (waiting.clone(), ended.clone());
                    drop(rt.go(move || {
                        let _last = OnDrop::new(|| {
                            ended.fetch_add(1, SeqCst);
                        });
                        round_trip(|| {
                            waiting.fetch_add(1, SeqCst);
                            sleep(Duration::MAX).wait();
                        });
                    }));
                }
                eventually("all wait", || waiting.load(SeqCst) == 3);
            });
            assert_eq!(ended.load(SeqCst), 3);
        }
    }
}

/// Code on the thread's stack that is no callback waits as it does in a poll.
#[test]
fn a_wait_without_a_callback() {
    for_modes(|rt, _| {
        rt.run(|| {
            let (send, receive) = oneshot::channel();
            let other = gort::go(move || {
                gort::yield_now().wait();
                send.send(7).unwrap();
            });
            assert_eq!(ffi::call(|| receive.wait()), Ok(7));
            other.wait().unwrap();
            assert_eq!(gort::spawn(async { 8 }).wait().unwrap(), 8);
        });
    });
}

/// Coroutines in the body of C's callbacks, and calls of C in the body of coroutines.
#[test]
fn with_coroutines() {
    everywhere(|| {
        let inside = round_trip(|| pull(|y| (0..10_u32).for_each(|i| y.yield_(i))).sum::<u32>());
        assert_eq!(inside, 45);
        let calls = pull(|y| {
            for i in 0..10_u32 {
                y.yield_(round_trip(|| {
                    gort::yield_now().wait();
                    i
                }));
            }
        });
        assert_eq!(calls.sum::<u32>(), 45);
        assert_eq!(ffi::call(|| pull(|y| y.yield_(1)).sum::<u32>()), 1);
    });
}

/// A goroutine that never waits in there is left alone: nothing is shared with its neighbours.
#[test]
fn a_million_calls() {
    for_modes(|rt, _| {
        let sum = rt.run(|| (0..50_000_u64).map(|i| round_trip(|| i)).sum::<u64>());
        assert_eq!(sum, 1_249_975_000);
    });
}
