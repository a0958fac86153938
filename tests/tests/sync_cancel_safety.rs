//! A wait that is dropped at any moment loses no permit, no wake-up and no value; and the other
//! rules of `gort::sync` that are not Go's.

mod sync_kinds;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::StreamExt;
use gort::prelude::*;
use gort::sync::{
    AcquireError, Barrier, Cond, Group, JoinSet, Mutex, MutexGuard, Notify, OnceCell, RwLock,
    RwLockWriteGuard, Semaphore, WaitGroup, oneshot,
};
use gort::time::{sleep, timeout};
use gort_tests::{CountWaker, OnDrop, Rng, eventually, for_procs, until};

use sync_kinds::{for_kinds, join_all, now, poll_once};

/// Polls a pinned future once with a waker that counts, and gives the count's record.
macro_rules! poll_counted {
    ($future:expr) => {{
        let (count, waker) = CountWaker::pair();
        let poll = $future.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
        count
    }};
}

#[test]
fn a_woken_waiter_of_a_mutex_passes_the_wake_on() {
    let mutex = Mutex::new(());
    let held = now(mutex.lock());
    let mut first = Box::pin(mutex.lock());
    let mut second = Box::pin(mutex.lock());
    let (first_wakes, second_wakes) = (poll_counted!(first), poll_counted!(second));
    drop(held);
    assert_eq!((first_wakes.wakes(), second_wakes.wakes()), (1, 0), "in the order of arrival");
    drop(first);
    assert_eq!(second_wakes.wakes(), 1);
    assert!(poll_once(second.as_mut()).is_ready());
}

#[test]
fn a_waiter_of_a_mutex_that_starves_is_handed_the_lock() {
    let mutex = Mutex::new(());
    let mut starves = Box::pin(mutex.lock());
    let mut next = Box::pin(mutex.lock());
    let held = now(mutex.lock());
    assert!(poll_once(starves.as_mut()).is_pending());
    std::thread::sleep(Duration::from_millis(2)); // what makes it starve
    drop(held);
    let held = now(mutex.lock()); // a newcomer passes it
    assert!(poll_once(starves.as_mut()).is_pending());
    let next_wakes = poll_counted!(next);
    drop(held);
    assert!(mutex.is_locked(), "handed over");
    assert!(mutex.try_lock().is_err(), "newcomers queue");
    // It is dropped with the lock: the next waiter has it then.
    drop(starves);
    assert_eq!(next_wakes.wakes(), 1);
    assert!(poll_once(next.as_mut()).is_ready());
    drop(next);
    assert!(mutex.try_lock().is_ok());
}

#[test]
fn a_goroutine_is_aborted_while_it_is_handed_the_lock() {
    for_procs(|rt| {
        for _ in 0..50 {
            let mutex = Arc::new(Mutex::new(0));
            let held = mutex.clone().try_lock_owned().unwrap();
            let lock = |_| {
                let mutex = mutex.clone();
                rt.go(move || *mutex.lock().wait() += 1)
            };
            let all: Vec<_> = (0..3).map(lock).collect();
            all[0].abort();
            drop(held);
            all[1].abort();
            let [_, _, last] = all.try_into().unwrap();
            last.wait().unwrap();
            eventually("the lock is free", || mutex.try_lock().is_ok());
        }
    });
}

/// All kinds of waits, dropped by chance at any of their stages, on all Ps: what is left must be
/// what was there.
#[test]
fn waits_are_dropped_at_random() {
    let seed = Rng::from_env();
    for_kinds(|rt, kind| {
        let mutex = Arc::new(Mutex::new(()));
        let lock = Arc::new(RwLock::new(()));
        let semaphore = Arc::new(Semaphore::new(3));
        let mut seed = seed.clone();
        let hammer = |i| {
            let (mutex, lock, semaphore) = (mutex.clone(), lock.clone(), semaphore.clone());
            let mut rng = seed.split();
            kind.start(rt, i, async move {
                for _ in 0..150 {
                    let polls = rng.below(4);
                    match rng.below(4) {
                        0 => give_up(polls, mutex.lock()).await,
                        1 => give_up(polls, lock.read()).await,
                        2 => give_up(polls, lock.write()).await,
                        _ => give_up(polls, semaphore.acquire_many(2)).await,
                    }
                }
            })
        };
        join_all((0..6).map(hammer).collect());
        assert!(mutex.try_lock().is_ok());
        assert!(lock.try_write().is_ok());
        assert_eq!(semaphore.available_permits(), 3);
    });
}

