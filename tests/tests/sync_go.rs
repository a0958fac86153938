//! Go's own tests of `sync`, `x/sync/semaphore` and `x/sync/errgroup`, by their names, in our
//! words. Left out: those of misuse that the types forbid (`TestMutexMisuse`, `TestRWMutexMisuse`,
//! `TestCondCopy`, `TestWaitGroupAlign`), of the collector (`TestOnceXGC`), of Goexit and of pools
//! and maps.

mod sync_kinds;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use gort::prelude::*;
use gort::sync::{Cond, Group, Mutex, Once, OnceCell, RwLock, Semaphore, WaitGroup, oneshot};
use gort::time::sleep;
use gort_tests::{Child, Rng, eventually, for_procs, is_child, panic_text};

use sync_kinds::{Kind, for_kinds, join_all};

/// sync/mutex_test.go: TestSemaphore.
#[test]
fn semaphore() {
    for_kinds(|rt, kind| {
        let semaphore = Arc::new(Semaphore::new(1));
        let hammer = |i| {
            let semaphore = semaphore.clone();
            kind.start(rt, i, async move {
                for _ in 0..100 {
                    let _permit = semaphore.acquire().await.unwrap();
                }
            })
        };
        join_all((0..10).map(hammer).collect());
        assert_eq!(semaphore.available_permits(), 1);
    });
}

/// sync/mutex_test.go: TestMutex, HammerMutex.
#[test]
fn mutex() {
    for_kinds(|rt, kind| {
        let mutex = Arc::new(Mutex::new(0));
        {
            let _guard = now_lock(&mutex);
            assert!(mutex.try_lock().is_err());
        }
        assert!(mutex.try_lock().is_ok());
        let hammer = |i| {
            let mutex = mutex.clone();
            kind.start(rt, i, async move {
                for n in 0..200 {
                    if n % 3 == 0 && mutex.try_lock().is_ok() {
                        continue;
                    }
                    *mutex.lock().await += 1;
                }
            })
        };
        join_all((0..10).map(hammer).collect());
        assert!(*now_lock(&mutex) <= 2_000);
    });
}

fn now_lock<T>(mutex: &Mutex<T>) -> gort::sync::MutexGuard<'_, T> {
    sync_kinds::now(mutex.lock())
}

/// sync/mutex_test.go: TestMutexFairness. One holds the lock nearly always, the other must get it.
#[test]
fn mutex_fairness() {
    for_procs(|rt| {
        let mutex = Arc::new(Mutex::new(()));
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, ends) = (mutex.clone(), stop.clone());
        let hog = rt.spawn(async move {
            while !ends.load(SeqCst) {
                let guard = theirs.lock().await;
                sleep(Duration::from_micros(100)).await;
                drop(guard);
            }
        });
        let other = rt.spawn(async move {
            for _ in 0..10 {
                sleep(Duration::from_micros(100)).await;
                drop(mutex.lock().await);
            }
        });
        other.wait().unwrap();
        stop.store(true, SeqCst);
        hog.wait().unwrap();
    });
}

/// sync/rwmutex_test.go: TestParallelReaders.
#[test]
fn parallel_readers() {
    for_kinds(|rt, kind| {
        for readers in [1, 3, 4] {
            let lock = Arc::new(RwLock::new(()));
            let inside = Arc::new(AtomicUsize::new(0));
            let open = Arc::new(Semaphore::new(0));
            let read = |i| {
                let (lock, inside, open) = (lock.clone(), inside.clone(), open.clone());
                kind.start(rt, i, async move {
                    let _guard = lock.read().await;
                    inside.fetch_add(1, SeqCst);
                    open.acquire().await.unwrap().forget();
                })
            };
            let all = (0..readers).map(read).collect();
            eventually("all read at once", || inside.load(SeqCst) == readers);
            open.add_permits(readers);
            join_all(all);
        }
    });
}

