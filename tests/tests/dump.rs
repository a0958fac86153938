//! `Handle::dump`: everybody is in it, with a reason and a place; and nobody is disturbed by it.

#![allow(dropping_copy_types, reason = "what a wait gives is of no interest here")]

mod go_modes;

use std::future::{pending, poll_fn};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use gort::Runtime;
use gort::chan;
use gort::dump::{Dump, Goroutine, State, WaitReason};
use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;
use gort::sync::{
    Barrier, CancelToken, Cond, Mutex, Notify, RwLock, Semaphore, WaitGroup, oneshot,
};
use gort::time::sleep;
use gort_tests::{BOUND, eventually, for_procs, spin};

use go_modes::for_modes;

const LONG: Duration = Duration::from_secs(3600);

fn find(dump: &Dump, name: &str) -> Option<Goroutine> {
    dump.goroutines().find(|g| g.name() == Some(name)).cloned()
}

/// The dump of a moment at which the goroutine or task called `name` waits for something.
#[track_caller]
fn when_it_waits(handle: &gort::Handle, name: &str) -> (Dump, WaitReason) {
    let mut found = None;
    eventually(&format!("{name} waits"), || {
        let dump = handle.dump();
        if let Some(State::Waiting(reason)) = find(&dump, name).map(|g| g.state()) {
            found = Some((dump, reason));
        }
        found.is_some()
    });
    found.unwrap()
}

/// Waits for what `make` gives in a goroutine and in a task, and looks at what dumps say of them.
#[track_caller]
fn reason<F>(rt: &Runtime, reason: WaitReason, text: &str, make: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let _entered = rt.enter();
    let builder = |name| gort::task::Builder::new().name(name);
    let (future, handle) = (make(), rt.handle());
    let goroutine = builder("goroutine").go(move || future.wait()).unwrap();
    let task = builder("task").spawn(make()).unwrap();
    for (name, waiter) in [("goroutine", goroutine), ("task", task)] {
        let (dump, seen) = when_it_waits(&handle, name);
        assert_eq!(seen, reason);
        assert!(dump.to_string().contains(&format!("[{text}]: {name}\n")), "{dump}");
        waiter.abort();
        assert!(waiter.wait().unwrap_err().is_cancelled());
    }
}

#[test]
fn reasons_of_channels() {
    for_modes(|rt, _| {
        let (tx, rx) = chan::bounded::<u32>(1);
        let from = || rx.clone();
        reason(rt, WaitReason::ChanReceive, "chan receive", || {
            let rx = from();
            async move { drop(rx.recv().await) }
        });
        reason(rt, WaitReason::ChanReceive, "chan receive", || {
            let rx = from();
            async move { drop(rx.recv_timeout(LONG).await) }
        });
        reason(rt, WaitReason::ChanReceiveNil, "chan receive (nil chan)", || async {
            drop(chan::never::<u32>().recv().await);
        });
        reason(rt, WaitReason::SelectNoCases, "select (no cases)", || async {
            drop(gort::chan::Select::new().select().await);
        });
        reason(rt, WaitReason::Select, "select", || {
            let (one, two) = (from(), from());
            async move {
                gort::select_async! { recv(one) -> _ => {}, recv(two) -> _ => {} }
            }
        });
        tx.try_send(1).unwrap();
        reason(rt, WaitReason::ChanSend, "chan send", || {
            let tx = tx.clone();
            async move { drop(tx.send(2).await) }
        });
        reason(rt, WaitReason::Oneshot, "oneshot receive", || async {
            let (_tx, rx) = oneshot::channel::<u32>();
            drop(rx.await);
        });
    });
}

