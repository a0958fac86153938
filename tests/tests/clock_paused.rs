//! The test clock: when time moves, when it does not, and by what.

mod time_kinds;

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant as StdInstant};

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{join, join_all};
use gort::prelude::*;
use gort::time::{
    Instant, Timer, advance, after_func, interval, pause, resume, settle, sleep, sleep_until,
    timeout,
};
use gort_tests::{BOUND, Rng, beside_others, eventually, panic_text, runtime, until};
use time_kinds::{HOUR, KINDS, MS, SEC, paused, running};

/// Tasks, goroutines and threads in user code: time does not move, however long they take.
#[test]
fn time_waits_for_those_who_run() {
    paused(|kind| async move {
        let start = Instant::now();
        let sleeper = kind.start(async move {
            sleep(HOUR).await;
            start.elapsed()
        });
        let busy: Vec<_> = (0..4)
            .map(|_| {
                kind.start(async move {
                    for _ in 0..3 {
                        thread::sleep(2 * MS);
                        assert_eq!(Instant::now(), start);
                        gort::yield_now().await;
                    }
                })
            })
            .collect();
        thread::sleep(5 * MS);
        assert_eq!(Instant::now(), start);
        join_all(busy).await.into_iter().for_each(Result::unwrap);
        assert_eq!(sleeper.await.unwrap(), HOUR);
    });
}

/// Threads that have lost their P, or gave it up: hogs, announced calls, blocking tasks.
#[test]
fn time_waits_for_those_who_run_without_a_proc() {
    paused(|kind| async move {
        let start = Instant::now();
        let sleeper = kind.start(async move {
            sleep(HOUR).await;
            start.elapsed()
        });
        let still = move || assert_eq!(Instant::now(), start);
        let hog = kind.start(async move {
            thread::sleep(25 * MS); // longer than a slice
            still();
        });
        let announced = kind.start(async move {
            gort::blocking(|| thread::sleep(5 * MS));
            still();
            gort::syscall(|| thread::sleep(5 * MS));
            still();
        });
        let beside = gort::spawn_blocking(move || {
            thread::sleep(30 * MS);
            still();
            sleep(SEC).wait();
            start.elapsed()
        });
        hog.await.unwrap();
        announced.await.unwrap();
        assert_eq!(beside.await.unwrap(), SEC);
        assert_eq!(sleeper.await.unwrap(), HOUR);
    });
}

/// A `block_on` inside a poll, and the rest of that poll, which holds no P.
#[test]
fn time_waits_for_a_poll_without_a_proc() {
    paused(|_| async {
        let start = Instant::now();
        let sleeper = gort::spawn(sleep(HOUR));
        let nested = gort::spawn(async move {
            sleep(SEC).wait();
            assert_eq!(start.elapsed(), SEC);
            thread::sleep(5 * MS);
            assert_eq!(start.elapsed(), SEC, "somebody is inside a poll");
            sleep(SEC).wait();
            start.elapsed()
        });
        assert_eq!(nested.await.unwrap(), 2 * SEC);
        sleeper.await.unwrap();
        assert_eq!(start.elapsed(), HOUR);
    });
}

/// Several threads in `block_on`, which wake each other and sleep in turns.
#[test]
fn time_waits_for_every_thread_in_block_on() {
    let _machine = beside_others();
    for procs in [1, 2, 4] {
        let rt = gort::Builder::new().procs(procs).start_paused(true).build().unwrap();
        let entered = rt.block_on(async { Instant::now() });
        let ready = std::sync::Barrier::new(4);
        // Until all have begun.
        let gate =
            rt.block_on(async { gort::net::TcpListener::bind("127.0.0.1:0").await.unwrap() });
        let gate = Mutex::new(Some(gate));
        thread::scope(|s| {
            for i in 1..=4u32 {
                let (rt, ready, gate) = (&rt, &ready, &gate);
                s.spawn(move || {
                    rt.block_on(async {
                        if ready.wait().is_leader() {
                            gate.lock().unwrap().take();
                        }
                        for n in 1..=20 {
                            sleep_until(entered + n * i * SEC).await;
                            assert_eq!(Instant::now(), entered + n * i * SEC);
                            if n % 5 == 0 {
                                thread::sleep(MS);
                                assert_eq!(Instant::now(), entered + n * i * SEC);
                            }
                        }
                    });
                });
            }
        });
        assert!(rt.shutdown_timeout(BOUND));
    }
}