/// sync/rwmutex_test.go: TestRWMutex, HammerRWMutex.
#[test]
fn rw_mutex() {
    for_kinds(|rt, kind| {
        for readers in [1, 3, 10] {
            let lock = Arc::new(RwLock::new(()));
            let activity = Arc::new(AtomicI64::new(0));
            let act = |i: usize, write: bool| {
                let (lock, activity) = (lock.clone(), activity.clone());
                kind.start(rt, i, async move {
                    for _ in 0..50 {
                        if write {
                            let _guard = lock.write().await;
                            assert_eq!(activity.fetch_add(10_000, SeqCst), 0);
                            gort::yield_now().await;
                            activity.fetch_sub(10_000, SeqCst);
                        } else {
                            let _guard = lock.read().await;
                            let now = activity.fetch_add(1, SeqCst);
                            assert!((0..10_000).contains(&now), "beside a writer: {now}");
                            gort::yield_now().await;
                            activity.fetch_sub(1, SeqCst);
                        }
                    }
                })
            };
            let mut all: Vec<_> = (0..readers).map(|i| act(i, false)).collect();
            all.push(act(1, true));
            all.push(act(2, true));
            join_all(all);
        }
    });
}

/// sync/rwmutex_test.go: TestRWMutex's try variants, in one thread.
#[test]
fn rw_mutex_try() {
    let lock = RwLock::new(());
    let write = lock.try_write().unwrap();
    assert!(lock.try_write().is_err() && lock.try_read().is_err());
    drop(write);
    let one = lock.try_read().unwrap();
    let two = lock.try_read().unwrap();
    assert!(lock.try_write().is_err());
    drop((one, two));
    assert!(lock.try_write().is_ok());
}

/// sync/cond_test.go: TestCondSignal.
#[test]
fn cond_signal() {
    for_kinds(|rt, kind| {
        const N: usize = 2;
        let shared = Arc::new((Mutex::new((0, 0)), Cond::new()));
        let wait = |i| {
            let shared = shared.clone();
            kind.start(rt, i, async move {
                let mut guard = shared.0.lock().await;
                guard.0 += 1;
                guard = shared.1.notified(guard).await;
                guard.1 += 1;
            })
        };
        let all: Vec<_> = (0..N).map(wait).collect();
        eventually("all wait", || now_lock_or(&shared.0, (0, 0)).0 == N);
        for n in 1..=N {
            assert_eq!(shared.0.lock().wait().1, n - 1);
            shared.1.notify_one();
            eventually("one goes on", || now_lock_or(&shared.0, (0, 0)).1 == n);
        }
        join_all(all);
        shared.1.notify_one();
    });
}

fn now_lock_or<T: Copy>(mutex: &Mutex<T>, taken: T) -> T {
    mutex.try_lock().map_or(taken, |guard| *guard)
}

/// sync/cond_test.go: TestCondSignalGenerations. They go on in the order in which they came.
#[test]
fn cond_signal_generations() {
    for_kinds(|rt, kind| {
        const N: usize = 40;
        let shared = Arc::new((Mutex::new((0, Vec::new())), Cond::new()));
        let mut all = Vec::new();
        for i in 0..N {
            let theirs = shared.clone();
            all.push(kind.start(rt, i, async move {
                let mut guard = theirs.0.lock().await;
                guard.0 += 1;
                guard = theirs.1.notified(guard).await;
                guard.1.push(i);
            }));
            eventually("it waits", || shared.0.try_lock().is_ok_and(|guard| guard.0 > i));
            if i > 0 {
                shared.1.notify_one();
                let mine = |seen: &Vec<usize>| seen.last() == Some(&(i - 1));
                eventually("the one before", || shared.0.try_lock().is_ok_and(|g| mine(&g.1)));
            }
        }
        shared.1.notify_one();
        join_all(all);
        assert_eq!(shared.0.lock().wait().1, (0..N).collect::<Vec<_>>());
    });
}

