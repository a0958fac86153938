//! Goroutines: start, wait, join. Everything in both affinity modes.

mod go_modes;

use std::future::{IntoFuture, pending, poll_fn, ready};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use futures::future::{FutureExt, join_all};
use futures::sink::SinkExt;
use futures::stream::{FuturesUnordered, StreamExt};
use gort::prelude::*;
use gort::time::{sleep, timeout};
use gort::{JoinHandle, task};
use gort_tests::{Probe, alone, eventually, until};

use go_modes::{Mode, check, for_modes};

#[test]
fn a_goroutine_gives_its_result() {
    for_modes(|rt, _| {
        assert_eq!(rt.go(|| 41 + 1).wait().unwrap(), 42);
        assert_eq!(rt.go(|| "text".to_owned()).wait().unwrap(), "text");
        rt.go(|| ()).wait().unwrap();
        let large = rt.go(|| [7_u8; 20_000]).wait().unwrap();
        assert!(large.iter().all(|b| *b == 7));
        let captured = [3_u64; 2_000];
        assert_eq!(rt.go(move || captured.iter().sum::<u64>()).wait().unwrap(), 6_000);
        assert_eq!(rt.run(|| 5), 5);
        assert_eq!(rt.handle().go(|| 6).wait().unwrap(), 6);
    });
}

#[test]
fn zero_sized_and_overaligned_results() {
    #[derive(Debug, PartialEq, Clone, Copy)]
    #[repr(align(128))]
    struct Wide(u8);
    for_modes(|rt, _| {
        let wide = Wide(9);
        let (at, back) = rt.go(move || (std::ptr::from_ref(&wide).addr(), wide)).wait().unwrap();
        assert_eq!(at % 128, 0);
        assert_eq!(back, wide);
    });
}

#[test]
fn a_tree_of_goroutines() {
    fn leaves(depth: u32) -> u64 {
        if depth == 0 {
            return 1;
        }
        let left = gort::go(move || leaves(depth - 1));
        let right = gort::go(move || leaves(depth - 1));
        left.wait().unwrap() + right.wait().unwrap()
    }
    for_modes(|rt, _| assert_eq!(rt.run(|| leaves(8)), 256));
}

#[test]
fn tasks_and_goroutines_join_each_other() {
    for_modes(|rt, _| {
        let sum = rt.run(|| {
            let task = gort::spawn(async {
                let inner = gort::go(|| {
                    sleep(Duration::from_micros(50)).wait();
                    gort::spawn(async { 1 }).wait().unwrap() + 10
                });
                inner.await.unwrap() + 100
            });
            task.wait().unwrap() + 1_000
        });
        assert_eq!(sum, 1_111);
    });
}

#[test]
fn a_wait_in_any_call_depth() {
    fn down(n: usize) -> usize {
        let local = [n; 16];
        gort::yield_now().wait();
        let below = if n == 0 { 0 } else { down(n - 1) };
        gort::yield_now().wait();
        assert!(local.iter().all(|i| *i == n), "the frame is as it was");
        below + local[n % 16]
    }
    for_modes(|rt, _| {
        let all: Vec<_> = (0..8).map(|_| rt.go(|| down(100))).collect();
        for goroutine in all {
            assert_eq!(goroutine.wait().unwrap(), 5_050);
        }
    });
}

#[test]
fn a_hundred_thousand_at_once() {
    const GOROUTINES: usize = 100_000;
    let _machine = alone();
    for mode in go_modes::MODES {
        check(mode, 2, |rt, _| {
            let (open, gate) = oneshot::channel::<()>();
            let gate = gate.shared();
            let arrived = Arc::new(AtomicUsize::new(0));
            let all: Vec<_> = (0..GOROUTINES)
                .map(|i| {
                    let (gate, arrived) = (gate.clone(), arrived.clone());
                    rt.go(move || {
                        arrived.fetch_add(1, SeqCst);
                        gate.wait().unwrap();
                        i
                    })
                })
                .collect();
            eventually("all wait", || arrived.load(SeqCst) == GOROUTINES);
            assert_eq!(rt.handle().metrics().goroutines, GOROUTINES);
            open.send(()).unwrap();
            for (i, goroutine) in all.into_iter().enumerate() {
                assert_eq!(goroutine.wait().unwrap(), i);
            }
            eventually("all are gone", || rt.handle().metrics().goroutines == 0);
        });
    }
}

