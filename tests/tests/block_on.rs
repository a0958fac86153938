//! `block_on`, `wait` and local tasks, wherever they are called.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use futures::{StreamExt, join};
use gort::prelude::*;
use gort::time::sleep;
use gort_tests::{BOUND, OnDrop, Watchdog, for_procs, for_procs_async, returns, runtime, until};

#[test]
fn runs_a_ready_and_a_pending_future() {
    for_procs(|rt| {
        assert_eq!(rt.block_on(async { 7 }), 7);
        rt.block_on(sleep(Duration::from_millis(1)));
        assert_eq!(rt.block_on(rt.spawn(async { 8 })).unwrap(), 8);
    });
}

#[test]
fn the_future_may_borrow_and_need_not_be_send() {
    for_procs(|rt| {
        let words = RefCell::new(vec!["a"]);
        rt.block_on(async {
            words.borrow_mut().push("b");
            gort::yield_now().await;
            words.borrow_mut().push("c");
        });
        assert_eq!(*words.borrow(), ["a", "b", "c"]);
    });
}

#[test]
fn its_panic_comes_out_and_the_runtime_goes_on() {
    for_procs(|rt| {
        let call = || rt.block_on(async { panic!("the root's") });
        let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).unwrap_err();
        assert_eq!(gort_tests::panic_text(&*payload), "the root's");
        assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    });
}

#[test]
fn many_threads_at_once() {
    for_procs(|rt| {
        thread::scope(|s| {
            for i in 0..8 {
                s.spawn(move || {
                    for j in 0..50 {
                        let got = rt.block_on(async move {
                            let task = gort::spawn(async move {
                                gort::yield_now().await;
                                i * j
                            });
                            task.await.unwrap()
                        });
                        assert_eq!(got, i * j);
                    }
                });
            }
        });
    });
}

#[test]
fn nested_in_a_task() {
    for_procs_async(|| async {
        let there = gort::spawn(async {
            let inner = gort::spawn(async {
                gort::yield_now().await;
                5
            });
            gort::block_on(inner).unwrap()
        });
        assert_eq!(there.await.unwrap(), 5);
    });
}

#[test]
fn nested_in_a_task_while_others_go_on() {
    for_procs_async(|| async {
        let (send, receive) = oneshot::channel();
        let blocked = gort::spawn(async move { gort::block_on(receive).unwrap() });
        let other = gort::spawn(async move {
            for _ in 0..100 {
                gort::yield_now().await;
            }
            send.send(3).unwrap();
        });
        other.await.unwrap();
        assert_eq!(blocked.await.unwrap(), 3);
    });
}

#[test]
fn nested_in_itself_many_levels_deep() {
    fn dive(levels: u32) -> u32 {
        match levels {
            0 => gort::block_on(gort::spawn(async { 0 })).unwrap(),
            _ => 1 + gort::block_on(async { dive(levels - 1) }),
        }
    }
    for_procs(|rt| {
        assert_eq!(rt.block_on(async { dive(20) }), 20);
        assert_eq!(rt.block_on(rt.spawn(async { dive(20) })).unwrap(), 20);
    });
}

#[test]
fn wait_is_block_on() {
    for_procs_async(|| async {
        let n = gort::spawn(async { gort::spawn(async { 9 }).wait().unwrap() });
        assert_eq!(n.await.unwrap(), 9);
    });
}

#[test]
fn in_a_destructor_of_a_task() {
    for_procs(|rt| {
        let done = Arc::new(AtomicUsize::new(0));
        let theirs = done.clone();
        rt.block_on(rt.spawn(async move {
            let guard = OnDrop::new(move || {
                let n = gort::block_on(gort::spawn(async { 11 })).unwrap();
                theirs.store(n, SeqCst);
            });
            gort::yield_now().await;
            drop(guard);
        }))
        .unwrap();
        assert_eq!(done.load(SeqCst), 11);
    });
}

#[test]
fn in_a_destructor_of_an_aborted_task() {
    for_procs(|rt| {
        let done = Arc::new(AtomicUsize::new(0));
        let theirs = done.clone();
        let task = rt.spawn(async move {
            let _guard = OnDrop::new(move || {
                theirs.store(gort::block_on(gort::spawn(async { 12 })).unwrap(), SeqCst);
            });
            pending::<()>().await;
        });
        rt.block_on(gort::yield_now());
        task.abort();
        assert!(rt.block_on(task).unwrap_err().is_cancelled());
        assert!([0, 12].contains(&done.load(SeqCst)), "0: it had not started");
    });
}

