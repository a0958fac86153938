//! Time slices: who keeps its P for long lets others run at a wait, even if that is ready. And Go's
//! tests of preemption.

mod go_modes;

use std::cell::Cell;
use std::io::Write;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use futures::channel::mpsc;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, SinkExt, StreamExt};
use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;
use gort::{JoinHandle, Runtime};
use gort_tests::{
    BOUND, Machine, Watchdog, alone, eventually, for_procs, for_procs_alone, runtime, spin,
    tick_until, until,
};

use go_modes::{MODES, check, for_modes};

/// A task that has ended, so that waiting for it need not wait.
async fn ended() -> JoinHandle<()> {
    let task = gort::spawn(async {});
    until("the task has ended", || task.is_finished()).await;
    task
}

/// Runs `greedy` beside a ticker, at P = 1 in both modes, until the ticker has had its turns, and
/// judges the ticker's gap.
fn greedy(greedy: impl Fn(&Runtime, Arc<AtomicBool>) -> JoinHandle<u64>) {
    let _machine = alone();
    for mode in MODES {
        check(mode, 1, |rt, _| {
            let done = Arc::<AtomicBool>::default();
            let machine = Machine::watch();
            let ticker = rt.spawn(tick_until(done.clone()));
            let greedy = greedy(rt, done.clone());
            thread::sleep(Duration::from_millis(200));
            done.store(true, SeqCst);
            let gap = ticker.wait().unwrap();
            let rounds = greedy.wait().unwrap();
            assert!(rounds > 0);
            machine.judge(&[("the ticker", gap)]);
            // It has yielded; its P was not taken each time.
            let metrics = rt.handle().metrics();
            eprintln!("{rounds} rounds, {} retakes", metrics.per_proc[0].retakes);
        });
    }
}

#[test]
fn a_task_whose_joins_are_ready_yields() {
    greedy(|rt, done| {
        rt.spawn(async move {
            let mut rounds = 0;
            while !done.load(SeqCst) {
                let handles = [ended().await, ended().await, ended().await, ended().await];
                for handle in handles {
                    spin(Duration::from_millis(1));
                    handle.await.unwrap();
                }
                rounds += 1;
            }
            rounds
        })
    });
}

/// All handles have been ready from the start: not one await has to wait.
#[test]
fn a_task_whose_joins_are_all_ready_yields() {
    let _machine = alone();
    for mode in MODES {
        check(mode, 1, |rt, _| {
            let handles: Vec<_> = (0..400).map(|i| rt.spawn(async move { i })).collect();
            eventually("all have ended", || handles.iter().all(JoinHandle::is_finished));
            let (ran, seen) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
            let (counted, looks) = (ran.clone(), seen.clone());
            let greedy = rt.spawn(async move {
                let other = gort::spawn(async move {
                    for _ in 0..1000 {
                        counted.fetch_add(1, SeqCst);
                        gort::yield_now().await;
                    }
                });
                let mut sum = 0;
                for handle in handles {
                    spin(Duration::from_micros(500));
                    sum += handle.await.unwrap();
                    looks.store(ran.load(SeqCst), SeqCst);
                }
                drop(other);
                sum
            });
            assert_eq!(greedy.wait().unwrap(), 400 * 399 / 2);
            assert!(seen.load(SeqCst) > 0, "200 ms, and the other had no turn");
        });
    }
}

#[test]
fn a_goroutine_whose_waits_are_ready_yields() {
    greedy(|rt, done| {
        rt.go(move || {
            let mut rounds = 0;
            while !done.load(SeqCst) {
                spin(Duration::from_micros(300));
                futures::future::ready(()).wait();
                rounds += 1;
            }
            rounds
        })
    });
}

/// A peer fills a socket faster than this task empties it.
#[test]
fn a_task_whose_socket_is_ready_yields() {
    greedy(|rt, done| {
        let listener = rt.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = done.clone();
        thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(addr).unwrap();
            while !stop.load(SeqCst) && stream.write_all(&[7; 1 << 16]).is_ok() {}
        });
        rt.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = 0;
            let mut block = [0; 256];
            while !done.load(SeqCst) {
                bytes += AsyncReadExt::read(&mut stream, &mut block).await.unwrap() as u64;
                spin(Duration::from_micros(50));
            }
            bytes
        })
    });
}

