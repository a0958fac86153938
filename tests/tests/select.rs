//! `select!`, `select_async!`, `Select`: which case is chosen, what it leaves behind, its grammar.

mod chan_kinds;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use futures::FutureExt;
use gort::chan::{
    Receiver, RecvError, Select, SendError, TryRecvError, TrySelectError, after, bounded, never,
    tick, unbounded,
};
use gort::prelude::*;
use gort::time::Instant;
use gort_tests::{Child, OnDrop, eventually, is_child, panic_text};

use chan_kinds::for_kinds;
use chan_kinds::go_modes::for_modes;

const MS: Duration = Duration::from_millis(1);

/// Runs a blocking body on a plain thread, in a goroutine and in a task's poll.
fn everywhere(body: fn()) {
    for_modes(|rt, _| {
        let entered = rt.enter();
        body();
        drop(entered);
        rt.run(body);
        rt.block_on(rt.spawn(async move { body() })).unwrap();
    });
}

#[test]
fn each_kind_of_arm() {
    everywhere(|| {
        let (tx, rx) = bounded(1);
        let none = select! {
            recv(rx) -> _ => panic!("it is empty"),
            default => "none",
        };
        assert_eq!(none, "none");
        select! {
            send(tx, 5) -> res => assert_eq!(res, Ok(())),
            default => panic!("there is room"),
        }
        let full = select! {
            send(tx, 6) -> _ => false,
            default => true,
        };
        assert!(full);
        let got = select! {
            recv(rx) -> msg => msg.unwrap(),
            default(MS) => panic!("it is there"),
        };
        assert_eq!(got, 5);
        let start = Instant::now();
        select! {
            recv(rx) -> _ => panic!("it is empty"),
            default(MS) => assert!(start.elapsed() >= MS),
        }
        drop(tx);
        select! { recv(rx) -> msg => assert_eq!(msg, Err(RecvError)) }
        let (tx, rx) = bounded(1);
        drop(rx);
        select! { send(tx, 7) -> res => assert_eq!(res, Err(SendError(7))), }
    });
}

#[test]
fn waits_for_the_first() {
    for_kinds(|env| {
        let (a, ra) = bounded(0);
        let (b, rb) = unbounded();
        let (done, end) = bounded::<()>(0);
        let receiver = env.start(async move {
            let mut got = Vec::new();
            loop {
                select_async! {
                    recv(ra) -> n => got.push(n.unwrap()),
                    recv(rb) -> n => got.push(n.unwrap()),
                    recv(end) -> _ => break,
                }
            }
            got.sort_unstable();
            got
        });
        let senders = [(a, 0), (b, 100)].map(|(tx, first)| {
            let done = done.clone();
            env.start(async move {
                for i in first..first + 50 {
                    tx.send(i).await.unwrap();
                }
                drop(done);
                tx
            })
        });
        drop(done);
        let open = senders.map(|s| s.join());
        let got = receiver.join();
        // Of the unbounded channel the end may overtake some.
        assert!(got.iter().filter(|n| **n < 100).eq((0..50).collect::<Vec<_>>().iter()));
        drop(open);
    });
}

/// A select that sends meets one that receives, in each constellation.
#[test]
fn selects_meet_selects() {
    for_kinds(|env| {
        for capacity in [0, 1] {
            let (a, ra) = bounded(capacity);
            let (b, rb) = bounded(capacity);
            let n = if env.is_light() { 200 } else { 40 };
            let left = env.start(async move {
                let (mut sent, mut got) = (0, 0);
                while sent < n || got < n {
                    select_async! {
                        send(if sent < n { a.clone() } else { full().await }, sent) -> res => {
                            res.unwrap();
                            sent += 1;
                        }
                        recv(rb) -> i => {
                            assert_eq!(i, Ok(got));
                            got += 1;
                        }
                    }
                }
            });
            let right = env.start(async move {
                let (mut sent, mut got) = (0, 0);
                while sent < n || got < n {
                    select_async! {
                        recv(ra) -> i => {
                            assert_eq!(i, Ok(got));
                            got += 1;
                        }
                        send(if sent < n { b.clone() } else { full().await }, sent) -> res => {
                            res.unwrap();
                            sent += 1;
                        }
                    }
                }
            });
            left.join();
            right.join();
        }
    });
}

