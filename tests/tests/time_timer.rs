//! `Timer` and `after_func`. After Go's `time/sleep_test.go` and `time/tick_test.go` (tests with a
//! `Test` name in their first line), for tasks, goroutines and plain threads. Where Go tries again
//! with longer times until a loaded machine keeps up, the clock here is paused and the figures exact.
//!
//! Left out: the zero `Timer` and the nil function, which Rust does not have; `TestAfterStress`,
//! which is about the collector; `TestOverflowRuntimeTimer`, about internals that differ.

mod time_kinds;

use std::future::pending;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use futures::future::{FutureExt, join_all};
use gort::prelude::*;
use gort::time::{Instant, Timer, after_func, settle, sleep, timeout};
use gort_tests::{CountWaker, Rng, eventually, for_procs, until};
use time_kinds::{HOUR, MS, SEC, paused, running};

/// Go: TestAfter.
#[test]
fn a_timer_lasts_as_long_as_it_should() {
    running(|_| async {
        for limit in [Duration::ZERO, Duration::from_nanos(1), MS, 10 * MS] {
            let start = Instant::now();
            let timer = Timer::new(limit);
            (&timer).await;
            assert!(start.elapsed() >= limit, "{limit:?}: {:?}", start.elapsed());
            (&timer).await; // it stays fired
            assert!(!timer.stop());
        }
    });
}

/// Go: TestAfterTick.
#[test]
fn ten_timers_one_after_the_other() {
    paused(|_| async {
        let start = Instant::now();
        for _ in 0..10 {
            (&Timer::new(100 * MS)).await;
        }
        assert_eq!(start.elapsed(), SEC);
    });
}

/// Go: TestAfterFunc: a function that starts the next one, and sleeps.
#[test]
fn after_func_from_after_func() {
    fn step(left: Arc<AtomicUsize>) {
        if left.fetch_sub(1, SeqCst) > 1 {
            let next = left.clone();
            after_func(Duration::ZERO, move || step(next.clone()));
            sleep(10 * MS).wait();
        }
    }
    let body = |_| async {
        let left = Arc::new(AtomicUsize::new(10));
        let first = left.clone();
        after_func(Duration::ZERO, move || step(first.clone()));
        until("the last function", || left.load(SeqCst) == 0).await;
    };
    running(body);
    paused(body);
}

/// Go: TestAfterStop.
#[test]
fn a_stopped_timer_does_not_fire() {
    paused(|_| async {
        let ran = Arc::new(AtomicBool::new(false));
        let theirs = ran.clone();
        let plain = Timer::new(50 * MS);
        let func = after_func(150 * MS, move || theirs.store(true, SeqCst));
        assert!(plain.stop());
        assert!(func.stop());
        sleep(200 * MS).await;
        settle().await;
        assert!(plain.fired().now_or_never().is_none());
        assert!(!ran.load(SeqCst));
        assert!(!plain.stop() && !func.stop(), "stopped twice");
        assert_eq!(plain.deadline(), None);
    });
}

/// Go: TestAfterQueuing.
#[test]
fn timers_fire_in_the_order_of_their_deadlines() {
    const SLOTS: [u32; 13] = [5, 3, 6, 6, 6, 1, 1, 2, 7, 9, 4, 8, 0];
    paused(|kind| async move {
        let start = Instant::now();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let waits = SLOTS.map(|slot| {
            let seen = seen.clone();
            let timer = Timer::new(slot * SEC);
            kind.start(async move {
                (&timer).await;
                seen.lock().unwrap().push((slot, start.elapsed()));
            })
        });
        join_all(waits).await.into_iter().for_each(Result::unwrap);
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), SLOTS.len());
        assert!(seen.is_sorted(), "{seen:?}");
        assert!(seen.iter().all(|(slot, at)| *slot * SEC == *at), "{seen:?}");
    });
}

/// Go: TestTimerStopStress.
#[test]
fn a_hundred_timers_are_stopped_in_time() {
    paused(|kind| async move {
        let stops: Vec<_> = (0..100)
            .map(|i| {
                kind.start(async move {
                    let timer = after_func(2 * SEC, move || panic!("timer {i} was not stopped"));
                    sleep(SEC).await;
                    assert!(timer.stop());
                })
            })
            .collect();
        join_all(stops).await.into_iter().for_each(Result::unwrap);
        sleep(3 * SEC).await;
    });
}