/// Polls `future` so many times, with a yield after each; if it was ready, holds what it gave over
/// another.
async fn give_up<F: Future>(polls: u64, future: F) {
    let mut future = pin!(future);
    for _ in 0..polls {
        let poll = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        gort::yield_now().await;
        if poll.is_ready() {
            return;
        }
    }
}

#[test]
fn a_panic_unlocks_and_does_not_poison() {
    for_procs(|rt| {
        let mutex = Arc::new(Mutex::new(1));
        let theirs = mutex.clone();
        let panics = rt.go(move || {
            let _guard = theirs.lock().wait();
            panic!("as planned");
        });
        let panics: Result<(), _> = panics.wait();
        assert!(panics.unwrap_err().is_panic());
        assert_eq!(*mutex.lock().wait(), 1);
    });
}

#[test]
fn guards_of_a_mutex() {
    let mutex = Arc::new(Mutex::new((1, String::from("a"))));
    let mut part = MutexGuard::map(now(mutex.lock()), |value| &mut value.1);
    part.push('b');
    assert!(mutex.is_locked());
    drop(part);
    let owned = now(mutex.clone().lock_owned());
    assert_eq!(*owned, (1, "ab".to_owned()));
    assert_eq!(format!("{mutex:?}"), "Mutex { value: <locked> }");
    drop(owned);
    assert!(mutex.try_lock().is_ok());
}

#[test]
fn a_writer_keeps_new_readers_out_and_lets_them_in_when_it_gives_up() {
    let lock = RwLock::new(());
    let reads = now(lock.read());
    let mut writes = Box::pin(lock.write());
    let mut later = Box::pin(lock.read());
    let writer_wakes = poll_counted!(writes);
    let later_wakes = poll_counted!(later);
    assert!(lock.try_read().is_err());
    drop(writes);
    assert_eq!((writer_wakes.wakes(), later_wakes.wakes()), (0, 1));
    assert!(poll_once(later.as_mut()).is_ready());
    drop(reads);
}

#[test]
fn a_writer_that_ends_lets_in_the_readers_that_wait_and_then_the_next_writer() {
    let lock = RwLock::new(());
    let writes = now(lock.write());
    let mut next = Box::pin(lock.write());
    let next_wakes = poll_counted!(next);
    let mut readers: Vec<_> = (0..40).map(|_| Box::pin(lock.read())).collect();
    let wakes: Vec<_> = readers.iter_mut().map(|reader| poll_counted!(reader)).collect();
    drop(writes);
    assert!(wakes.iter().all(|count| count.wakes() == 1));
    assert_eq!(next_wakes.wakes(), 0);
    // Chosen, and dropped unpolled: they leave as if they had read.
    readers.drain(..39).for_each(drop);
    assert_eq!(next_wakes.wakes(), 0);
    drop(readers);
    assert_eq!(next_wakes.wakes(), 1);
    drop(next);
    assert!(lock.try_write().is_ok());
}

#[test]
fn a_writer_goes_on_as_a_reader() {
    let lock = Arc::new(RwLock::new(1));
    let mut writes = now(lock.write());
    *writes = 2;
    let mut waits = Box::pin(lock.read());
    let mut writer = Box::pin(lock.write());
    let wakes = poll_counted!(waits);
    let writer_wakes = poll_counted!(writer);
    let reads = RwLockWriteGuard::downgrade(writes);
    assert_eq!((*reads, wakes.wakes(), writer_wakes.wakes()), (2, 1, 0));
    drop((reads, waits));
    assert_eq!(writer_wakes.wakes(), 1);
    drop(writer);
    *now(lock.clone().write_owned()) = 3;
    assert_eq!(*now(lock.clone().read_owned()), 3);
}