/// A sender that never has room.
async fn full() -> gort::chan::Sender<i32> {
    let (tx, rx) = bounded(0);
    std::mem::forget(rx);
    tx
}

/// Of ready cases each has the same chance. Go: TestSelectFairness.
#[test]
fn equal_chances() {
    const TRIES: usize = 20_000;
    let (txs, rxs): (Vec<_>, Vec<Receiver<()>>) = (0..4).map(|_| bounded(1)).unzip();
    txs.iter().for_each(|tx| tx.try_send(()).unwrap());
    let mut counts = [[0; 4]; 2];
    for _ in 0..TRIES {
        let i = select! {
            recv(rxs[0]) -> _ => 0,
            recv(rxs[1]) -> _ => 1,
            recv(rxs[2]) -> _ => 2,
            recv(rxs[3]) -> _ => 3,
        };
        txs[i].try_send(()).unwrap();
        counts[0][i] += 1;
    }
    let mut select = Select::new();
    rxs.iter().for_each(|rx| {
        select.recv(rx);
    });
    for _ in 0..TRIES {
        let chosen = select.try_select().unwrap();
        let i = chosen.index();
        chosen.recv(&rxs[i]).unwrap();
        txs[i].try_send(()).unwrap();
        counts[1][i] += 1;
    }
    // Ten standard deviations of the binomial distribution.
    let (mean, sigma) = (TRIES as f64 / 4.0, (TRIES as f64 * 3.0 / 16.0).sqrt());
    for n in counts.into_iter().flatten() {
        assert!((f64::from(n) - mean).abs() < 10.0 * sigma, "{counts:?}");
    }
}

/// Exactly one case commits: as many values come as are counted.
#[test]
fn one_case_of_many_selects() {
    for_kinds(|env| {
        let each = if env.is_light() { 200 } else { 30 };
        let (txs, rxs): (Vec<_>, Vec<_>) = (0..3).map(|i| bounded(i % 2)).unzip();
        let received = Arc::new(AtomicUsize::new(0));
        let receivers: Vec<_> = (0..3)
            .map(|_| {
                let (rxs, received) = (rxs.clone(), received.clone());
                env.start(async move {
                    loop {
                        let value = select_async! {
                            recv(rxs[0]) -> v => v,
                            recv(rxs[1]) -> v => v,
                            recv(rxs[2]) -> v => v,
                        };
                        match value {
                            Ok(n) => received.fetch_add(n, SeqCst),
                            Err(_) => break,
                        };
                    }
                })
            })
            .collect();
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let txs = txs.clone();
                env.start(async move {
                    for _ in 0..each {
                        select_async! {
                            send(txs[2], 1) -> res => res.unwrap(),
                            send(txs[0], 1) -> res => res.unwrap(),
                            send(txs[1], 1) -> res => res.unwrap(),
                        }
                    }
                })
            })
            .collect();
        senders.into_iter().for_each(|s| s.join());
        eventually("all arrive", || received.load(SeqCst) == 3 * each);
        drop(txs);
        receivers.into_iter().for_each(|r| r.join());
        assert_eq!(received.load(SeqCst), 3 * each);
    });
}

/// The same channel in several cases, in both directions. Go: TestSelectDuplicateChannel and
/// TestSelfSelect.
#[test]
fn one_channel_in_several_cases() {
    for_kinds(|env| {
        for capacity in [0, 10] {
            let (tx, rx) = bounded(capacity);
            let bodies: Vec<_> = (0..2)
                .map(|me| {
                    let (tx, rx) = (tx.clone(), rx.clone());
                    env.start(async move {
                        for i in 0..200 {
                            let other = if i % 2 == me {
                                select_async! {
                                    send(tx, me) -> _ => None,
                                    recv(rx) -> v => v.ok(),
                                    recv(rx) -> v => v.ok(),
                                }
                            } else {
                                select_async! {
                                    recv(rx) -> v => v.ok(),
                                    send(tx, me) -> _ => None,
                                    send(tx, me) -> _ => None,
                                }
                            };
                            if let Some(other) = other {
                                assert!(capacity > 0 || other != me, "received its own value");
                            }
                        }
                        rx.close();
                    })
                })
                .collect();
            bodies.into_iter().for_each(|b| b.join());
        }
    });
}