#[test]
fn in_a_thread_locals_destructor() {
    struct AtExit;
    impl Drop for AtExit {
        fn drop(&mut self) {
            assert_eq!(gort::block_on(async { 1 }), 1);
        }
    }
    thread_local!(static GUARD: AtExit = const { AtExit });
    returns("block_on in a thread-local's destructor", || {
        thread::spawn(|| GUARD.with(|_| ())).join().unwrap();
    });
}

#[test]
fn nested_in_another_runtime() {
    for_procs(|rt| {
        let other = runtime(1);
        let n = rt
            .block_on(async { other.block_on(async { gort::spawn(async { 4 }).await.unwrap() }) });
        assert_eq!(n, 4);
        let n = other.block_on(other.spawn({
            let inner = rt.handle();
            async move {
                let task = inner.spawn(async { 6 });
                gort::block_on(task).unwrap()
            }
        }));
        assert_eq!(n.unwrap(), 6);
    });
}

/// The fairness promise holds for the tasks that a root spawns: at one P the root must not keep
/// it for itself.
#[test]
fn a_root_that_yields_for_ever_does_not_starve_its_tasks() {
    for procs in [1, 2, 4] {
        returns("a root that yields until its task has run", move || {
            let rt = runtime(procs);
            let flag = Arc::new(AtomicBool::new(false));
            let theirs = flag.clone();
            rt.block_on(async move {
                let task = gort::spawn(async move { theirs.store(true, SeqCst) });
                while !flag.load(SeqCst) {
                    gort::yield_now().await;
                }
                task.await.unwrap();
            });
        });
    }
}

#[test]
fn local_tasks_that_yield_for_ever_do_not_starve_the_others() {
    for procs in [1, 2, 4] {
        returns("a local task that yields until a spawned one has run", move || {
            let rt = runtime(procs);
            let flag = Arc::new(AtomicBool::new(false));
            let theirs = flag.clone();
            rt.block_on(async move {
                let local = gort::spawn_local(async move {
                    while !flag.load(SeqCst) {
                        gort::yield_now().await;
                    }
                });
                let task = gort::spawn(async move { theirs.store(true, SeqCst) });
                task.await.unwrap();
                local.await.unwrap();
            });
        });
    }
}

#[test]
fn local_tasks_run_on_this_thread_and_in_spawn_order() {
    for_procs(|rt| {
        let here = thread::current().id();
        let seen = Rc::new(RefCell::new(Vec::new()));
        rt.block_on(async {
            let tasks: Vec<_> = (0..10)
                .map(|i| {
                    let seen = seen.clone();
                    gort::spawn_local(async move {
                        assert_eq!(thread::current().id(), here);
                        seen.borrow_mut().push(i);
                        gort::yield_now().await;
                        assert_eq!(thread::current().id(), here);
                        i
                    })
                })
                .collect();
            for (i, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.await.unwrap(), i);
            }
        });
        assert_eq!(*seen.borrow(), (0..10).collect::<Vec<_>>());
    });
}

#[test]
fn local_tasks_spawn_local_tasks() {
    for_procs(|rt| {
        let sum = Rc::new(Cell::new(0));
        rt.block_on(async {
            let theirs = sum.clone();
            let outer = gort::spawn_local(async move {
                let mine = theirs.clone();
                gort::spawn_local(async move { mine.set(mine.get() + 1) }).await.unwrap();
                theirs.set(theirs.get() + 10);
            });
            outer.await.unwrap();
        });
        assert_eq!(sum.get(), 11);
    });
}

/// A local task woken by tasks on workers, by plain threads and by foreign executors.
#[test]
fn local_tasks_are_woken_from_everywhere() {
    for_procs(|rt| {
        let pool = futures::executor::ThreadPool::builder().pool_size(1).create().unwrap();
        rt.block_on(async {
            let (send, mut receive) = mpsc::unbounded();
            let local = gort::spawn_local(async move {
                let not_send = Rc::new(Cell::new(0));
                while let Some(n) = receive.next().await {
                    not_send.set(not_send.get() + n);
                }
                not_send.get()
            });
            let from_task = send.clone();
            let task = gort::spawn(async move {
                for _ in 0..100 {
                    from_task.unbounded_send(1).unwrap();
                    gort::yield_now().await;
                }
            });
            let from_thread = send.clone();
            let thread = thread::spawn(move || {
                for _ in 0..100 {
                    from_thread.unbounded_send(1).unwrap();
                }
            });
            pool.spawn_ok(async move {
                for _ in 0..100 {
                    send.unbounded_send(1).unwrap();
                }
            });
            task.await.unwrap();
            assert_eq!(local.await.unwrap(), 300);
            thread.join().unwrap();
        });
    });
}

