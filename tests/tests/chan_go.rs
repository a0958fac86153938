//! Go's own tests of channels and select, under their names, in our words. From
//! `src/runtime/chan_test.go` and `test/chan/*.go` of Go 1.27 (BSD licence, The Go Authors).
//!
//! Left out: tests of stacks that move (`ShrinkStackDuringBlockedSend`, `NoShrinkStackWhileParking`,
//! `SelectStackAdjust`), and of what the compiler refuses (`perm`).

mod chan_kinds;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures::FutureExt;
use gort::chan::{Receiver, Sender, TryRecvError, after, bounded, never};
use gort::prelude::*;
use gort_tests::eventually;

use chan_kinds::{Env, for_kinds};

/// runtime.TestChan: all capacities; an empty channel blocks, a full one too, order, close, len.
#[test]
fn test_chan() {
    for_kinds(|env| {
        for capacity in [0, 1, 2, 5, 20] {
            empty_and_full(capacity);
            let (tx, rx) = bounded(capacity);
            for i in 0..capacity {
                tx.try_send(i).unwrap();
            }
            drop(tx);
            env.run(async move {
                for i in 0..capacity {
                    assert_eq!(rx.recv().await, Ok(i));
                }
                assert!(rx.recv().await.is_err());
            });
            through(env, capacity);
        }
    });
}

fn empty_and_full(capacity: usize) {
    let (tx, rx) = bounded(capacity);
    assert!(rx.recv().now_or_never().is_none());
    assert!(rx.try_recv().is_err());
    for i in 0..capacity {
        tx.try_send(i).unwrap();
    }
    assert!(tx.send(0).now_or_never().is_none());
    assert!(tx.try_send(0).is_err());
    assert_eq!((tx.len(), tx.capacity()), (capacity, Some(capacity)));
}

/// Four senders, four receivers, each value as often as it was sent.
fn through(env: &Env<'_>, capacity: usize) {
    const KINDS: usize = 10;
    let each = if env.is_light() { 100 } else { 20 };
    let (tx, rx) = bounded(capacity);
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let tx = tx.clone();
            env.start(async move {
                for i in 0..each * KINDS {
                    tx.send(i % KINDS).await.unwrap();
                }
            })
        })
        .collect();
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let rx = rx.clone();
            env.start(async move {
                let mut counts = [0; KINDS];
                for _ in 0..each * KINDS {
                    counts[rx.recv().await.unwrap()] += 1;
                }
                counts
            })
        })
        .collect();
    senders.into_iter().for_each(|s| s.join());
    let mut sums = [0; KINDS];
    for receiver in receivers {
        sums.iter_mut().zip(receiver.join()).for_each(|(sum, n)| *sum += n);
    }
    assert_eq!(sums, [4 * each; KINDS]);
}

/// runtime.TestNonblockRecvRace: a value, then the close; a receive that does not wait sees one.
#[test]
fn test_nonblock_recv_race() {
    for_kinds(|env| {
        for _ in 0..if env.is_light() { 200 } else { 20 } {
            let (tx, rx) = bounded(1);
            tx.try_send(1).unwrap();
            let receiver = env.start(async move { rx.try_recv() });
            tx.close();
            assert_eq!(receiver.join(), Ok(1));
        }
    });
}

/// runtime.TestNonblockSelectRace: a value goes from one channel to the other, so a select over
/// both always finds one.
#[test]
fn test_nonblock_select_race() {
    for_kinds(|env| {
        for _ in 0..if env.is_light() { 500 } else { 20 } {
            let (tx1, rx1) = bounded(1);
            let (tx2, rx2) = bounded(1);
            tx1.try_send(1).unwrap();
            let (first, second) = (rx1.clone(), rx2.clone());
            let select = env.start(async move {
                select_async! {
                    recv(first) -> _ => true,
                    recv(second) -> _ => true,
                    default => false,
                }
            });
            tx2.try_send(1).unwrap();
            _ = rx1.try_recv();
            assert!(select.join(), "neither was ready");
        }
    });
}

