//! The test clock, after Go's `internal/synctest/synctest_test.go` (tests with a `Test` name in their
//! first line) and the examples of `testing/synctest`. A bubble is a runtime here, and `synctest.Wait`
//! is `settle`.
//!
//! Left out: what makes objects belong to a bubble (`TestChannelMovedOutOfBubble`, the `WaitGroup`
//! tests, `TestTimerFromInsideBubble`): a channel may be shared between runtimes; the `Deadlock`
//! tests: a runtime where all wait may still be woken from outside; `TestMonotonicClock`, for there
//! is one kind of clock; `TestMallocs`, `TestReflectFuncOf`, `TestWeak`, about Go's memory.

mod time_kinds;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use gort::time::{Instant, Timer, after_func, interval, settle, sleep};
use gort_tests::{BOUND, runtime, until};
use time_kinds::{HOUR, Kind, MS, SEC, paused};

/// Go: TestNow.
#[test]
fn all_see_the_same_time() {
    paused(|kind| async move {
        let start = Instant::now();
        let other = kind.start(async move { assert_eq!(Instant::now(), start) });
        sleep(SEC).await;
        assert_eq!(Instant::now(), start + SEC);
        other.await.unwrap();
    });
}

/// Go: TestRunEmpty.
#[test]
fn nothing_to_do() {
    paused(|_| async {});
}

/// Go: TestSimpleWait.
#[test]
fn settle_alone() {
    paused(|_| async {
        let start = Instant::now();
        settle().await;
        settle().await;
        assert_eq!(Instant::now(), start);
    });
}

/// Go: TestGoroutineWait.
#[test]
fn settle_beside_one_that_ends() {
    paused(|kind| async move {
        let other = kind.start(async {});
        settle().await;
        assert!(other.is_finished());
    });
}

/// Go: TestWait: a chain of a hundred, each of which starts the next.
#[test]
fn settle_waits_for_a_chain() {
    fn link(kind: Kind, left: u32, done: Arc<AtomicBool>) {
        drop(kind.start(async move {
            gort::yield_now().await;
            match left {
                0 => done.store(true, SeqCst),
                _ => link(kind, left - 1, done),
            }
        }));
    }
    paused(|kind| async move {
        let done = Arc::new(AtomicBool::new(false));
        link(kind, 100, done.clone());
        settle().await;
        assert!(done.load(SeqCst));
    });
}

/// Several may wait for quiet; they do not wait for each other.
#[test]
fn many_settle_at_once() {
    paused(|kind| async move {
        let all: Vec<_> = (0..20)
            .map(|i| {
                kind.start(async move {
                    for _ in 0..i {
                        settle().await;
                    }
                })
            })
            .collect();
        let start = Instant::now();
        for one in all {
            one.await.unwrap();
        }
        assert_eq!(Instant::now(), start);
    });
}

/// Go: TestTimerReadBeforeDeadline, TestTimerReadAfterDeadline, TestTimerRanInPast.
#[test]
fn a_timer_is_seen_at_its_time_and_later() {
    paused(|_| async {
        let start = Instant::now();
        (&Timer::new(5 * SEC)).await;
        assert_eq!(start.elapsed(), 5 * SEC);
        let timer = Timer::new(SEC);
        assert_eq!(timer.deadline(), Some(start + 6 * SEC));
        sleep(2 * SEC).await;
        assert!(timer.fired().now_or_never().is_some());
        assert_eq!(start.elapsed(), 7 * SEC);
    });
}

/// Go: TestTimerReset, TestTimerResetZero.
#[test]
fn a_timer_is_reset() {
    paused(|_| async {
        let start = Instant::now();
        let timer = Timer::new(SEC);
        (&timer).await;
        timer.reset(2 * SEC);
        (&timer).await;
        assert_eq!(start.elapsed(), 3 * SEC);
        timer.reset(3 * SEC);
        sleep(SEC).await;
        timer.reset(3 * SEC);
        (&timer).await;
        assert_eq!(start.elapsed(), 7 * SEC);
        timer.reset(Duration::ZERO);
        assert!(timer.fired().now_or_never().is_some());
    });
}

/// Go: TestTimeAfter.
#[test]
fn what_a_function_starts_keeps_the_clock() {
    paused(|kind| async move {
        let n = Arc::new(AtomicU32::new(0));
        let theirs = n.clone();
        after_func(SEC, move || {
            theirs.fetch_add(1, SeqCst);
            let theirs = theirs.clone();
            drop(kind.start(async move {
                sleep(SEC).await;
                theirs.fetch_add(1, SeqCst);
            }));
        });
        sleep(3 * SEC).await;
        settle().await;
        assert_eq!(n.load(SeqCst), 2);
    });
}

/// Go: TestTimerAfterBubbleExit.
#[test]
fn a_timer_does_not_fire_after_the_end() {
    for procs in [1, 2, 4] {
        let ran = Arc::new(AtomicBool::new(false));
        let theirs = ran.clone();
        let rt = gort::Builder::new().procs(procs).start_paused(true).build().unwrap();
        rt.block_on(async {
            // A socket, so that the clock stays where it is between here and the end.
            let _socket = gort::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            after_func(SEC, move || theirs.store(true, SeqCst));
            assert!(rt.handle().metrics().procs > 0);
            std::mem::forget(_socket);
        });
        assert!(rt.shutdown_timeout(BOUND));
        assert!(!ran.load(SeqCst));
    }
}