#[test]
fn reasons_of_locks() {
    for_modes(|rt, _| {
        let mutex = Arc::new(Mutex::new(0));
        let _held = mutex.try_lock().unwrap();
        reason(rt, WaitReason::Mutex, "sync.Mutex.Lock", || {
            let mutex = mutex.clone();
            async move { drop(mutex.lock().await) }
        });
        let lock = Arc::new(RwLock::new(0));
        let held = lock.try_write().unwrap();
        reason(rt, WaitReason::RwLockRead, "sync.RWMutex.RLock", || {
            let lock = lock.clone();
            async move { drop(lock.read().await) }
        });
        drop(held);
        let _held = lock.try_read().unwrap();
        reason(rt, WaitReason::RwLockWrite, "sync.RWMutex.Lock", || {
            let lock = lock.clone();
            async move { drop(lock.write().await) }
        });
    });
}

#[test]
fn reasons_of_the_rest_of_sync() {
    for_modes(|rt, _| {
        let cond = Arc::new((Cond::new(), Mutex::new(())));
        reason(rt, WaitReason::Cond, "sync.Cond.Wait", || {
            let cond = cond.clone();
            async move { drop(cond.0.notified(cond.1.lock().await).await) }
        });
        let semaphore = Arc::new(Semaphore::new(0));
        reason(rt, WaitReason::Semaphore, "semacquire", || {
            let semaphore = semaphore.clone();
            async move { drop(semaphore.acquire().await) }
        });
        let group = Arc::new(WaitGroup::new());
        group.add(1);
        reason(rt, WaitReason::WaitGroup, "sync.WaitGroup.Wait", || {
            let group = group.clone();
            async move { (&*group).await }
        });
        group.done();
        let barrier = Arc::new(Barrier::new(3));
        reason(rt, WaitReason::Barrier, "barrier", || {
            let barrier = barrier.clone();
            async move { drop((&*barrier).await) }
        });
        let notify = Arc::new(Notify::new());
        reason(rt, WaitReason::Notify, "notify", || {
            let notify = notify.clone();
            async move { notify.notified().await }
        });
        let token = CancelToken::new();
        reason(rt, WaitReason::Cancel, "cancelled", || {
            let token = token.clone();
            async move { drop(token.cancelled().await) }
        });
    });
}

#[test]
fn reasons_of_others() {
    for_modes(|rt, _| {
        reason(rt, WaitReason::Sleep, "sleep", || sleep(LONG));
        reason(rt, WaitReason::Other, "waiting", pending::<()>);
        reason(rt, WaitReason::ChanReceive, "chan receive", || async {
            let (_tx, rx) = chan::bounded::<u32>(1);
            drop(gort::time::timeout(LONG, rx.recv()).await);
        });
        reason(rt, WaitReason::Join, "join", || async {
            let (task, _tx) = {
                let (tx, rx) = chan::bounded::<u32>(1);
                (gort::spawn(async move { rx.recv().await }), tx)
            };
            drop(task.await);
        });
        let _entered = rt.enter();
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").wait().unwrap());
        reason(rt, WaitReason::Io, "IO wait", || {
            let listener = listener.clone();
            async move { drop(listener.accept().await) }
        });
    });
}

#[test]
fn reasons_of_scopes_and_blocking() {
    for_procs(|rt| {
        let stop = Arc::new(AtomicBool::new(false));
        let until = |stop: Arc<AtomicBool>| {
            move || {
                while !stop.load(SeqCst) {
                    thread::yield_now();
                }
            }
        };
        let _entered = rt.enter();
        let builder = |name| gort::task::Builder::new().name(name);
        let (tx, rx) = chan::bounded::<u32>(0);
        let scope = builder("scope").go(move || {
            gort::scope(|s| {
                drop(s.go(|| drop(rx.recv().wait())));
            });
        });
        assert_eq!(when_it_waits(&rt.handle(), "scope").1, WaitReason::Scope);
        drop(tx);
        scope.unwrap().wait().unwrap();
        // Beside a neighbour, so that the call goes to another thread.
        let wait = until(stop.clone());
        let caller = builder("caller").go(move || {
            let neighbour = gort::spawn_local(pending::<()>());
            gort::blocking(wait);
            neighbour.abort();
        });
        assert_eq!(when_it_waits(&rt.handle(), "caller").1, WaitReason::Blocking);
        stop.store(true, SeqCst);
        caller.unwrap().wait().unwrap();
    });
}