/// The strongest statement: a sleep ends at its deadline exactly, whatever else goes on.
#[test]
fn every_sleep_is_exact_at_random() {
    paused(|kind| async move {
        let mut rng = Rng::from_env();
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let mut rng = rng.split();
                kind.start(async move {
                    for _ in 0..40 {
                        let limit = Duration::from_nanos(1 << rng.below(40));
                        let before = Instant::now();
                        match rng.below(5) {
                            0 => sleep(limit).await,
                            1 => assert!(timeout(limit, pending::<()>()).await.is_err()),
                            2 => (&Timer::new(limit)).await,
                            3 => kind.start(sleep(limit)).await.unwrap(),
                            _ => {
                                let mut armed = Box::pin(sleep(limit / 2));
                                let ready = (&mut armed).now_or_never().is_some();
                                assert_eq!(ready, (limit / 2).is_zero());
                                drop(armed);
                                gort::yield_now().await;
                                sleep(limit).await;
                            }
                        }
                        assert_eq!(before.elapsed(), limit);
                    }
                })
            })
            .collect();
        join_all(tasks).await.into_iter().for_each(Result::unwrap);
    });
}

/// What is stopped does not move the clock.
#[test]
fn a_stopped_timer_is_no_time_to_go_to() {
    paused(|_| async {
        let start = Instant::now();
        let mut stopped = Box::pin(sleep(SEC));
        assert!((&mut stopped).now_or_never().is_none());
        let timer = after_func(2 * SEC, || {});
        drop(stopped);
        timer.stop();
        let (send, receive) = oneshot::channel();
        let outside = thread::spawn(move || {
            thread::sleep(5 * MS);
            send.send(()).unwrap();
        });
        receive.await.unwrap();
        assert_eq!(Instant::now(), start);
        outside.join().unwrap();
    });
}

#[test]
fn advance_runs_what_is_due_in_order() {
    paused(|kind| async move {
        let start = Instant::now();
        let seen = Arc::new(Mutex::new(Vec::new()));
        for i in [3, 1, 4, 1, 5, 9, 2, 6] {
            let seen = seen.clone();
            drop(kind.start(async move {
                sleep_until(start + i * SEC).await;
                seen.lock().unwrap().push(i);
                assert_eq!(start.elapsed(), i * SEC);
            }));
        }
        advance(5 * SEC).await;
        assert_eq!(start.elapsed(), 5 * SEC);
        assert_eq!(*seen.lock().unwrap(), [1, 1, 2, 3, 4, 5]);
        advance(Duration::ZERO).await;
        assert_eq!(start.elapsed(), 5 * SEC);
        advance(10 * SEC).await;
        assert_eq!(*seen.lock().unwrap(), [1, 1, 2, 3, 4, 5, 6, 9]);
    });
}

/// What becomes due begins something that becomes due.
#[test]
fn advance_goes_through_what_is_armed_on_the_way() {
    paused(|kind| async move {
        let ticks = Arc::new(AtomicUsize::new(0));
        let theirs = ticks.clone();
        let ticker = kind.start(async move {
            let mut each = interval(SEC);
            loop {
                each.tick().await;
                sleep(SEC / 2).await;
                theirs.fetch_add(1, SeqCst);
            }
        });
        settle().await;
        advance(10 * SEC).await;
        assert_eq!(ticks.load(SeqCst), 9);
        advance(SEC / 2).await;
        assert_eq!(ticks.load(SeqCst), 10);
        ticker.abort();
    });
}

