//! Goroutines that change threads, over and over, around all that they may call in between.
//!
//! Whatever gort keeps in thread-locals must be found anew after each wait. The compiler believes
//! that the address of a thread-local never changes within a function, and with optimisation and
//! LTO a goroutine's body becomes one function together with the parts of gort that it calls. Hence
//! this program: `tests/ci/lto.sh` builds it so, and `tests/go_affinity.rs` runs it as it is.
//! Go: TestGetgThreadSwitch.
//!
//! In a build with `panic = "abort"` it also sees to it that an abort waits for a goroutine's end,
//! and that a coroutine's body which cannot be unwound is left as it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use gort::prelude::*;
use gort::time::sleep;
use gort::{Builder, Handle, Runtime};
use gort_tests::OnDrop;

const GOROUTINES: usize = 8;
/// Changes of the thread that must be seen, each of them in the middle of `round`.
const SWITCHES: usize = 1_000;
/// Only a hang takes longer.
const BOUND: Duration = Duration::from_secs(60);

/// Where the calling code runs now. `#[inline(never)]` alone would not do (the compiler knows what
/// the function does); `thread::current` counts references and so is called anew each time.
#[inline(never)]
fn here() -> ThreadId {
    thread::current().id()
}

/// With the argument `scoped`: what cannot be unwound, but borrows, ends the process (code 2).
fn main() {
    if std::env::args().nth(1).as_deref() == Some("scoped") {
        gort::iter::pull_scoped(|y| y.yield_(()), |mut p| p.next());
        return;
    }
    // SAFETY: `round` keeps nothing of a thread over a wait.
    let builder = unsafe { Builder::new().procs(4).migrate_goroutines() };
    let rt = builder.build().expect("a runtime");
    let switches = Arc::new(AtomicUsize::new(0));
    let (mover, thread) = waker_thread();
    let all: Vec<_> = (0..GOROUTINES)
        .map(|_| {
            let (switches, mover) = (switches.clone(), mover.clone());
            rt.go(move || {
                let start = Instant::now();
                while switches.load(SeqCst) < SWITCHES {
                    assert!(start.elapsed() < BOUND, "goroutines do not change threads");
                    switches.fetch_add(round(&mover), SeqCst);
                }
            })
        })
        .collect();
    all.into_iter().for_each(|one| one.wait().expect("a goroutine"));
    drop(mover);
    thread.join().expect("the plain thread");
    unfinished();
    rt.run(unfinished);
    abort_under_panic_abort(&rt);
    while rt.handle().metrics().goroutines + rt.handle().metrics().tasks > 0 {
        thread::yield_now();
    }
    assert!(rt.shutdown_timeout(BOUND), "the runtime did not end");
    println!("{} switches", switches.load(SeqCst));
}

/// Answers from a plain thread: what it wakes goes to the queue that all Ps share.
fn waker_thread() -> (mpsc::Sender<oneshot::Sender<()>>, thread::JoinHandle<()>) {
    let (send, receive) = mpsc::channel::<oneshot::Sender<()>>();
    let answer = move || receive.iter().for_each(|wake| wake.send(()).expect("somebody waits"));
    (send, thread::spawn(answer))
}

/// Calls gort before and after waits, in one function; gives the number of changed threads.
#[inline(always)]
fn round(mover: &mpsc::Sender<oneshot::Sender<()>>) -> usize {
    let mut switches = 0;
    let mut last = here();
    let mut look = || {
        let now = here();
        switches += usize::from(now != last);
        last = now;
    };
    let handle = Handle::current();
    for i in 0..8_u64 {
        let (wake, woken) = oneshot::channel();
        mover.send(wake).expect("the plain thread");
        assert_eq!(woken.wait(), Ok(()));
        look();
        // Queued on this P, before and after the switch.
        let (send, receive) = oneshot::channel();
        let sender = gort::spawn(async move { send.send(i).expect("somebody waits") });
        assert_eq!(receive.wait(), Ok(i));
        look();
        let goroutine = gort::go(move || {
            gort::yield_now().wait();
            i + 1
        });
        gort::yield_now().wait();
        look();
        assert_eq!(gort::spawn(async move { i }).wait().expect("a task"), i);
        look();
        sender.wait().expect("a task");
        assert_eq!(goroutine.wait().expect("a goroutine"), i + 1);
        look();
    }
    // Each value comes from another stack, which has waited meanwhile.
    let mut waits = gort::iter::pull(|y| {
        for i in 0..4_u64 {
            sleep(Duration::from_micros(5)).wait();
            y.yield_(i);
            gort::yield_now().wait();
        }
    });
    for i in 0..4 {
        assert_eq!(waits.next(), Some(i));
        look();
        gort::yield_now().wait();
        look();
    }
    assert_eq!(waits.next(), None);
    sleep(Duration::from_micros(20)).wait();
    look();
    drop(handle.enter());
    assert_eq!(Handle::current().metrics().procs, 4);
    assert!(gort::block_on(async { handle.metrics().procs }) == 4);
    assert!(!thread::panicking());
    switches
}

/// A body that is dropped in the middle is unwound, or, where nothing can be, left as it is.
fn unfinished() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let theirs = dropped.clone();
    let mut half = gort::iter::pull(move |y| {
        let _guard = OnDrop::new(|| {
            theirs.fetch_add(1, SeqCst);
        });
        y.yield_(());
    });
    assert!(half.next().is_some());
    drop(half);
    assert_eq!(dropped.load(SeqCst), usize::from(cfg!(panic = "unwind")));
    assert_eq!(gort::iter::pull(|y| y.yield_(1)).collect::<Vec<_>>(), [1]);
}

/// Nothing can be unwound in such a build, so an abort has to wait.
fn abort_under_panic_abort(rt: &Runtime) {
    if cfg!(panic = "unwind") {
        return;
    }
    let (send, receive) = oneshot::channel();
    let goroutine = rt.go(move || receive.wait());
    rt.go(|| gort::yield_now().wait()).wait().expect("a goroutine");
    goroutine.abort();
    assert!(send.send(5).is_ok() || goroutine.is_finished());
    // Aborted before it began, or gone on to its end.
    assert!(goroutine.wait().map_or_else(|e| e.is_cancelled(), |got| got == Ok(5)));
}