/// A future that looks at the clock only when it is polled, and is always late.
#[test]
fn a_task_of_ready_timers_yields() {
    greedy(|rt, done| {
        rt.spawn(async move {
            let mut rounds = 0;
            while !done.load(SeqCst) {
                spin(Duration::from_micros(200));
                gort::time::sleep(Duration::ZERO).await;
                rounds += 1;
            }
            rounds
        })
    });
}

/// It computes longer than a slice before each wait, and comes to its end all the same: not every
/// wait that comes too late costs a turn.
#[test]
fn a_poll_that_computes_before_each_wait_makes_progress() {
    /// Computes anew in each poll, as one that was cancelled does, and waits for two things then.
    struct Stubborn(Vec<JoinHandle<u64>>, u64, usize);
    impl Future for Stubborn {
        type Output = (u64, usize);
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            self.2 += 1;
            spin(Duration::from_millis(15));
            let Some(handle) = self.0.last_mut() else { return Poll::Ready((self.1, self.2)) };
            if let Poll::Ready(n) = handle.poll_unpin(cx) {
                self.1 += n.unwrap();
                self.0.pop();
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        }
    }
    let _machine = alone();
    for mode in MODES {
        check(mode, 1, |rt, _| {
            let done = Arc::<AtomicBool>::default();
            let ticker = rt.spawn(tick_until(done.clone()));
            let handles: Vec<_> = (1..=8).map(|i| rt.spawn(async move { i })).collect();
            let (sum, polls) = rt.spawn(Stubborn(handles, 0, 0)).wait().unwrap();
            done.store(true, SeqCst);
            ticker.wait().unwrap();
            eprintln!("{polls} polls");
            assert_eq!(sum, 36);
            assert!(polls <= 40, "{polls} polls for 9 results");
        });
    }
}

/// A request to yield ends with the one that it was meant for: whoever comes after on the same
/// thread is not made to wait where it need not.
#[test]
fn a_request_is_not_inherited() {
    /// Waits for all, one after the other, and counts its polls.
    struct All(Vec<JoinHandle<()>>, usize);
    impl Future for All {
        type Output = usize;
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
            self.1 += 1;
            while let Some(handle) = self.0.last_mut() {
                futures::ready!(handle.poll_unpin(cx)).unwrap();
                self.0.pop();
            }
            Poll::Ready(self.1)
        }
    }
    let _machine = alone();
    for procs in [1, 2] {
        let rt = gort_tests::runtime(procs);
        let done = Arc::<AtomicBool>::default();
        let tickers: Vec<_> = (0..procs).map(|_| rt.spawn(tick_until(done.clone()))).collect();
        // The root keeps a P for several slices, and ends without any wait.
        rt.block_on(async { spin(Duration::from_millis(60)) });
        done.store(true, SeqCst);
        // A wait would be asked, too.
        eventually("they have ended", || tickers.iter().all(JoinHandle::is_finished));
        eventually("all is quiet", || rt.handle().metrics().idle_procs == procs);
        let ready: Vec<_> = (0..4).map(|_| rt.spawn(async {})).collect();
        eventually("ready", || ready.iter().all(JoinHandle::is_finished));
        assert_eq!(rt.block_on(All(ready, 0)), 1, "polls, though all was ready");
    }
}

/// Go: TestPreemption, without the calls that would preempt: each spins until the other has been.
#[test]
fn preemption() {
    for_modes(|rt, _| {
        for goroutines in [false, true] {
            let x = Arc::new(AtomicU32::new(0));
            let both: Vec<_> = (0..2)
                .map(|g| {
                    let x = x.clone();
                    let body = move || {
                        for _ in 0..5 {
                            while x.load(SeqCst) != g {
                                std::hint::spin_loop();
                            }
                            x.store(1 - g, SeqCst);
                        }
                    };
                    if goroutines { rt.go(body) } else { rt.spawn(async move { body() }) }
                })
                .collect();
            both.into_iter().for_each(|one| one.wait().unwrap());
        }
    });
}

