//! loom models of the test clock: a twin of `paused.rs` with one P, one queue and two threads that
//! doze. The main thread is the M in the netpoller.
//!
//! Two things can go wrong. Time moves while somebody has something to do: `moved` checks that all
//! that the threads were to do has been done. Or all is quiet, and the poller sleeps: that is what
//! the main thread looks for when the others have ended.

use loom::sync::atomic::{AtomicBool, AtomicUsize, fence};
use loom::sync::{Arc, Mutex, MutexGuard, Notify};
use loom::thread;
use std::sync::atomic::AtomicUsize as Count;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// A note (`util/note.rs`).
const EMPTY: usize = 0;
const NOTIFIED: usize = 1;
const SLEEPING: usize = usize::MAX;

/// The netpoller's word (`netpoll/src/handshake.rs`).
const AWAKE: usize = 0;
const BLOCKING: usize = 1;
const BROKEN: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quiet {
    No,
    Unclear,
    Yes,
}

struct Dozer {
    dozes: AtomicUsize,
    note: AtomicUsize,
    /// Lets a sleeping thread go on.
    kernel: Notify,
}

struct World {
    paused: AtomicBool,
    /// Whether the P is idle.
    idle: Mutex<bool>,
    queue: AtomicUsize,
    dozers: [Dozer; 2],
    handshake: AtomicUsize,
    /// What the threads are to do, and what they have done; std's, no part of what is checked.
    work: usize,
    done: Count,
}

impl World {
    /// Dozer 0 is asleep, dozer 1 is not.
    fn new(paused: bool, idle: bool, work: usize) -> Arc<World> {
        let dozer = |dozes, note| Dozer {
            dozes: AtomicUsize::new(dozes),
            note: AtomicUsize::new(note),
            kernel: Notify::new(),
        };
        Arc::new(World {
            paused: AtomicBool::new(paused),
            idle: Mutex::new(idle),
            queue: AtomicUsize::new(0),
            dozers: [dozer(1, SLEEPING), dozer(0, EMPTY)],
            handshake: AtomicUsize::new(AWAKE),
            work,
            done: Count::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.idle.lock().unwrap()
    }

    fn work(&self) {
        self.done.fetch_add(1, Relaxed);
    }

    // Those who come to rest.

    fn wake(&self, i: usize) {
        self.dozers[i].note.swap(NOTIFIED, Release);
        self.dozers[i].kernel.notify();
    }

    fn watch_quiet(&self) {
        if self.paused.load(Relaxed) {
            self.break_();
        }
    }

    fn break_(&self) {
        fence(SeqCst); // BreakFence
        let _ = self.handshake.compare_exchange(BLOCKING, BROKEN, Release, Relaxed);
    }

    /// Up to the call into the kernel.
    fn doze(&self, i: usize) {
        self.dozers[i].dozes.fetch_add(1, Release);
        fence(SeqCst); // DozeFence
        self.watch_quiet();
        self.dozers[i].note.fetch_update(Acquire, Acquire, |n| Some(n.wrapping_sub(1))).unwrap();
    }

    /// From there on, for one that is woken for certain.
    fn woken(&self, i: usize) {
        // If the wake came before the sleep, the word is EMPTY already.
        while self.dozers[i].note.load(Acquire) == SLEEPING {
            self.dozers[i].kernel.wait(); // it may return for no reason
        }
        let _ = self.dozers[i].note.compare_exchange(NOTIFIED, EMPTY, Acquire, Relaxed);
        self.dozers[i].dozes.fetch_add(1, Release);
    }

    /// Queues something from outside, and runs it with the P if that is idle, as the M that is woken
    /// for it would.
    fn inject(&self) {
        self.queue.fetch_add(1, Release);
        fence(SeqCst); // PushFence
        if std::mem::replace(&mut *self.lock(), false) {
            self.run_and_retire();
        }
    }

    fn run_and_retire(&self) {
        loop {
            while self.queue.fetch_update(Acquire, Relaxed, |n| n.checked_sub(1)).is_ok() {
                self.work();
            }
            *self.lock() = true;
            fence(SeqCst); // RetireFence
            if self.queue.load(Relaxed) == 0 || !std::mem::replace(&mut *self.lock(), false) {
                return self.watch_quiet();
            }
        }
    }

    fn pause(&self) {
        self.paused.store(true, Relaxed);
        self.break_();
    }

    // The poller.

    fn dozing(&self, i: usize) -> Result<usize, Quiet> {
        let doze = self.dozers[i].dozes.load(Acquire);
        match doze % 2 == 1 {
            false => Err(Quiet::No),
            true if self.dozers[i].note.load(Acquire) == SLEEPING => Ok(doze),
            true => Err(Quiet::Unclear),
        }
    }

    fn look(&self) -> Quiet {
        let idle = self.lock();
        if !*idle {
            return Quiet::No;
        }
        let (a, b) = match (self.dozing(0), self.dozing(1)) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(quiet), _) | (_, Err(quiet)) => return quiet,
        };
        if self.queue.load(Relaxed) > 0 {
            return Quiet::No;
        }
        let same = self.dozing(0) == Ok(a) && self.dozing(1) == Ok(b);
        if same { Quiet::Yes } else { Quiet::Unclear }
    }