#[test]
fn foreign_futures() {
    for_modes(|rt, _| {
        rt.run(|| {
            assert_eq!(async { 3 }.wait(), 3);
            assert_eq!(ready(4).into_future().wait(), 4);

            let (send, receive) = oneshot::channel();
            let sender = gort::go(move || send.send(5).unwrap());
            assert_eq!(receive.wait(), Ok(5));
            sender.wait().unwrap();

            let later = |us, value| {
                async move {
                    sleep(Duration::from_micros(us)).await;
                    value
                }
                .boxed()
            };
            let (a, b) = async { futures::join!(later(200, 1), later(100, 2)) }.wait();
            assert_eq!((a, b), (1, 2));
            let won = async {
                futures::select! {
                    n = later(50, 1).fuse() => n,
                    () = pending::<()>().fuse() => 2,
                }
            };
            assert_eq!(won.wait(), 1);

            let mut set: FuturesUnordered<_> = (0..50).map(|i| later(i * 7 % 50, i)).collect();
            let mut seen = Vec::new();
            while let Some(i) = set.next().wait() {
                seen.push(i);
            }
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..50));

            assert!(timeout(Duration::from_micros(100), pending::<()>()).wait().is_err());
            assert_eq!(timeout(Duration::from_secs(60), later(10, 8)).wait().unwrap(), 8);
        });
    });
}

/// The inner wait is woken by what the outer one waits for, too. That must not be lost.
#[test]
fn a_wait_inside_a_poll_keeps_the_wakes_of_the_outer_one() {
    for_modes(|rt, _| {
        for round in 0..200 {
            let (outer_send, outer) = oneshot::channel();
            let (inner_send, inner) = oneshot::channel();
            let goroutine = rt.go(move || {
                let (mut outer, mut inner) = (outer, Some(inner));
                poll_fn(|cx| {
                    let polled = Pin::new(&mut outer).poll(cx);
                    if let Some(inner) = inner.take() {
                        inner.wait().unwrap();
                    }
                    polled
                })
                .wait()
                .unwrap()
            });
            let task = rt.spawn(async move {
                for _ in 0..round % 5 {
                    gort::yield_now().await;
                }
                outer_send.send(round).unwrap();
                gort::yield_now().await;
                inner_send.send(()).unwrap();
            });
            assert_eq!(goroutine.wait().unwrap(), round);
            task.wait().unwrap();
        }
    });
}

/// Waits in a poll in a wait in a poll; each level has a source of its own, and the sources become
/// ready from the outside in, so that every wake arrives while the innermost one waits.
#[test]
fn waits_inside_polls_three_deep() {
    fn wait_for(mut sources: Vec<oneshot::Receiver<usize>>) -> usize {
        let Some(mut mine) = sources.pop() else { return 0 };
        let mut below = None;
        poll_fn(|cx| {
            let polled = Pin::new(&mut mine).poll(cx);
            below.get_or_insert_with(|| wait_for(std::mem::take(&mut sources)));
            polled
        })
        .wait()
        .unwrap()
            + below.unwrap()
    }
    for_modes(|rt, _| {
        for _ in 0..50 {
            let (senders, sources): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
            let goroutine = rt.go(move || wait_for(sources));
            for sender in senders.into_iter().rev() {
                rt.spawn(async move { sender.send(7).unwrap() }).wait().unwrap();
            }
            assert_eq!(goroutine.wait().unwrap(), 21);
        }
    });
}