/// Go: TestTimerFromOutsideBubble: a timer counts on the clock of the runtime that it is of.
#[test]
fn a_timer_of_another_runtime() {
    paused(|_| async {
        let (other, real) = (runtime(1), std::time::Instant::now());
        let timer = thread::scope(|s| {
            let make = || {
                let _enter = other.enter();
                Timer::new(10 * MS)
            };
            s.spawn(make).join().unwrap()
        });
        let start = Instant::now();
        (&timer).await;
        assert!(real.elapsed() >= 10 * MS);
        assert_eq!(Instant::now(), start, "the own clock has not moved");
        assert!(!timer.stop());
    });
}

/// Go: TestTimerNondeterminism, TestSleepNondeterminism.
#[test]
fn one_instant_has_no_order() {
    paused(|kind| async move {
        let mut seen = [false; 2];
        for _ in 0..1000 {
            let first = Arc::new(AtomicUsize::new(0));
            let both = [1, 2].map(|i| {
                let first = first.clone();
                kind.start(async move {
                    sleep(Duration::from_nanos(1)).await;
                    let _ = first.compare_exchange(0, i, SeqCst, SeqCst);
                })
            });
            for one in both {
                one.await.unwrap();
            }
            seen[first.load(SeqCst) - 1] = true;
            if seen == [true, true] {
                return;
            }
        }
        panic!("the order is always the same: {seen:?}");
    });
}

/// Go: TestTimerRunsImmediately.
#[test]
fn a_timer_of_zero_has_fired() {
    paused(|_| async {
        assert!(Timer::new(Duration::ZERO).fired().now_or_never().is_some());
    });
}

/// Go: TestAfterFuncRunsImmediately: before all is quiet.
#[test]
fn a_function_of_zero_runs_while_others_do() {
    paused(|_| async {
        let ran = Arc::new(AtomicBool::new(false));
        let theirs = ran.clone();
        after_func(Duration::ZERO, move || theirs.store(true, SeqCst));
        until("the function", || ran.load(SeqCst)).await;
    });
}

/// Go: TestChannelFromOutsideBubble: a wake from outside is as good as any.
#[test]
fn a_wake_from_outside() {
    paused(|_| async {
        let (send, receive) = oneshot::channel();
        let outside = thread::spawn(move || {
            thread::sleep(5 * MS);
            send.send(1).unwrap();
        });
        let start = Instant::now();
        assert_eq!(receive.await, Ok(1));
        assert_eq!(Instant::now(), start, "nobody slept");
        outside.join().unwrap();
    });
}

/// Go: TestIteratorPush.
#[test]
fn one_that_sleeps_between_its_steps() {
    paused(|kind| async move {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (theirs, start) = (seen.clone(), Instant::now());
        drop(kind.start(async move {
            for _ in 0..3 {
                theirs.lock().unwrap().push(start.elapsed());
                sleep(SEC).await;
            }
        }));
        sleep(5 * SEC).await;
        settle().await;
        assert_eq!(*seen.lock().unwrap(), [Duration::ZERO, SEC, 2 * SEC]);
    });
}

/// Go: the example of `testing/synctest` for context.WithTimeout, with `timeout`.
#[test]
fn just_before_the_deadline_and_at_it() {
    paused(|kind| async move {
        let limited = kind.start(gort::time::timeout(5 * SEC, std::future::pending::<()>()));
        sleep(5 * SEC - Duration::from_nanos(1)).await;
        settle().await;
        assert!(!limited.is_finished(), "too early");
        sleep(Duration::from_nanos(1)).await;
        settle().await;
        assert!(limited.is_finished(), "too late");
        assert!(limited.await.unwrap().is_err());
    });
}

/// Go: TestTicker and TestTickTimes of `time/tick_test.go`, exactly.
#[test]
fn an_interval_keeps_its_times() {
    paused(|_| async {
        let start = Instant::now();
        let mut ticks = interval(SEC);
        for i in 1..=3 {
            assert_eq!(ticks.tick().await, start + i * SEC);
        }
        sleep(5 * SEC / 2).await; // misses two, of which one is kept
        assert_eq!(ticks.tick().await, start + 4 * SEC);
        assert_eq!(start.elapsed(), 11 * SEC / 2);
        assert_eq!(ticks.tick().await, start + 6 * SEC);
        ticks.set_period(2 * SEC);
        assert_eq!(ticks.tick().await, start + 8 * SEC);
        ticks.reset_immediately();
        assert_eq!(ticks.tick().await, start + 8 * SEC);
        ticks.reset_after(HOUR);
        assert_eq!(ticks.tick().await, start + 8 * SEC + HOUR);
        ticks.reset_at(start + 9 * SEC + HOUR);
        assert_eq!(ticks.tick().await, start + 9 * SEC + HOUR);
        assert_eq!(ticks.tick().await, start + 11 * SEC + HOUR);
    });
}

/// N23: with a period of a nanosecond and an hour missed.
#[test]
fn a_tiny_interval_that_is_very_late() {
    paused(|_| async {
        let mut ticks = interval(Duration::from_nanos(1));
        sleep(HOUR).await;
        let first = ticks.tick().await;
        let now = Instant::now();
        assert!(now - first >= HOUR - SEC);
        assert!(ticks.tick().await > now, "a burst");
    });
}