    /// One look, before a sleep.
    fn sleep_in_netpoll(&self) -> Quiet {
        self.handshake.store(BLOCKING, Release);
        fence(SeqCst); // PublishFence, SleepFence
        if !self.paused.load(Relaxed) {
            return Quiet::No;
        }
        let quiet = self.look();
        if quiet == Quiet::Yes {
            let done = self.done.load(Relaxed);
            assert_eq!(done, self.work, "time moves while somebody has something to do");
        }
        quiet
    }
}

fn run(world: &Arc<World>, f: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || f(&world))
}

/// The poller goes to sleep beside these threads; when they have ended it has moved time, or it has
/// been told to look once more, and then it does.
fn check(world: &Arc<World>, threads: Vec<thread::JoinHandle<()>>) {
    let mut quiet = world.sleep_in_netpoll();
    if quiet == Quiet::Unclear {
        thread::yield_now();
        quiet = world.sleep_in_netpoll();
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    if quiet == Quiet::No {
        assert_eq!(world.handshake.load(Relaxed), BROKEN, "all is quiet, and the poller sleeps");
    }
    if quiet != Quiet::Yes {
        assert_eq!(world.sleep_in_netpoll(), Quiet::Yes, "all is quiet, and time does not move");
    }
}

/// A thread wakes another, which has been looked at, and dozes off before it is looked at itself.
#[test]
fn a_wake_between_two_looks() {
    loom::model(|| {
        let world = World::new(true, true, 2);
        let one = run(&world, |world| {
            world.work();
            world.wake(0);
            world.doze(1);
        });
        let other = run(&world, |world| {
            world.woken(0);
            world.work();
            world.doze(0);
        });
        check(&world, vec![one, other]);
    });
}

/// A thread queues something and dozes off; a P is taken for it and goes idle again.
#[test]
fn a_push_from_outside() {
    loom::model(|| {
        let world = World::new(true, true, 1);
        let outside = run(&world, |world| {
            world.inject();
            world.doze(1);
        });
        check(&world, vec![outside]);
    });
}

/// A worker wakes a thread and retires; the thread sends it something back.
#[test]
fn a_worker_wakes_a_thread() {
    loom::model(|| {
        let world = World::new(true, false, 2);
        world.doze(1);
        let worker = run(&world, |world| {
            world.work();
            world.wake(0);
            world.run_and_retire();
        });
        let thread = run(&world, |world| {
            world.woken(0);
            world.inject();
            world.doze(0);
        });
        check(&world, vec![worker, thread]);
    });
}

/// The clock is paused while the last thread dozes off, or a worker retires.
#[test]
fn a_pause_beside_the_last_to_rest() {
    loom::model(|| {
        let world = World::new(false, false, 0);
        let pausing = run(&world, World::pause);
        let thread = run(&world, |world| world.doze(1));
        world.run_and_retire();
        check(&world, vec![pausing, thread]);
    });
}