#[test]
fn yields_go_round() {
    const ROUNDS: usize = 20;
    for_modes(|rt, _| {
        let log = Arc::new(Mutex::new(Vec::new()));
        let theirs = log.clone();
        let one_p = rt.handle().metrics().procs == 1;
        rt.run(move || {
            let yielders: Vec<_> = (0..5)
                .map(|i| {
                    let log = theirs.clone();
                    gort::go(move || {
                        for _ in 0..ROUNDS {
                            log.lock().unwrap().push(i);
                            gort::yield_now().wait();
                        }
                    })
                })
                .collect();
            yielders.into_iter().for_each(|y| y.wait().unwrap());
        });
        let log = log.lock().unwrap();
        for i in 0..5 {
            assert_eq!(log.iter().filter(|n| **n == i).count(), ROUNDS);
        }
        if one_p {
            // After the first round everybody waits in one queue.
            let order = &log[5..10];
            assert!(log[5..].chunks(5).all(|round| round == order), "{log:?}");
        }
    });
}

#[test]
fn a_pipeline_of_goroutine_task_and_thread() {
    const ITEMS: u64 = 1_000;
    for_modes(|rt, _| {
        let (mut to_task, mut in_task) = mpsc::channel(3);
        let (mut to_thread, in_thread) = mpsc::channel(3);
        let (to_goroutine, mut in_goroutine) = mpsc::unbounded();
        let source = rt.go(move || {
            for i in 0..ITEMS {
                to_task.send(i).wait().unwrap();
            }
        });
        let middle = rt.spawn(async move {
            while let Some(i) = in_task.next().await {
                to_thread.send(i * 2).await.unwrap();
            }
        });
        let plain = thread::spawn(move || {
            for i in futures::executor::block_on_stream(in_thread) {
                to_goroutine.unbounded_send(i + 1).unwrap();
            }
        });
        let sink = rt.go(move || {
            let mut sum = 0;
            while let Some(i) = in_goroutine.next().wait() {
                sum += i;
            }
            sum
        });
        assert_eq!(sink.wait().unwrap(), ITEMS * (ITEMS - 1) + ITEMS);
        source.wait().unwrap();
        middle.wait().unwrap();
        plain.join().unwrap();
    });
}

/// Nobody can wake it any more: it ends as a task would.
#[test]
fn what_nobody_can_wake_is_unwound() {
    for_modes(|rt, _| {
        let probe = Probe::new();
        let guard = probe.future();
        drop(rt.go(move || {
            let _guard = guard;
            pending::<()>().wait();
        }));
        eventually("the unwinding", || probe.drops() == 1);
        eventually("its end", || rt.handle().metrics().goroutines == 0);
    });
}

#[test]
fn a_handle_that_is_dropped_detaches() {
    for_modes(|rt, _| {
        let (send, receive) = oneshot::channel();
        drop(rt.go(move || {
            sleep(Duration::from_micros(100)).wait();
            send.send(3).unwrap();
        }));
        assert_eq!(receive.wait(), Ok(3));
    });
}

#[test]
fn joined_from_everywhere() {
    for_modes(|rt, _| {
        let start = |n: u32| {
            rt.go(move || {
                gort::yield_now().wait();
                n
            })
        };
        assert_eq!(start(1).wait().unwrap(), 1);
        assert_eq!(rt.block_on(start(2)).unwrap(), 2);
        assert_eq!(futures::executor::block_on(start(3)).unwrap(), 3);
        let (in_task, in_goroutine, in_thread) = (start(4), start(5), start(6));
        assert_eq!(rt.spawn(async { in_task.await.unwrap() }).wait().unwrap(), 4);
        assert_eq!(rt.run(|| in_goroutine.wait().unwrap()), 5);
        assert_eq!(thread::spawn(|| in_thread.wait().unwrap()).join().unwrap(), 6);
        let many: Vec<JoinHandle<u32>> = (0..100).map(start).collect();
        let sum: u32 = rt.block_on(join_all(many)).into_iter().map(Result::unwrap).sum();
        assert_eq!(sum, 4_950);
    });
}

/// A poll that blocks its thread waits for a goroutine that lives on that thread.
#[test]
fn a_poll_waits_for_a_goroutine() {
    for_modes(|rt, _| {
        for _ in 0..20 {
            let (send, receive) = oneshot::channel();
            let goroutine = rt.go(move || receive.wait().unwrap());
            let task = rt.spawn(async move {
                send.send(4).unwrap();
                goroutine.wait().unwrap()
            });
            assert_eq!(task.wait().unwrap(), 4);
        }
    });
}

