//! The blocking poller: what gets it up, when, and what does not.

mod util;

use std::{
    io::Write,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::Waker,
    thread,
    time::{Duration, Instant},
};

use gort_netpoll::{Blocker, Direction, Netpoll};
use util::{LONG, Task, connection, poll};

const MS: Duration = Duration::from_millis(1);
/// What a busy machine may add to a deadline; far from `LONG`.
const SLACK: Duration = Duration::from_secs(5);

fn block(blocker: &mut Blocker<'_>) -> usize {
    blocker.block(&mut Waker::wake).unwrap()
}

/// Sleeps until `until`, and returns how late it got up and how often it got up too early.
fn sleep(netpoll: &Netpoll, until: Instant) -> (Duration, usize) {
    let mut blocker = netpoll.blocker().unwrap();
    let mut early = 0;
    loop {
        blocker.prepare(Some(until));
        block(&mut blocker);
        match Instant::now().checked_duration_since(until) {
            Some(late) => return (late, early),
            None => early += 1,
        }
    }
}

/// Sleeps without a deadline; fails if nobody gets it up.
fn sleep_until_broken(netpoll: &Netpoll, prepared: impl FnOnce()) -> Duration {
    let start = Instant::now();
    let mut blocker = netpoll.blocker().unwrap();
    blocker.prepare(Some(start + LONG));
    prepared();
    block(&mut blocker);
    assert!(start.elapsed() < LONG, "nobody got it up");
    start.elapsed()
}

#[test]
fn one_poller_at_a_time() {
    let netpoll = Netpoll::new().unwrap();
    let blocker = netpoll.blocker().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            assert!(netpoll.blocker().is_none());
            assert_eq!(netpoll.try_poll(&mut Waker::wake), None);
        });
    });
    drop(blocker);
    assert_eq!(netpoll.try_poll(&mut Waker::wake), Some(0));
}

#[test]
fn a_break_while_it_sleeps() {
    let netpoll = Netpoll::new().unwrap();
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            barrier.wait();
            thread::sleep(20 * MS);
            netpoll.break_();
        });
        sleep_until_broken(&netpoll, || {
            barrier.wait();
        });
    });
}

#[test]
fn a_break_before_it_sleeps() {
    let netpoll = Netpoll::new().unwrap();
    sleep_until_broken(&netpoll, || netpoll.break_());
}

#[test]
fn a_break_when_nobody_sleeps_is_forgotten() {
    let netpoll = Netpoll::new().unwrap();
    netpoll.break_();
    let blocker = netpoll.blocker().unwrap();
    netpoll.break_();
    drop(blocker);
    let (_, early) = sleep(&netpoll, Instant::now() + 20 * MS);
    assert_eq!(early, 0);
}

#[test]
fn a_break_of_an_abandoned_sleep_does_not_eat_the_next_ones() {
    let netpoll = Netpoll::new().unwrap();
    let mut blocker = netpoll.blocker().unwrap();
    blocker.prepare(None);
    netpoll.break_();
    drop(blocker);
    // The stale write is swallowed here, or ends the next sleep early.
    poll(&netpoll);
    sleep_until_broken(&netpoll, || netpoll.break_());
}

#[test]
fn without_an_announcement_it_does_not_sleep() {
    let netpoll = Netpoll::new().unwrap();
    let mut blocker = netpoll.blocker().unwrap();
    assert_eq!(block(&mut blocker), 0);
    blocker.prepare(Some(Instant::now()));
    assert_eq!(block(&mut blocker), 0);
    assert_eq!(block(&mut blocker), 0);
}

#[test]
fn an_event_gets_it_up() {
    let netpoll = Netpoll::new().unwrap();
    let (_listener, mut near, mut far) = connection();
    let desc = netpoll.register(&mut near).unwrap();
    poll(&netpoll);
    let task = Task::new();
    assert!(task.poll(&desc, Direction::Read).is_pending());
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(10 * MS);
            far.write_all(b"!").unwrap();
        });
        sleep_until_broken(&netpoll, || ());
    });
    assert_eq!(task.wakes(), 1);
}

#[test]
fn closing_gets_it_up() {
    let netpoll = Netpoll::new().unwrap();
    thread::scope(|scope| {
        sleep_until_broken(&netpoll, || {
            scope.spawn(|| netpoll.close());
        });
    });
}

/// Also: a timer that has fired fires again when it is set again, though nobody has read it.
#[test]
fn deadlines_are_met_again_and_again() {
    let netpoll = Netpoll::new().unwrap();
    let mut lates: Vec<_> = (0..100)
        .map(|nth| {
            let (late, early) = sleep(&netpoll, Instant::now() + Duration::from_micros(50 * nth));
            assert!(early <= 1, "busy");
            late
        })
        .collect();
    lates.sort();
    println!("late by {:?} at the median, {:?} at most", lates[50], lates[99]);
    assert!(lates[50] < SLACK);
}

#[test]
fn a_deadline_whose_event_was_swallowed_does_not_harm_the_next() {
    let netpoll = Netpoll::new().unwrap();
    let mut blocker = netpoll.blocker().unwrap();
    blocker.prepare(Some(Instant::now() + 5 * MS));
    netpoll.break_();
    block(&mut blocker);
    drop(blocker);
    thread::sleep(10 * MS);
    poll(&netpoll);
    let (late, _) = sleep(&netpoll, Instant::now() + 5 * MS);
    assert!(late < SLACK, "{late:?}");
}

