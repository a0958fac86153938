//! Sleeps, timeouts, intervals. After Go's `time/sleep_test.go` and `time/tick_test.go` (tests
//! with a `Test` name in their first line), for tasks, goroutines and plain threads. Timers and
//! `AfterFunc` are in `time_timer.rs`; left out: what is about channels and the garbage collector.

mod time_kinds;

use std::future::{pending, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant as StdInstant};

use futures::StreamExt;
use futures::future::{FutureExt, join_all};
use gort::time::{Instant, interval, interval_at, sleep, sleep_until, timeout, timeout_at};
use gort_tests::{BOUND, CountWaker, Rng, eventually, for_procs, until};
use time_kinds::{MS, running};

/// Go: TestSleep.
#[test]
fn sleep_lasts_long_enough() {
    running(|_| async {
        for micros in [1, 10, 100, 999, 1000, 1001, 5000, 20_000] {
            let limit = Duration::from_micros(micros);
            let start = StdInstant::now();
            sleep(limit).await;
            assert!(start.elapsed() >= limit, "{limit:?}: {:?}", start.elapsed());
        }
    });
}

/// Go: TestSleepZeroDeadlock.
#[test]
fn sleep_of_zero_is_ready_at_once_and_harms_nobody() {
    running(|kind| async move {
        assert!(sleep(Duration::ZERO).now_or_never().is_some());
        let tasks = (0..4).map(|_| {
            kind.start(async {
                for i in 0..1000 {
                    sleep(Duration::ZERO).await;
                    sleep(Duration::from_nanos(i % 3)).await;
                }
            })
        });
        join_all(tasks).await.into_iter().for_each(Result::unwrap);
    });
}

#[test]
fn a_deadline_in_the_past_is_ready() {
    running(|_| async {
        let before = Instant::now();
        gort::yield_now().await;
        sleep_until(before).await;
        sleep_until(StdInstant::now()).await;
    });
}

/// Go: TestOverflowSleep.
#[test]
fn the_longest_durations_do_not_overflow() {
    running(|_| async {
        let far = [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_nanos(u64::MAX)];
        let long: Vec<_> =
            far.into_iter().map(|far| gort::spawn(async move { sleep(far).await })).collect();
        sleep(5 * MS).await;
        for (task, far) in long.iter().zip(far) {
            assert!(!task.is_finished());
            task.abort();
            assert_eq!(timeout(far, ready(1)).await, Ok(1));
            assert!(timeout(MS, timeout(far, pending::<()>())).await.is_err());
            assert!(timeout(MS, interval(far).tick()).await.is_err());
        }
        assert!(Instant::now() + Duration::MAX > Instant::now());
        assert_eq!(Instant::now() - Duration::MAX, Instant::now() - Duration::MAX);
    });
}

/// Go: TestAfterQueuing: they fire in the order of their deadlines.
#[test]
fn sleeps_end_in_the_order_of_their_deadlines() {
    let mut rng = Rng::from_env();
    let mut order: Vec<u64> = (0..200).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, rng.below(i as u64 + 1) as usize);
    }
    let _machine = gort_tests::beside_others();
    let rt = gort_tests::runtime(1);
    let ended = Arc::new(Mutex::new(Vec::new()));
    let theirs = ended.clone();
    rt.block_on(rt.spawn(async move {
        let start = Instant::now() + 1000 * MS; // all of them are armed by then
        let tasks: Vec<_> = order
            .into_iter()
            .map(|i| {
                let ended = theirs.clone();
                gort::spawn(async move {
                    sleep_until(start + Duration::from_micros(20 * i)).await;
                    ended.lock().unwrap().push(i);
                })
            })
            .collect();
        join_all(tasks).await.into_iter().for_each(Result::unwrap);
    }))
    .unwrap();
    assert_eq!(*ended.lock().unwrap(), (0..200).collect::<Vec<_>>());
}

/// Go: TestTimerModifiedEarlier, TestAdjustTimers.
#[test]
fn reset_moves_a_deadline_both_ways() {
    running(|_| async {
        let start = StdInstant::now();
        let mut moved = sleep(Duration::from_secs(1000));
        assert!((&mut moved).now_or_never().is_none());
        moved.reset(Instant::now() + 2 * MS);
        (&mut moved).await;
        assert!(start.elapsed() >= 2 * MS);
        assert!(moved.is_elapsed());
        let again = StdInstant::now();
        moved.reset(Instant::now() + 3 * MS);
        assert!(!moved.is_elapsed());
        (&mut moved).await;
        assert!(again.elapsed() >= 3 * MS);
        moved.reset(Instant::now() + MS);
        assert!((&mut moved).now_or_never().is_none());
        moved.reset(Instant::now() + Duration::from_secs(1000));
        assert!(timeout(5 * MS, &mut moved).await.is_err());
        assert!(start.elapsed() < BOUND);
    });
}

