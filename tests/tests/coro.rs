//! Coroutines: what goes in and out, in every place where code runs.

mod coro_places;
mod go_modes;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use gort::coro::{Coroutine, State, Yielder};
use gort::prelude::*;
use gort::time::sleep;
use gort_tests::{Child, OnDrop, Rng, eventually, is_child};

use coro_places::{Drops, everywhere};
use go_modes::{MODES, check, for_modes};

#[test]
fn values_go_both_ways() {
    everywhere(|| {
        let mut sum = Coroutine::new(|y, first: u64| {
            let mut sum = first;
            while sum < 1_000 {
                sum += y.yield_(sum);
            }
            format!("{sum}")
        });
        let mut expected = 0;
        for i in 1..=1_000 {
            expected += i;
            match sum.resume(i) {
                State::Yielded(sum) => assert_eq!(sum, expected),
                State::Complete(text) => {
                    assert_eq!(text, expected.to_string());
                    break;
                }
            }
        }
        assert!(sum.is_done() && expected >= 1_000);
    });
}

#[test]
fn values_of_all_sizes() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(align(128))]
    struct Aligned(u8);

    fn echo<T: Clone + PartialEq + std::fmt::Debug + 'static>(values: Vec<T>) {
        let expected = values.clone();
        let mut echo = Coroutine::new(move |y: &Yielder<T, T>, first: T| {
            let mut value = first;
            for _ in 1..expected.len() {
                value = y.yield_(value);
            }
            (value, expected)
        });
        for (i, value) in values.iter().enumerate() {
            match echo.resume(value.clone()) {
                State::Yielded(back) => assert_eq!(back, *value),
                State::Complete((back, all)) => {
                    assert_eq!((i + 1, &back, &all), (values.len(), value, &values));
                }
            }
        }
    }

    everywhere(|| {
        echo(vec![(); 5]);
        echo(vec![1_u8, 2, 3]);
        echo(vec![String::from("a"), String::new(), "b".repeat(10_000)]);
        echo(vec![[7_u64; 1_000], [8; 1_000]]);
        echo(vec![Aligned(1), Aligned(2), Aligned(3)]);
        echo(vec![Some(Rc::new(5)), None]);
    });
}

#[test]
fn closures_of_all_sizes() {
    #[repr(align(64))]
    struct A64(u8);
    #[repr(align(4096))]
    struct A4096(u8);

    everywhere(|| {
        let mut none = Coroutine::new(|_: &Yielder<(), ()>, ()| 1);
        assert_eq!(none.resume(()), State::Complete(1));
        let (small, large) = ([3_u8; 1_000], [4_u8; 20_000]);
        let mut of_small = Coroutine::new(move |_: &Yielder<usize, ()>, i| small[i]);
        assert_eq!(of_small.resume(999), State::Complete(3));
        let mut of_large = Coroutine::new(move |_: &Yielder<usize, ()>, i| large[i]);
        assert_eq!(of_large.resume(19_999), State::Complete(4));
        let (a, b) = (A64(5), A4096(6));
        let mut aligned = Coroutine::new(move |y: &Yielder<(), bool>, ()| {
            let (a, b) = (a, b);
            let is_aligned = |at: usize, to: usize| at.is_multiple_of(to);
            y.yield_(is_aligned((&raw const a).addr(), 64));
            y.yield_(is_aligned((&raw const b).addr(), 4096));
            a.0 + b.0
        });
        assert_eq!(aligned.resume(()), State::Yielded(true));
        assert_eq!(aligned.resume(()), State::Yielded(true));
        assert_eq!(aligned.resume(()), State::Complete(11));
    });
}

#[test]
fn in_any_call_depth() {
    fn descend(depth: u32, y: &Yielder<u32, u32>) -> u32 {
        let frame = [depth; 4];
        let got = y.yield_(depth);
        let below = if depth > 0 { descend(depth - 1, y) } else { 0 };
        assert_eq!(std::hint::black_box(frame), [depth; 4]);
        got + below
    }

    everywhere(|| {
        let mut descent = Coroutine::new(|y, depth| descend(depth, y));
        let mut state = descent.resume(200);
        for depth in (0..=200).rev() {
            assert_eq!(state, State::Yielded(depth));
            state = descent.resume(1);
        }
        assert_eq!(state, State::Complete(201));
    });
}

