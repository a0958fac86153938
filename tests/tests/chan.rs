//! Channels: what each operation does, errors, ends, bad input.

mod chan_kinds;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt};
use gort::chan::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError, after,
    bounded, never, tick, unbounded,
};
use gort::prelude::*;
use gort::time::Instant;
use gort_tests::{CountWaker, OnDrop, panic_text};

use chan_kinds::for_kinds;

const MS: Duration = Duration::from_millis(1);
const FOREVER: Duration = Duration::MAX;

#[test]
fn values_arrive_in_order() {
    for_kinds(|env| {
        for capacity in [Some(0), Some(1), Some(2), Some(7), Some(128), None] {
            let (tx, rx) = match capacity {
                Some(capacity) => bounded(capacity),
                None => unbounded(),
            };
            let sender = env.start(async move {
                for i in 0..300 {
                    tx.send(i).await.unwrap();
                }
            });
            let receiver = env.start(async move {
                for i in 0..300 {
                    assert_eq!(rx.recv().await, Ok(i));
                }
                assert_eq!(rx.recv().await, Err(RecvError));
            });
            sender.join();
            receiver.join();
        }
    });
}

#[test]
fn many_to_many() {
    for_kinds(|env| {
        let each = if env.is_light() { 300 } else { 50 };
        for capacity in [0, 1, 5] {
            let (tx, rx) = bounded(capacity);
            let senders: Vec<_> = (0..4)
                .map(|s| {
                    let tx = tx.clone();
                    env.start(async move {
                        for i in 0..each {
                            tx.send((s, i)).await.unwrap();
                        }
                    })
                })
                .collect();
            drop(tx);
            let receivers: Vec<_> = (0..4)
                .map(|_| {
                    let rx = rx.clone();
                    env.start(async move {
                        let mut got = Vec::new();
                        while let Ok(value) = rx.recv().await {
                            got.push(value);
                        }
                        got
                    })
                })
                .collect();
            drop(rx);
            senders.into_iter().for_each(|s| s.join());
            let mut all = Vec::new();
            for receiver in receivers {
                let got = receiver.join();
                for s in 0..4 {
                    let of_one = got.iter().filter(|v| v.0 == s).map(|v| v.1);
                    assert!(of_one.is_sorted(), "the values of one sender stay in order");
                }
                all.extend(got);
            }
            all.sort_unstable();
            let expected: Vec<_> = (0..4).flat_map(|s| (0..each).map(move |i| (s, i))).collect();
            assert_eq!(all, expected);
        }
    });
}

#[test]
fn close_lets_the_values_inside_drain() {
    for_kinds(|env| {
        let (tx, rx) = bounded(5);
        (0..5).for_each(|i| tx.try_send(i).unwrap());
        assert!(tx.close());
        assert!(!tx.close() && !rx.close(), "the second close is nothing");
        assert!(tx.is_closed() && rx.is_closed());
        assert_eq!(tx.try_send(7), Err(TrySendError::Disconnected(7)));
        env.run(async move {
            assert_eq!(tx.send(8).await, Err(SendError(8)));
            for i in 0..5 {
                assert_eq!(rx.recv().await, Ok(i));
            }
            assert_eq!(rx.recv().await, Err(RecvError));
            assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
        });
    });
}

#[test]
fn close_wakes_all_who_wait() {
    for_kinds(|env| {
        let n = if env.is_light() { 100 } else { 10 };
        let (tx, rx) = bounded::<u32>(0);
        let waiting: Vec<_> = (0..n)
            .map(|_| {
                let rx = rx.clone();
                env.start(async move { rx.recv().await })
            })
            .collect();
        env.run(async move {
            gort::yield_now().await;
            tx.close();
        });
        assert!(waiting.into_iter().all(|w| w.join() == Err(RecvError)));

        let (tx, rx) = bounded(0);
        let waiting: Vec<_> = (0..n)
            .map(|i| {
                let tx = tx.clone();
                env.start(async move { tx.send(i).await })
            })
            .collect();
        env.run(async move {
            gort::yield_now().await;
            drop(rx);
        });
        let back = waiting.into_iter().map(|w| w.join().unwrap_err().into_inner());
        assert!(back.eq(0..n), "each gets its value back");
    });
}