/// sync/cond_test.go: TestCondBroadcast.
#[test]
fn cond_broadcast() {
    for_kinds(|rt, kind| {
        const N: usize = 20;
        let shared = Arc::new((Mutex::new((0, 0, false)), Cond::new()));
        let wait = |i| {
            let shared = shared.clone();
            kind.start(rt, i, async move {
                let mut guard = shared.0.lock().await;
                while !guard.2 {
                    guard.0 += 1;
                    guard = shared.1.notified(guard).await;
                    guard.1 += 1;
                }
            })
        };
        let all: Vec<_> = (0..N).map(wait).collect();
        for round in 1..=3 {
            eventually("all wait", || shared.0.try_lock().is_ok_and(|guard| guard.0 == round * N));
            let mut guard = shared.0.lock().wait();
            assert_eq!(guard.1, (round - 1) * N);
            guard.2 = round == 3;
            shared.1.notify_all();
        }
        join_all(all);
        shared.1.notify_all();
    });
}

/// sync/cond_test.go: TestRace.
#[test]
fn cond_race() {
    for_kinds(|rt, kind| {
        let shared = Arc::new((Mutex::new(0), Cond::new()));
        let step = |i: usize| {
            let shared = shared.clone();
            kind.start(rt, i, async move {
                let (mutex, cond) = &*shared;
                let mut x = cond.notified_while(mutex.lock().await, |x| *x != i).await;
                *x = i + 1;
                cond.notify_all();
            })
        };
        join_all((0..3).map(step).collect());
        assert_eq!(*shared.0.lock().wait(), 3);
    });
}

/// sync/cond_test.go: TestCondSignalStealing. One that comes later cannot take the notification of
/// one that waits.
#[test]
fn cond_signal_stealing() {
    for_procs(|rt| {
        for _ in 0..100 {
            let shared = Arc::new((Mutex::new(()), Cond::new()));
            let (ready, started) = oneshot::channel();
            let theirs = shared.clone();
            let first = rt.spawn(async move {
                let guard = theirs.0.lock().await;
                ready.send(()).unwrap();
                drop(theirs.1.notified(guard).await);
            });
            started.wait().unwrap();
            drop(shared.0.lock().wait()); // it waits by now
            let done = Arc::new(AtomicBool::new(false));
            let (theirs, ends) = (shared.clone(), done.clone());
            let stealer = rt.spawn(async move {
                let mut guard = theirs.0.lock().await;
                while !ends.load(SeqCst) {
                    guard = theirs.1.notified(guard).await;
                }
            });
            gort::block_on(gort::yield_now());
            shared.1.notify_one();
            first.wait().unwrap();
            let guard = shared.0.lock().wait();
            done.store(true, SeqCst);
            drop(guard);
            shared.1.notify_all();
            stealer.wait().unwrap();
        }
    });
}

/// sync/waitgroup_test.go: TestWaitGroup; the group is used again each time.
#[test]
fn wait_group() {
    for_kinds(|rt, kind| {
        let (one, two) = (WaitGroup::new(), WaitGroup::new());
        for _ in 0..8 {
            const N: usize = 16;
            one.add(N);
            two.add(N);
            let exited = Arc::new(AtomicUsize::new(0));
            let member = |i| {
                let (one, two, exited) = (one.clone(), two.clone(), exited.clone());
                kind.start(rt, i, async move {
                    one.done();
                    (&two).await;
                    exited.fetch_add(1, SeqCst);
                })
            };
            let all: Vec<_> = (0..N).map(member).collect();
            one.wait();
            for _ in 0..N {
                assert_eq!(exited.load(SeqCst), 0, "released too early");
                two.done();
            }
            join_all(all);
        }
    });
}

/// sync/waitgroup_test.go: TestWaitGroupMisuse.
#[test]
fn wait_group_misuse() {
    let group = WaitGroup::new();
    group.add(1);
    group.done();
    let misuse = catch_unwind(AssertUnwindSafe(|| group.done())).unwrap_err();
    assert_eq!(panic_text(&*misuse), "WaitGroup: more `done` than `add`");
    group.add(usize::MAX);
    assert!(catch_unwind(AssertUnwindSafe(|| group.add(1))).is_err());
    assert_eq!(group.count(), usize::MAX, "the group is as it was");
}