/// Losers leave no trace: no waiter, no value, no waker.
#[test]
fn losers_leave_no_trace() {
    let (tx, rx) = bounded::<i32>(0);
    let (other, ro) = bounded::<i32>(0);
    for _ in 0..100 {
        let lost = select! {
            recv(rx) -> _ => false,
            send(other, 1) -> _ => false,
            default(Duration::from_micros(1)) => true,
        };
        assert!(lost);
    }
    assert!(tx.try_send(1).is_err(), "nobody waits");
    assert_eq!(ro.try_recv(), Err(TryRecvError::Empty));
    // Dropped while it waits.
    let mut waiting = Box::pin(async {
        select_async! {
            recv(rx) -> _ => (),
            send(other, 1) -> _ => (),
        }
    });
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(waiting);
    assert!(tx.try_send(1).is_err(), "nobody waits");
    assert_eq!(ro.try_recv(), Err(TryRecvError::Empty));
}

/// A select is dropped after a peer has served it: the value goes on, the promise is taken back.
#[test]
fn served_and_dropped() {
    let (tx, rx) = bounded(0);
    let (other, ro) = bounded::<i32>(0);
    let select = || {
        let mut waiting = Box::pin(async {
            select_async! {
                recv(rx) -> _ => (),
                send(other, 1) -> _ => (),
            }
        });
        assert!(waiting.as_mut().now_or_never().is_none());
        waiting
    };
    let waiting = select();
    tx.try_send(5).unwrap();
    drop(waiting);
    assert_eq!(rx.len(), 1, "it is back");
    assert_eq!(rx.try_recv(), Ok(5));

    let waiting = select();
    let mut recv = Box::pin(ro.recv());
    assert!(recv.as_mut().now_or_never().is_none());
    drop(waiting);
    let mut send = Box::pin(other.send(7));
    assert_eq!(send.as_mut().now_or_never(), Some(Ok(())), "the receiver still waits");
    assert_eq!(recv.as_mut().now_or_never(), Some(Ok(7)));
}

/// A promise that is taken back, and others who relied on it.
#[test]
fn a_broken_promise() {
    for capacity in [0, 1] {
        let (tx, rx) = bounded(capacity);
        if capacity == 1 {
            tx.try_send(0).unwrap();
        }
        let mut promising = Box::pin(async {
            select_async! { send(tx, 1) -> res => res }
        });
        assert!(promising.as_mut().now_or_never().is_none());
        let mut second = Box::pin(tx.send(2));
        assert!(second.as_mut().now_or_never().is_none());
        let mut recv = Box::pin(rx.recv());
        if capacity == 1 {
            assert_eq!(recv.as_mut().now_or_never(), Some(Ok(0)));
            recv = Box::pin(rx.recv());
        }
        assert!(recv.as_mut().now_or_never().is_none(), "it waits for the promise");
        drop(promising);
        assert_eq!(recv.as_mut().now_or_never(), Some(Ok(2)), "capacity {capacity}");
        assert_eq!(second.as_mut().now_or_never(), Some(Ok(())));
    }
}

/// A value is evaluated only when its case is chosen, once, and after the handles.
#[test]
fn what_is_evaluated() {
    let (tx, rx) = bounded(1);
    let steps = std::cell::RefCell::new(Vec::new());
    let step = |n| steps.borrow_mut().push(n);
    let item = String::from("moved only if it is sent");
    tx.try_send(String::new()).unwrap();
    let kept = select! {
        send({ step(1); &tx }, { step(10); item }) -> _ => None,
        recv({ step(2); never::<()>() }) -> _ => None,
        default => Some(item),
    };
    assert_eq!(*steps.borrow(), [1, 2]);
    rx.try_recv().unwrap();
    let item = kept.unwrap();
    select! {
        send({ step(3); &tx }, { step(11); item }) -> res => res.unwrap(),
        default({ step(4); MS }) => unreachable!(),
    }
    assert_eq!(*steps.borrow(), [1, 2, 3, 4, 11]);
    assert_eq!(rx.try_recv().unwrap(), "moved only if it is sent");
}

