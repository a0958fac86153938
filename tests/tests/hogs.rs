//! Tasks and goroutines that compute or block without a word: the others go on. A 1 ms ticker, as a
//! task and as a goroutine, and a socket that echoes are watched for the longest time they stand
//! still. No hog announces anything, and none is long enough to be waited for.

mod go_modes;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures::future::poll_fn;
use futures::{AsyncReadExt, AsyncWriteExt, SinkExt, StreamExt};
use gort::net::TcpListener;
use gort::prelude::*;
use gort::{JoinHandle, Runtime};
use gort_tests::{
    BOUND, Gap, Machine, OnDrop, Watchdog, alone, eventually, spin, threads, tick_in_goroutine,
    tick_until,
};

use go_modes::{MODES, Mode};

/// Longer than any gap that is allowed.
const LONG: Duration = Duration::from_millis(150);
const SOME: Duration = Duration::from_millis(100);

/// What goes on beside the hogs.
struct Others {
    done: Arc<AtomicBool>,
    machine: Machine,
    gaps: Vec<(&'static str, JoinHandle<Duration>)>,
    echo: Option<thread::JoinHandle<Duration>>,
    addr: SocketAddr,
}

impl Others {
    /// A ticker, which runs, and a server that waits for `serve`.
    fn start(rt: &Runtime) -> Others {
        let (done, ticks) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (until, ticking) = (done.clone(), ticks.clone());
        let ticker = rt.spawn(async move {
            gort::time::sleep(Duration::from_millis(1)).await;
            ticking.store(true, SeqCst);
            tick_until(until).await
        });
        let listener = rt.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        drop(rt.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut byte = [0; 1];
            while AsyncReadExt::read_exact(&mut stream, &mut byte).await.is_ok() {
                AsyncWriteExt::write_all(&mut stream, &byte).await.unwrap();
            }
        }));
        eventually("the ticker ticks", || ticks.load(SeqCst));
        Others {
            done,
            machine: Machine::watch(),
            gaps: vec![("the task", ticker)],
            echo: None,
            addr,
        }
    }

    /// Starts a goroutine that ticks, on a thread that is not a hog's if the hogs run already.
    fn go(&mut self, rt: &Runtime) {
        let done = self.done.clone();
        self.gaps.push(("the goroutine", rt.go(move || tick_in_goroutine(&done))));
    }

    /// Starts a client, a plain thread.
    fn serve(&mut self) {
        let (done, addr) = (self.done.clone(), self.addr);
        self.echo = Some(thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(addr).unwrap();
            let mut gap = Gap::new();
            while !done.load(SeqCst) {
                stream.write_all(b"x").unwrap();
                stream.read_exact(&mut [0]).unwrap();
                gap.step();
                thread::sleep(Duration::from_millis(1));
                gap.step();
            }
            gap.worst()
        }));
    }

    /// Without a judgement.
    fn stop(self) {
        self.done.store(true, SeqCst);
        for (_, gap) in self.gaps {
            let _ = gap.wait().unwrap();
        }
        let _ = self.machine.worst();
    }

    #[track_caller]
    fn judge(self) {
        self.done.store(true, SeqCst);
        let mut gaps: Vec<_> =
            self.gaps.into_iter().map(|(who, gap)| (who, gap.wait().unwrap())).collect();
        gaps.extend(self.echo.map(|echo| ("the socket", echo.join().unwrap())));
        self.machine.judge(&gaps);
    }
}

/// Runs `test` in both modes at P = 1 and 2, while nothing else of this file runs.
fn in_modes(test: impl Fn(&Runtime, Mode)) {
    let _machine = alone();
    for mode in MODES {
        for procs in [1, 2] {
            go_modes::check(mode, procs, &test);
        }
    }
}

/// Starts two hogs, waits until both are at it, starts the rest of the others, and judges them when
/// the hogs have ended. The first ticker sees the hogs come.
#[track_caller]
fn beside_two(rt: &Runtime, goroutines: bool, hog: impl Fn() + Send + Sync + 'static) {
    let mut others = Others::start(rt);
    let (hog, begun) = (Arc::new(hog), Arc::new(AtomicUsize::new(0)));
    let hogs: Vec<_> = (0..2)
        .map(|_| {
            let (hog, begun) = (hog.clone(), begun.clone());
            let body = move || {
                begun.fetch_add(1, SeqCst);
                hog();
            };
            if goroutines { rt.go(body) } else { rt.spawn(async move { body() }) }
        })
        .collect();
    eventually("both run", || begun.load(SeqCst) == 2);
    others.go(rt);
    others.serve();
    hogs.into_iter().for_each(|hog| hog.wait().unwrap());
    others.judge();
}