/// runtime.TestNonblockSelectRace2: as before, with a close instead of the second value.
#[test]
fn test_nonblock_select_race2() {
    for_kinds(|env| {
        for _ in 0..if env.is_light() { 500 } else { 20 } {
            let (tx1, rx1) = bounded(1);
            let (tx2, rx2) = bounded::<i32>(0);
            tx1.try_send(1).unwrap();
            let first = rx1.clone();
            let select = env.start(async move {
                select_async! {
                    recv(first) -> _ => true,
                    recv(rx2) -> _ => true,
                    default => false,
                }
            });
            drop(tx2);
            _ = rx1.try_recv();
            assert!(select.join(), "neither was ready");
        }
    });
}

/// runtime.TestSelectStress: four channels, each with a plain sender and receiver and all of them in
/// one select for each side.
#[test]
fn test_select_stress() {
    for_kinds(|env| {
        let n = if env.is_light() { 200 } else { 40 };
        let (txs, rxs): (Vec<_>, Vec<_>) = [0, 0, 2, 3].map(bounded).into_iter().unzip();
        let mut bodies = Vec::new();
        for (tx, rx) in txs.iter().cloned().zip(rxs.iter().cloned()) {
            bodies.push(env.start(async move {
                for i in 0..n {
                    tx.send(i).await.unwrap();
                }
            }));
            bodies.push(env.start(async move {
                for _ in 0..n {
                    rx.recv().await.unwrap();
                }
            }));
        }
        bodies.push(env.start(async move {
            let mut sent = [0; 4];
            let (full, _keep) = bounded(0);
            let pick = |i: usize, sent: &[i32; 4]| {
                if sent[i] < n { txs[i].clone() } else { full.clone() }
            };
            for _ in 0..4 * n {
                let i = select_async! {
                    send(pick(3, &sent), 0) -> _ => 3,
                    send(pick(2, &sent), 0) -> _ => 2,
                    send(pick(0, &sent), 0) -> _ => 0,
                    send(pick(1, &sent), 0) -> _ => 1,
                };
                sent[i] += 1;
            }
        }));
        bodies.push(env.start(async move {
            let mut received = [0; 4];
            let nothing = never();
            let pick = |i: usize, received: &[i32; 4]| {
                if received[i] < n { rxs[i].clone() } else { nothing.clone() }
            };
            for _ in 0..4 * n {
                let i = select_async! {
                    recv(pick(0, &received)) -> _ => 0,
                    recv(pick(1, &received)) -> _ => 1,
                    recv(pick(2, &received)) -> _ => 2,
                    recv(pick(3, &received)) -> _ => 3,
                };
                received[i] += 1;
            }
        }));
        bodies.into_iter().for_each(|b| b.join());
    });
}

/// runtime.TestChanSendInterface: values of a type that is known only at run time.
#[test]
fn test_chan_send_interface() {
    type Any = Box<dyn std::any::Any + Send>;
    let (tx, rx) = bounded::<Any>(1);
    tx.try_send(Box::new(5)).unwrap();
    select! {
        send(tx, Box::new("text") as Any) -> _ => unreachable!(),
        default => {}
    }
    select! {
        send(tx, Box::new("text") as Any) -> _ => unreachable!(),
        send(tx, Box::new('c') as Any) -> _ => unreachable!(),
        default => {}
    }
    assert_eq!(*rx.try_recv().unwrap().downcast::<i32>().unwrap(), 5);
}

/// runtime.TestPseudoRandomSend: which of two equal cases sends is not always the same.
#[test]
fn test_pseudo_random_send() {
    for_kinds(|env| {
        let n = if env.is_light() { 100 } else { 60 };
        for capacity in [0, n] {
            let (tx, rx) = bounded(capacity);
            let receiver = env.start(async move {
                let mut ones = 0;
                for _ in 0..n {
                    ones += rx.recv().await.unwrap();
                }
                ones
            });
            env.run(async move {
                for _ in 0..n {
                    select_async! {
                        send(tx, 0) -> _ => {}
                        send(tx, 1) -> _ => {}
                    }
                }
            });
            let ones = receiver.join();
            assert!(ones > n / 10 && ones < n * 9 / 10, "{ones} of {n}");
        }
    });
}