#[test]
fn a_later_deadline_costs_at_most_one_early_return() {
    let netpoll = Netpoll::new().unwrap();
    let start = Instant::now();
    let mut blocker = netpoll.blocker().unwrap();
    blocker.prepare(Some(start + 10 * MS));
    netpoll.break_();
    block(&mut blocker);
    drop(blocker);
    let (late, early) = sleep(&netpoll, start + 40 * MS);
    assert!(early <= 2, "one for the stale timer, one for the break's write: {early}");
    assert!(late < SLACK, "{late:?}");
}

#[test]
fn an_earlier_deadline_is_armed() {
    let netpoll = Netpoll::new().unwrap();
    let mut blocker = netpoll.blocker().unwrap();
    blocker.prepare(Some(Instant::now() + LONG));
    netpoll.break_();
    block(&mut blocker);
    drop(blocker);
    let (late, _) = sleep(&netpoll, Instant::now() + 5 * MS);
    assert!(late < SLACK, "{late:?}");
}

#[test]
fn preparing_again_brings_the_deadline_forward_only() {
    let netpoll = Netpoll::new().unwrap();
    let start = Instant::now();
    let mut blocker = netpoll.blocker().unwrap();
    blocker.prepare(None);
    blocker.prepare(Some(start + 5 * MS));
    blocker.prepare(Some(start + LONG));
    block(&mut blocker);
    assert!(start.elapsed() >= 5 * MS);
    assert!(start.elapsed() < LONG);
}

#[test]
fn wake_at_before_it_sleeps() {
    let netpoll = Netpoll::new().unwrap();
    let slept = sleep_until_broken(&netpoll, || netpoll.wake_at(Instant::now() + 5 * MS));
    // Elsewhere it gets up at once, to sleep anew with the earlier deadline.
    assert!(slept >= 5 * MS || cfg!(not(target_os = "linux")));
    assert!(slept < 5 * MS + SLACK, "{slept:?}");
}

#[test]
fn wake_at_while_it_sleeps() {
    let netpoll = Netpoll::new().unwrap();
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(10 * MS);
            netpoll.wake_at(Instant::now() + LONG); // later: of no interest
            netpoll.wake_at(start + 40 * MS);
            netpoll.wake_at(start + 30 * MS);
            netpoll.wake_at(start + 35 * MS);
        });
        sleep_until_broken(&netpoll, || ());
        assert!(start.elapsed() < 30 * MS + SLACK);
    });
}

#[test]
fn wake_at_in_the_past_and_when_nobody_sleeps() {
    let netpoll = Netpoll::new().unwrap();
    netpoll.wake_at(Instant::now());
    let past = Instant::now();
    let slept = sleep_until_broken(&netpoll, || netpoll.wake_at(past));
    assert!(slept < SLACK);
}

/// Producers push and break, one consumer looks, sleeps and takes; others poll in between. Each
/// push must be taken within a bounded time: a lost break would leave the consumer asleep.
#[test]
fn breaks_are_not_lost() {
    const PUSHES: usize = 5_000;
    let netpoll = Netpoll::new().unwrap();
    let queue = AtomicUsize::new(0);
    let taken = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while taken.load(SeqCst) < PUSHES {
                taken.fetch_add(queue.swap(0, SeqCst), SeqCst);
                let Some(mut blocker) = netpoll.blocker() else {
                    continue;
                };
                blocker.prepare(None);
                if queue.load(SeqCst) == 0 && taken.load(SeqCst) < PUSHES {
                    block(&mut blocker);
                }
            }
            done.store(true, SeqCst);
        });
        scope.spawn(|| {
            while !done.load(SeqCst) {
                netpoll.try_poll(&mut Waker::wake);
                thread::sleep(MS / 10);
            }
        });
        let start = Instant::now();
        for nth in 1..=PUSHES {
            queue.fetch_add(1, SeqCst);
            netpoll.break_();
            // In lock step half of the time: then the consumer really sleeps.
            while nth % 2 == 0 && taken.load(SeqCst) < nth {
                if start.elapsed() > LONG {
                    done.store(true, SeqCst);
                    eprintln!("lost: {netpoll:?}, {nth} pushed, {taken:?} taken");
                    std::process::abort(); // the consumer sleeps for ever
                }
                thread::yield_now();
            }
        }
    });
    assert_eq!(taken.load(SeqCst), PUSHES);
}

/// Timers armed from another thread while the poller sleeps for ever: none is overslept.
#[test]
fn timers_are_not_overslept() {
    const TIMERS: usize = 500;
    let netpoll = Netpoll::new().unwrap();
    let heap = std::sync::Mutex::new(None::<Instant>);
    let fired = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while fired.load(SeqCst) < TIMERS {
                let mut blocker = netpoll.blocker().unwrap();
                let until = *heap.lock().unwrap();
                blocker.prepare(until);
                if *heap.lock().unwrap() == until {
                    block(&mut blocker);
                }
                let due = heap.lock().unwrap().take_if(|when| *when <= Instant::now());
                fired.fetch_add(usize::from(due.is_some()), SeqCst);
            }
        });
        let start = Instant::now();
        for nth in 1..=TIMERS {
            let when = Instant::now() + Duration::from_micros(nth as u64 % 200);
            *heap.lock().unwrap() = Some(when);
            netpoll.wake_at(when);
            while fired.load(SeqCst) < nth {
                if start.elapsed() > LONG {
                    eprintln!("overslept: {netpoll:?}");
                    std::process::abort(); // the sleeper sleeps for ever
                }
                thread::yield_now();
            }
        }
    });
}
