//! `lock_os_thread`: a goroutine has its thread for itself, but for those that lived there before.

mod go_modes;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use gort::prelude::*;
use gort::time::sleep;
use gort::{OsThreadGuard, lock_os_thread};
use gort_tests::{BOUND, OnDrop, eventually};

use go_modes::{Mode, check, for_modes};

fn here() -> ThreadId {
    thread::current().id()
}

/// Where `n` new tasks and goroutines run.
fn where_others_run(n: usize) -> Vec<ThreadId> {
    let tasks: Vec<_> = (0..n).map(|_| gort::spawn(async { here() })).collect();
    let goroutines: Vec<_> = (0..n).map(|_| gort::go(here)).collect();
    tasks.into_iter().chain(goroutines).map(|one| one.wait().unwrap()).collect()
}

/// In a goroutine: waits until something new runs on this thread.
fn assert_takes_work() {
    let (me, start) = (here(), Instant::now());
    while !where_others_run(10).contains(&me) {
        assert!(start.elapsed() < BOUND, "the thread takes no work any more");
        gort::yield_now().wait();
    }
}

#[test]
fn it_takes_no_new_work() {
    for_modes(|rt, _| {
        rt.run(|| {
            let guard = lock_os_thread();
            let me = here();
            for _ in 0..20 {
                let others = where_others_run(10);
                assert!(!others.contains(&me));
                assert_eq!(here(), me);
                sleep(Duration::from_micros(20)).wait();
            }
            drop(guard);
        });
        assert_eq!(rt.run(|| 5), 5);
    });
}

#[test]
fn it_nests_and_ends() {
    check(Mode::Home, 1, |rt, _| {
        rt.run(|| {
            let (outer, inner) = (lock_os_thread(), lock_os_thread());
            drop(outer);
            assert!(!where_others_run(10).contains(&here()));
            drop(inner);
            assert_takes_work();
        });
    });
}

/// What has begun on the thread goes on there while a neighbour has locked it, also if it locks it
/// too; whoever is last gives it back.
#[test]
fn neighbours() {
    for first_out in [0, 1] {
        check(Mode::Home, 1, |rt, _| {
            rt.run(move || {
                let me = here();
                // One that lives here, as it began here; with one P that is soon so.
                let (neighbour, go_on, locked) = loop {
                    let (go_on, wait) = oneshot::channel::<()>();
                    let (tell, begun) = oneshot::channel();
                    let (lock_it, locked) = (oneshot::channel::<()>(), oneshot::channel::<()>());
                    let (lock_it, may_lock) = lock_it;
                    let (has_locked, locked) = locked;
                    let goroutine = gort::go(move || {
                        let here_it_is = here();
                        tell.send(here_it_is).unwrap();
                        if may_lock.wait().is_err() {
                            return;
                        }
                        let guard = lock_os_thread();
                        assert_eq!(here(), here_it_is);
                        has_locked.send(()).unwrap();
                        wait.wait().unwrap();
                        drop(guard);
                        assert_eq!(here(), here_it_is);
                    });
                    if begun.wait().unwrap() == me {
                        break (goroutine, go_on, (lock_it, locked));
                    }
                    drop(lock_it);
                    goroutine.wait().unwrap();
                };
                let guard = lock_os_thread();
                locked.0.send(()).unwrap();
                locked.1.wait().unwrap();
                assert!(!where_others_run(5).contains(&me));
                if first_out == 0 {
                    drop(guard);
                    assert!(!where_others_run(5).contains(&me), "the neighbour has it locked");
                    go_on.send(()).unwrap();
                    neighbour.wait().unwrap();
                } else {
                    go_on.send(()).unwrap();
                    neighbour.wait().unwrap();
                    assert!(!where_others_run(5).contains(&me));
                    drop(guard);
                }
                assert_takes_work();
            });
        });
    }
}

/// A goroutine that ends while it is locked takes its thread along, and the runtime goes on.
#[test]
fn a_locked_end_ends_the_thread() {
    struct Tells(Arc<AtomicUsize>);
    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    thread_local! {
        static AT_THE_END: RefCell<Vec<Tells>> = const { RefCell::new(Vec::new()) };
    }

    for_modes(|rt, _| {
        let ended = Arc::new(AtomicUsize::new(0));
        for i in 1..=3 {
            let theirs = ended.clone();
            let thread = rt.go(move || {
                std::mem::forget((lock_os_thread(), lock_os_thread()));
                AT_THE_END.with_borrow_mut(|all| all.push(Tells(theirs)));
                gort::yield_now().wait();
                here()
            });
            let thread = thread.wait().unwrap();
            eventually("its thread has ended", || ended.load(SeqCst) == i);
            assert!(!rt.run(|| where_others_run(10)).contains(&thread));
        }
    });
}

/// An unwinding drops the guard, so the thread stays.
#[test]
fn an_abort_unlocks() {
    for_modes(|rt, _| {
        let (tell, waits) = std::sync::mpsc::channel();
        let unlocked = Arc::new(AtomicUsize::new(0));
        let theirs = unlocked.clone();
        let goroutine = rt.go(move || {
            let _last = OnDrop::new(|| {
                theirs.fetch_add(1, SeqCst);
            });
            let _guard = lock_os_thread();
            tell.send(()).unwrap();
            std::future::pending::<()>().wait();
        });
        waits.recv_timeout(BOUND).unwrap();
        goroutine.abort();
        assert!(goroutine.wait().unwrap_err().is_cancelled());
        assert_eq!(unlocked.load(SeqCst), 1);
        rt.run(|| drop(where_others_run(10)));
    });
}

/// Outside of goroutines there is nothing to lock; a guard in other hands unlocks nobody.
#[test]
fn elsewhere() {
    thread_local! {
        static SHELF: RefCell<Option<OsThreadGuard>> = const { RefCell::new(None) };
    }
    let guard = lock_os_thread();
    assert_eq!(gort::spawn(async { 1 }).wait().unwrap(), 1);
    drop(guard);
    for_modes(|rt, _| {
        rt.block_on(async {
            let _guard = lock_os_thread();
            assert_eq!(gort::spawn(async { drop(lock_os_thread()) }).await.ok(), Some(()));
        });
    });
    check(Mode::Home, 1, |rt, _| {
        rt.run(|| {
            let guard = lock_os_thread();
            SHELF.replace(Some(lock_os_thread()));
            let other = SHELF.take();
            drop(guard);
            // Still locked by the one from the shelf.
            assert!(!where_others_run(5).contains(&here()));
            drop(other);
            assert_takes_work();
        });
    });
}

/// At one P: residents of a locked thread that are always runnable leave others their turn.
#[test]
fn residents_that_always_run_give_way() {
    check(Mode::Home, 1, |rt, _| {
        let (begun, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (elsewhere, end) = (begun.clone(), done.clone());
        let locked = rt.go(move || {
            while elsewhere.load(SeqCst) == 0 {
                thread::yield_now(); // without a word, so the P is taken, and the other begins elsewhere
            }
            let _guard = lock_os_thread();
            let theirs = end.clone();
            let neighbour = gort::spawn_local(async move {
                while theirs.load(SeqCst) == 0 {
                    gort::yield_now().await;
                }
            });
            while end.load(SeqCst) == 0 {
                gort::yield_now().wait();
            }
            neighbour.wait().unwrap();
            here()
        });
        let other = rt.go(move || {
            begun.store(1, SeqCst);
            (0..20).for_each(|_| sleep(Duration::from_millis(1)).wait());
            done.store(1, SeqCst);
            here()
        });
        assert_ne!(locked.wait().unwrap(), other.wait().unwrap());
    });
}