/// sync/waitgroup_test.go: TestWaitGroupRace.
#[test]
fn wait_group_race() {
    for_kinds(|rt, kind| {
        for _ in 0..50 {
            let group = WaitGroup::new();
            let n = Arc::new(AtomicUsize::new(0));
            group.add(2);
            let member = |i| {
                let (group, n) = (group.clone(), n.clone());
                kind.start(rt, i, async move {
                    n.fetch_add(1, SeqCst);
                    group.done();
                })
            };
            let all = vec![member(0), member(1)];
            group.wait();
            assert_eq!(n.load(SeqCst), 2);
            join_all(all);
        }
    });
}

/// sync/waitgroup_test.go: TestWaitGroupGo.
#[test]
fn wait_group_go() {
    for_procs(|rt| {
        rt.run(|| {
            let group = WaitGroup::new();
            let n = Arc::new(AtomicUsize::new(0));
            for _ in 0..5 {
                let theirs = n.clone();
                group.go(move || theirs.fetch_add(1, SeqCst));
                let theirs = n.clone();
                group.spawn(async move { theirs.fetch_add(1, SeqCst) });
            }
            group.wait();
            assert_eq!(n.load(SeqCst), 10);
            let failed = group.go(|| panic!("as planned"));
            group.wait();
            let failed: Result<(), _> = failed.wait();
            assert!(failed.unwrap_err().is_panic());
        });
    });
}

/// sync/waitgroup_test.go: TestIssue76126. Where a panic ends the process, nobody goes on after it.
#[test]
fn wait_group_issue_76126() {
    if is_child() {
        let rt = gort::Builder::new().procs(2).on_panic(gort::PanicPolicy::Abort).build().unwrap();
        rt.run(|| {
            let group = WaitGroup::new();
            group.go(|| panic!("as planned"));
            group.wait();
            eprintln!("went on");
        });
        return;
    }
    let ended = Child::of("wait_group_issue_76126").run();
    assert_ne!(ended.code, Some(0));
    assert!(!ended.stderr.contains("went on"), "{}", ended.stderr);
}

/// sync/once_test.go: TestOnce.
#[test]
fn once() {
    for_kinds(|rt, kind| {
        let once = Arc::new((Once::new(), AtomicUsize::new(0)));
        let run = |i| {
            let once = once.clone();
            kind.start(rt, i, async move {
                let run = || assert_eq!(once.1.fetch_add(1, SeqCst), 0);
                once.0.call_once(run).await;
                assert_eq!(once.1.load(SeqCst), 1);
            })
        };
        join_all((0..10).map(run).collect());
        assert!(once.0.is_completed());
    });
}

/// sync/once_test.go: TestOncePanic, with our rule: a panic is not done.
#[test]
fn once_panic() {
    let once = Once::new();
    let panics = catch_unwind(AssertUnwindSafe(|| once.call_once(|| panic!("failed")).wait()));
    assert!(panics.is_err() && !once.is_completed());
    let mut calls = 0;
    once.call_once(|| calls += 1).wait();
    once.call_once(|| calls += 1).wait();
    assert_eq!(calls, 1);
}

/// sync/oncefunc_test.go: TestOnceValue, with an initialiser that waits.
#[test]
fn once_value() {
    for_kinds(|rt, kind| {
        let shared = Arc::new((OnceCell::new(), AtomicUsize::new(0)));
        let get = |i| {
            let shared = shared.clone();
            kind.start(rt, i, async move {
                let (cell, calls) = &*shared;
                let init = async || {
                    gort::yield_now().await;
                    calls.fetch_add(1, SeqCst)
                };
                *cell.get_or_init(init).await
            })
        };
        assert!(join_all((0..10).map(get).collect()).iter().all(|value| *value == 0));
        assert_eq!(shared.1.load(SeqCst), 1);
    });
}