#[test]
fn a_semaphore_serves_in_order_and_passes_permits_on() {
    let semaphore = Arc::new(Semaphore::new(1));
    let mut large = Box::pin(semaphore.acquire_many(2));
    let mut small = Box::pin(semaphore.acquire());
    let (large_wakes, small_wakes) = (poll_counted!(large), poll_counted!(small));
    assert_eq!(semaphore.try_acquire().unwrap_err(), AcquireError::NoPermits);
    drop(large);
    assert_eq!((large_wakes.wakes(), small_wakes.wakes()), (0, 1), "one permit is enough for it");
    drop(small);
    assert_eq!(semaphore.available_permits(), 1);
    let owned = now(semaphore.clone().acquire_owned()).unwrap();
    assert_eq!(owned.num_permits(), 1);
    owned.forget();
    assert_eq!(semaphore.available_permits(), 0);
    let mut waits = Box::pin(semaphore.acquire());
    let wakes = poll_counted!(waits);
    semaphore.close();
    assert_eq!(wakes.wakes(), 1);
    assert!(matches!(poll_once(waits.as_mut()), Poll::Ready(Err(AcquireError::Closed))));
    assert!(matches!(now(semaphore.acquire()), Err(AcquireError::Closed)));
}

#[test]
fn a_semaphore_does_not_overflow() {
    let semaphore = Semaphore::new(Semaphore::MAX_PERMITS);
    let add = |n| catch_unwind(AssertUnwindSafe(|| semaphore.add_permits(n))).is_err();
    assert!(add(1) && add(usize::MAX));
    assert_eq!(semaphore.available_permits(), Semaphore::MAX_PERMITS);
    assert_eq!(semaphore.forget_permits(usize::MAX), Semaphore::MAX_PERMITS);
    assert!(catch_unwind(|| Semaphore::new(Semaphore::MAX_PERMITS + 1)).is_err());
    assert!(poll_once(pin!(semaphore.acquire_many(usize::MAX))).is_pending());
}

#[test]
fn notify_one_is_kept_and_passed_on() {
    let notify = Notify::new();
    notify.notify_one();
    notify.notify_one();
    now(notify.notified());
    let mut first = Box::pin(notify.notified());
    let mut second = Box::pin(notify.notified());
    let (first_wakes, second_wakes) = (poll_counted!(first), poll_counted!(second));
    notify.notify_one();
    assert_eq!((first_wakes.wakes(), second_wakes.wakes()), (1, 0));
    drop(first);
    assert_eq!(second_wakes.wakes(), 1);
    drop(second);
    now(notify.notified()); // nobody was left, so it was kept
}

#[test]
fn notify_waiters_means_those_made_before() {
    let notify = Notify::new();
    let mut polled: Vec<_> = (0..40).map(|_| Box::pin(notify.notified())).collect();
    let wakes: Vec<_> = polled.iter_mut().map(|future| poll_counted!(future)).collect();
    let unpolled = notify.notified();
    notify.notify_waiters();
    assert!(wakes.iter().all(|count| count.wakes() == 1));
    now(unpolled);
    polled.truncate(20); // the rest is dropped with its notification, which is nobody's
    polled.into_iter().for_each(now);
    assert!(poll_once(pin!(notify.notified())).is_pending());
}

#[test]
fn a_notified_waiter_of_a_cond_passes_it_on() {
    let (mutex, cond) = (Mutex::new(()), Cond::new());
    let mut first = Box::pin(cond.notified(now(mutex.lock())));
    let first_wakes = poll_counted!(first);
    let mut second = Box::pin(cond.notified(now(mutex.lock())));
    let second_wakes = poll_counted!(second);
    cond.notify_one();
    assert_eq!((first_wakes.wakes(), second_wakes.wakes()), (1, 0));
    // Dropped while it waits for the lock.
    let held = now(mutex.lock());
    assert!(poll_once(first.as_mut()).is_pending());
    drop(first);
    assert_eq!(second_wakes.wakes(), 1);
    drop(held);
    assert!(poll_once(second.as_mut()).is_ready());
    // Dropped before its first poll: the guard is given back.
    drop(second);
    drop(cond.notified(now(mutex.lock())));
    assert!(mutex.try_lock().is_ok());
}