/// What is not Send must be dropped where it lives, whoever ends it.
#[test]
fn local_tasks_are_dropped_on_their_own_thread() {
    for_procs(|rt| {
        let here = thread::current().id();
        let drops = Rc::new(Cell::new(0));
        let guard = |drops: &Rc<Cell<u32>>| {
            let drops = drops.clone();
            OnDrop::new(move || {
                assert_eq!(thread::current().id(), here);
                drops.set(drops.get() + 1);
            })
        };
        rt.block_on(async {
            let (finished, left, aborted) = (guard(&drops), guard(&drops), guard(&drops));
            let task = gort::spawn_local(async move { drop(finished) });
            drop(gort::spawn_local(async move {
                let _left = left;
                pending::<()>().await;
            }));
            let abort = gort::spawn_local(async move {
                let _aborted = aborted;
                pending::<()>().await;
            });
            gort::yield_now().await;
            abort.abort();
            assert!(abort.await.unwrap_err().is_cancelled());
            task.await.unwrap();
        });
        assert_eq!(drops.get(), 3, "the one that was left is cancelled with `block_on`");
    });
}

/// The last waker of a local task may be dropped anywhere; the task is still dropped at home, with
/// its `block_on` at the latest.
#[test]
fn a_local_tasks_last_waker_on_a_foreign_thread() {
    for_procs(|rt| {
        let here = thread::current().id();
        let drops = Rc::new(Cell::new(0));
        rt.block_on(async {
            let (send, receive) = oneshot::channel();
            let mut send = Some(send);
            let mine = drops.clone();
            let guard = OnDrop::new(move || {
                assert_eq!(thread::current().id(), here);
                mine.set(mine.get() + 1);
            });
            drop(gort::spawn_local(poll_fn(move |cx| {
                let _ = &guard;
                if let Some(send) = send.take() {
                    send.send(cx.waker().clone()).unwrap();
                }
                Poll::<()>::Pending
            })));
            let waker = receive.await.unwrap();
            thread::spawn(move || drop(waker)).join().unwrap();
        });
        assert_eq!(drops.get(), 1);
    });
}

#[test]
fn a_local_tasks_panic_stays_in_its_handle() {
    for_procs(|rt| {
        rt.block_on(async {
            let task = gort::spawn_local(async { panic!("local") });
            assert!(task.await.unwrap_err().is_panic());
        });
    });
}

#[test]
fn local_tasks_left_behind_may_spawn_more_while_they_are_dropped() {
    for_procs(|rt| {
        let drops = Rc::new(Cell::new(0));
        rt.block_on(async {
            let mine = drops.clone();
            let guard = OnDrop::new(move || {
                mine.set(mine.get() + 1);
                let theirs = mine.clone();
                let again = OnDrop::new(move || theirs.set(theirs.get() + 1));
                drop(gort::spawn_local(async move {
                    let _again = again;
                    pending::<()>().await;
                }));
            });
            drop(gort::spawn_local(async move {
                let _guard = guard;
                pending::<()>().await;
            }));
            gort::yield_now().await;
        });
        assert_eq!(drops.get(), 2);
    });
}

#[test]
fn spawn_local_elsewhere_panics_and_says_why() {
    for_procs(|rt| {
        for error in [
            rt.block_on(rt.spawn(async { drop(gort::spawn_local(async {})) })).unwrap_err(),
            rt.block_on(rt.spawn(async {
                thread::spawn(|| drop(gort::spawn_local(async {}))).join().unwrap();
            }))
            .unwrap_err(),
        ] {
            assert!(error.is_panic());
        }
        let task = rt.spawn(async { drop(gort::spawn_local(async {})) });
        let payload = rt.block_on(task).unwrap_err().into_panic();
        assert!(gort_tests::panic_text(&*payload).contains("spawn_local"));
    });
}

/// `block_on` inside a local task, waiting for another local task of the same thread: the nested
/// loop runs it.
#[test]
fn nested_in_a_local_task_waiting_for_a_sibling() {
    returns("block_on of a local sibling", || {
        for_procs(|rt| {
            rt.block_on(async {
                let sibling = gort::spawn_local(async {
                    gort::yield_now().await;
                    21
                });
                let outer = gort::spawn_local(async move { gort::block_on(sibling).unwrap() });
                assert_eq!(outer.await.unwrap(), 21);
            });
        });
    });
}