#[test]
fn the_last_handle_closes() {
    let (tx, rx) = bounded::<i32>(1);
    let more = tx.clone();
    drop(tx);
    assert!(!rx.is_closed());
    drop(more);
    assert!(rx.is_closed());
    let (tx, rx) = bounded::<i32>(1);
    let more = rx.clone();
    drop(rx);
    assert!(!tx.is_closed());
    drop(more);
    assert!(tx.is_closed());
    assert_eq!(tx.try_send(1), Err(TrySendError::Disconnected(1)));
}

#[test]
fn a_receiver_dropped_with_values_inside() {
    let drops = Arc::new(AtomicUsize::new(0));
    let value = || {
        let drops = drops.clone();
        OnDrop::new(move || {
            drops.fetch_add(1, SeqCst);
        })
    };
    for capacity in [Some(7), None] {
        drops.store(0, SeqCst);
        let (tx, rx) = capacity.map_or_else(unbounded, bounded);
        for _ in 0..3 {
            tx.try_send(value()).ok().unwrap();
            drop(rx.try_recv());
        }
        (0..5).for_each(|_| tx.try_send(value()).ok().unwrap());
        assert_eq!(drops.load(SeqCst), 3);
        drop(rx);
        assert_eq!(drops.load(SeqCst), 8, "at once, not when the sender goes");
        drop(tx);
        assert_eq!(drops.load(SeqCst), 8);
    }
}

/// The channel is in order before any destructor runs.
#[test]
fn a_value_whose_drop_panics() {
    let drops = Arc::new(AtomicUsize::new(0));
    let value = |panics: bool| {
        let drops = drops.clone();
        OnDrop::new(move || {
            drops.fetch_add(1, SeqCst);
            assert!(!panics, "of the value");
        })
    };
    // Inside a channel that goes.
    let (tx, rx) = bounded(3);
    for panics in [false, true, false] {
        tx.try_send(value(panics)).ok().unwrap();
    }
    let payload = catch_unwind(AssertUnwindSafe(move || drop(rx))).unwrap_err();
    assert_eq!(panic_text(&*payload), "of the value");
    assert_eq!(drops.load(SeqCst), 3);
    assert!(tx.is_closed());
    drop(tx);
    // In a send that is dropped while it waits.
    let (tx, rx) = bounded(0);
    let mut send = Box::pin(tx.send(value(true)));
    assert!(send.as_mut().now_or_never().is_none());
    assert!(catch_unwind(AssertUnwindSafe(move || drop(send))).is_err());
    assert_eq!(drops.load(SeqCst), 4);
    // The channel works as before.
    let mut recv = Box::pin(rx.recv());
    assert!(recv.as_mut().now_or_never().is_none());
    tx.try_send(value(false)).ok().unwrap();
    drop(recv.as_mut().now_or_never().unwrap().unwrap());
    assert_eq!(drops.load(SeqCst), 5);
}

#[test]
fn capacities() {
    assert_eq!(bounded::<u8>(0).0.capacity(), Some(0));
    assert_eq!(bounded::<u8>(5).1.capacity(), Some(5));
    assert_eq!(unbounded::<u8>().0.capacity(), None);
    let payload = catch_unwind(|| bounded::<u64>(usize::MAX / 2)).unwrap_err();
    assert_eq!(panic_text(&*payload), "capacity overflow");
    // Values without a size need no memory.
    let (tx, rx) = bounded::<()>(usize::MAX / 2);
    (0..1000).for_each(|_| tx.try_send(()).unwrap());
    assert_eq!(rx.len(), 1000);
    assert_eq!(rx.try_iter().count(), 1000);
    let (tx, rx) = unbounded::<()>();
    (0..1000).for_each(|_| tx.try_send(()).unwrap());
    assert_eq!(rx.try_iter().count(), 1000);
}