/// A goroutine blocked in `Read` of a socket, deep in user code.
#[inline(never)]
fn deep_in_user_code(stream: &TcpStream, depth: u32) -> usize {
    if depth > 0 {
        return std::hint::black_box(deep_in_user_code(stream, depth - 1));
    }
    let mut one = [0];
    let n = std::io::copy(&mut stream.take(1), &mut one.as_mut_slice()).unwrap();
    std::hint::black_box(n) as usize
}

#[test]
fn a_backtrace_of_user_code() {
    for_modes(|rt, _| {
        let handle = rt.handle();
        let _entered = rt.enter();
        let listener = TcpListener::bind("127.0.0.1:0").wait().unwrap();
        let address = listener.local_addr().unwrap();
        let builder = gort::task::Builder::new().name("reader");
        let reader = builder
            .go(move || deep_in_user_code(&TcpStream::connect(address).wait().unwrap(), 2))
            .unwrap();
        let (mut peer, _) = listener.accept().wait().unwrap();
        eventually("it reads", || {
            let text = handle.dump().to_string();
            text.matches("dump::deep_in_user_code\n").count() == 3
        });
        let (dump, reason) = when_it_waits(&handle, "reader");
        assert_eq!(reason, WaitReason::Io);
        let text = dump.to_string();
        let lines: Vec<_> = text.lines().collect();
        let own = text.find("dump::deep_in_user_code").unwrap();
        let header = text.find("[IO wait]: reader\n").unwrap();
        assert!(header < own, "{text}");
        assert!(!lines.iter().any(|line| line.starts_with("gort::task::goroutine")), "{text}");
        assert!(text.contains("std::io::copy"), "{text}");
        assert!(text.contains("tests/dump.rs:"), "{text}");
        assert!(format!("{dump:#}").contains("gort::task::goroutine"), "{dump:#}");
        assert!(format!("{dump:#}").contains("P0: status="), "{dump:#}");
        peer.write_all(b"x").unwrap();
        assert_eq!(reader.wait().unwrap(), 1);
    });
}

/// One that waits on the stack of a coroutine shows both stacks.
#[test]
fn a_backtrace_over_a_coroutine() {
    #[inline(never)]
    fn in_the_body(rx: &chan::Receiver<u32>) -> u32 {
        std::hint::black_box(rx.recv().wait().unwrap())
    }
    #[inline(never)]
    fn around_it(rx: chan::Receiver<u32>) -> u32 {
        let mut pull = gort::iter::pull(move |y| y.yield_(in_the_body(&rx)));
        std::hint::black_box(pull.next().unwrap())
    }
    for_modes(|rt, _| {
        let (tx, rx) = chan::bounded(1);
        let _entered = rt.enter();
        let builder = gort::task::Builder::new().name("puller");
        let goroutine = builder.go(move || around_it(rx)).unwrap();
        let (dump, _) = when_it_waits(&rt.handle(), "puller");
        let text = dump.to_string();
        let inner = text.find("in_the_body").expect(&text);
        assert!(inner < text.find("around_it").expect(&text), "{text}");
        tx.try_send(7).unwrap();
        assert_eq!(goroutine.wait().unwrap(), 7);
    });
}

/// Who runs is listed as running, also while every P is held by it; the caller has its own frames.
#[test]
fn those_that_run() {
    for_procs(|rt| {
        let stop = Arc::new(AtomicBool::new(false));
        let hogs: Vec<_> = (0..8)
            .map(|i| {
                let stop = stop.clone();
                let _entered = rt.enter();
                let builder = gort::task::Builder::new().name(format!("hog{i}"));
                builder.go(move || {
                    while !stop.load(SeqCst) {
                        spin(Duration::from_micros(10))
                    }
                })
            })
            .collect();
        let handle = rt.handle();
        eventually("one runs", || handle.dump().goroutines().any(|g| g.state() == State::Running));
        stop.store(true, SeqCst);
        for hog in hogs {
            hog.unwrap().wait().unwrap();
        }
        let theirs = rt.handle();
        let text = rt.run(move || theirs.dump().to_string());
        assert!(text.starts_with("goroutine ") && text.contains(" [running]:\n"), "{text}");
        assert!(text.contains("those_that_run"), "{text}");
    });
}