/// As above, with a runtime in between: local tasks belong to the thread, not to one runtime.
#[test]
fn nested_in_another_runtime_waiting_for_a_local_task_of_this_thread() {
    returns("block_on of a local task in another runtime", || {
        let (here, there) = (runtime(1), runtime(1));
        here.block_on(async {
            let local = gort::spawn_local(async {
                gort::yield_now().await;
                22
            });
            assert_eq!(there.block_on(local).unwrap(), 22);
        });
    });
}

/// A yield that was polled before a nested `block_on` belongs to its own task: what the nested
/// loop runs must not use it up.
#[test]
fn a_nested_block_on_does_not_swallow_a_yield() {
    returns("a yield beside a nested block_on", || {
        for_procs(|rt| {
            rt.block_on(async {
                let sibling = gort::spawn_local(async {
                    sleep(Duration::from_millis(1)).await;
                    sleep(Duration::from_millis(1)).await;
                });
                let task = gort::spawn_local(async move {
                    join!(gort::yield_now(), async { gort::block_on(sibling).unwrap() });
                });
                task.await.unwrap();
            });
        });
    });
}

#[test]
fn a_yield_that_is_given_up_wakes_nobody() {
    for_procs_async(|| async {
        let polls = Arc::new(AtomicUsize::new(0));
        let mine = polls.clone();
        let (send, receive) = oneshot::channel::<()>();
        let receive = std::sync::Mutex::new(receive);
        let parked = gort::spawn(poll_fn(move |cx| {
            mine.fetch_add(1, SeqCst);
            receive.lock().unwrap().poll_unpin_ready(cx)
        }));
        until("it is parked", || polls.load(SeqCst) == 1).await;
        let once = gort::spawn(async {
            let mut yielded = gort::yield_now();
            poll_fn(|cx| {
                let _ = std::pin::Pin::new(&mut yielded).poll(cx);
                Poll::Ready(())
            })
            .await;
        });
        once.await.unwrap();
        for _ in 0..200 {
            gort::yield_now().await;
        }
        assert_eq!(polls.load(SeqCst), 1);
        send.send(()).unwrap();
        parked.await.unwrap();
    });
}

/// Polls a receiver behind a lock.
trait PollReady {
    fn poll_unpin_ready(&mut self, cx: &mut std::task::Context<'_>) -> Poll<()>;
}

impl PollReady for oneshot::Receiver<()> {
    fn poll_unpin_ready(&mut self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        std::pin::Pin::new(self).poll(cx).map(drop)
    }
}

#[test]
fn the_default_runtime_serves_plain_threads() {
    let n = gort::block_on(async {
        sleep(Duration::from_millis(1)).await;
        gort::spawn(async { 2 }).await.unwrap()
    });
    assert_eq!(n, 2);
    assert_eq!(gort::spawn(async { 3 }).wait().unwrap(), 3);
}

#[test]
fn enter_makes_a_runtime_current() {
    for_procs(|rt| {
        assert!(gort::Handle::try_current().is_none());
        let other = runtime(1);
        {
            let _outer = rt.enter();
            let before = rt.handle().metrics().spawned;
            assert_eq!(gort::spawn(async { 1 }).wait().unwrap(), 1);
            assert_eq!(rt.handle().metrics().spawned, before + 1);
            let _inner = other.enter();
            let before = other.handle().metrics().spawned;
            assert_eq!(gort::spawn(async { 1 }).wait().unwrap(), 1);
            assert_eq!(other.handle().metrics().spawned, before + 1);
        }
        assert!(gort::Handle::try_current().is_none());
    });
}

#[test]
fn a_foreign_executor_polls_gort_futures() {
    for_procs(|rt| {
        let _enter = rt.enter();
        let task = gort::spawn(async {
            sleep(Duration::from_millis(1)).await;
            13
        });
        assert_eq!(futures::executor::block_on(task).unwrap(), 13);
        futures::executor::block_on(sleep(Duration::from_millis(1)));
    });
}

#[test]
fn a_root_that_is_woken_from_a_foreign_thread() {
    let _machine = gort_tests::beside_others();
    let rt = runtime(2);
    let _watchdog = Watchdog::start(rt.handle());
    for i in 0..500 {
        let (send, receive) = oneshot::channel();
        let thread = thread::spawn(move || send.send(i).unwrap());
        assert_eq!(rt.block_on(receive).unwrap(), i);
        thread.join().unwrap();
    }
    assert!(rt.shutdown_timeout(BOUND));
}