/// Go: TestReset.
#[test]
fn reset_puts_off_and_starts_again() {
    paused(|_| async {
        let timer = Timer::new(2 * SEC);
        sleep(SEC).await;
        assert!(timer.reset(3 * SEC), "it was pending");
        sleep(2 * SEC).await;
        assert!(timer.fired().now_or_never().is_none(), "fired early");
        sleep(2 * SEC).await;
        assert!(timer.fired().now_or_never().is_some(), "did not fire");
        assert!(!timer.reset(50 * MS), "it had fired");
        (&timer).await;
        assert!(!timer.stop());
        assert!(!timer.reset(SEC), "it was stopped");
    });
}

/// N22: true also if the time is over and nobody has seen it.
#[test]
fn a_firing_that_nobody_saw_can_be_stopped() {
    paused(|_| async {
        let timer = Timer::new(SEC);
        sleep(2 * SEC).await;
        assert!(timer.stop());
        assert!(timer.fired().now_or_never().is_none(), "a stale firing");
        timer.reset(SEC);
        sleep(2 * SEC).await;
        assert!(timer.reset(SEC));
        assert!(timer.fired().now_or_never().is_none(), "a stale firing");
        let start = Instant::now();
        (&timer).await;
        assert_eq!(start.elapsed(), SEC);
    });
}

/// Go: TestStopResult, TestResetResult: a stop races the firing, and exactly one of them wins.
#[test]
fn stopped_or_fired_never_both() {
    running(|kind| async move {
        let mut rng = Rng::from_env();
        for _ in 0..300 {
            let ran = Arc::new(AtomicUsize::new(0));
            let theirs = ran.clone();
            let limit = Duration::from_micros(rng.below(100));
            let timer = after_func(limit, move || {
                theirs.fetch_add(1, SeqCst);
            });
            let (again, pause) = (timer.clone(), Duration::from_micros(rng.below(100)));
            let stop = kind.start(async move {
                sleep(pause).await;
                again.stop()
            });
            let mut stopped = stop.await.unwrap();
            assert!(!timer.stop(), "a second stop");
            if stopped {
                gort::yield_now().await;
                assert_eq!(ran.load(SeqCst), 0, "stopped, and run");
                assert!(!timer.reset(Duration::ZERO));
                stopped = false;
            }
            assert!(!stopped);
            until("the function", || ran.load(SeqCst) == 1).await;
        }
    });
}

/// The same for a plain timer: once `stop` or `reset` has returned, nothing is seen of before.
#[test]
fn no_stale_firing_after_stop_or_reset() {
    running(|_| async {
        let mut rng = Rng::from_env();
        let timer = Timer::new(HOUR);
        for _ in 0..500 {
            timer.reset(Duration::from_micros(rng.below(40)));
            sleep(Duration::from_micros(rng.below(40))).await;
            if rng.below(2) == 0 {
                timer.stop();
            } else {
                timer.reset(HOUR);
            }
            assert!(timer.fired().now_or_never().is_none());
        }
    });
}

/// Go: TestMultiWakeupTimer.
#[test]
fn many_reset_and_await_one_timer() {
    running(|kind| async move {
        let timer = Timer::new(Duration::from_nanos(1));
        let users = [(); 4].map(|()| {
            let timer = timer.clone();
            kind.start(async move {
                for i in 0..500 {
                    if i % 8 == 0 {
                        // The others keep moving it; sooner or later it fires all the same.
                        (&timer).await;
                    }
                    timer.reset(Duration::from_nanos(1));
                }
            })
        });
        join_all(users).await.into_iter().for_each(Result::unwrap);
    });
}

#[test]
fn all_waiters_of_one_timer_wake() {
    paused(|kind| async move {
        let timer = Timer::new(HOUR);
        let start = Instant::now();
        let waits: Vec<_> = (0..100)
            .map(|_| {
                let timer = timer.clone();
                kind.start(async move {
                    (&timer).await;
                    Instant::now()
                })
            })
            .collect();
        settle().await;
        timer.reset(SEC); // those who wait follow
        for wait in waits {
            assert_eq!(wait.await.unwrap(), start + SEC);
        }
    });
}