/// A syscall, a lock, a name, a place.
#[test]
fn what_is_said() {
    for_procs(|rt| {
        let (tx, rx) = chan::bounded::<u32>(0);
        let _entered = rt.enter();
        let builder = gort::task::Builder::new().name("locked");
        let line = line!() + 1;
        let goroutine = builder.go(move || {
            let _lock = gort::lock_os_thread();
            rx.recv().wait()
        });
        let goroutine = goroutine.unwrap();
        let (dump, _) = when_it_waits(&rt.handle(), "locked");
        let id = goroutine.id();
        let head = format!("goroutine {id} [chan receive, locked to thread]: locked\n");
        assert!(dump.to_string().contains(&head), "{dump}");
        assert!(dump.to_string().contains(&format!("created at {}:{line}:", file!())), "{dump}");
        let found = find(&dump, "locked").unwrap();
        assert!(found.is_goroutine() && found.is_locked() && found.id() == id);
        assert!(found.waiting() < BOUND);
        drop(tx);
        assert!(goroutine.wait().unwrap().is_err());

        let (in_call, release) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let theirs = (in_call.clone(), release.clone());
        let caller = rt.go(move || {
            gort::syscall(|| {
                theirs.0.store(true, SeqCst);
                while !theirs.1.load(SeqCst) {
                    thread::yield_now();
                }
            })
        });
        eventually("it is in the call", || in_call.load(SeqCst));
        let dump = rt.handle().dump();
        assert!(dump.goroutines().any(|g| g.state() == State::Syscall), "{dump}");
        release.store(true, SeqCst);
        caller.wait().unwrap();
    });
}

/// Minutes are counted from the park.
#[test]
fn how_long() {
    for_procs(|rt| {
        let (tx, rx) = chan::bounded::<u32>(0);
        let _entered = rt.enter();
        let goroutine = gort::task::Builder::new().name("old").go(move || rx.recv().wait());
        let (handle, start) = (rt.handle(), Instant::now());
        when_it_waits(&handle, "old");
        eventually("20 ms pass", || start.elapsed() > Duration::from_millis(20));
        let waiting = find(&handle.dump(), "old").unwrap().waiting();
        // The clock of the parks is sysmon's, which may have been off its core.
        assert!(waiting <= start.elapsed() + BOUND, "{waiting:?}");
        drop(tx);
        goroutine.unwrap().wait().unwrap().unwrap_err();
    });
}

/// Dumps as fast as they go, while everybody wakes everybody: no wake is lost, each value arrives.
#[test]
fn under_load() {
    const PAIRS: usize = 16;
    for_modes(|rt, _| {
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicUsize::new(0));
        let mut pairs = Vec::new();
        let _entered = rt.enter();
        for i in 0..PAIRS {
            let (to, from) = (chan::bounded::<u64>(0), chan::bounded::<u64>(0));
            let echo = move || {
                while let Ok(n) = to.1.recv().wait() {
                    if from.0.send(n + 1).wait().is_err() {
                        break;
                    }
                }
            };
            let (stop, rounds, rx, tx) = (stop.clone(), rounds.clone(), from.1, to.0);
            let ping = async move {
                let mut n = 0;
                while !stop.load(SeqCst) {
                    tx.send(n).await.unwrap();
                    let back = rx.recv().await.unwrap();
                    assert_eq!(back, n + 1);
                    n = back;
                    rounds.fetch_add(1, SeqCst);
                }
            };
            pairs.push(gort::go(echo));
            pairs.push(if i % 3 == 0 { gort::spawn(ping) } else { gort::go(move || ping.wait()) });
        }
        let handle = rt.handle();
        let mut dumps = 0;
        let (start, length) = (Instant::now(), load_time());
        while start.elapsed() < length || dumps < 10 {
            let dump = handle.dump();
            assert!(dump.len() <= 2 * PAIRS);
            dumps += 1;
        }
        let before = rounds.load(SeqCst);
        eventually("they go on", || rounds.load(SeqCst) > before + PAIRS);
        stop.store(true, SeqCst);
        for pair in pairs {
            pair.wait().unwrap();
        }
    });
}