#[test]
fn two_advance_at_once() {
    paused(|kind| async move {
        let start = Instant::now();
        let other = kind.start(async move {
            advance(3 * SEC).await;
            start.elapsed()
        });
        settle().await;
        advance(5 * SEC).await;
        assert_eq!(start.elapsed(), 5 * SEC);
        assert_eq!(other.await.unwrap(), 3 * SEC);
    });
}

/// Beside tasks that always have something to do.
#[test]
fn advance_under_load() {
    paused(|kind| async move {
        let stop = Arc::new(AtomicBool::new(false));
        let load: Vec<_> = (0..6)
            .map(|_| {
                let stop = stop.clone();
                gort::spawn(async move {
                    while !stop.load(SeqCst) {
                        gort::yield_now().await;
                    }
                })
            })
            .collect();
        let start = Instant::now();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sleepers: Vec<_> = (1..=20)
            .map(|i| {
                let seen = seen.clone();
                kind.start(async move {
                    sleep_until(start + i * SEC).await;
                    assert!(start.elapsed() >= i * SEC);
                    seen.lock().unwrap().push(i);
                })
            })
            .collect();
        advance(15 * SEC).await;
        assert_eq!(start.elapsed(), 15 * SEC);
        // The step is made when the timers have fired; who they wake runs in its turn.
        until("fifteen", || seen.lock().unwrap().len() == 15).await;
        assert!(seen.lock().unwrap().iter().all(|i| *i <= 15));
        advance(HOUR).await;
        assert_eq!(start.elapsed(), HOUR + 15 * SEC);
        stop.store(true, SeqCst);
        join_all(load.into_iter().chain(sleepers)).await.into_iter().for_each(Result::unwrap);
    });
}

/// N47: the world outside has a say. Only `advance` moves the clock.
#[test]
fn time_does_not_jump_while_a_socket_is_open() {
    paused(|kind| async move {
        let start = Instant::now();
        let listener = gort::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let server = kind.start(async move {
            let (stream, _) = listener.accept().await.unwrap();
            thread::sleep(5 * MS);
            drop(stream);
            listener
        });
        // The connection takes its real time, and no timeout runs down meanwhile.
        let stream = timeout(SEC, gort::net::TcpStream::connect(at)).await.unwrap().unwrap();
        let listener = server.await.unwrap();
        assert_eq!(Instant::now(), start);
        let limited = kind.start(async move {
            let _open = stream;
            timeout(10 * SEC, listener.accept()).await.is_err()
        });
        settle().await;
        advance(9 * SEC).await;
        assert!(!limited.is_finished());
        advance(SEC).await;
        assert!(limited.await.unwrap());
        // All closed: it jumps again, also if a foreign thread closes the last.
        let last = gort::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closing = thread::spawn(move || {
            thread::sleep(3 * MS);
            drop(last);
        });
        sleep(HOUR).await;
        assert_eq!(start.elapsed(), HOUR + 10 * SEC);
        closing.join().unwrap();
    });
}

#[test]
fn extreme_durations() {
    paused(|kind| async move {
        let never = kind.start(sleep(Duration::MAX));
        let late = kind.start(sleep(1000 * 365 * 24 * HOUR));
        let start = Instant::now();
        sleep(Duration::from_nanos(1)).await;
        assert_eq!(start.elapsed(), Duration::from_nanos(1));
        advance(Duration::ZERO).await;
        sleep(100 * 365 * 24 * HOUR).await;
        advance(Duration::MAX).await;
        assert!(start.elapsed() > 140 * 365 * 24 * HOUR);
        advance(Duration::MAX).await;
        advance(SEC).await;
        assert!(!never.is_finished() && !late.is_finished());
        never.abort();
        late.abort();
        resume();
        sleep(MS).await;
        assert!(start.elapsed() > 140 * 365 * 24 * HOUR);
    });
}