#[test]
fn others_go_on_beside_two_that_spin() {
    in_modes(|rt, _| {
        beside_two(rt, false, || spin(2 * LONG));
        beside_two(rt, true, || spin(LONG));
    });
}

#[test]
fn others_go_on_beside_two_that_sleep() {
    in_modes(|rt, _| {
        beside_two(rt, false, || thread::sleep(2 * LONG));
        beside_two(rt, true, || thread::sleep(LONG));
    });
}

#[test]
fn others_go_on_beside_two_that_want_a_held_mutex() {
    in_modes(|rt, _| {
        for goroutines in [false, true] {
            let lock = Arc::new(Mutex::new(()));
            let (held, holder) = (mpsc::channel(), lock.clone());
            let holder = thread::spawn(move || {
                let _guard = holder.lock().unwrap();
                held.0.send(()).unwrap();
                thread::sleep(LONG + Duration::from_millis(100));
            });
            held.1.recv().unwrap();
            beside_two(rt, goroutines, move || drop(lock.lock().unwrap()));
            holder.join().unwrap();
        }
    });
}

/// The holder is a task that computes; those who wait for it must not keep it from a P.
#[test]
fn the_holder_of_a_mutex_is_a_task() {
    in_modes(|rt, _| {
        let lock = Arc::new(Mutex::new(0));
        let holder = {
            let lock = lock.clone();
            move || {
                let mut guard = lock.lock().unwrap();
                spin(Duration::from_millis(60));
                *guard += 1;
            }
        };
        let others = Others::start(rt);
        let all: Vec<_> = (0..4)
            .map(|i| {
                let holder = holder.clone();
                if i % 2 == 0 { rt.go(holder) } else { rt.spawn(async move { holder() }) }
            })
            .collect();
        all.into_iter().for_each(|one| one.wait().unwrap());
        others.judge();
        assert_eq!(*lock.lock().unwrap(), 4);
    });
}

/// A hog that uses the core all the time from its place without a P, where all it does takes the
/// slow way: nothing of it is lost, and the others go on.
#[test]
fn hogs_that_spawn_wake_join_and_drop() {
    in_modes(|rt, _| {
        let ran = Arc::new(AtomicUsize::new(0));
        let spawned = Arc::new(AtomicUsize::new(0));
        let hog = {
            let (ran, spawned) = (ran.clone(), spawned.clone());
            move || {
                let start = Instant::now();
                let mut joined = Vec::new();
                while start.elapsed() < LONG {
                    let counted = ran.clone();
                    let task = gort::spawn(async move { counted.fetch_add(1, SeqCst) });
                    let counted = ran.clone();
                    let goroutine = gort::go(move || counted.fetch_add(1, SeqCst));
                    let started = spawned.fetch_add(2, SeqCst);
                    if started.is_multiple_of(16) {
                        joined.push(goroutine);
                    } else {
                        drop(goroutine);
                    }
                    drop(task);
                    spin(Duration::from_micros(500));
                }
                joined
            }
        };
        let others = Others::start(rt);
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                rt.spawn({
                    let hog = hog.clone();
                    async move { hog() }
                })
            })
            .collect();
        let goroutines: Vec<_> = (0..1).map(|_| rt.go(hog.clone())).collect();
        for hog in tasks.into_iter().chain(goroutines) {
            hog.wait().unwrap().into_iter().for_each(|child| assert!(child.wait().is_ok()));
        }
        others.judge();
        eventually("everything has run", || ran.load(SeqCst) == spawned.load(SeqCst));
        thread::sleep(Duration::from_millis(5)); // whatever runs twice
        assert_eq!(ran.load(SeqCst), spawned.load(SeqCst), "each once");
    });
}

/// Each hog wakes its partner and waits for it; between that it computes for longer than a slice.
/// So what stops has no P, and is woken by one that has lost its own.
fn pair(rt: &Runtime, goroutines: bool) -> (JoinHandle<()>, JoinHandle<usize>) {
    const SLOW: Duration = Duration::from_millis(12);
    let (mut ping, mut pong) = futures::channel::mpsc::channel(0);
    let (mut back, mut forth) = futures::channel::mpsc::channel(0);
    let first = async move {
        for n in 0..ROUNDS {
            spin(SLOW);
            ping.send(n).await.unwrap();
            assert_eq!(forth.next().await, Some(n));
        }
    };
    let second = async move {
        let mut sum = 0;
        while let Some(n) = pong.next().await {
            spin(SLOW);
            sum += n;
            back.send(n).await.unwrap();
        }
        sum
    };
    match goroutines {
        true => (rt.go(move || first.wait()), rt.go(move || second.wait())),
        false => (rt.spawn(first), rt.spawn(second)),
    }
}