/// `GORT_TEST_SECONDS` makes it longer.
fn load_time() -> Duration {
    let seconds = std::env::var("GORT_TEST_SECONDS").ok().and_then(|s| s.parse().ok());
    seconds.map_or(Duration::from_millis(100), Duration::from_secs)
}

/// Dumps beside spawns and ends, aborts and detached ones: the cells come and go under the walk.
#[test]
fn beside_ends() {
    for_modes(|rt, _| {
        let handle = rt.handle();
        let done = Arc::new(AtomicBool::new(false));
        let theirs = done.clone();
        let spawner = rt.spawn(async move {
            for i in 0..2_000_u32 {
                let one = gort::spawn(async move { gort::yield_now().await });
                let two = gort::go(move || pending::<()>().wait());
                drop(gort::spawn(poll_fn(|_| Poll::<()>::Pending))); // nobody can wake it
                two.abort();
                one.await.unwrap();
                if i % 2 == 0 {
                    assert!(two.await.unwrap_err().is_cancelled());
                }
            }
            theirs.store(true, SeqCst);
        });
        while !done.load(SeqCst) {
            assert!(handle.dump().len() < 10_000);
        }
        spawner.wait().unwrap();
        eventually("the orphans are gone", || handle.dump().is_empty());
    });
}

/// A hundred thousand that wait in two places are two groups.
#[test]
fn a_hundred_thousand() {
    for_procs(|rt| {
        let n: usize = std::env::var("GORT_TEST_PARKED").map_or(100_000, |n| n.parse().unwrap());
        let (tx, rx) = chan::bounded::<u32>(0);
        let _entered = rt.enter();
        let (wait, theirs) = (Arc::new(Semaphore::new(0)), rx);
        let tasks: Vec<_> = (0..n)
            .map(|_| {
                let rx = theirs.clone();
                gort::spawn(async move { rx.recv().await.is_ok() })
            })
            .collect();
        let goroutines: Vec<_> = (0..n / 100)
            .map(|_| {
                let wait = wait.clone();
                gort::go(move || drop(wait.acquire().wait()))
            })
            .collect();
        let handle = rt.handle();
        let mut took = Duration::ZERO;
        eventually("they wait", || {
            let start = Instant::now();
            let dump = handle.dump();
            took = start.elapsed();
            assert_eq!(dump.len(), n + n / 100);
            dump.groups().len() == 2
        });
        let dump = handle.dump();
        assert!(dump.goroutines().count() <= 128);
        let text = dump.to_string();
        eprintln!("{took:?}, {} bytes of text", text.len());
        assert!(text.len() < 100_000, "{text}");
        assert!(text.contains(&format!("... and {} more like it", n - 1)), "{text}");
        drop(tx);
        wait.close();
        for goroutine in goroutines {
            goroutine.wait().unwrap();
        }
        assert!(tasks.into_iter().all(|task| !task.wait().unwrap()));
    });
}

/// A million goroutines, each with its stack, wait in two places: one dump of them takes little memory,
/// however many there are. Prints what it took: `GORT_TEST_PARKED=n`.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "8 GB, and half a minute"]
fn a_million_goroutines() {
    let n: usize = std::env::var("GORT_TEST_PARKED").map_or(1_000_000, |n| n.parse().unwrap());
    parked_goroutines(n);
}

#[cfg(target_os = "linux")]
#[test]
fn ten_thousand_goroutines() {
    parked_goroutines(10_000);
}