/// Who waits for a stopped timer waits for the next reset.
#[test]
fn a_wait_outlasts_a_stop() {
    paused(|kind| async move {
        let timer = Timer::new(SEC);
        let theirs = timer.clone();
        let wait = kind.start(async move { (&theirs).await });
        settle().await;
        assert!(timer.stop());
        sleep(HOUR).await;
        assert!(!wait.is_finished());
        assert!(!timer.reset(SEC));
        let start = Instant::now();
        wait.await.unwrap();
        assert_eq!(start.elapsed(), SEC);
    });
}

/// Go: TestZeroTimer.
#[test]
fn timers_of_zero_are_not_missed() {
    running(|_| async {
        for _ in 0..2000 {
            (&Timer::new(Duration::ZERO)).await;
        }
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..200 {
            let ran = ran.clone();
            after_func(Duration::ZERO, move || {
                ran.fetch_add(1, SeqCst);
            });
        }
        until("all of them", || ran.load(SeqCst) == 200).await;
    });
}

/// Go: TestOverflowSleep, TestOverflowPeriod.
#[test]
fn the_longest_timers_do_not_fire() {
    running(|_| async {
        for far in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_nanos(u64::MAX)] {
            let timer = Timer::new(far);
            let func = after_func(far, || panic!("it fired"));
            assert!(timeout(MS, &timer).await.is_err());
            assert!(timer.reset(far) && func.reset(far));
            assert!(timer.reset(Duration::ZERO));
            (&timer).await;
            assert!(func.stop());
        }
    });
}

/// Go: TestIssue5745: a function that panics leaves the timers whole.
#[test]
fn a_function_that_panics_harms_nobody() {
    running(|_| async {
        let timer = after_func(Duration::ZERO, || std::panic::resume_unwind(Box::new("meant")));
        (&timer).await;
        timer.reset(Duration::ZERO);
        (&timer).await;
        assert!(!timer.stop());
        sleep(MS).await;
    });
}

/// `reset` works after it ran, also while it still runs.
#[test]
fn a_function_runs_once_for_each_firing() {
    paused(|_| async {
        let runs = Arc::new(Mutex::new(Vec::new()));
        let theirs = runs.clone();
        let start = Instant::now();
        let timer = after_func(SEC, move || {
            theirs.lock().unwrap().push(start.elapsed());
            sleep(10 * SEC).wait();
        });
        sleep(2 * SEC).await;
        assert!(!timer.reset(SEC), "it has run");
        sleep(SEC / 2).await;
        assert!(timer.reset(SEC), "it is pending again");
        sleep(20 * SEC).await;
        assert!(!timer.stop());
        assert_eq!(*runs.lock().unwrap(), [SEC, 7 * SEC / 2]);
    });
}

/// T18: the function is a goroutine: it may wait, and stop its own timer.
#[test]
fn a_function_may_wait_and_use_its_timer() {
    running(|_| async {
        let slot = Arc::new(Mutex::new(None::<Timer>));
        let (theirs, done) = (slot.clone(), Arc::new(AtomicBool::new(false)));
        let flag = done.clone();
        let timer = after_func(MS, move || {
            gort::spawn(sleep(MS)).wait().unwrap();
            let own = theirs.lock().unwrap().take().expect("set before it fired");
            assert!(!own.stop());
            flag.store(true, SeqCst);
        });
        // It may have fired already, before the slot is filled.
        timer.stop();
        *slot.lock().unwrap() = Some(timer.clone());
        timer.reset(MS);
        until("the function", || done.load(SeqCst) || slot.lock().unwrap().is_none()).await;
        until("its end", || done.load(SeqCst)).await;
    });
}