/// runtime.TestMultiConsumer: many workers between two channels; nothing is lost.
#[test]
fn test_multi_consumer() {
    const WORKERS: usize = 23;
    for_kinds(|env| {
        let n = if env.is_light() { 1000 } else { 100 };
        let primes = [2, 3, 7, 11, 13, 17, 19, 23, 27, 31];
        let (queue, jobs) = bounded(WORKERS * 3);
        let (results, sums) = bounded(WORKERS * 3);
        for worker in 0..if env.is_light() { WORKERS } else { 5 } {
            let (jobs, results) = (jobs.clone(), results.clone());
            env.start(async move {
                while let Ok(job) = jobs.recv().await {
                    if primes[worker % primes.len()] == job {
                        gort::yield_now().await;
                    }
                    results.send(job).await.unwrap();
                }
            });
        }
        drop((jobs, results));
        let expected: usize = (0..n).map(|i| primes[i % primes.len()]).sum();
        let sender = env.start(async move {
            for i in 0..n {
                queue.send(primes[i % primes.len()]).await.unwrap();
            }
        });
        assert_eq!(sums.iter().sum::<usize>(), expected);
        sender.join();
    });
}

/// runtime.TestSelectDuplicateChannel: one channel in two cases; the loser's waiter is removed, and
/// not that of somebody else.
#[test]
fn test_select_duplicate_channel() {
    for_kinds(|env| {
        let (tx, rx) = bounded(0);
        let (dtx, d) = bounded::<i32>(0);
        let (etx, e) = bounded::<i32>(0);
        let theirs = rx.clone();
        let first = env.start(async move {
            select_async! {
                recv(theirs) -> _ => {}
                recv(theirs) -> _ => {}
                recv(d) -> _ => {}
            }
            e.recv().await
        });
        let second = env.start(async move { rx.recv().await });
        // Both wait; one value for each.
        tx.send(1).wait().unwrap();
        tx.send(2).wait().unwrap();
        assert!(second.join().is_ok());
        etx.send(9).wait().unwrap();
        assert_eq!(first.join(), Ok(9));
        drop(dtx);
    });
}

/// runtime.TestChanSendSelectBarrier and TestChanSendBarrier: what was written before the send is
/// seen after the receive.
#[test]
fn test_chan_send_barrier() {
    for_kinds(|env| {
        for use_select in [false, true] {
            let (tx, rx) = bounded::<Box<[usize; 8]>>(0);
            let writer = env.start(async move {
                for i in 0..if tx.capacity() == Some(0) { 100 } else { 0 } {
                    let mut value = Box::new([0; 8]);
                    value.fill(i);
                    if use_select {
                        select_async! { send(tx, value) -> res => res.ok().unwrap() }
                    } else {
                        tx.send(value).await.ok().unwrap();
                    }
                }
            });
            env.run(async move {
                let mut i = 0;
                while let Ok(value) = rx.recv().await {
                    assert_eq!(*value, [i; 8]);
                    i += 1;
                }
                assert_eq!(i, 100);
            });
            writer.join();
        }
    });
}

/// test/chan/doubleselect.go: a send that is in two cases happens once.
#[test]
fn doubleselect() {
    for_kinds(|env| {
        let n = if env.is_light() { 500 } else { 60 };
        let (txs, rxs): (Vec<_>, Vec<_>) = (0..4).map(|_| bounded(0)).unzip();
        let (out, all) = bounded(0);
        env.start(async move {
            for i in 0..n {
                select_async! {
                    send(txs[0], i) -> _ => {}
                    send(txs[1], i) -> _ => {}
                    send(txs[2], i) -> _ => {}
                    send(txs[3], i) -> _ => {}
                }
            }
        });
        for rx in rxs {
            let out = out.clone();
            env.start(async move {
                while let Ok(i) = rx.recv().await {
                    out.send(i).await.unwrap();
                }
            });
        }
        drop(out);
        let mut seen: Vec<i32> = all.iter().collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..n), "each once");
    });
}