const ROUNDS: usize = 5;

#[test]
fn hogs_that_wake_each_other() {
    in_modes(|rt, _| {
        for goroutines in [&[false][..], &[true], &[true, false, true, false]] {
            let others = Others::start(rt);
            let pairs: Vec<_> = goroutines.iter().map(|go| pair(rt, *go)).collect();
            for (first, second) in pairs {
                first.wait().unwrap();
                assert_eq!(second.wait().unwrap(), ROUNDS * (ROUNDS - 1) / 2);
            }
            // Four pairs are a queue of their own at one P.
            if goroutines.len() == 1 { others.judge() } else { others.stop() }
        }
    });
}

/// A waker of no executor, whose wake computes.
struct SlowWaker(AtomicUsize);

impl Wake for SlowWaker {
    fn wake(self: Arc<Self>) {
        spin(SOME);
        self.0.fetch_add(1, SeqCst);
    }
}

/// What makes user code run there for long, and waits for its end.
type Place = Box<dyn FnOnce(&Runtime)>;

/// User code that the core calls: it may be away for long as well.
#[test]
fn hogs_in_unusual_places() {
    in_modes(|rt, mode| {
        let mut places: Vec<(&str, Place)> = Vec::new();
        places.push(("a root", Box::new(|rt| rt.block_on(async { spin(SOME) }))));
        places.push((
            "a local task",
            Box::new(|rt| {
                rt.block_on(async { gort::spawn_local(async { spin(SOME) }).await.unwrap() })
            }),
        ));
        places.push((
            "a block_on inside a poll",
            Box::new(|rt| {
                let nested = async {
                    gort::block_on(async {
                        gort::yield_now().await;
                        spin(SOME)
                    })
                };
                rt.spawn(nested).wait().unwrap();
            }),
        ));
        places.push((
            "a local task of a goroutine",
            Box::new(|rt| {
                rt.go(|| gort::spawn_local(async { spin(SOME) }).wait().unwrap()).wait().unwrap();
            }),
        ));
        places.push((
            "the destructor of a future",
            Box::new(|rt| {
                let armed = OnDrop::new(|| spin(SOME));
                let task = rt.spawn(async move {
                    let _armed = armed;
                    std::future::pending::<()>().await;
                });
                task.abort();
                assert!(task.wait().unwrap_err().is_cancelled());
            }),
        ));
        places.push((
            "the destructor of an output",
            Box::new(|rt| {
                let (send, receive) = mpsc::channel();
                drop(rt.spawn(async move {
                    OnDrop::new(move || {
                        spin(SOME);
                        send.send(()).unwrap()
                    })
                }));
                receive.recv_timeout(BOUND).unwrap();
            }),
        ));
        places.push((
            "the wake of a foreign waker",
            Box::new(|rt| {
                let slow = Arc::new(SlowWaker(AtomicUsize::new(0)));
                let (go, gone) = futures::channel::oneshot::channel::<()>();
                let mut task = rt.spawn(gone);
                let waker = Waker::from(slow.clone());
                let mut cx = Context::from_waker(&waker);
                assert!(Future::poll(std::pin::Pin::new(&mut task), &mut cx).is_pending());
                go.send(()).unwrap();
                eventually("the waker was woken", || slow.0.load(SeqCst) == 1);
            }),
        ));
        places.push((
            "the wake of a timer's foreign waker",
            Box::new(|rt| {
                let slow = Arc::new(SlowWaker(AtomicUsize::new(0)));
                let waker = Waker::from(slow.clone());
                let _entered = rt.enter();
                let mut sleep = Box::pin(gort::time::sleep(Duration::from_millis(2)));
                assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                eventually("the waker was woken", || slow.0.load(SeqCst) == 1);
            }),
        ));
        places.push((
            "the unwinding of an abort",
            Box::new(|rt| {
                let (send, receive) = mpsc::channel();
                let goroutine = rt.go(move || {
                    let _armed = OnDrop::new(|| spin(SOME));
                    send.send(()).unwrap();
                    std::future::pending::<()>().wait();
                });
                receive.recv_timeout(BOUND).unwrap();
                goroutine.abort();
                assert!(goroutine.wait().unwrap_err().is_cancelled());
            }),
        ));
        places.push((
            "the unwinding of a panic",
            Box::new(|rt| {
                for goroutine in [false, true] {
                    let body = || {
                        let _armed = OnDrop::new(|| spin(SOME / 2));
                        std::panic::resume_unwind(Box::new("quiet"));
                    };
                    let hog = if goroutine { rt.go(body) } else { rt.spawn(async move { body() }) };
                    assert!(hog.wait().unwrap_err().is_panic());
                }
            }),
        ));
        for (place, hog) in places {
            if place == "a local task of a goroutine" && mode == Mode::Migrate {
                continue; // it has no home
            }
            eprintln!("{place}");
            let others = Others::start(rt);
            hog(rt);
            others.judge();
        }
    });
}

