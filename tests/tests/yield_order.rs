//! Who runs when: the order at one P, `yield_now`, and the fairness promise.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::stream::StreamExt;
use gort::time::sleep;
use gort_tests::{Watchdog, beside_others, for_procs_async, runtime, until};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().join(" ")
    }
}

/// Runs `test` as a task, at one P.
fn one_proc<F: Future<Output = ()> + Send + 'static>(test: F) {
    let _machine = beside_others();
    let rt = runtime(1);
    let _watchdog = Watchdog::start(rt.handle());
    rt.block_on(rt.spawn(test)).unwrap();
}

/// S13, as gort has it: siblings start in spawn order.
#[test]
fn siblings_start_in_spawn_order() {
    let log = Log::default();
    let theirs = log.clone();
    one_proc(async move {
        let tasks: Vec<_> = (0..8)
            .map(|i| {
                let log = theirs.clone();
                gort::spawn(async move { log.note(i.to_string()) })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(log.text(), "0 1 2 3 4 5 6 7");
}

/// The newest batch first: a tree of spawns runs depth-first.
#[test]
fn children_run_before_their_parents_siblings() {
    fn node(log: Log, name: &'static str, depth: u32) -> BoxFuture<'static, ()> {
        async move {
            log.note(format!("{name}{depth}"));
            if depth > 0 {
                drop(gort::spawn(node(log.clone(), "l", depth - 1)));
                drop(gort::spawn(node(log, "r", depth - 1)));
            }
        }
        .boxed()
    }
    let log = Log::default();
    let theirs = log.clone();
    one_proc(async move {
        drop(gort::spawn(node(theirs.clone(), "a", 2)));
        drop(gort::spawn(node(theirs.clone(), "b", 0)));
        until("all have run", || theirs.text().split(' ').count() == 8).await;
    });
    assert_eq!(log.text(), "a2 l1 l0 r0 r1 l0 r0 b0");
}

/// S41, as gort has it: who yields goes to the tail.
#[test]
fn yielders_take_turns() {
    let log = Log::default();
    let theirs = log.clone();
    one_proc(async move {
        let tasks: Vec<_> = (0..3)
            .map(|i| {
                let log = theirs.clone();
                gort::spawn(async move {
                    for _ in 0..3 {
                        log.note(i.to_string());
                        gort::yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(log.text(), "0 1 2 0 1 2 0 1 2");
}

/// S13: a woken task runs before what is queued.
#[test]
fn a_woken_task_runs_next() {
    let log = Log::default();
    let theirs = log.clone();
    one_proc(async move {
        let (send, mut receive) = mpsc::unbounded::<()>();
        let waiter = {
            let log = theirs.clone();
            gort::spawn(async move {
                log.note("waits");
                receive.next().await.unwrap();
                log.note("woken");
            })
        };
        until("it waits", || theirs.text() == "waits").await;
        let others: Vec<_> = (0..3)
            .map(|i| {
                let log = theirs.clone();
                gort::spawn(async move { log.note(i.to_string()) })
            })
            .collect();
        send.unbounded_send(()).unwrap();
        waiter.await.unwrap();
        for other in others {
            other.await.unwrap();
        }
    });
    assert_eq!(log.text(), "waits woken 0 1 2");
}

/// A task that wakes itself goes to the tail as well, or it would starve the others (T4).
#[test]
fn self_wakers_take_turns() {
    for_procs_async(|| async {
        let stop = Arc::new(AtomicBool::new(false));
        let polls = Arc::new(AtomicUsize::new(0));
        let selfish = {
            let (stop, polls) = (stop.clone(), polls.clone());
            gort::spawn(poll_fn(move |cx| {
                polls.fetch_add(1, SeqCst);
                cx.waker().wake_by_ref();
                if stop.load(SeqCst) { Poll::Ready(()) } else { Poll::Pending }
            }))
        };
        for _ in 0..1000 {
            gort::yield_now().await;
        }
        until("both run", || polls.load(SeqCst) > 100).await;
        stop.store(true, SeqCst);
        selfish.await.unwrap();
    });
}

/// Something that keeps one P's private queues busy for ever.
#[derive(Clone, Copy, Debug)]
enum Hog {
    /// A chain of tasks, each spawned by the one before.
    Chain,
    /// Two tasks that wake each other.
    PingPong,
    /// Tasks that yield.
    Yield,
    /// Ever more spawns than ends, up to a bound.
    Burst,
}

impl Hog {
    fn start(self, stop: &Arc<AtomicBool>, runs: &Arc<AtomicU64>) {
        let (stop, runs) = (stop.clone(), runs.clone());
        match self {
            Hog::Chain => chain(stop, runs),
            Hog::PingPong => ping_pong(&stop, &runs),
            Hog::Yield => {
                for _ in 0..3 {
                    let (stop, runs) = (stop.clone(), runs.clone());
                    drop(gort::spawn(async move {
                        while !stop.load(SeqCst) {
                            runs.fetch_add(1, SeqCst);
                            gort::yield_now().await;
                        }
                    }));
                }
            }
            Hog::Burst => drop(gort::spawn(async move {
                while !stop.load(SeqCst) {
                    for _ in 0..100 {
                        let runs = runs.clone();
                        drop(gort::spawn(async move {
                            runs.fetch_add(1, SeqCst);
                        }));
                    }
                    gort::yield_now().await;
                }
            })),
        }
    }
}

fn chain(stop: Arc<AtomicBool>, runs: Arc<AtomicU64>) {
    let link = async move {
        runs.fetch_add(1, SeqCst);
        if !stop.load(SeqCst) {
            chain(stop, runs);
        }
    };
    drop(gort::spawn(link.boxed()));
}

fn ping_pong(stop: &Arc<AtomicBool>, runs: &Arc<AtomicU64>) {
    let ((to_a, mut at_a), (to_b, mut at_b)) = (mpsc::unbounded(), mpsc::unbounded());
    to_a.unbounded_send(()).unwrap();
    let (stop, runs) = (stop.clone(), runs.clone());
    drop(gort::spawn(async move {
        while at_a.next().await.is_some() && !stop.load(SeqCst) {
            runs.fetch_add(1, SeqCst);
            to_b.unbounded_send(()).unwrap();
        }
    }));
    drop(gort::spawn(async move {
        while at_b.next().await.is_some() {
            if to_a.unbounded_send(()).is_err() {
                return;
            }
        }
    }));
}

/// The fairness promise: beside each hog, everything else gets its turn. S16, N27, T22.
fn beside(hog: Hog) {
    for_procs_async(move || async move {
        let (stop, runs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        hog.start(&stop, &runs);
        until("the hog runs", || runs.load(SeqCst) > 1000).await; // and we, though we yield
        sleep(Duration::from_millis(2)).await;
        let (send, mut receive) = mpsc::unbounded();
        let handle = gort::Handle::current();
        // From a plain thread: through the global queue.
        std::thread::spawn(move || drop(handle.spawn(async move { send.unbounded_send(7) })));
        assert_eq!(receive.next().await, Some(7));
        let spawned = gort::spawn(async { 3 });
        assert_eq!(spawned.await.unwrap(), 3);
        stop.store(true, SeqCst);
    });
}

#[test]
fn nothing_starves_beside_a_chain_of_spawns() {
    beside(Hog::Chain);
}

#[test]
fn nothing_starves_beside_a_ping_pong_pair() {
    beside(Hog::PingPong);
}

#[test]
fn nothing_starves_beside_yielders() {
    beside(Hog::Yield);
}

#[test]
fn nothing_starves_beside_bursts() {
    beside(Hog::Burst);
}

/// S16, counted: at one P, a task in the global queue runs within two rounds of 61 dispatches.
#[test]
fn the_global_queue_is_looked_at_every_61st_dispatch() {
    one_proc(async {
        let (stop, runs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        Hog::Chain.start(&stop, &runs);
        for _ in 0..50 {
            let (handle, counter) = (gort::Handle::current(), runs.clone());
            let (send, mut receive) = mpsc::unbounded();
            // The thread is joined inside the poll: the chain stands still meanwhile.
            let queued = std::thread::spawn(move || {
                let before = counter.load(SeqCst);
                drop(handle.spawn(async move {
                    send.unbounded_send(counter.load(SeqCst) - before).unwrap();
                }));
            });
            queued.join().unwrap();
            let waited = receive.next().await.unwrap();
            assert!(waited <= 2 * 61, "{waited} dispatches");
        }
        stop.store(true, SeqCst);
    });
}

/// The oldest spawn gets its turn though newer ones come for ever.
#[test]
fn the_oldest_spawn_is_not_starved_by_newer_ones() {
    one_proc(async {
        let (stop, runs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let oldest = Arc::new(AtomicU64::new(0));
        let (at, counter) = (oldest.clone(), runs.clone());
        // Spawned in one slice: the chain starts first and its links go before the old one.
        Hog::Chain.start(&stop, &runs);
        let old = gort::spawn(async move { at.store(counter.load(SeqCst), SeqCst) });
        old.await.unwrap();
        stop.store(true, SeqCst);
        let waited = oldest.load(SeqCst);
        assert!(waited <= 2 * 1021, "{waited} dispatches");
    });
}

/// Where dispatches take microseconds the old ones do not wait for a thousand of these each.
#[test]
fn old_spawns_beside_slow_new_ones() {
    const OLD: u64 = 200;
    fn slow_chain(stop: Arc<AtomicBool>, runs: Arc<AtomicU64>) {
        let link = async move {
            runs.fetch_add(1, SeqCst);
            gort_tests::spin(Duration::from_micros(20));
            if !stop.load(SeqCst) {
                slow_chain(stop, runs);
            }
        };
        drop(gort::spawn(link.boxed()));
    }
    one_proc(async {
        let (stop, runs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        slow_chain(stop.clone(), runs.clone());
        let old: Vec<_> = (0..OLD).map(|_| gort::spawn(async {})).collect();
        for old in old {
            old.await.unwrap();
        }
        stop.store(true, SeqCst);
        let waited = runs.load(SeqCst);
        // One in 16, and sysmon has to see first that they are slow.
        assert!(waited <= 64 * OLD + 4000, "{waited} dispatches");
    });
}