/// test/chan/fifo.go: order in a buffer, and along a chain of bodies.
#[test]
fn fifo() {
    for_kinds(|env| {
        let (tx, rx) = bounded(10);
        (0..10).for_each(|i| tx.try_send(i).unwrap());
        assert!(rx.try_iter().eq(0..10));
        let (start, mut last) = bounded(0);
        for i in 0..10 {
            let (tx, rx) = bounded(0);
            let before = std::mem::replace(&mut last, rx);
            env.start(async move {
                let n = before.recv().await.unwrap();
                assert_eq!(n, i);
                tx.send(n + 1).await.unwrap();
            });
        }
        start.send(0).wait().unwrap();
        assert_eq!(last.recv().wait(), Ok(10));
    });
}

/// test/chan/goroutines.go: a chain of many.
#[test]
fn goroutines() {
    for_kinds(|env| {
        let n = if env.is_light() { 2000 } else { 20 };
        let (leftmost, rx) = bounded(0);
        let mut right = rx;
        for _ in 0..n {
            let (tx, rx) = bounded(0);
            let left = std::mem::replace(&mut right, rx);
            env.start(async move { tx.send(left.recv().await.unwrap() + 1).await });
        }
        leftmost.send(0).wait().unwrap();
        assert_eq!(right.recv().wait(), Ok(n));
    });
}

/// test/chan/nonblock.go: what does not wait, against a partner that does.
#[test]
fn nonblock() {
    for_kinds(|env| {
        for capacity in [0, 1] {
            let (tx, rx) = bounded(capacity);
            assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
            let theirs = rx.clone();
            let receiver = env.start(async move { theirs.recv().await });
            eventually("it waits", || capacity == 1 || tx.try_send(123).is_ok());
            if capacity == 1 {
                tx.try_send(123).unwrap();
            }
            assert_eq!(receiver.join(), Ok(123));
            let theirs = tx.clone();
            let sender = env.start(async move { theirs.send(234).await });
            let mut got = None;
            eventually("it comes", || {
                got = rx.try_recv().ok();
                got.is_some()
            });
            assert_eq!(got, Some(234));
            sender.join().unwrap();
        }
    });
}

/// test/chan/select.go: cases that come and go.
#[test]
fn select() {
    for_kinds(|env| {
        let (a, ra) = bounded(1);
        let (b, rb) = bounded(1);
        env.run(async move {
            let (full, _keep) = bounded(0);
            let mut shift = 0;
            for _ in 0..100 {
                let get = |bit: u32, tx: &Sender<u32>| {
                    if shift & bit == 0 { tx.clone() } else { full.clone() }
                };
                let value = 1 << (shift % 10);
                select_async! {
                    send(get(1, &a), value) -> _ => {}
                    send(get(2, &b), value) -> _ => {}
                    default => shift += 1,
                }
                shift += 1;
                for rx in [&ra, &rb] {
                    if let Ok(value) = rx.try_recv() {
                        assert!(value.is_power_of_two());
                    }
                }
            }
        });
    });
}

/// test/chan/select3.go: what blocks, and what does not.
#[test]
fn select3() {
    let blocks = |future: std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        assert!(future.now_or_never().is_none());
    };
    let nothing: Receiver<i32> = never();
    let rx = nothing.clone();
    blocks(Box::pin(async move { _ = rx.recv().await }));
    let (tx, rx) = bounded::<i32>(0);
    blocks(Box::pin(async move { _ = (tx.send(1).await, rx) }));
    let (tx, rx) = bounded::<i32>(0);
    blocks(Box::pin(async move { _ = (rx.recv().await, tx) }));
    let (tx, rx) = bounded::<i32>(10);
    blocks(Box::pin(async move { _ = (rx.recv().await, tx) }));
    let (tx, rx) = bounded::<i32>(0);
    tx.close();
    assert!(rx.recv().now_or_never().is_some());
    assert!(select! { recv(rx) -> v => v.is_err(), default => false });
    assert!(select! { send(tx, 7) -> r => r.is_err(), default => false });
    let (tx, rx) = bounded::<i32>(0);
    blocks(Box::pin(async move {
        select_async! {
            recv(nothing) -> _ => {}
            recv(rx) -> _ => {}
            send(tx, 1) -> _ => {}
        }
    }));
}