/// Around the end of the ring, and with what a growing ring carries over.
#[test]
fn rings() {
    for capacity in [Some(1), Some(2), Some(3), Some(16), None] {
        let (tx, rx) = capacity.map_or_else(unbounded, bounded);
        let (mut sent, mut received) = (0_u64, 0_u64);
        for round in 0..200_u64 {
            for _ in 0..round % 37 {
                if tx.try_send(Box::new(sent)).is_ok() {
                    sent += 1;
                }
            }
            assert_eq!(tx.len() as u64, sent - received);
            for _ in 0..round % 31 {
                if let Ok(value) = rx.try_recv() {
                    assert_eq!(*value, received);
                    received += 1;
                }
            }
        }
    }
}

#[test]
fn try_operations() {
    let (tx, rx) = bounded(2);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    assert!(rx.is_empty());
    tx.try_send(1).unwrap();
    tx.try_send(2).unwrap();
    assert_eq!(tx.try_send(3), Err(TrySendError::Full(3)));
    assert_eq!((tx.len(), rx.len()), (2, 2));
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1, 2]);
    let (tx, rx) = bounded(0);
    assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
    let mut send = Box::pin(tx.send(2));
    assert!(send.as_mut().now_or_never().is_none());
    assert_eq!(rx.try_recv(), Ok(2));
    assert_eq!(send.as_mut().now_or_never(), Some(Ok(())));
}