#[cfg(target_os = "linux")]
fn parked_goroutines(n: usize) {
    const KB: usize = 1 << 10;
    let begun = Instant::now();
    let rt = gort_tests::runtime(2);
    let _entered = rt.enter();
    let wait = Arc::new(Semaphore::new(0));
    let (tx, rx) = chan::bounded::<u32>(0);
    let goroutines: Vec<_> =
        (0..n)
            .map(|i| {
                let (wait, rx) = (wait.clone(), rx.clone());
                gort::go(move || {
                    if i % 2 == 0 { drop(wait.acquire().wait()) } else { drop(rx.recv().wait()) }
                })
            })
            .collect();
    let handle = rt.handle();
    // They begin in their own time: many of them take minutes on a machine with other work.
    let mut waiting = 0;
    while waiting < n {
        let before = waiting;
        eventually("some more of them wait", || {
            waiting = handle.states().waiting;
            waiting > before
        });
    }
    let begun = begun.elapsed();
    let memory = |what: &str| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * KB
    };
    for _ in 0..3 {
        std::fs::write("/proc/self/clear_refs", "5").unwrap(); // the peak begins anew
        let before = memory("VmRSS:");
        let start = Instant::now();
        let dump = handle.dump();
        let (took, grown) = (start.elapsed(), memory("VmHWM:").saturating_sub(before));
        eprintln!("{n} goroutines, begun in {begun:?}: {took:?}, {} KiB", grown / KB);
        assert_eq!((dump.len(), dump.groups().len()), (n, 2));
        assert!(grown < 64 * KB * KB, "{grown} bytes");
    }
    drop(tx);
    wait.close();
    for goroutine in goroutines {
        goroutine.wait().unwrap();
    }
}

/// Go: TestNumGoroutine (runtime/proc_test.go): as many are counted as the dump shows.
#[test]
fn num_goroutine() {
    for_modes(|rt, _| {
        let (tx, rx) = chan::bounded::<u32>(0);
        let _entered = rt.enter();
        let goroutines: Vec<_> = (0..20)
            .map(|_| {
                let rx = rx.clone();
                gort::go(move || drop(rx.recv().wait()))
            })
            .collect();
        let handle = rt.handle();
        eventually("the count is that of the dump", || {
            let dump = handle.dump().to_string();
            let shown = dump.lines().filter(|line| line.starts_with("goroutine ")).count();
            shown == 20 && handle.metrics().goroutines == shown
        });
        drop(tx);
        goroutines.into_iter().for_each(|goroutine| goroutine.wait().unwrap());
    });
}

/// A lock shows while its goroutine runs, too.
#[test]
fn locked_while_it_runs() {
    for_modes(|rt, _| {
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = stop.clone();
        let _entered = rt.enter();
        let builder = gort::task::Builder::new().name("locked");
        let goroutine = builder.go(move || {
            let _lock = gort::lock_os_thread();
            while !theirs.load(SeqCst) {
                spin(Duration::from_micros(10));
            }
        });
        let handle = rt.handle();
        eventually("it runs, locked", || {
            let text = handle.dump().to_string();
            text.contains(" [running, locked to thread]: locked\n")
        });
        stop.store(true, SeqCst);
        goroutine.unwrap().wait().unwrap();
    });
}

/// A thread in a `block_on` is listed, with the place of the call.
#[test]
fn block_ons_are_listed() {
    for_procs(|rt| {
        let (tx, rx) = chan::bounded::<u32>(0);
        let handle = rt.handle();
        thread::scope(|s| {
            let line = line!() + 1;
            let blocked = s.spawn(|| rt.block_on(async move { rx.recv().await.is_err() }));
            let text = format!("block_on [waiting]:\ncalled at {}:{line}:", file!());
            eventually("it waits", || handle.dump().to_string().contains(&text));
            assert_eq!(handle.dump().block_ons().count(), 1);
            drop(tx);
            assert!(blocked.join().unwrap());
        });
        eventually("it is gone", || handle.dump().block_ons().count() == 0);
    });
}