#[test]
fn a_barrier_opens_again_and_again() {
    for_kinds(|rt, kind| {
        const N: usize = 20;
        let barrier = Arc::new(Barrier::new(N));
        let arrived = Arc::new(AtomicUsize::new(0));
        let member = |i| {
            let (barrier, arrived) = (barrier.clone(), arrived.clone());
            kind.start(rt, i, async move {
                let mut led = 0;
                for round in 1..=10 {
                    arrived.fetch_add(1, SeqCst);
                    led += usize::from((&*barrier).await.is_leader());
                    assert!(arrived.load(SeqCst) >= round * N);
                }
                led
            })
        };
        let led = join_all((0..N).map(member).collect());
        assert_eq!(led.iter().sum::<usize>(), 10, "one leader each time");
    });
}

#[test]
fn who_leaves_a_barrier_has_not_arrived() {
    let barrier = Barrier::new(2);
    let mut leaves = Box::pin((&barrier).into_future());
    poll_counted!(leaves);
    drop(leaves);
    let mut first = Box::pin((&barrier).into_future());
    let wakes = poll_counted!(first);
    assert!(now((&barrier).into_future()).is_leader());
    assert_eq!(wakes.wakes(), 1);
    drop(first); // has gone through, so it takes nothing back
    assert!(poll_once(pin!((&barrier).into_future())).is_pending());
    assert!(now((&Barrier::new(0)).into_future()).is_leader());
}

#[test]
fn the_next_initialiser_takes_over() {
    let cell = OnceCell::new();
    let mut slow = Box::pin(cell.get_or_init(std::future::pending::<u32>));
    assert!(poll_once(slow.as_mut()).is_pending());
    assert_eq!(cell.set(1), Err(1), "somebody makes one");
    let mut waits = Box::pin(cell.get_or_init(async || 2));
    let wakes = poll_counted!(waits);
    drop(slow);
    assert_eq!(wakes.wakes(), 1);
    assert!(matches!(poll_once(waits.as_mut()), Poll::Ready(2)));
    drop(waits);
    assert_eq!(cell.set(3), Err(3));
    let failing = OnceCell::<u32>::new();
    assert_eq!(now(failing.get_or_try_init(async || Err("no"))), Err("no"));
    assert_eq!(failing.set(4), Ok(()));
    assert_eq!(failing.into_inner(), Some(4));
}

#[test]
fn a_oneshot_gives_back_what_nobody_gets() {
    let (send, receive) = oneshot::channel();
    drop(receive);
    assert!(send.is_closed());
    assert_eq!(send.send(5), Err(5));
    let (send, mut receive) = oneshot::channel::<u8>();
    assert_eq!(receive.try_recv(), Err(oneshot::TryRecvError::Empty));
    let wakes = poll_counted!(std::pin::Pin::new(&mut receive));
    drop(send);
    assert_eq!(wakes.wakes(), 1);
    assert_eq!(receive.try_recv(), Err(oneshot::TryRecvError::Closed));
    assert!(now(receive).is_err());
}

#[test]
fn a_oneshot_across_kinds() {
    for_kinds(|rt, kind| {
        let mut all = Vec::new();
        for i in 0..50 {
            let (send, receive) = oneshot::channel();
            all.push(kind.start(rt, i, async move { receive.await.unwrap() }));
            all.push(kind.start(rt, i + 1, async move {
                send.send(i).unwrap();
                i
            }));
        }
        assert_eq!(join_all(all).iter().sum::<usize>(), 50 * 49);
    });
}

#[test]
fn a_value_whose_destructor_panics_lies_in_a_oneshot() {
    let dropped = Arc::new(());
    let value = || {
        let dropped = dropped.clone();
        OnDrop::new(move || {
            drop(dropped);
            panic!("as planned");
        })
    };
    let (send, receive) = oneshot::channel();
    send.send(value()).ok().unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(receive))).is_err());
    let (send, receive) = oneshot::channel();
    drop(receive);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(send.send(value())))).is_err());
    assert_eq!(Arc::strong_count(&dropped), 1);
}

#[test]
fn a_wait_with_a_limit_loses_nothing() {
    for_procs(|rt| {
        rt.run(|| {
            let semaphore = Semaphore::new(0);
            for limit in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(1)] {
                assert!(timeout(limit, semaphore.acquire()).wait().is_err());
            }
            semaphore.add_permits(1);
            assert!(timeout(Duration::ZERO, semaphore.acquire()).wait().unwrap().is_ok());
            assert!(timeout(Duration::MAX, semaphore.acquire()).wait().unwrap().is_ok());
        });
    });
}