/// x/sync/semaphore_test.go: TestWeighted. Nobody has more than there is.
#[test]
fn weighted() {
    let seed = Rng::from_env();
    for_kinds(|rt, kind| {
        const MOST: usize = 10;
        let shared = Arc::new((Semaphore::new(MOST), AtomicUsize::new(0)));
        let mut seed = seed.clone();
        let hammer = |i| {
            let (shared, mut rng) = (shared.clone(), seed.split());
            kind.start(rt, i, async move {
                for _ in 0..100 {
                    let n = 1 + rng.below(MOST as u64) as usize;
                    let permits = shared.0.acquire_many(n).await.unwrap();
                    assert!(shared.1.fetch_add(n, SeqCst) + n <= MOST);
                    gort::yield_now().await;
                    shared.1.fetch_sub(n, SeqCst);
                    drop(permits);
                }
            })
        };
        join_all((0..6).map(hammer).collect());
        assert_eq!(shared.0.available_permits(), MOST);
    });
}

/// x/sync/semaphore_test.go: TestLargeAcquireDoesntStarve.
#[test]
fn large_acquire_doesnt_starve() {
    for_procs(|rt| {
        const N: usize = 4;
        let semaphore = Arc::new(Semaphore::new(N));
        let stop = Arc::new(AtomicBool::new(false));
        let small = |_| {
            let (semaphore, stop) = (semaphore.clone(), stop.clone());
            rt.spawn(async move {
                while !stop.load(SeqCst) {
                    let _permit = semaphore.acquire().await.unwrap();
                    gort::yield_now().await;
                }
            })
        };
        let small: Vec<_> = (0..N).map(small).collect();
        let theirs = semaphore.clone();
        let large = rt.spawn(async move { drop(theirs.acquire_many(N).await.unwrap()) });
        large.wait().unwrap();
        stop.store(true, SeqCst);
        small.into_iter().for_each(|task| task.wait().unwrap());
    });
}

/// x/sync/errgroup_test.go: TestZeroGroup, TestWithContext.
#[test]
fn errgroup_with_context() {
    for_procs(|rt| {
        let cases: [&[Option<&str>]; 4] = [&[], &[None], &[Some("1")], &[Some("1"), None]];
        for members in cases {
            let expected = if members.contains(&Some("1")) { Err("1") } else { Ok(()) };
            rt.run(move || {
                for blocking in [false, true] {
                    let mut group = Group::new();
                    let token = group.token().clone();
                    for member in members {
                        let result = member.map_or(Ok(()), Err);
                        match blocking {
                            true => group.go(move || result),
                            false => group.spawn(async move { result }),
                        }
                    }
                    assert_eq!(group.join().wait(), expected);
                    assert!(token.is_cancelled(), "cancelled at the end");
                }
            });
        }
    });
}

/// x/sync/errgroup_test.go: TestPanic.
#[test]
fn errgroup_panic() {
    for_procs(|rt| {
        rt.run(|| {
            let mut group = Group::<()>::new();
            group.spawn(std::future::pending());
            group.go(|| panic!("as planned"));
            let joined = catch_unwind(AssertUnwindSafe(|| group.join().wait()));
            assert_eq!(panic_text(&*joined.unwrap_err()), "as planned");
        });
    });
}

/// Not Go's, but this file's claim: all kinds at once use one mutex.
#[test]
fn one_mutex_for_all() {
    for_procs(|rt| {
        let mutex = Arc::new(Mutex::new(0));
        let start = |i| {
            let mutex = mutex.clone();
            Kind::Mixed.start(rt, i, async move {
                for _ in 0..100 {
                    let mut guard = mutex.lock().await;
                    gort::yield_now().await;
                    *guard += 1;
                }
            })
        };
        let all: Vec<_> = (0..6).map(start).collect();
        let theirs = mutex.clone();
        let pool = futures::executor::ThreadPool::builder().pool_size(1).create().unwrap();
        let (send, foreign) = oneshot::channel();
        pool.spawn_ok(async move {
            for _ in 0..100 {
                *theirs.lock().await += 1;
            }
            send.send(()).unwrap();
        });
        foreign.wait().unwrap();
        join_all(all);
        assert_eq!(*mutex.lock().wait(), 700);
    });
}