#[test]
fn floats_survive() {
    everywhere(|| {
        let step = |x: f64| x / 3.0 + 1.0;
        let mut other = Coroutine::new(move |y: &Yielder<(), f64>, ()| {
            let mut x = 1.0;
            loop {
                x = step(x);
                y.yield_(x);
            }
        });
        let mut x = 1.0;
        for _ in 0..100 {
            x = step(x);
            assert_eq!(other.resume(()), State::<f64, ()>::Yielded(x));
        }
    });
}

/// A body drives another one, which drives a third.
#[test]
fn nested() {
    fn nest(depth: u32) -> Coroutine<u32, u32, u32> {
        Coroutine::new(move |y: &Yielder<u32, u32>, first| {
            let mut next = first;
            if depth == 0 {
                loop {
                    next = y.yield_(next + 1);
                }
            }
            let mut inner = nest(depth - 1);
            loop {
                match inner.resume(next) {
                    State::Yielded(out) => next = y.yield_(out + 1),
                    State::Complete(ret) => return ret,
                }
            }
        })
    }

    everywhere(|| {
        let mut outermost = nest(20);
        for i in 0..100 {
            assert_eq!(outermost.resume(i), State::Yielded(i + 21));
        }
    });
}

/// The yielder of an outer coroutine on the stack of an inner one.
#[test]
fn the_outer_yielder_on_an_inner_stack() {
    everywhere(|| {
        let drops = Drops::default();
        for rounds in [10, 4] {
            let theirs = drops.clone();
            let mut outer = Coroutine::new(move |outer: &Yielder<u32, u32>, _| {
                let body = |inner: &gort::iter::Yielder<u32>| {
                    let _guard = theirs.guard();
                    for i in 0..10 {
                        let answer = outer.yield_(i);
                        inner.yield_(answer);
                    }
                };
                gort::iter::pull_scoped(body, |inner| inner.sum::<u32>())
            });
            let mut state = outer.resume(0);
            for i in 0..rounds {
                assert_eq!(state, State::Yielded(i));
                state = outer.resume(i * 100);
            }
            if rounds == 10 {
                assert_eq!(state, State::Complete(4_500));
            }
        }
        // Of the second one, both stacks were unwound, from the inner one.
        assert_eq!(drops.count(), 2);
    });
}

/// Many at a time, in a random order.
#[test]
fn thousands_at_a_time() {
    let rng = Rng::from_env();
    let run = move || {
        let mut rng = rng.clone();
        let mut all: Vec<_> = (0..3_000_u64)
            .map(|i| {
                let body = move |y: &Yielder<u64, u64>, mut x: u64| {
                    for _ in 0..i % 7 {
                        x = y.yield_(x + i);
                    }
                };
                (0, Coroutine::new(body))
            })
            .collect();
        for _ in 0..20_000 {
            let i = rng.below(all.len() as u64);
            let (done, coroutine) = &mut all[i as usize];
            if coroutine.is_done() {
                continue;
            }
            match coroutine.resume(*done) {
                State::Yielded(x) => assert_eq!(x, *done + i),
                State::Complete(()) => assert_eq!(*done, i % 7),
            }
            *done += 1;
        }
    };
    let _machine = gort_tests::alone();
    run();
    for mode in MODES {
        check(mode, 2, |rt, _| rt.run(run.clone()));
    }
}

/// X6: a body that waits parks its goroutine, and only that.
#[test]
fn a_body_may_wait() {
    for_modes(|rt, _| {
        let (mut ask, mut asked) = mpsc::channel::<oneshot::Sender<u32>>(0);
        let answers = rt.go(move || {
            for i in 0.. {
                match asked.next().wait() {
                    Some(answer) => answer.send(i).unwrap(),
                    None => break,
                }
            }
        });
        let sum = rt.go(move || {
            let mut answers = Coroutine::new(move |y: &Yielder<(), u32>, ()| {
                for _ in 0..100 {
                    let (send, receive) = oneshot::channel();
                    futures::SinkExt::send(&mut ask, send).wait().unwrap();
                    sleep(Duration::from_micros(10)).wait();
                    y.yield_(receive.wait().unwrap());
                    gort::yield_now().wait();
                }
            });
            let mut sum = 0;
            while let State::Yielded(i) = answers.resume(()) {
                gort::yield_now().wait();
                sum += i;
            }
            sum
        });
        assert_eq!(sum.wait().unwrap(), 4_950);
        answers.wait().unwrap();
    });
}