#[test]
fn local_tasks_of_a_goroutine() {
    for_modes(|rt, mode| {
        if mode == Mode::Migrate {
            // It would leave them behind.
            let error = rt.go(|| drop(gort::spawn_local(ready(())))).wait().unwrap_err();
            assert!(error.to_string().contains("`gort::spawn_local` needs a thread"), "{error}");
            return;
        }
        rt.run(|| {
            let shared = Rc::new(thread::current().id());
            let theirs = shared.clone();
            let task = gort::spawn_local(async move {
                let deeper = theirs.clone();
                let inner = gort::spawn_local(async move {
                    for _ in 0..50 {
                        gort::yield_now().await;
                        sleep(Duration::from_micros(1)).await;
                        assert_eq!(*deeper, thread::current().id());
                    }
                });
                inner.await.unwrap();
                *theirs
            });
            assert_eq!(task.wait().unwrap(), *shared);
            assert_eq!(Rc::strong_count(&shared), 1);
        });
    });
}

#[test]
fn names_and_places_are_shown() {
    for_modes(|rt, _| {
        let _entered = rt.enter();
        let (send, receive) = oneshot::channel::<()>();
        let named = task::Builder::new().name("parser");
        let handle = named.go(move || receive.wait().is_ok()).unwrap();
        let text = format!("{handle:?}");
        assert!(text.contains("parser") && text.contains("go_spawn.rs"), "{text}");
        send.send(()).unwrap();
        assert!(handle.wait().unwrap());
        let task = task::Builder::new().name("reader").spawn(pending::<()>()).unwrap();
        let text = format!("{task:?}");
        assert!(text.contains("reader"), "{text}");
        task.abort();
        assert!(task.wait().unwrap_err().is_cancelled());
    });
}

#[test]
fn stacks_of_all_sizes() {
    /// Bytes of stack that are certainly used.
    fn use_bytes(n: usize) -> usize {
        let frame = std::hint::black_box([1_u8; 4096]);
        let below = if n > 4096 { use_bytes(n - 4096) } else { 0 };
        below + usize::from(frame[n % 4096])
    }
    for_modes(|rt, _| {
        let _entered = rt.enter();
        let sizes =
            [(0, 1), (1 << 14, 1), (1 << 16, 12_000), (1 << 18, 60_000), (1 << 20, 300_000)];
        for (size, bytes) in sizes {
            let builder = task::Builder::new().stack_size(size);
            let handle = builder.go(move || {
                gort::yield_now().wait();
                use_bytes(bytes)
            });
            assert!(handle.unwrap().wait().unwrap() >= 1);
        }
        let error = task::Builder::new().stack_size((1 << 20) + 1).go(|| ()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("1048577"), "{error}");
    });
    let rt = Mode::Home.builder(1).stack_size(1 << 20).build().unwrap();
    assert!(rt.run(|| use_bytes(300_000)) > 1);
    let error = gort::Builder::new().stack_size(2 << 20).build().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

/// Many begin, wait and end at once, from both sides of the runtime.
#[test]
fn churn() {
    for_modes(|rt, _| {
        let ended = Arc::new(AtomicUsize::new(0));
        let starters: Vec<_> = (0..4)
            .map(|s| {
                let ended = ended.clone();
                rt.go(move || {
                    for i in 0..200 {
                        let ended = ended.clone();
                        drop(gort::go(move || {
                            for _ in 0..(i + s) % 3 {
                                gort::yield_now().wait();
                            }
                            ended.fetch_add(1, SeqCst);
                        }));
                        if i % 16 == 0 {
                            gort::yield_now().wait();
                        }
                    }
                })
            })
            .collect();
        starters.into_iter().for_each(|s| s.wait().unwrap());
        rt.run(move || {
            let mut all = pin!(until("all have ended", || ended.load(SeqCst) == 800));
            poll_fn(|cx| match all.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            })
            .wait();
        });
    });
}