#[test]
fn a_join_set_gives_each_result_once() {
    for_procs(|rt| {
        rt.run(|| {
            let mut set = JoinSet::new();
            assert!(set.join_next().wait().is_none());
            for i in 0..20 {
                match i % 2 {
                    0 => set.spawn(async move { i }),
                    _ => set.go(move || {
                        gort::yield_now().wait();
                        i
                    }),
                }
            }
            assert_eq!(set.len(), 20);
            let mut dropped = Box::pin(set.join_next());
            let early = poll_once(dropped.as_mut());
            drop(dropped);
            let mut seen: Vec<i32> = match early {
                Poll::Ready(result) => vec![result.unwrap().unwrap()],
                Poll::Pending => vec![],
            };
            seen.extend(std::iter::from_fn(|| set.next().wait()).map(Result::unwrap));
            seen.sort_unstable();
            assert_eq!(seen, (0..20).collect::<Vec<_>>());
        });
    });
}

#[test]
fn a_join_set_with_aborted_members() {
    for_procs(|rt| {
        rt.run(|| {
            let gone = Arc::new(());
            let mut set = JoinSet::new();
            let (theirs, goroutine) = (gone.clone(), gone.clone());
            set.spawn(async move {
                let _theirs = theirs;
                std::future::pending::<()>().await;
            });
            set.go(move || {
                let _goroutine = goroutine;
                std::future::pending::<()>().wait();
            });
            assert!(set.try_join_next().is_none());
            set.abort_all();
            for _ in 0..2 {
                assert!(set.join_next().wait().unwrap().unwrap_err().is_cancelled());
            }
            assert_eq!(Arc::strong_count(&gone), 1);
            set.go(|| panic!("as planned"));
            assert!(set.join_next().wait().unwrap().unwrap_err().is_panic());
            set.spawn(std::future::pending());
            set.shutdown().wait();
            assert!(set.is_empty());
            let theirs = gone.clone();
            set.spawn(async move {
                let _theirs = theirs;
                std::future::pending::<()>().await;
            });
            drop(set);
            until("the member of a dropped set", || Arc::strong_count(&gone) == 1).wait();
        });
    });
}

#[test]
fn the_first_error_cancels_the_rest() {
    for_procs(|rt| {
        rt.run(|| {
            let mut group = Group::new();
            let token = group.token().clone();
            group.spawn(async move {
                token.cancelled().await;
                Ok(())
            });
            group.spawn(std::future::pending());
            group.go(|| {
                sleep(Duration::from_secs(3_600)).wait();
                Ok(())
            });
            group.go(|| Err("first"));
            assert_eq!(group.join().wait(), Err("first"));

            // Members that never ran are done all the same.
            let above = gort::sync::CancelToken::new();
            above.cancel();
            let mut group = Group::<()>::below(&above);
            group.spawn(async { unreachable!("the group is cancelled") });
            assert_eq!(group.join().wait(), Ok(()));
        });
    });
}

#[test]
fn a_member_of_a_wait_group_that_never_ran_is_done() {
    let group = WaitGroup::new();
    let rt = gort_tests::runtime(1);
    let (held, started) = oneshot::channel::<()>();
    let blocks = rt.go(move || started.wait());
    let handle = {
        let _entered = rt.handle();
        let theirs = group.clone();
        rt.go(move || theirs.spawn(std::future::pending::<()>())).wait().unwrap()
    };
    handle.abort();
    group.wait();
    drop(held);
    let _ = blocks.wait();
}

#[test]
fn what_waits_may_go_to_other_threads() {
    fn send<T: Send>(_: &T) {}
    fn send_sync<T: Send + Sync>(_: &T) {}
    let mutex = Arc::new(Mutex::new(std::cell::Cell::new(0)));
    send(&mutex.lock());
    send(&now(mutex.lock()));
    send_sync(&mutex);
    let lock = RwLock::new(0);
    send_sync(&lock.read());
    send_sync(&now(lock.read()));
    send_sync(&lock);
    send_sync(&Semaphore::new(1).acquire());
    send_sync(&Notify::new().notified());
    send_sync(&Barrier::new(1));
    send_sync(&oneshot::channel::<std::cell::Cell<u8>>());
    send_sync(&WaitGroup::new());
    send_sync(&Group::<String>::new());
}