/// The same waker, a new one, none: the latest poll counts.
#[test]
fn a_sleep_wakes_its_latest_waker() {
    for_procs(|rt| {
        let _enter = rt.enter();
        let (first, first_waker) = CountWaker::pair();
        let (second, second_waker) = CountWaker::pair();
        let mut sleep = pin!(sleep(10 * MS));
        for waker in [&first_waker, &first_waker, &second_waker] {
            assert!(sleep.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        }
        eventually("the wake", || second.wakes() == 1);
        assert_eq!(first.wakes(), 0);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(sleep.as_mut().poll(&mut cx).is_ready());
        assert!(sleep.as_mut().poll(&mut cx).is_ready(), "once ready it stays ready");
    });
}

/// Go: TestAfterStop. A stopped timer wakes nobody and keeps nothing.
#[test]
fn a_dropped_sleep_wakes_nobody() {
    for_procs(|rt| {
        let _enter = rt.enter();
        let (count, waker) = CountWaker::pair();
        for _ in 0..100 {
            let mut sleep = pin!(sleep(2 * MS));
            assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        rt.block_on(sleep(10 * MS));
        assert_eq!(count.wakes(), 0);
        assert_eq!(Arc::strong_count(&count), 2);
    });
}

/// Go: TestLongAdjustTimers: thousands of sleepers do not make a short sleep slow.
#[test]
fn long_sleeps_do_not_slow_short_ones() {
    running(|kind| async move {
        let sleepers: Vec<_> =
            (0..5000).map(|_| kind.start(sleep(Duration::from_secs(1000)))).collect();
        for _ in 0..20 {
            assert!(timeout(Duration::from_secs(900), sleep(MS)).await.is_ok());
        }
        sleepers.iter().for_each(gort::JoinHandle::abort);
        for sleeper in sleepers {
            assert!(sleeper.await.unwrap_err().is_cancelled());
        }
    });
}

/// Go: TestTimerFairness: a timer fires though two tasks keep each P busy (N27).
#[test]
fn a_timer_fires_beside_busy_tasks() {
    running(|_| async {
        let stop = Arc::new(AtomicBool::new(false));
        let hogs: Vec<_> = (0..8)
            .map(|_| {
                let stop = stop.clone();
                gort::spawn(async move {
                    while !stop.load(SeqCst) {
                        gort::yield_now().await;
                    }
                })
            })
            .collect();
        for _ in 0..10 {
            sleep(MS).await;
        }
        stop.store(true, SeqCst);
        join_all(hogs).await.into_iter().for_each(Result::unwrap);
    });
}

/// As above, with tasks that are long polls.
#[test]
fn a_timer_fires_beside_long_polls() {
    running(|_| async {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..8 {
            let stop = stop.clone();
            drop(gort::spawn(async move {
                while !stop.load(SeqCst) {
                    let start = StdInstant::now();
                    while start.elapsed() < MS {
                        std::hint::spin_loop();
                    }
                    gort::yield_now().await;
                }
            }));
        }
        for _ in 0..3 {
            sleep(MS).await;
        }
        stop.store(true, SeqCst);
    });
}

/// S71: a timer does not wait for the P that it was armed at.
#[test]
fn a_timer_fires_though_its_proc_is_in_one_long_poll() {
    let _machine = gort_tests::beside_others();
    let rt = gort_tests::runtime(2);
    let fired = Arc::new(AtomicBool::new(false));
    let (theirs, seen) = (fired.clone(), fired.clone());
    rt.block_on(rt.spawn(async move {
        let sleeper = gort::spawn(async move {
            sleep(2 * MS).await;
            theirs.store(true, SeqCst);
        });
        gort::yield_now().await;
        // The armed timer is, or may be, this P's, which is busy from here on.
        eventually("the timer, from the other P", || seen.load(SeqCst));
        sleeper.await.unwrap();
    }))
    .unwrap();
}

#[test]
fn timers_armed_by_plain_threads_and_foreign_executors() {
    for_procs(|rt| {
        thread::scope(|s| {
            for i in 0..4 {
                s.spawn(move || {
                    let _enter = rt.enter();
                    for _ in 0..20 {
                        let start = StdInstant::now();
                        if i % 2 == 0 {
                            futures::executor::block_on(sleep(MS));
                        } else {
                            rt.block_on(sleep(MS));
                        }
                        assert!(start.elapsed() >= MS);
                    }
                });
            }
        });
    });
}

/// A sleep that is armed in one runtime and awaited in another.
#[test]
fn a_sleep_moves_between_runtimes() {
    for_procs(|rt| {
        let other = gort_tests::runtime(1);
        let mut armed = Box::pin(sleep(5 * MS));
        rt.block_on(async { assert!((&mut armed).now_or_never().is_none()) });
        other.block_on(other.spawn(armed)).unwrap();
    });
}

/// An earlier deadline than all others, armed while everybody sleeps for a later one.
#[test]
fn an_earlier_timer_shortens_the_wait() {
    for_procs(|rt| {
        let late = rt.spawn(sleep(Duration::from_secs(1000)));
        eventually("all sleep", || {
            let m = rt.handle().metrics();
            m.idle_procs == m.procs && m.tasks == 1
        });
        let _enter = rt.enter();
        for _ in 0..20 {
            let start = StdInstant::now();
            futures::executor::block_on(sleep(MS));
            assert!(start.elapsed() < BOUND);
        }
        late.abort();
    });
}

/// Go: TestTicker.
#[test]
fn an_interval_ticks_at_multiples_of_its_period() {
    running(|_| async {
        let start = Instant::now();
        let mut ticks = interval(2 * MS);
        assert_eq!(ticks.period(), 2 * MS);
        let first = ticks.tick().await;
        assert!(start.elapsed() >= 2 * MS);
        let mut last = first;
        for _ in 0..10 {
            let tick = ticks.tick().await;
            assert!(tick > last && tick <= Instant::now());
            let since = (tick - first).as_nanos();
            assert!(since.is_multiple_of((2 * MS).as_nanos()), "{since}");
            last = tick;
        }
    });
}

/// Ticks that nobody took are dropped (N23).
#[test]
fn an_interval_drops_what_it_missed() {
    running(|_| async {
        let mut ticks = interval(MS);
        let first = ticks.tick().await;
        thread::sleep(10 * MS); // the poll is late, on purpose
        let late = ticks.tick().await;
        assert!(late - first >= MS);
        let next = ticks.tick().await;
        assert!(next - late >= MS && next - first >= 10 * MS, "no burst: {:?}", next - late);
    });
}

#[test]
fn an_interval_is_a_stream_and_can_be_reset() {
    running(|_| async {
        let begin = Instant::now() + MS;
        let mut ticks = interval_at(begin, MS);
        assert_eq!(ticks.next().await, Some(begin));
        let ten: Vec<_> = (&mut ticks).take(3).collect().await;
        assert!(ten.is_sorted());
        let reset = Instant::now();
        ticks.reset();
        assert!(ticks.tick().await >= reset + MS);
    });
}

/// Go: TestNewTickerLtZeroDuration.
#[test]
#[should_panic(expected = "period")]
fn an_interval_of_zero_panics() {
    let _ = interval(Duration::ZERO);
}

/// Go: TestTickerResetLtZeroDuration.
#[test]
#[should_panic(expected = "period")]
fn a_period_of_zero_panics() {
    interval(MS).set_period(Duration::ZERO);
}

/// Go: TestTeardown.
#[test]
fn an_interval_is_dropped_after_a_tick() {
    running(|_| async {
        for _ in 0..3 {
            interval(MS).tick().await;
        }
    });
}

/// Go: TestTickerStress, TestMultiWakeupTicker.
#[test]
fn many_intervals() {
    running(|kind| async move {
        let tasks = (1..50).map(|i| {
            kind.start(async move {
                let mut ticks = interval(Duration::from_micros(50 * i));
                for _ in 0..20 {
                    ticks.tick().await;
                }
            })
        });
        join_all(tasks).await.into_iter().for_each(Result::unwrap);
    });
}

#[test]
fn timeout_gives_the_output_or_elapsed() {
    running(|_| async {
        assert_eq!(timeout(MS, ready(3)).await, Ok(3));
        assert_eq!(timeout(Duration::ZERO, ready(3)).await, Ok(3), "the future goes first");
        assert!(timeout(Duration::ZERO, pending::<()>()).await.is_err());
        let start = StdInstant::now();
        let elapsed = timeout(2 * MS, pending::<()>()).await.unwrap_err();
        assert!(start.elapsed() >= 2 * MS);
        let error = std::io::Error::from(elapsed);
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        assert_eq!(
            timeout(Duration::from_secs(1000), async {
                sleep(MS).await;
                4
            })
            .await,
            Ok(4)
        );
        assert!(timeout_at(Instant::now() + MS, pending::<()>()).await.is_err());
        assert!(timeout_at(StdInstant::now(), pending::<()>()).await.is_err());
    });
}

#[test]
fn timeout_drops_its_future_with_itself_and_no_earlier() {
    running(|_| async {
        let alive = Arc::new(());
        let theirs = alive.clone();
        let mut limited = Box::pin(timeout(MS, async move {
            pending::<()>().await;
            drop(theirs);
        }));
        assert!(limited.as_mut().await.is_err());
        assert_eq!(Arc::strong_count(&alive), 2);
        drop(limited);
        assert_eq!(Arc::strong_count(&alive), 1);
    });
}

#[test]
fn timeout_of_a_join_handle() {
    running(|_| async {
        let task = gort::spawn(async {
            sleep(MS).await;
            9
        });
        let got = timeout(Duration::from_secs(1000), task).await;
        assert_eq!(got.unwrap().unwrap(), 9);
    });
}

/// Go: TestTimerStopStress. S45: none is lost.
#[test]
fn tiny_sleeps_are_never_lost() {
    running(|kind| async move {
        let tasks = (0..8).map(|i| {
            kind.start(async move {
                for n in 0..1000 {
                    sleep(Duration::from_nanos(1 + (n * i) % 2000)).await;
                }
            })
        });
        join_all(tasks).await.into_iter().for_each(Result::unwrap);
    });
}

#[test]
fn sleeps_that_are_cancelled_reset_and_fired_at_random() {
    let mut rng = Rng::from_env();
    let seeds: Vec<_> = (0..12).map(|_| rng.split()).collect();
    let seeds = Mutex::new(seeds);
    running(|_| {
        let mut rng = seeds.lock().unwrap().pop().unwrap();
        async move {
            let tasks: Vec<_> = (0..20)
                .map(|_| {
                    let mut rng = rng.split();
                    gort::spawn(async move {
                        for _ in 0..100 {
                            let short = Duration::from_micros(rng.below(300));
                            let long = Duration::from_secs(500 + rng.below(500));
                            match rng.below(4) {
                                0 => sleep(short).await,
                                1 => assert!(timeout(short, sleep(long)).await.is_err()),
                                2 => {
                                    let mut moved = sleep(long);
                                    let _ = (&mut moved).now_or_never();
                                    moved.reset(Instant::now() + short);
                                    moved.await;
                                }
                                _ => {
                                    let task = gort::spawn(sleep(long));
                                    gort::yield_now().await;
                                    task.abort();
                                    let _ = task.await;
                                }
                            }
                        }
                    })
                })
                .collect();
            join_all(tasks).await.into_iter().for_each(Result::unwrap);
        }
    });
}

/// Sleeps that are dropped on other threads than they were armed on, while they fire.
#[test]
fn drops_race_the_firing() {
    for_procs(|rt| {
        let (count, waker) = CountWaker::pair();
        let _enter = rt.enter();
        thread::scope(|s| {
            for round in 0..200 {
                let mut armed = Box::pin(sleep(Duration::from_micros(round)));
                if armed.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Pending {
                    s.spawn(move || drop(armed));
                }
            }
        });
        eventually("no waker is left in a heap", || Arc::strong_count(&count) == 2);
        assert!(count.wakes() <= 200);
    });
}

#[test]
fn instants_convert_and_compute() {
    let (ours, std) = (Instant::now(), StdInstant::now());
    assert!(Instant::from(std) >= ours);
    assert!(ours.into_std() <= std);
    assert_eq!((ours + MS) - ours, MS);
    assert_eq!(ours - (ours + MS), Duration::ZERO);
    assert_eq!(ours.checked_duration_since(ours + MS), None);
    assert_eq!((ours + MS).checked_sub(MS), Some(ours));
    assert_eq!(ours.checked_add(Duration::MAX), None);
    let mut moved = ours;
    moved += MS;
    moved -= MS;
    assert_eq!(moved, ours);
    assert!(format!("{ours:?}").starts_with("Instant("));
}

#[test]
fn many_sleepers_all_wake() {
    running(|_| async {
        let woken = Arc::new(AtomicUsize::new(0));
        for i in 0..10_000u64 {
            let woken = woken.clone();
            drop(gort::spawn(async move {
                sleep(Duration::from_micros(1000 + i % 5000)).await;
                woken.fetch_add(1, SeqCst);
            }));
        }
        until("all have woken", || woken.load(SeqCst) == 10_000).await;
    });
}
