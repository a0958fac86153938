//! Panics, wherever user code runs: they end one task, and never the runtime.

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::FutureExt;
use gort::time::sleep;
use gort::{Builder, PanicPolicy, Runtime};
use gort_tests::{Child, OnDrop, Probe, eventually, for_procs, is_child, panic_text};

/// The runtime still does everything it should.
fn assert_alive(rt: &Runtime) {
    let task = rt.spawn(async {
        let tasks: Vec<_> = (0..20).map(|i| gort::spawn(async move { i })).collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        sleep(Duration::from_micros(10)).await;
        sum
    });
    assert_eq!(rt.block_on(task).unwrap(), 190);
}

#[test]
fn in_a_task() {
    for_procs(|rt| {
        let error = rt.block_on(rt.spawn(async { panic!("one {}", 1) })).unwrap_err();
        assert!(error.is_panic() && !error.is_cancelled());
        assert!(error.to_string().ends_with("panicked: one 1"), "{error}");
        assert_eq!(panic_text(&*error.into_panic()), "one 1");
        assert_alive(rt);
    });
}

#[test]
fn in_a_later_poll() {
    for_procs(|rt| {
        let task = rt.spawn(async {
            gort::yield_now().await;
            sleep(Duration::from_micros(10)).await;
            panic_any(5u8);
        });
        let payload = rt.block_on(task).unwrap_err().into_panic();
        assert_eq!(*payload.downcast::<u8>().unwrap(), 5);
        assert_alive(rt);
    });
}

#[test]
fn in_a_detached_task() {
    for_procs(|rt| {
        let drops = Arc::new(AtomicUsize::new(0));
        let theirs = drops.clone();
        drop(rt.spawn(async move {
            let _guard = OnDrop::new(move || {
                theirs.fetch_add(1, SeqCst);
            });
            gort::yield_now().await;
            panic!("nobody asks");
        }));
        eventually("the unwind", || drops.load(SeqCst) == 1);
        assert_alive(rt);
    });
}

#[test]
fn in_the_drop_of_an_ended_task() {
    struct Ready(#[expect(dead_code, reason = "for its drop")] Bomb);
    impl Future for Ready {
        type Output = u32;
        fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u32> {
            Poll::Ready(5)
        }
    }
    for_procs(|rt| {
        let error = rt.block_on(rt.spawn(Ready(Bomb("in drop")))).unwrap_err();
        assert_eq!(panic_text(&*error.into_panic()), "in drop");
        assert_alive(rt);
    });
}

/// Panics when dropped.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("{}", self.0);
        }
    }
}

#[test]
fn in_the_drop_of_an_aborted_task() {
    for_procs(|rt| {
        let probe = Probe::new();
        let inner = probe.future();
        let task = rt.spawn(async move {
            let _bomb = Bomb("in the drop of an aborted task");
            inner.await;
        });
        eventually("it is parked", || probe.polls() == 1);
        task.abort();
        let error = rt.block_on(task).unwrap_err();
        assert_eq!(panic_text(&*error.into_panic()), "in the drop of an aborted task");
        assert_eq!(probe.drops(), 1, "its other fields are dropped all the same");
        assert_alive(rt);
    });
}

/// The future panics, and so does its drop afterwards.
#[test]
fn in_a_poll_and_then_in_the_drop() {
    struct Twice(#[expect(dead_code, reason = "for its drop")] Bomb);
    impl Future for Twice {
        type Output = ();
        fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            panic!("in poll")
        }
    }
    for_procs(|rt| {
        let error = rt.block_on(rt.spawn(Twice(Bomb("in drop")))).unwrap_err();
        assert!(error.is_panic());
        assert_alive(rt);
    });
}

#[test]
fn in_the_drop_of_an_output() {
    for_procs(|rt| {
        drop(rt.spawn(async { Bomb("in a detached output") }));
        let task = rt.spawn(async { Bomb("in an output that nobody took") });
        eventually("its end", || task.is_finished());
        // Whether the panic comes out of the handle's drop is the handle's affair; the runtime
        // must not care.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(task)));
        let task = rt.spawn(async { Bomb("in an output of an aborted task") });
        task.abort();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(rt.block_on(task))));
        assert_alive(rt);
    });
}

/// A payload whose own drop panics.
#[test]
fn in_the_drop_of_a_payload() {
    for_procs(|rt| {
        drop(rt.spawn(async { panic_any(Bomb("a payload")) }));
        assert_alive(rt);
        let task = rt.spawn(async { panic_any(Bomb("a payload")) });
        eventually("its end", || task.is_finished());
        let _ = catch_unwind(AssertUnwindSafe(|| drop(task)));
        assert_alive(rt);
        let task = rt.spawn(async { panic_any(Bomb("a payload")) });
        let payload = rt.block_on(task).unwrap_err().into_panic();
        assert!(catch_unwind(AssertUnwindSafe(|| drop(payload))).is_err());
        assert_alive(rt);
    });
}

/// A waker that panics, in each of its functions that the test chooses.
#[derive(Default)]
struct BadWaker {
    wakes: AtomicUsize,
    on_drop: bool,
}

impl Wake for BadWaker {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, SeqCst);
        panic!("in a foreign waker");
    }
}

impl Drop for BadWaker {
    fn drop(&mut self) {
        if self.on_drop && !thread::panicking() {
            panic!("in the drop of a foreign waker");
        }
    }
}