/// The value's evaluation panics, or leaves: the peer waits on for another.
#[test]
fn a_value_that_does_not_come() {
    for_modes(|rt, _| {
        for leaves in [false, true] {
            let (tx, rx) = bounded::<i32>(0);
            let other = tx.clone();
            let peer = rt.spawn(async move { rx.recv().await });
            let body = move || -> Option<()> {
                let value = || if leaves { None } else { panic!("of the value") };
                select! { send(tx, value()?) -> _ => Some(()) }
            };
            let ended = rt.go(body).wait();
            assert_eq!(ended.is_err(), !leaves);
            other.send(5).wait().unwrap();
            assert_eq!(peer.wait().unwrap(), Ok(5));
        }
    });
}

#[test]
fn control_flow_in_bodies() {
    fn find(rx: &Receiver<i32>, stop: &Receiver<()>) -> Result<i32, RecvError> {
        let mut sum = 0;
        'outer: loop {
            loop {
                select! {
                    recv(rx) -> n => match n? {
                        0 => continue,
                        1 => break,
                        2 => break 'outer,
                        3 => return Ok(-1),
                        n => sum += n,
                    },
                    recv(stop) -> _ => unreachable!(),
                }
            }
            sum += 100;
        }
        Ok(sum)
    }
    let (tx, rx) = unbounded();
    for n in [0, 10, 1, 20, 2, 3] {
        tx.try_send(n).unwrap();
    }
    let stop = never();
    assert_eq!(find(&rx, &stop), Ok(130));
    assert_eq!(find(&rx, &stop), Ok(-1));
    drop(tx);
    assert_eq!(find(&rx, &stop), Err(RecvError));
}

/// Handles may be temporaries, references, fields; patterns may be anything that cannot fail.
#[test]
fn forms_of_handles_and_patterns() {
    struct Ends {
        rx: Receiver<(i32, i32)>,
    }
    let (tx, rx) = unbounded();
    (0..6).for_each(|i| tx.try_send((i, i)).unwrap());
    let ends = Ends { rx: rx.clone() };
    let by_ref = &rx;
    let mut sum = 0;
    select! { recv(rx) -> msg => sum += msg.unwrap().0 }
    select! { recv(&rx) -> mut msg => { msg = msg.map(|m| (m.0, 0)); sum += msg.unwrap().0; } }
    select! { recv(by_ref) -> msg => { let (a, _) = msg.unwrap(); sum += a } }
    select! { recv(&&rx) -> _ => {}, }
    select! { recv(ends.rx) -> msg => sum += msg.unwrap().0, default() => unreachable!(), }
    select! {
        recv(rx.clone(),) -> msg => sum += msg.unwrap().0,
        default(MS,) => unreachable!(),
    }
    assert_eq!(sum, 1 + 2 + 4 + 5);
    drop(ends);
    // The channel is free again in the body.
    select! { recv(rx) -> _ => drop(rx), default => drop(rx) }
    assert!(tx.is_closed());
}

/// Inside of one another, and with names that the expansion uses itself.
#[test]
fn nested() {
    let (tx, rx) = bounded(1);
    let (select, chosen, cx, it, case0, handle0) = (1, 2, 3, 4, 5, 6);
    let sum = select! {
        send(tx, select + chosen + cx + it + case0 + handle0) -> res => {
            res.unwrap();
            select! {
                recv(rx) -> n => n.unwrap() + select! { default => case0 },
                default => unreachable!(),
            }
        }
    };
    assert_eq!(sum, 21 + 5);
}

#[test]
fn with_channels_of_the_clock() {
    for_kinds(|env| {
        env.run(async {
            let (_tx, rx) = bounded::<()>(0);
            let start = Instant::now();
            select_async! {
                recv(rx) -> _ => unreachable!(),
                recv(after(Duration::from_secs(3600))) -> _ => unreachable!(),
                recv(after(MS)) -> at => assert!(at.unwrap() >= start + MS),
            }
            let (ticks, end) = (tick(MS), after(2 * MS));
            let (mut n, mut ended) = (0, false);
            while n < 3 || !ended {
                select_async! {
                    recv(ticks) -> _ => n += 1,
                    recv(end) -> _ => ended = true,
                    default(Duration::MAX) => unreachable!(),
                }
            }
            let at_once = select_async! {
                recv(after(Duration::ZERO)) -> _ => true,
                default(Duration::ZERO) => false,
            };
            assert!(at_once);
        });
    });
}