#[test]
fn pause_and_resume() {
    running(|kind| async move {
        let start = Instant::now();
        sleep(MS).await;
        assert!(start.elapsed() >= MS);
        pause();
        pause();
        let paused_at = Instant::now();
        assert!(paused_at >= start + MS);
        thread::sleep(3 * MS);
        assert_eq!(Instant::now(), paused_at);
        sleep(HOUR).await;
        assert_eq!(Instant::now(), paused_at + HOUR);
        let mut armed = Box::pin(sleep(5 * MS));
        assert!((&mut armed).now_or_never().is_none());
        let (real, timer) = (StdInstant::now(), Timer::new(3 * MS));
        resume();
        resume();
        assert!(Instant::now() >= paused_at + HOUR, "time goes on from where it was");
        armed.await;
        (&timer).await;
        assert!(real.elapsed() >= 5 * MS, "real time: {:?}", real.elapsed());
        assert!(real.elapsed() < BOUND);
        assert!(paused_at.elapsed() < HOUR + BOUND);
        // And a second time, with others asleep for a real hour.
        let far = kind.start(sleep(HOUR));
        sleep(MS).await;
        pause();
        far.await.unwrap();
        assert!(paused_at.elapsed() >= 2 * HOUR);
    });
}

/// A clock that is resumed ends what waits for it to settle or to be advanced.
#[test]
fn resume_ends_settle_and_advance() {
    paused(|kind| async move {
        let begun = Arc::new(AtomicUsize::new(0));
        let waits = [0, 1].map(|i| {
            let begun = begun.clone();
            kind.start(async move {
                let (mut settle, mut advance) = (pin!(settle()), pin!(advance(20 * MS)));
                // Somebody runs: this future, so it waits.
                if i == 0 {
                    assert!(settle.as_mut().now_or_never().is_none());
                } else {
                    assert!(advance.as_mut().now_or_never().is_none());
                }
                begun.fetch_add(1, SeqCst);
                if i == 0 { settle.await } else { advance.await }
            })
        });
        until("both have begun", || begun.load(SeqCst) == 2).await;
        thread::sleep(MS);
        resume();
        join_all(waits).await.into_iter().for_each(Result::unwrap);
    });
}

/// Only the runtime whose clock it is.
#[test]
fn clocks_belong_to_runtimes() {
    paused(|_| async {
        let real = StdInstant::now();
        let other = runtime(2);
        let slept = other.spawn(async {
            let start = Instant::now();
            sleep(5 * MS).await;
            start.elapsed()
        });
        assert!(slept.await.unwrap() >= 5 * MS);
        assert!(real.elapsed() >= 5 * MS);
        sleep(HOUR).await;
        assert!(real.elapsed() < BOUND);
    });
}

/// Threads that have entered the runtime, with another executor, and none.
#[test]
fn entered_threads_use_the_clock() {
    let _machine = beside_others();
    for procs in [1, 2, 4] {
        let rt = gort::Builder::new().procs(procs).start_paused(true).build().unwrap();
        let _enter = rt.enter();
        let start = Instant::now();
        futures::executor::block_on(sleep(HOUR));
        assert_eq!(start.elapsed(), HOUR);
        futures::executor::block_on(advance(HOUR));
        assert_eq!(start.elapsed(), 2 * HOUR);
        futures::executor::block_on(settle());
        let task = rt.spawn(sleep(HOUR));
        eventually("the clock jumps though nobody waits", || task.is_finished());
        assert_eq!(start.elapsed(), 3 * HOUR);
        resume();
        pause();
        futures::executor::block_on(sleep(HOUR));
        assert!(start.elapsed() >= 4 * HOUR);
    }
}