/// Go: TestTimerGC, the other way round: what a timer holds is dropped with it.
#[test]
fn nothing_is_kept_of_a_dropped_timer() {
    running(|_| async {
        let held = Arc::new(());
        let theirs = held.clone();
        let timer = after_func(HOUR, move || drop(theirs.clone()));
        let (count, waker) = CountWaker::pair();
        {
            let mut wait = pin!(timer.fired());
            assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(Arc::strong_count(&count), 2, "the waker went with the wait");
        assert!(timer.stop());
        drop(timer);
        assert_eq!(Arc::strong_count(&held), 1);
        let mut plain = Box::pin(async { (&Timer::new(HOUR)).await });
        assert!(plain.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(plain);
        assert_eq!(Arc::strong_count(&count), 2);
    });
}

/// A timer outlives its runtime: nothing fires, nothing hangs.
#[test]
fn the_end_of_the_runtime_ends_its_timers() {
    for procs in [1, 2, 4] {
        let rt = gort_tests::runtime(procs);
        let held = Arc::new(());
        let (func, plain) = {
            let _enter = rt.enter();
            let theirs = held.clone();
            (after_func(HOUR, move || drop(theirs.clone())), Timer::new(HOUR))
        };
        let (count, waker) = CountWaker::pair();
        let mut wait = Box::pin(plain.fired());
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(rt);
        assert_eq!(count.wakes(), 1, "it is woken to see the end");
        let poll = std::panic::AssertUnwindSafe(|| {
            let _: Poll<()> = wait.as_mut().poll(&mut Context::from_waker(&waker));
        });
        assert!(std::panic::catch_unwind(poll).is_err());
        drop(wait);
        for timer in [func, plain] {
            timer.reset(Duration::ZERO);
            timer.stop();
        }
        assert_eq!(Arc::strong_count(&held), 1, "the function has gone");
    }
}

/// Threads that belong to no runtime make, stop, reset and await timers, while these fire.
#[test]
fn timers_of_plain_threads() {
    for_procs(|rt| {
        let fired = AtomicUsize::new(0);
        thread::scope(|s| {
            for i in 0..4 {
                let fired = &fired;
                s.spawn(move || {
                    let _enter = rt.enter();
                    let timer = Timer::new(Duration::ZERO);
                    for n in 0..50 {
                        timer.reset(Duration::from_micros(n * i));
                        if n % 5 == 0 {
                            timer.stop();
                            timer.reset(Duration::from_micros(n));
                        }
                        match i % 2 {
                            0 => futures::executor::block_on(timer.fired()),
                            _ => timer.wait(),
                        }
                        fired.fetch_add(1, SeqCst);
                    }
                });
            }
        });
        assert_eq!(fired.load(SeqCst), 200);
    });
}

/// Waits that are dropped on other threads than they began on, while the timer fires.
#[test]
fn dropped_waits_race_the_firing() {
    for_procs(|rt| {
        let (count, waker) = CountWaker::pair();
        let _enter = rt.enter();
        let timers: Vec<_> = (0..100).map(|_| Timer::new(Duration::ZERO)).collect();
        thread::scope(|s| {
            for (round, timer) in timers.iter().enumerate() {
                timer.reset(Duration::from_micros(round as u64));
                let mut wait = Box::pin(timer.fired());
                if wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                    s.spawn(move || drop(wait));
                }
            }
        });
        eventually("no waker is left", || Arc::strong_count(&count) == 2);
    });
}

/// Go: TestLongAdjustTimers, for functions: thousands of pending ones do not slow a short one.
#[test]
fn thousands_of_pending_functions_do_not_slow_a_short_one() {
    running(|_| async {
        let long: Vec<_> =
            (0..5000).map(|i| after_func(HOUR + i * MS, || panic!("it fired"))).collect();
        for _ in 0..20 {
            assert!(timeout(900 * SEC, &Timer::new(MS)).await.is_ok());
        }
        for timer in long.iter().rev() {
            assert!(timer.reset(2 * HOUR) && timer.stop());
        }
        assert!(timeout(MS, pending::<()>()).await.is_err());
    });
}

#[test]
fn a_timer_says_what_it_is() {
    paused(|_| async {
        let timer = Timer::new(SEC);
        assert_eq!(timer.deadline(), Some(Instant::now() + SEC));
        assert!(format!("{timer:?}").contains("deadline"));
        assert!(format!("{:?}", timer.fired()).starts_with("Fired"));
        (&timer).await;
        assert!(format!("{timer:?}").contains("fired"));
        timer.stop();
        assert!(format!("{timer:?}").contains("stopped"));
    });
}