/// test/chan/select6.go: a select that has left a queue disturbs nobody in it.
#[test]
fn select6() {
    for_kinds(|env| {
        let (t1, c1) = bounded::<bool>(0);
        let (t2, c2) = bounded::<bool>(0);
        let (t3, c3) = bounded::<bool>(0);
        let (t4, c4) = bounded::<bool>(0);
        let first = c1.clone();
        let a = env.start(async move { first.recv().await });
        let b = env.start(async move {
            select_async! {
                recv(c1) -> _ => panic!("the second of two"),
                recv(c2) -> _ => t3.send(true).await.unwrap(),
            }
            drop(c1);
            t4.send(true).await
        });
        t2.send(true).wait().unwrap();
        c3.recv().wait().unwrap();
        c4.recv().wait().unwrap();
        t1.send(true).wait().unwrap();
        assert_eq!(a.join(), Ok(true));
        b.join().unwrap();
    });
}

/// test/chan/select7.go: a wait meets a value, in each combination of plain, select and default.
#[test]
fn select7() {
    for_kinds(|env| {
        for how in 0..3 {
            let (tx, rx) = bounded(0);
            let receiver = env.start(async move {
                match how {
                    0 => rx.recv().await,
                    1 => select_async! { recv(rx) -> v => v },
                    _ => loop {
                        select_async! {
                            recv(rx) -> v => break v,
                            default => gort::yield_now().await,
                        }
                    },
                }
            });
            for _ in 0..3 {
                gort::yield_now().wait();
            }
            select! { send(tx, 5) -> res => res.unwrap() }
            assert_eq!(receiver.join(), Ok(5), "{how}");
        }
    });
}

/// test/chan/sieve1.go: the first primes.
#[test]
fn sieve1() {
    for_kinds(|env| {
        let n = if env.is_light() { 25 } else { 8 };
        let (tx, mut rx) = bounded(0);
        env.start(async move {
            let mut i = 2;
            while tx.send(i).await.is_ok() {
                i += 1;
            }
        });
        let mut primes = Vec::new();
        for _ in 0..n {
            let prime: u32 = rx.recv().wait().unwrap();
            primes.push(prime);
            let (tx, next) = bounded(0);
            let all = std::mem::replace(&mut rx, next);
            env.start(async move {
                while let Ok(i) = all.recv().await {
                    if i % prime != 0 && tx.send(i).await.is_err() {
                        break;
                    }
                }
            });
        }
        let known = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71];
        assert!(primes.iter().zip(known).all(|(a, b)| *a == b), "{primes:?}");
    });
}

/// test/chan/zerosize.go, and as many waits as there are values of no size.
#[test]
fn zerosize() {
    for_kinds(|env| {
        let (tx, rx) = bounded::<[u64; 0]>(0);
        let n = Arc::new(AtomicUsize::new(0));
        let count = n.clone();
        let receiver = env.start(async move {
            while rx.recv().await.is_ok() {
                count.fetch_add(1, SeqCst);
            }
        });
        env.run(async move {
            for _ in 0..100 {
                tx.send([]).await.unwrap();
            }
        });
        receiver.join();
        assert_eq!(n.load(SeqCst), 100);
    });
}

/// time.TestAfter, with a select around.
#[test]
fn test_after() {
    for_kinds(|env| {
        env.run(async {
            let start = gort::time::Instant::now();
            let at = after(Duration::from_millis(2)).recv().await.unwrap();
            assert!(at - start >= Duration::from_millis(2));
            assert!(start.elapsed() >= Duration::from_millis(2));
        });
    });
}