#[test]
fn in_a_joiners_waker() {
    for_procs(|rt| {
        let bad = Arc::new(BadWaker::default());
        let waker = Waker::from(bad.clone());
        let (send, receive) = oneshot::channel::<()>();
        let mut task = rt.spawn(receive);
        assert!(task.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        send.send(()).unwrap();
        eventually("the wake", || bad.wakes.load(SeqCst) == 1);
        assert!(matches!(rt.block_on(task), Ok(Ok(()))));
        assert_alive(rt);
    });
}

#[test]
fn in_a_sleepers_waker() {
    for_procs(|rt| {
        let bad = Arc::new(BadWaker::default());
        let waker = Waker::from(bad.clone());
        let _enter = rt.enter();
        let mut sleeps: Vec<_> =
            (0..50).map(|i| Box::pin(sleep(Duration::from_micros(100 + i)))).collect();
        for sleep in &mut sleeps {
            assert!(sleep.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        }
        eventually("all are woken, though each panics", || bad.wakes.load(SeqCst) == 50);
        assert_alive(rt);
    });
}

#[test]
fn in_a_wakers_drop() {
    for_procs(|rt| {
        for _ in 0..10 {
            let waker = Waker::from(Arc::new(BadWaker { wakes: 0.into(), on_drop: true }));
            let (send, receive) = oneshot::channel::<()>();
            let mut task = rt.spawn(receive);
            assert!(task.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
            assert!(catch_unwind(AssertUnwindSafe(|| drop(waker))).is_ok(), "not the last one");
            assert!(catch_unwind(AssertUnwindSafe(|| drop(task))).is_err(), "the last one");
            drop(send);
        }
        assert_alive(rt);
    });
}

/// A waker that calls back into the runtime, from inside the completion.
#[test]
fn a_waker_that_spawns_blocks_and_drops_the_handle() {
    struct Busy(gort::Handle, AtomicUsize);
    impl Wake for Busy {
        fn wake(self: Arc<Self>) {
            let n = gort::block_on(self.0.spawn(async { 1 })).unwrap();
            drop(gort::spawn(async {}));
            self.1.fetch_add(n, SeqCst);
        }
    }
    for_procs(|rt| {
        let busy = Arc::new(Busy(rt.handle(), AtomicUsize::new(0)));
        let waker = Waker::from(busy.clone());
        let mut cx = Context::from_waker(&waker);
        let (send, receive) = oneshot::channel::<()>();
        let mut task = rt.spawn(receive);
        assert!(task.poll_unpin(&mut cx).is_pending());
        let _enter = rt.enter();
        let mut sleep = Box::pin(sleep(Duration::from_micros(200)));
        assert!(sleep.poll_unpin(&mut cx).is_pending());
        send.send(()).unwrap();
        eventually("both wakes", || busy.1.load(SeqCst) == 2);
        assert_alive(rt);
    });
}

#[test]
fn many_at_once() {
    for_procs(|rt| {
        let tasks: Vec<_> = (0..200)
            .map(|i| {
                rt.spawn(async move {
                    gort::yield_now().await;
                    assert!(i % 2 == 0, "odd");
                })
            })
            .collect();
        for (i, task) in tasks.into_iter().enumerate() {
            assert_eq!(rt.block_on(task).is_err(), i % 2 == 1);
        }
        assert_alive(rt);
    });
}

#[test]
fn a_panicking_root_leaves_its_tasks_alone() {
    for_procs(|rt| {
        let (send, receive) = oneshot::channel();
        let root = AssertUnwindSafe(async {
            let task = rt.spawn(async {
                gort::yield_now().await;
                4
            });
            send.send(task).ok().unwrap();
            poll_fn(|_| -> Poll<()> { panic!("root") }).await;
        });
        assert!(catch_unwind(AssertUnwindSafe(|| rt.block_on(root))).is_err());
        let task = receive.now_or_never().unwrap().unwrap();
        assert_eq!(rt.block_on(task).unwrap(), 4);
        assert_alive(rt);
    });
}

#[test]
fn policy_abort_ends_the_process() {
    if is_child() {
        let rt = Builder::new().procs(1).on_panic(PanicPolicy::Abort).build().unwrap();
        let _ = rt.block_on(rt.spawn(async { panic!("fatal") }));
        unreachable!("the process has ended");
    }
    let ended = Child::of("policy_abort_ends_the_process").run();
    assert_eq!(ended.code, None, "by SIGABRT: {}", ended.stderr);
    assert!(ended.stderr.contains("fatal"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("the process has ended"), "{}", ended.stderr);
}

/// The policy holds for a task's destructor too, also where the task is cancelled.
#[test]
fn policy_abort_holds_for_destructors() {
    if is_child() {
        let rt = Builder::new().procs(1).on_panic(PanicPolicy::Abort).build().unwrap();
        let probe = Probe::new();
        let inner = probe.future();
        let task = rt.spawn(async move {
            let _bomb = Bomb("fatal drop");
            inner.await;
            pending::<()>().await;
        });
        eventually("it is parked", || probe.polls() == 1);
        task.abort();
        let _ = rt.block_on(task);
        unreachable!("the process has ended");
    }
    let ended = Child::of("policy_abort_holds_for_destructors").run();
    assert_eq!(ended.code, None, "by SIGABRT: {}", ended.stderr);
    assert!(ended.stderr.contains("fatal drop"), "{}", ended.stderr);
}

/// With the policy Abort a panic of a root is the caller's: it unwinds out of `block_on`.
#[test]
fn policy_abort_leaves_roots_to_their_callers() {
    let rt = Builder::new().procs(1).on_panic(PanicPolicy::Abort).build().unwrap();
    let call = || rt.block_on(async { panic!("root") });
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
}