/// A P's only timer, nothing else: the P is worth taking for that.
#[test]
fn a_lone_timer_beside_a_hog_is_on_time() {
    in_modes(|rt, _| {
        let machine = Machine::watch();
        let hog = rt.spawn(async {
            let timer = gort::spawn(async {
                let start = Instant::now();
                gort::time::sleep(Duration::from_millis(30)).await;
                start.elapsed()
            });
            gort::yield_now().await;
            spin(LONG);
            (timer,)
        });
        let took = hog.wait().unwrap().0.wait().unwrap();
        machine.judge(&[("the timer", took - Duration::from_millis(30))]);
    });
}

/// 200 that block 50 ms each would take 10 s one after the other, 5 s at two Ps.
#[test]
fn two_hundred_that_sleep() {
    let _machine = alone();
    let before = threads();
    for mode in MODES {
        let rt = mode.runtime(2);
        let watchdog = Watchdog::start(rt.handle());
        let entered = rt.enter();
        let start = Instant::now();
        let all: Vec<_> =
            (0..200).map(|_| rt.go(|| thread::sleep(Duration::from_millis(50)))).collect();
        let mut most = 0;
        for one in all {
            one.wait().unwrap();
            most = most.max(rt.handle().metrics().detached);
        }
        let took = start.elapsed();
        eprintln!("{took:?}, {most} detached, {} threads", rt.handle().metrics().threads);
        assert!(took < Duration::from_secs(4), "{took:?}");
        eventually("none is detached", || rt.handle().metrics().detached == 0);
        if mode == Mode::Home {
            eventually("the threads end", || rt.handle().metrics().threads <= 5);
        }
        drop(entered);
        drop(watchdog);
        assert!(rt.shutdown_timeout(BOUND));
    }
    eventually("all threads have ended", || threads() <= before);
}

/// What blocks many threads without a word may be something that only a task of the same runtime
/// brings: it gets a P, however many they are.
#[test]
fn many_wait_for_a_task() {
    in_modes(|rt, _| {
        let (sends, receives): (Vec<_>, Vec<_>) = (0..40).map(|_| mpsc::channel()).unzip();
        let all: Vec<_> = receives
            .into_iter()
            .enumerate()
            .map(|(i, receive)| {
                let wait = move || receive.recv().unwrap();
                if i % 2 == 0 { rt.go(wait) } else { rt.spawn(async move { wait() }) }
            })
            .collect();
        let send_all = async move { sends.into_iter().for_each(|send| send.send(()).unwrap()) };
        rt.spawn(send_all).wait().unwrap();
        for one in all {
            one.wait().unwrap();
        }
        eventually("none is detached", || rt.handle().metrics().detached == 0);
    });
}

/// More hogs than may be detached: none of them is lost, and the cap holds.
#[test]
fn more_hogs_than_may_be_detached() {
    in_modes(|rt, _| {
        let sum = Arc::new(AtomicUsize::new(0));
        let all: Vec<_> = (0..40)
            .map(|i| {
                let sum = sum.clone();
                let hog = move || {
                    spin(Duration::from_millis(25));
                    sum.fetch_add(i, SeqCst);
                };
                if i % 2 == 0 { rt.go(hog) } else { rt.spawn(async move { hog() }) }
            })
            .collect();
        for one in all {
            assert!(rt.handle().metrics().detached <= 8);
            one.wait().unwrap();
        }
        assert_eq!(sum.load(SeqCst), 39 * 20);
        eventually("none is detached", || rt.handle().metrics().detached == 0);
    });
}