/// Go: TestAsyncPreempt. Three endless loops at P = 1 and everybody else goes on; there it is the
/// collector that must get its turn, here a task, a goroutine, a timer and a change of the procs.
#[test]
fn async_preempt() {
    let _machine = alone();
    for mode in MODES {
        check(mode, 1, |rt, _| {
            let (stop, ready) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
            let loops: Vec<_> = (0..3)
                .map(|i| {
                    let (stop, ready) = (stop.clone(), ready.clone());
                    let body = move || {
                        ready.fetch_add(1, SeqCst);
                        while !stop.load(SeqCst) {}
                    };
                    if i == 0 { rt.spawn(async move { body() }) } else { rt.go(body) }
                })
                .collect();
            rt.block_on(until("all are ready", || ready.load(SeqCst) == 3));
            assert_eq!(rt.spawn(async { 1 }).wait().unwrap(), 1);
            assert_eq!(rt.go(|| gort::yield_now().wait()).wait().unwrap(), ());
            rt.spawn(gort::time::sleep(Duration::from_millis(1))).wait().unwrap();
            assert_eq!(rt.handle().set_procs(2), 1);
            assert_eq!(rt.handle().set_procs(1), 2);
            stop.store(true, SeqCst);
            loops.into_iter().for_each(|one| one.wait().unwrap());
        });
    }
}

/// Go: TestTimerFairness. Two that send all the time keep nobody from a timer.
#[test]
fn timer_fairness() {
    for_procs_alone(|rt| {
        rt.block_on(rt.spawn(async {
            let done = Arc::<AtomicBool>::default();
            let (send, mut receive) = mpsc::channel(0);
            let senders: Vec<_> = (0..2)
                .map(|_| {
                    let (mut send, done) = (send.clone(), done.clone());
                    gort::spawn(async move {
                        while !done.load(SeqCst) && send.send(()).await.is_ok() {}
                    })
                })
                .collect();
            let mut timer = gort::time::sleep(Duration::from_millis(20)).fuse();
            let start = Instant::now();
            loop {
                futures::select! {
                    _ = receive.next() => {}
                    () = timer => break,
                }
                assert!(start.elapsed() < BOUND, "the timer does not fire");
            }
            done.store(true, SeqCst);
            drop(receive);
            for sender in senders {
                sender.await.unwrap();
            }
        }))
        .unwrap();
    });
}

/// Go: TestGoroutineParallelism. P of them run at the same time, in lockstep, on as many threads;
/// at fewer cores the system takes turns with them.
#[test]
fn goroutine_parallelism() {
    let _machine = alone();
    for mode in MODES {
        check(mode, 4, |rt, _| {
            for _ in 0..3 {
                let x = Arc::new(AtomicU32::new(0));
                let all: Vec<_> = (0..4)
                    .map(|p| {
                        let x = x.clone();
                        rt.go(move || {
                            for i in 0..3 {
                                let expected = 4 * i + p;
                                while x.load(SeqCst) != expected {
                                    thread::yield_now(); // there may be fewer cores
                                }
                                x.store(expected + 1, SeqCst);
                            }
                        })
                    })
                    .collect();
                all.into_iter().for_each(|one| one.wait().unwrap());
            }
        });
    }
}

/// Go: TestYieldProgress. One that yields in a loop sees what others do.
#[test]
fn yield_progress() {
    for_modes(|rt, _| {
        let (send, receive) = futures::channel::oneshot::channel::<()>();
        let (ack, acked) = futures::channel::oneshot::channel::<()>();
        drop(rt.go(move || {
            let mut receive = receive;
            while receive.try_recv().unwrap().is_none() {
                gort::yield_now().wait();
            }
            ack.send(()).unwrap();
        }));
        rt.block_on(gort::time::sleep(Duration::from_millis(10)));
        send.send(()).unwrap();
        rt.block_on(acked).unwrap();
    });
}

/// Go: TestPingPongHog. Two pairs, one of which works a thousand times as long at each turn: they
/// get about the same time. Measured in rounds of the loop, as there.
#[test]
fn ping_pong_hog() {
    const FACTOR: u64 = 20;
    let _machine = alone();
    for mode in MODES {
        check(mode, 1, |rt, _| {
            let done = Arc::<AtomicBool>::default();
            let pair = |limit: u64| {
                let count = Arc::new(AtomicU64::new(0));
                let (mut to_b, from_a) = mpsc::channel::<()>(1);
                let (to_a, from_b) = mpsc::channel::<()>(1);
                to_b.try_send(()).unwrap();
                for (mut to, mut from) in [(to_a, from_a), (to_b, from_b)] {
                    let (count, done) = (count.clone(), done.clone());
                    drop(rt.spawn(async move {
                        while !done.load(SeqCst) && from.next().await.is_some() {
                            for _ in 0..limit {
                                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            }
                            if to.send(()).await.is_err() {
                                return;
                            }
                        }
                    }));
                }
                count
            };
            let (hog, light) = (pair(1_000_000), pair(1_000));
            thread::sleep(Duration::from_millis(300));
            done.store(true, SeqCst);
            let (hog, light) = (hog.load(SeqCst), light.load(SeqCst));
            eprintln!("hog {hog}, light {light}");
            assert!(hog / FACTOR <= light && light / FACTOR <= hog, "hog {hog}, light {light}");
        });
    }
}