#[test]
fn misuse_panics() {
    let text = |f: &dyn Fn()| {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
        panic_text(&*caught.expect_err("a panic")).to_owned()
    };
    assert!(text(&pause).contains("outside of any gort runtime"));
    assert!(text(&resume).contains("outside of any gort runtime"));
    assert!(text(&|| futures::executor::block_on(settle())).contains("outside of any"));
    let rt = runtime(1);
    assert!(text(&|| rt.block_on(advance(SEC))).contains("needs a paused clock"));
    assert!(text(&|| rt.block_on(settle())).contains("needs a paused clock"));
}

/// The end finds sleepers, and those who settle and advance.
#[test]
fn a_paused_runtime_ends() {
    let _machine = beside_others();
    for kind in KINDS {
        for procs in [1, 2, 4] {
            let rt = kind.builder(procs).start_paused(true).build().unwrap();
            let handle = rt.handle();
            let _enter = handle.enter();
            let stuck = rt.spawn(poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::<()>::Pending
            }));
            let waits =
                [kind.start(sleep(HOUR)), kind.start(settle()), kind.start(advance(Duration::MAX))];
            drop(stuck);
            assert!(rt.shutdown_timeout(BOUND));
            for wait in waits {
                // Its time may have come before the end.
                let ended = futures::executor::block_on(wait);
                assert!(ended.is_ok() || ended.unwrap_err().is_cancelled());
            }
        }
    }
}

/// An `advance` that is dropped leaves the clock to itself.
#[test]
fn advance_can_be_cancelled() {
    paused(|kind| async move {
        let listener = gort::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let start = Instant::now();
        let (stepped, seen) = oneshot::channel();
        let one = kind.start(async move {
            sleep(SEC).await;
            stepped.send(()).unwrap();
            thread::sleep(MS);
        });
        let long = kind.start(advance(HOUR));
        seen.await.unwrap();
        long.abort();
        one.await.unwrap();
        assert!(long.await.unwrap_err().is_cancelled());
        assert_eq!(start.elapsed(), SEC);
        let limited = kind.start(sleep(SEC));
        settle().await;
        thread::sleep(2 * MS);
        assert_eq!(start.elapsed(), SEC, "the socket holds it again");
        drop(listener);
        limited.await.unwrap();
    });
}

/// Go: TestLongAdjustTimers, on this clock: five thousand deadlines, each a step.
#[test]
fn five_thousand_sleepers() {
    paused(|kind| async move {
        let start = Instant::now();
        let sleepers: Vec<_> = (0..5000)
            .map(|i| {
                kind.start(async move {
                    sleep_until(start + i * MS).await;
                    assert_eq!(start.elapsed(), i * MS);
                })
            })
            .collect();
        let real = StdInstant::now();
        advance(5 * SEC).await;
        assert!(real.elapsed() < BOUND);
        for sleeper in sleepers {
            assert!(sleeper.is_finished());
            sleeper.await.unwrap();
        }
    });
}

#[gort::test(start_paused = true)]
async fn the_macro_pauses_a_task() {
    let start = Instant::now();
    let (a, b) = join(gort::spawn(sleep(HOUR)), gort::spawn(sleep(2 * HOUR))).await;
    a.unwrap();
    b.unwrap();
    assert_eq!(start.elapsed(), 2 * HOUR);
}

#[gort::test(start_paused = true, procs = 4)]
fn the_macro_pauses_a_goroutine() {
    let start = Instant::now();
    sleep(HOUR).wait();
    assert_eq!(start.elapsed(), HOUR);
}

#[gort::test(start_paused = true)]
async fn the_macro_pauses_a_future_that_is_not_send() {
    let local = std::rc::Rc::new(Instant::now());
    let theirs = local.clone();
    let task = gort::spawn_local(async move {
        sleep(HOUR).await;
        theirs.elapsed()
    });
    assert_eq!(task.await.unwrap(), HOUR);
    assert_eq!(local.elapsed(), HOUR);
}

#[gort::test(start_paused = false)]
async fn the_macro_leaves_the_clock_alone() {
    let start = Instant::now();
    thread::sleep(MS);
    assert!(start.elapsed() >= MS);
}