/// Of those who wait for one clock, one gets its value, also in selects.
#[test]
fn a_clock_in_many_selects() {
    for_kinds(|env| {
        let once = after(2 * MS);
        let (close, closed) = bounded::<()>(0);
        let won = Arc::new(AtomicUsize::new(0));
        let bodies: Vec<_> = (0..4)
            .map(|_| {
                let (once, closed, won) = (once.clone(), closed.clone(), won.clone());
                env.start(async move {
                    select_async! {
                        recv(once) -> _ => { won.fetch_add(1, SeqCst); },
                        recv(closed) -> _ => {},
                    }
                })
            })
            .collect();
        eventually("one gets it", || won.load(SeqCst) == 1);
        drop(close);
        bodies.into_iter().for_each(|b| b.join());
        assert_eq!(won.load(SeqCst), 1);
    });
}

/// Five thousand sleepers: a select with a timer among them is not slower by their number.
#[test]
fn among_many_sleepers() {
    for_modes(|rt, _| {
        let sleepers: Vec<_> =
            (0..5000).map(|_| rt.spawn(gort::time::sleep(Duration::from_secs(3600)))).collect();
        rt.run(|| {
            let (tx, rx) = bounded(1);
            for i in 0..100 {
                tx.try_send(i).unwrap();
                select! {
                    recv(rx) -> n => assert_eq!(n, Ok(i)),
                    recv(after(Duration::from_secs(1))) -> _ => unreachable!(),
                }
                select! {
                    recv(rx) -> _ => unreachable!(),
                    recv(after(Duration::from_micros(10))) -> _ => {},
                }
            }
        });
        sleepers.iter().for_each(|s| s.abort());
    });
}

#[test]
fn without_arms_it_blocks_for_ever() {
    if is_child() {
        let blocked = thread::spawn(|| select! {});
        let waiting = Box::pin(async {
            select_async! {}
        });
        assert!(
            waiting.now_or_never().map(|never: std::convert::Infallible| match never {}).is_none()
        );
        let mut select = Select::new();
        assert_eq!(select.try_select().unwrap_err(), TrySelectError);
        assert!(select.select().now_or_never().is_none());
        let just_default = select! { default => 5 };
        assert_eq!(just_default, 5);
        select! { default(MS) => {} }
        assert!(!blocked.is_finished());
        eprintln!("still blocked");
        std::process::exit(0);
    }
    let ended = Child::of("without_arms_it_blocks_for_ever").run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("still blocked"));
}

#[test]
fn dynamic() {
    for_kinds(|env| {
        let n = if env.is_light() { 300 } else { 60 };
        let (txs, rxs): (Vec<_>, Vec<_>) = (0..8).map(|i| bounded(i % 3)).unzip();
        let sender = env.start(async move {
            let mut select = Select::new();
            txs.iter().for_each(|tx| {
                select.send(tx);
            });
            for i in 0..n {
                let chosen = select.select().await;
                let index = chosen.index();
                chosen.send(&txs[index], i).unwrap();
            }
        });
        let receiver = env.start(async move {
            let mut select = Select::new();
            rxs.iter().for_each(|rx| {
                select.recv(rx);
            });
            let (mut got, mut open) = (Vec::new(), rxs.len());
            while open > 0 {
                let chosen = select.select().await;
                let index = chosen.index();
                match chosen.recv(&rxs[index]) {
                    Ok(i) => got.push(i),
                    Err(RecvError) => {
                        select.remove(index);
                        open -= 1;
                    }
                }
            }
            got.sort_unstable();
            got
        });
        sender.join();
        assert!(receiver.join().into_iter().eq(0..n));
    });
}