/// The runtime ends while hogs run without a P. The end waits for them, and gives up in time.
#[test]
fn the_end_while_hogs_are_detached() {
    let _machine = alone();
    for mode in MODES {
        for procs in [1, 2] {
            let rt = mode.runtime(procs);
            let (stop, ended) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
            let all: Vec<_> = (0..4)
                .map(|i| {
                    let (stop, ended) = (stop.clone(), ended.clone());
                    let hog = move || {
                        ended.fetch_add(10, SeqCst);
                        while !stop.load(SeqCst) {
                            std::hint::spin_loop();
                        }
                        drop(gort::spawn(async { unreachable!("the runtime has ended") }));
                        ended.fetch_add(1, SeqCst);
                    };
                    if i % 2 == 0 { rt.go(hog) } else { rt.spawn(async move { hog() }) }
                })
                .collect();
            eventually("all run", || ended.load(SeqCst) == 40);
            assert!(rt.handle().metrics().detached >= 4 - procs);
            let handle = rt.handle();
            assert!(!rt.shutdown_timeout(Duration::from_millis(20)), "hogs cannot be stopped");
            stop.store(true, SeqCst);
            all.into_iter().for_each(|one| one.wait().unwrap());
            eventually("the threads have ended", || handle.metrics().threads == 0);
            assert_eq!((ended.load(SeqCst) % 10, handle.metrics().detached), (4, 0));
        }
    }
}

/// An abort of one that runs without a P takes effect at its next wait.
#[test]
fn abort_of_a_detached_hog() {
    in_modes(|rt, _| {
        for goroutine in [false, true] {
            let stop = Arc::<AtomicBool>::default();
            let stopped = stop.clone();
            let hog = move || {
                while !stopped.load(SeqCst) {
                    std::hint::spin_loop();
                }
            };
            let waits = || gort::time::sleep(BOUND);
            let hog = if goroutine {
                rt.go(move || {
                    hog();
                    waits().wait()
                })
            } else {
                rt.spawn(async move {
                    hog();
                    waits().await
                })
            };
            let ticker = rt.spawn({
                let stop = stop.clone();
                tick_until(stop)
            });
            eventually("it is detached", || {
                rt.handle().metrics().detached == 1 || rt.handle().metrics().idle_procs > 0
            });
            hog.abort();
            stop.store(true, SeqCst);
            assert!(hog.wait().unwrap_err().is_cancelled());
            ticker.wait().unwrap();
            eventually("none is detached", || rt.handle().metrics().detached == 0);
        }
    });
}

/// A hog that has lost its P drops its own runtime.
#[test]
fn the_runtime_is_dropped_inside_a_detached_hog() {
    let _machine = alone();
    let before = threads();
    for mode in MODES {
        for goroutine in [false, true] {
            let rt = mode.runtime(1);
            let handle = rt.handle();
            let (send, receive) = mpsc::channel();
            let looks = rt.handle();
            let hog = move || {
                let start = Instant::now();
                while looks.metrics().detached == 0 {
                    assert!(start.elapsed() < BOUND, "it keeps its P");
                }
                drop(rt);
                send.send(()).unwrap();
            };
            let other = handle.spawn(std::future::pending::<()>());
            drop(if goroutine { handle.go(hog) } else { handle.spawn(async move { hog() }) });
            let ticks = Arc::<AtomicBool>::default();
            drop(handle.spawn(tick_until(ticks)));
            receive.recv_timeout(BOUND).unwrap();
            assert!(futures::executor::block_on(other).unwrap_err().is_cancelled());
            eventually("the threads have ended", || handle.metrics().threads == 0);
        }
    }
    eventually("all threads have ended", || threads() <= before);
}

/// A poll that returns Pending after it has lost its P, woken meanwhile or not.
#[test]
fn a_task_that_waits_without_a_p() {
    in_modes(|rt, _| {
        let others = Others::start(rt);
        let all: Vec<_> = (0..4)
            .map(|i| {
                let mut polls = 0;
                rt.spawn(poll_fn(move |cx| {
                    polls += 1;
                    spin(Duration::from_millis(25));
                    match i % 2 {
                        0 => cx.waker().wake_by_ref(),
                        _ => {
                            let waker = cx.waker().clone();
                            drop(gort::spawn(async move { waker.wake() }));
                        }
                    }
                    if polls == 4 { Poll::Ready(polls) } else { Poll::Pending }
                }))
            })
            .collect();
        all.into_iter().for_each(|one| assert_eq!(one.wait().unwrap(), 4));
        others.judge();
    });
}