/// A connection that is always busy, in both directions, beside one that asks now and then.
#[test]
fn a_busy_connection_leaves_turns_to_others() {
    let _machine = alone();
    check(go_modes::Mode::Home, 1, |rt, _| {
        let listener = rt.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let server = rt.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                drop(gort::spawn(async move {
                    let mut block = [0; 4096];
                    while let Ok(n @ 1..) = AsyncReadExt::read(&mut stream, &mut block).await {
                        if AsyncWriteExt::write_all(&mut stream, &block[..n]).await.is_err() {
                            return;
                        }
                    }
                }));
            }
        });
        let done = Arc::<AtomicBool>::default();
        let stop = done.clone();
        let busy = rt.spawn(async move {
            let stream = TcpStream::connect(addr).await.unwrap();
            let (mut read, mut write) = stream.into_split();
            let reader = gort::spawn(async move {
                let mut block = [0; 4096];
                while let Ok(1..) = AsyncReadExt::read(&mut read, &mut block).await {}
            });
            while !stop.load(SeqCst) {
                AsyncWriteExt::write_all(&mut write, &[1; 4096]).await.unwrap();
            }
            drop(write);
            reader.abort();
        });
        let machine = Machine::watch();
        let asks = rt.spawn(async move {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            let mut gap = gort_tests::Gap::new();
            for _ in 0..50 {
                AsyncWriteExt::write_all(&mut stream, b"x").await.unwrap();
                AsyncReadExt::read_exact(&mut stream, &mut [0]).await.unwrap();
                gap.step();
            }
            gap.worst()
        });
        let gap = asks.wait().unwrap();
        done.store(true, SeqCst);
        busy.wait().unwrap();
        server.abort();
        machine.judge(&[("the one that asks", gap)]);
    });
}

/// Each wait of gort sees the end of the slice: a local task that always finds them ready lets its
/// neighbour on the thread run, which no hand-off of the P could.
#[test]
fn channels_and_locks_end_a_slice() {
    for_procs(|rt| {
        for locks in [false, true] {
            rt.run(move || {
                let done = Rc::new(Cell::new(false));
                let seen = done.clone();
                let greedy = gort::spawn_local(async move {
                    let (tx, rx) = gort::chan::bounded(1);
                    let mutex = gort::sync::Mutex::new(0u64);
                    while !seen.get() {
                        if locks {
                            *mutex.lock().await += 1;
                        } else {
                            tx.send(1u8).await.unwrap();
                            rx.recv().await.unwrap();
                        }
                    }
                });
                let neighbour = gort::spawn_local(async move { done.set(true) });
                greedy.wait().unwrap();
                neighbour.wait().unwrap();
            });
        }
    });
}

/// On a machine so busy that a thread gets a small part of a core, and that for ever, its turns end
/// all the same: those who live on that thread depend on it.
#[test]
fn turns_end_on_a_busy_machine() {
    let _machine = alone();
    let (begun, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let spins = || {
            begun.fetch_add(1, SeqCst);
            while !stop.load(SeqCst) {
                std::hint::spin_loop();
            }
        };
        let threads = 6 * thread::available_parallelism().unwrap().get();
        (0..threads).for_each(|_| drop(scope.spawn(spins)));
        eventually("all of them spin", || begun.load(SeqCst) == threads);
        let rt = runtime(1);
        let watchdog = Watchdog::start(rt.handle());
        rt.run(|| {
            let lock = gort::sync::Mutex::new(());
            for _ in 0..20 {
                let done = Rc::<Cell<bool>>::default();
                let neighbour = done.clone();
                drop(gort::spawn_local(async move { neighbour.set(true) }));
                while !done.get() {
                    drop(lock.lock().wait());
                }
            }
        });
        drop(watchdog);
        stop.store(true, SeqCst);
    });
}