/// The same on a plain thread and in a poll: there the thread waits.
#[test]
fn a_body_may_wait_outside_of_goroutines() {
    everywhere(|| {
        let mut sleepy = Coroutine::new(|y: &Yielder<(), u32>, ()| {
            for i in 0..5 {
                sleep(Duration::from_micros(100)).wait();
                y.yield_(gort::spawn(async move { i }).wait().unwrap());
            }
        });
        for i in 0..5 {
            assert_eq!(sleepy.resume(()), State::Yielded(i));
            sleep(Duration::from_micros(10)).wait();
        }
        assert_eq!(sleepy.resume(()), State::Complete(()));
    });
}

/// While one body waits others of the same thread run, also other coroutines.
#[test]
fn interleaved_with_other_goroutines() {
    for_modes(|rt, _| {
        let all: Vec<_> = (0..20)
            .map(|k| {
                rt.go(move || {
                    let body = move |y: &gort::iter::Yielder<u64>| {
                        for i in 0..50 {
                            gort::yield_now().wait();
                            y.yield_(i * k);
                        }
                    };
                    let mut sum = 0;
                    for i in gort::iter::pull(body) {
                        gort::yield_now().wait();
                        sum += i;
                    }
                    sum
                })
            })
            .collect();
        for (k, one) in (0..).zip(all) {
            assert_eq!(one.wait().unwrap(), 1_225 * k);
        }
    });
}

/// An abort ends the wait inside the body, and with it the body and then the caller.
#[test]
fn an_abort_unwinds_both_stacks() {
    for_modes(|rt, _| {
        let drops = Arc::new(AtomicUsize::new(0));
        let polled = Arc::new(AtomicUsize::new(0));
        let (d, p) = (drops.clone(), polled.clone());
        let goroutine = rt.go(move || {
            let count = |what: &'static str| {
                let d = d.clone();
                OnDrop::new(move || {
                    assert!(thread::panicking(), "{what}");
                    d.fetch_add(1, SeqCst);
                })
            };
            let _outer = count("the caller");
            let inner = count("the body");
            let mut waits = Coroutine::new(move |y: &Yielder<(), ()>, ()| {
                let _inner = inner;
                y.yield_(());
                poll_fn(|_| {
                    p.fetch_add(1, SeqCst);
                    Poll::<()>::Pending
                })
                .wait();
            });
            let other = count("the body of one that is suspended");
            let mut suspended = Coroutine::new(move |y: &Yielder<(), ()>, ()| {
                let _other = other;
                y.yield_(());
            });
            suspended.resume(());
            waits.resume(());
            waits.resume(());
        });
        eventually("it waits", || polled.load(SeqCst) > 0);
        goroutine.abort();
        assert!(goroutine.wait().unwrap_err().is_cancelled());
        assert_eq!(drops.load(SeqCst), 3);
    });
}

/// The end of the runtime unwinds what is suspended, and what waits inside.
#[test]
fn at_the_end_of_the_runtime() {
    for mode in MODES {
        for procs in [1, 2, 4] {
            let drops = Arc::new(AtomicUsize::new(0));
            let waiting = Arc::new(AtomicUsize::new(0));
            check(mode, procs, |rt, _| {
                for inside in [false, true] {
                    let (drops, waiting) = (drops.clone(), waiting.clone());
                    drop(rt.go(move || {
                        let guard = OnDrop::new(move || {
                            drops.fetch_add(1, SeqCst);
                        });
                        let w = waiting.clone();
                        let mut body = Coroutine::new(move |y: &Yielder<(), ()>, ()| {
                            let _guard = guard;
                            if inside {
                                w.fetch_add(1, SeqCst);
                                sleep(Duration::MAX).wait();
                            }
                            y.yield_(());
                        });
                        body.resume(());
                        waiting.fetch_add(1, SeqCst);
                        sleep(Duration::MAX).wait();
                    }));
                }
                eventually("both wait", || waiting.load(SeqCst) == 2);
            });
            assert_eq!(drops.load(SeqCst), 2);
        }
    }
}