#[test]
fn dynamic_bad_input() {
    let (tx, rx) = bounded(1);
    let (other_tx, other_rx) = bounded::<i32>(1);
    tx.try_send(1).unwrap();
    let panics = |f: &mut dyn FnMut()| {
        panic_text(&*catch_unwind(AssertUnwindSafe(f)).unwrap_err()).to_owned()
    };
    let mut select = Select::new();
    assert_eq!(select.recv(&rx), 0);
    let text = panics(&mut || drop(select.try_select()));
    assert_eq!(text, "a selected operation was dropped without being completed");
    assert_eq!(rx.len(), 1, "the value is back");
    let text = panics(&mut || _ = select.try_select().unwrap().recv(&other_rx));
    assert_eq!(text, "the chosen operation is not a receive from this channel");
    let text = panics(&mut || _ = select.try_select().unwrap().send(&tx, 1));
    assert_eq!(text, "the chosen operation is not a send to this channel");
    assert_eq!(select.try_select().unwrap().recv(&rx), Ok(1));
    let text = panics(&mut || select.remove(1));
    assert_eq!(text, "there is no operation 1 in this select");
    select.remove(0);
    assert_eq!(select.send(&other_tx), 1, "an index is not used again");
    assert_eq!(select.try_select().unwrap().send(&other_tx, 1), Ok(()));
    assert!(select.try_select().is_err());
}

/// A future of a `Select` that is leaked or dropped, and the select used on.
#[test]
fn dynamic_after_a_leaked_wait() {
    let (tx, rx) = bounded(0);
    let mut select = Select::new();
    select.recv(&rx);
    let mut waiting = Box::pin(select.select());
    assert!(waiting.as_mut().now_or_never().is_none());
    tx.try_send(1).unwrap();
    std::mem::forget(waiting);
    assert_eq!(select.try_select().unwrap().recv(&rx), Ok(1));
    let mut waiting = Box::pin(select.select());
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(waiting);
    assert!(tx.try_send(2).is_err());
    let mut waiting = Box::pin(select.select());
    assert!(waiting.as_mut().now_or_never().is_none());
    std::mem::forget(waiting);
    drop(select);
    assert!(tx.try_send(2).is_err(), "nobody waits");
}

#[test]
fn ready() {
    for_kinds(|env| {
        let (tx, rx) = bounded(1);
        let (other, ro) = bounded::<i32>(0);
        let body = env.start(async move {
            let mut select = Select::new();
            select.recv(&ro);
            select.recv(&rx);
            let mut sum = 0;
            while sum < 45 {
                if select.ready().await == 1 {
                    sum += rx.try_recv().unwrap_or(0);
                } else {
                    sum += ro.try_recv().unwrap_or(0);
                }
            }
            sum
        });
        env.run(async move {
            for i in 0..10 {
                if i % 3 == 0 { other.send(i).await.unwrap() } else { tx.send(i).await.unwrap() }
            }
        });
        assert_eq!(body.join(), 45);
    });
}

/// Values that are dropped are dropped once, whichever way they go.
#[test]
fn drops_are_counted() {
    for_kinds(|env| {
        let n = if env.is_light() { 200 } else { 40 };
        let (made, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (tx, rx) = bounded(0);
        let receiver = env.start(async move {
            let mut i = 0;
            loop {
                i += 1;
                let mut wait = Box::pin(async {
                    select_async! {
                        recv(rx) -> v => v.map(drop),
                        recv(rx) -> v => v.map(drop),
                    }
                });
                // Every second one is dropped at whatever point it has come to.
                let polled = futures::poll!(wait.as_mut());
                if i % 2 == 0 {
                    gort::yield_now().await;
                    drop(wait);
                } else if let std::task::Poll::Ready(Err(_)) = polled {
                    break;
                } else if polled.is_pending() && wait.await.is_err() {
                    break;
                }
            }
        });
        let (m, d) = (made.clone(), dropped.clone());
        env.run(async move {
            for _ in 0..n {
                let value = || {
                    m.fetch_add(1, SeqCst);
                    let d = d.clone();
                    OnDrop::new(move || {
                        d.fetch_add(1, SeqCst);
                    })
                };
                select_async! { send(tx, value()) -> res => res.ok().unwrap() }
            }
        });
        receiver.join();
        assert_eq!((made.load(SeqCst), dropped.load(SeqCst)), (n, n));
    });
}