/// A full buffer with waiting senders: the order stays.
#[test]
fn a_receive_refills_the_buffer() {
    let (tx, rx) = bounded(2);
    tx.try_send(0).unwrap();
    tx.try_send(1).unwrap();
    let mut sends: Vec<_> = (2..5).map(|i| Box::pin(tx.send(i))).collect();
    assert!(sends.iter_mut().all(|s| s.as_mut().now_or_never().is_none()));
    assert_eq!(rx.try_recv(), Ok(0));
    assert_eq!(rx.len(), 2, "the first waiting value has moved up");
    assert_eq!(sends[0].as_mut().now_or_never(), Some(Ok(())));
    assert!(sends[1].as_mut().now_or_never().is_none());
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn those_who_wait_are_served_in_their_order() {
    let (tx, rx) = bounded(0);
    let mut recvs: Vec<_> = (0..5).map(|_| Box::pin(rx.recv())).collect();
    assert!(recvs.iter_mut().all(|r| r.as_mut().now_or_never().is_none()));
    for i in 0..5 {
        tx.try_send(i).unwrap();
    }
    for (i, recv) in recvs.iter_mut().enumerate() {
        assert_eq!(recv.as_mut().now_or_never(), Some(Ok(i)));
    }
    let mut sends: Vec<_> = (0..5).map(|i| Box::pin(tx.send(i))).collect();
    assert!(sends.iter_mut().all(|s| s.as_mut().now_or_never().is_none()));
    assert!(rx.try_iter().eq(0..5));
}

#[test]
fn timeouts() {
    for_kinds(|env| {
        let (tx, rx) = bounded(1);
        env.run(async move {
            let start = Instant::now();
            assert_eq!(rx.recv_timeout(MS).await, Err(RecvTimeoutError::Timeout));
            assert!(start.elapsed() >= MS);
            assert_eq!(rx.recv_timeout(Duration::ZERO).await, Err(RecvTimeoutError::Timeout));
            assert_eq!(tx.send_timeout(1, Duration::ZERO).await, Ok(()));
            assert_eq!(tx.send_timeout(2, MS).await, Err(SendTimeoutError::Timeout(2)));
            assert_eq!(tx.send_timeout(3, Duration::ZERO).await, Err(SendTimeoutError::Timeout(3)));
            assert_eq!(rx.recv_timeout(FOREVER).await, Ok(1));
            drop(tx);
            assert_eq!(rx.recv_timeout(FOREVER).await, Err(RecvTimeoutError::Disconnected));
        });
        let (tx, rx) = bounded(0);
        let sender = env.start(async move {
            tx.send_timeout(5, FOREVER).await.unwrap();
            tx.send_timeout(6, FOREVER).await
        });
        env.run(async move {
            assert_eq!(rx.recv_timeout(FOREVER).await, Ok(5));
        });
        assert_eq!(sender.join(), Err(SendTimeoutError::Disconnected(6)));
    });
}

#[test]
fn channels_of_the_clock() {
    for_kinds(|env| {
        env.run(async {
            let start = Instant::now();
            let once = after(MS);
            assert_eq!((once.len(), once.capacity()), (0, Some(0)));
            let at = once.recv().await.unwrap();
            assert!(at >= start + MS && start.elapsed() >= MS);
            assert_eq!(once.try_recv(), Err(TryRecvError::Empty), "only once");
            assert_eq!(once.recv_timeout(MS).await, Err(RecvTimeoutError::Timeout));

            assert!(after(Duration::ZERO).try_recv().is_ok());
            assert!(after(FOREVER).try_recv().is_err());
            assert_eq!(after(FOREVER).recv_timeout(MS).await, Err(RecvTimeoutError::Timeout));

            let ticks = tick(MS);
            let mut last = start;
            for _ in 0..3 {
                let at = ticks.recv().await.unwrap();
                assert!(at >= last + MS);
                last = at;
            }
            assert!(!ticks.close() && !ticks.is_closed());
            assert_eq!(never::<u8>().recv_timeout(MS).await, Err(RecvTimeoutError::Timeout));
        });
    });
    let payload = catch_unwind(|| tick(Duration::ZERO)).unwrap_err();
    assert_eq!(panic_text(&*payload), "the period of `tick` must not be zero");
}

/// Late ticks are dropped, and do not pile up.
#[test]
fn late_ticks_are_dropped() {
    let ticks = tick(MS);
    std::thread::sleep(20 * MS); // this is about time
    let first = ticks.try_recv().unwrap();
    let second = ticks.recv().wait().unwrap();
    assert!(second - first >= 19 * MS, "{:?}", second - first);
    assert_eq!((second - first).as_nanos() % MS.as_nanos(), 0);
}

/// Each value of a clock reaches one of those who wait.
#[test]
fn a_clock_with_many_receivers() {
    for_kinds(|env| {
        let ticks = tick(MS);
        let bodies: Vec<_> = (0..4)
            .map(|_| {
                let ticks = ticks.clone();
                env.start(async move { ticks.recv().await.unwrap() })
            })
            .collect();
        let mut at: Vec<_> = bodies.into_iter().map(|b| b.join()).collect();
        at.sort_unstable();
        assert!(at.windows(2).all(|w| w[1] - w[0] >= MS), "{at:?}");
    });
}

#[test]
fn iterators() {
    for_kinds(|env| {
        let (tx, rx) = bounded(1);
        let sender = env.start(async move {
            for i in 0..10 {
                tx.send(i).await.unwrap();
            }
        });
        assert_eq!(rx.iter().take(3).sum::<i32>(), 3);
        let mut sum = 0;
        for i in &rx {
            sum += i;
            if i == 8 {
                break;
            }
        }
        assert_eq!(sum, 33);
        let mut rest = rx.into_iter();
        assert_eq!((rest.next(), rest.next(), rest.next()), (Some(9), None, None));
        sender.join();
    });
}

#[test]
fn streams_and_sinks() {
    for_kinds(|env| {
        for capacity in [0, 1, 10] {
            let (mut tx, mut rx) = bounded(capacity);
            let sender = env.start(async move {
                for i in 0..20 {
                    tx.feed(i).await.unwrap();
                }
                tx.send_all(&mut futures::stream::iter(20..40).map(Ok)).await.unwrap();
                SinkExt::close(&mut tx).await.unwrap();
            });
            env.run(async move {
                for i in 0..40 {
                    assert_eq!(rx.next().await, Some(i));
                }
                assert_eq!(rx.next().await, None);
                assert_eq!(rx.next().await, None);
            });
            sender.join();
        }
    });
}

/// An item that was started but not flushed is in the handle, and goes with it.
#[test]
fn an_unsent_item_of_a_sink() {
    let drops = Arc::new(AtomicUsize::new(0));
    let value = || {
        let drops = drops.clone();
        OnDrop::new(move || {
            drops.fetch_add(1, SeqCst);
        })
    };
    let (mut tx, rx) = bounded(0);
    assert!(tx.feed(value()).now_or_never().is_some());
    assert!(tx.feed(value()).now_or_never().is_none(), "there is one already");
    let more = tx.clone();
    assert!(more.unsent_is_not_cloned());
    drop(tx);
    assert_eq!(drops.load(SeqCst), 2);
    assert_eq!(rx.try_recv().unwrap_err(), TryRecvError::Empty);
    // Closed: the item comes back in the error.
    let (mut tx, rx) = bounded(0);
    assert!(tx.feed(5).now_or_never().is_some());
    drop(rx);
    assert_eq!(tx.flush().now_or_never(), Some(Err(SendError(5))));
    assert_eq!(tx.feed(6).now_or_never(), Some(Err(SendError(6))));
}

trait UnsentIsNotCloned {
    fn unsent_is_not_cloned(&self) -> bool;
}

impl<T> UnsentIsNotCloned for gort::chan::Sender<T> {
    fn unsent_is_not_cloned(&self) -> bool {
        self.is_empty() && !self.is_closed()
    }
}

/// A stream that is dropped in the middle gives on what it was handed.
#[test]
fn a_stream_that_goes() {
    let (tx, mut rx) = unbounded();
    let other = rx.clone();
    assert!(rx.next().now_or_never().is_none());
    tx.try_send(1).unwrap();
    tx.try_send(2).unwrap();
    drop(rx);
    assert!(other.try_iter().eq([1, 2]));
}

/// A future is polled by another task than before: the newest waker counts.
#[test]
fn the_newest_waker_is_woken() {
    let (tx, rx) = bounded(1);
    let (first, second) = (Wakes::new(), Wakes::new());
    let mut recv = Box::pin(rx.recv());
    assert!(first.poll(recv.as_mut()).is_pending());
    assert!(second.poll(recv.as_mut()).is_pending());
    assert!(second.poll(recv.as_mut()).is_pending());
    tx.try_send(1).unwrap();
    assert_eq!((first.wakes(), second.wakes()), (0, 1));
    assert!(second.poll(recv.as_mut()).is_ready());
    drop(recv);

    tx.try_send(1).unwrap();
    let mut send = Box::pin(tx.send(2));
    assert!(first.poll(send.as_mut()).is_pending());
    assert!(second.poll(send.as_mut()).is_pending());
    rx.try_recv().unwrap();
    assert_eq!((first.wakes(), second.wakes()), (0, 2));
    assert!(second.poll(send.as_mut()).is_ready());
}

/// A waker that counts.
struct Wakes(Arc<CountWaker>, Waker);

impl Wakes {
    fn new() -> Wakes {
        let (count, waker) = CountWaker::pair();
        Wakes(count, waker)
    }

    fn poll<F: Future>(&self, future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(&self.1))
    }

    fn wakes(&self) -> usize {
        self.0.wakes()
    }
}

#[test]
fn debug_and_display() {
    let (tx, rx) = bounded::<u8>(3);
    assert_eq!(format!("{tx:?}"), "Sender { len: 0, cap: Some(3) }");
    assert_eq!(format!("{rx:?}"), "Receiver { len: 0, cap: Some(3) }");
    assert_eq!(format!("{:?}", SendError(5)), "SendError(..)");
    assert_eq!(SendError(5).to_string(), "sending on a closed channel");
    assert_eq!(TrySendError::Full(5).to_string(), "sending on a full channel");
    assert_eq!(RecvError.to_string(), "receiving on a closed and empty channel");
    assert_eq!(TryRecvError::Empty.to_string(), "receiving on an empty channel");
    let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(SendError(5));
    drop(boxed);
}

#[test]
fn handles_are_send_and_sync() {
    fn check<T: Send + Sync + std::panic::UnwindSafe>(_: &T) {}
    let (tx, rx) = bounded::<std::cell::Cell<u8>>(1);
    check(&tx);
    check(&rx);
    fn future<T: Send>(_: &T) {}
    future(&rx.recv());
    future(&tx.send(std::cell::Cell::new(1)));
    future(&rx.recv_timeout(MS));
}