thread_local! {
    static SHELF: RefCell<Option<Coroutine<(), u32, ()>>> = const { RefCell::new(None) };
}

/// X1: another goroutine of the same thread goes on with it.
#[test]
fn from_goroutine_to_goroutine() {
    let first = || {
        let mut count =
            Coroutine::new(|y: &Yielder<(), u32>, ()| (0..99).for_each(|i| y.yield_(i)));
        assert_eq!(count.resume(()), State::Yielded(0));
        SHELF.replace(Some(count));
    };
    let rt = gort::Builder::new().procs(1).build().unwrap();
    rt.run(move || {
        let home = thread::current().id();
        gort::go(first).wait().unwrap();
        for i in 1..10 {
            let next = gort::go(move || {
                assert_eq!(thread::current().id(), home);
                let mut count = SHELF.take().unwrap();
                assert_eq!(count.resume(()), State::Yielded(i));
                SHELF.replace(Some(count));
            });
            next.wait().unwrap();
        }
    });
    // The last is dropped by the worker's thread as it ends.
}

/// A thread-local's destructor unwinds a body.
#[test]
fn at_the_end_of_a_thread() {
    let drops = Arc::new(AtomicUsize::new(0));
    let theirs = drops.clone();
    let thread = thread::spawn(move || {
        let guard = OnDrop::new(move || {
            theirs.fetch_add(1, SeqCst);
        });
        let mut suspended = Coroutine::new(move |y: &Yielder<(), u32>, ()| {
            let _guard = guard;
            y.yield_(1);
        });
        suspended.resume(());
        SHELF.replace(Some(suspended));
    });
    thread.join().unwrap();
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn a_backtrace_ends_at_the_body() {
    everywhere(|| {
        let mut trace = Coroutine::new(|_: &Yielder<(), ()>, ()| {
            std::backtrace::Backtrace::force_capture().to_string()
        });
        let State::Complete(text) = trace.resume(()) else { panic!("it does not yield") };
        let frames = text.lines().filter(|line| !line.trim_start().starts_with("at ")).count();
        assert!((1..200).contains(&frames), "{text}");
        assert!(!text.contains("everywhere"), "{text}");
    });
}

/// Its stack ends in a guard, and the report says where it was created.
#[test]
fn an_overflow_is_reported() {
    #[allow(unconditional_recursion)]
    fn endless(n: u64) -> u64 {
        let frame = std::hint::black_box([n; 16]);
        endless(n + 1) + frame[3]
    }
    const PLACES: [&str; 2] = ["thread", "goroutine"];

    if is_child() {
        let run = || {
            let mut deep = Coroutine::new(|_: &Yielder<(), ()>, ()| endless(0));
            deep.resume(());
        };
        match std::env::var("GORT_TEST_PLACE").as_deref() {
            Ok("thread") => run(),
            _ => gort::go(run).wait().unwrap(),
        }
        unreachable!("it overflows");
    }
    for place in PLACES {
        let ended = Child::of("an_overflow_is_reported").env("GORT_TEST_PLACE", place).run();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        let words = "fatal error: coroutine stack overflow (stack_size 262144 bytes, created at ";
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
        assert!(ended.stderr.contains("tests/coro.rs:"), "{}", ended.stderr);
    }
}

/// Nobody else runs between a resume and its answer.
#[test]
fn a_switch_runs_nobody_else() {
    for_modes(|rt, _| {
        let ran = rt.run(|| {
            let ran = Arc::new(AtomicUsize::new(0));
            let theirs = ran.clone();
            let here = thread::current().id();
            let other = gort::spawn(async move {
                if thread::current().id() == here {
                    theirs.fetch_add(1, SeqCst);
                }
            });
            let switches = Rc::new(Cell::new(0));
            let counted = switches.clone();
            let mut count = Coroutine::new(move |y: &Yielder<(), ()>, ()| {
                for _ in 0..1_000 {
                    counted.set(counted.get() + 1);
                    y.yield_(());
                }
            });
            while count.resume(()) == State::Yielded(()) {}
            assert_eq!(switches.get(), 1_000);
            let ran = ran.load(SeqCst);
            other.wait().unwrap();
            ran
        });
        assert_eq!(ran, 0);
    });
}
