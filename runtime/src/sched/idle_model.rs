//! loom models of who sleeps and who wakes: a twin of `idle.rs` with the same steps, words and
//! orderings, in a world of one global queue, one timer and one poller.
//!
//! Sleeping is not blocking here: an M that decides to sleep returns, and when all threads have
//! ended `World::settle` runs those that were told to wake, as often as they were. What is then
//! left in the queue is work that everybody sleeps on.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicUsize, fence};
use loom::sync::{Arc, Mutex, MutexGuard};
use loom::thread;
use std::sync::atomic::AtomicUsize as Count;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

const PROC: usize = 1;
const SPINNING: usize = 1 << 8;
const BACKOFF: usize = 1 << 16;
const CLOSING: usize = 1 << 17;
const MASK: usize = 0xFF;
const NEVER: usize = usize::MAX;

/// The netpoller's word (`netpoll/src/handshake.rs`).
const AWAKE: usize = 0;
const BLOCKING: usize = 1;
const BROKEN: usize = 2;

#[derive(Default)]
struct Lists {
    ps: Vec<usize>,
    ms: Vec<usize>,
    poller: Option<usize>,
    /// Threads that must leave before the runtime can end.
    threads: usize,
}

struct M {
    /// P + 1, or 0.
    nextp: AtomicUsize,
    note: AtomicBool,
}

struct World {
    procs: usize,
    counts: AtomicUsize,
    lists: Mutex<Lists>,
    /// M + 1, or 0.
    backing_off: AtomicUsize,
    ms: Vec<M>,
    /// The global queue.
    queue: AtomicUsize,
    /// The earliest timer.
    timer: AtomicUsize,
    handshake: AtomicUsize,
    until: AtomicUsize,
    /// The owner's part of P 0.
    local: UnsafeCell<()>,
    ended: AtomicBool,
    /// How often the runtime has ended; std's, no part of what is checked.
    ends: Count,
}

fn idle(word: usize) -> usize {
    word & MASK
}

fn spinning(word: usize) -> usize {
    (word / SPINNING) & MASK
}

impl World {
    /// `spinning` Ms search, each with a P; the other Ps are idle.
    fn new(procs: usize, searching: usize) -> Arc<World> {
        let ps: Vec<usize> = (searching..procs).collect();
        Arc::new(World {
            procs,
            counts: AtomicUsize::new(ps.len() * PROC + searching * SPINNING),
            lists: Mutex::new(Lists { ps, ..Lists::default() }),
            backing_off: AtomicUsize::new(0),
            ms: (0..3)
                .map(|_| M { nextp: AtomicUsize::new(0), note: AtomicBool::new(false) })
                .collect(),
            queue: AtomicUsize::new(0),
            timer: AtomicUsize::new(NEVER),
            handshake: AtomicUsize::new(AWAKE),
            until: AtomicUsize::new(NEVER),
            local: UnsafeCell::new(()),
            ended: AtomicBool::new(false),
            ends: Count::new(0),
        })
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap()
    }

    // The submitter.

    fn push(&self) {
        self.queue.fetch_add(1, Release);
    }

    fn take(&self) -> bool {
        let less = |n: usize| n.checked_sub(1);
        self.queue.fetch_update(Acquire, Relaxed, less).is_ok()
    }

    fn submit_foreign(&self) {
        self.push();
        self.wakep_foreign();
    }

    fn wakep(&self) {
        let now = self.counts.load(Relaxed);
        if idle(now) > 0 && spinning(now) == 0 {
            self.wakep_slow();
        }
    }

    fn wakep_foreign(&self) {
        fence(SeqCst); // PushFence
        let now = self.counts.load(Relaxed);
        if now & BACKOFF != 0 {
            self.end_backoff_early();
        } else if idle(now) > 0 && spinning(now) == 0 {
            self.wakep_slow();
        }
    }

    fn wakep_slow(&self) {
        let claim = |w: usize| {
            (idle(w) > 0 && spinning(w) == 0 && w & CLOSING == 0).then_some(w + SPINNING)
        };
        if self.counts.fetch_update(SeqCst, Relaxed, claim).is_err() {
            return;
        }
        let mut lists = self.lists();
        match lists.ps.pop() {
            Some(p) => {
                self.counts.fetch_sub(PROC, SeqCst);
                self.startm(lists, p);
            }
            None => {
                drop(lists);
                self.counts.fetch_sub(SPINNING, SeqCst);
            }
        }
    }

    fn startm(&self, mut lists: MutexGuard<'_, Lists>, p: usize) {
        if let Some(m) = lists.ms.pop() {
            drop(lists);
            self.give(m, p);
        } else if let Some(m) = lists.poller.take() {
            self.ms[m].nextp.store(p + 1, Release);
            drop(lists);
            self.break_();
        } else {
            drop(lists);
            self.give(2, p); // a new thread
        }
    }

    fn give(&self, m: usize, p: usize) {
        self.ms[m].nextp.store(p + 1, Release);
        self.ms[m].note.store(true, Release);
    }

    // The sleeper.

    /// A searcher has taken a G: it searches no more, and may be busy for long.
    fn found(&self) {
        self.counts.fetch_sub(SPINNING, SeqCst);
        fence(SeqCst); // SpinCount: as SleepFence
        if self.queue.load(Relaxed) > 0 {
            self.wakep();
        }
    }

    /// An M whose search has found nothing: it sleeps, or it holds a P again.
    fn rest(&self, m: usize, p: usize, polls: bool) {
        self.retire(m, p, polls);
        fence(SeqCst); // SleepFence
        if self.queue.load(Relaxed) > 0 {
            self.wakep();
        }
        if polls { self.sleep_in_netpoll(m) } else { self.sleep_on_note(m) }
    }

    fn retire(&self, m: usize, p: usize, polls: bool) {
        let mut lists = self.lists();
        lists.ps.push(p);
        self.counts.fetch_add(PROC.wrapping_sub(SPINNING), SeqCst);
        if polls {
            lists.poller = Some(m);
        } else {
            lists.ms.push(m);
        }
    }

    fn sleep_on_note(&self, _m: usize) {
        let when = self.timer.load(Relaxed);
        if when != NEVER {
            self.wake_at(when);
        }
    }

    fn sleep_in_netpoll(&self, m: usize) {
        loop {
            let timed = idle(self.counts.load(Relaxed)) > 0;
            let until = if timed { self.timer.load(Relaxed) } else { NEVER };
            self.prepare(until);
            fence(SeqCst); // SleepFence
            let counts = self.counts.load(Relaxed);
            if counts & CLOSING != 0 || self.ms[m].nextp.load(Acquire) > 0 {
                self.handshake.swap(AWAKE, Acquire);
                self.ms[m].note.store(true, Relaxed); // it is up, and sees why
                return;
            }
            let changed = if timed {
                self.timer.load(Relaxed) < until // an earlier timer came meanwhile
            } else {
                idle(counts) > 0 // a P went idle meanwhile
            };
            if !changed {
                return;
            }
            thread::yield_now();
        }
    }

    fn prepare(&self, until: usize) {
        if self.handshake.load(Relaxed) == AWAKE {
            self.until.store(until, Relaxed);
            self.handshake.store(BLOCKING, Release);
        } else {
            self.until.fetch_min(until, Relaxed);
        }
        fence(SeqCst); // PublishFence
    }

    fn break_(&self) {
        fence(SeqCst); // BreakFence
        let _ = self.handshake.compare_exchange(BLOCKING, BROKEN, Release, Relaxed);
    }

    fn wake_at(&self, when: usize) {
        fence(SeqCst); // BreakFence
        if self.handshake.load(Acquire) == BLOCKING {
            self.until.fetch_min(when, Relaxed);
        }
    }

    fn arm(&self, when: usize) {
        self.timer.store(when, Relaxed);
        fence(SeqCst); // TimerFence
        if idle(self.counts.load(Relaxed)) > 0 {
            self.wake_at(when);
        }
    }

    /// A thread that goes on without its P, which is empty.
    fn put_p(&self, p: usize) {
        let mut lists = self.lists();
        lists.ps.push(p);
        self.counts.fetch_add(PROC, SeqCst);
        drop(lists);
        fence(SeqCst); // RetireFence
        if self.queue.load(Relaxed) > 0 {
            self.wakep();
        }
        let when = self.timer.load(Relaxed);
        if when != NEVER {
            self.wake_at(when);
        }
    }

    // The searcher in a timed wait.

    /// Announces it and looks once more. True: it waits.
    fn start_backoff(&self, m: usize) -> bool {
        self.counts.fetch_or(BACKOFF, SeqCst);
        self.backing_off.store(m + 1, Release);
        fence(SeqCst); // SleepFence
        self.queue.load(Relaxed) == 0
    }

    fn end_backoff(&self) {
        self.backing_off.store(0, Relaxed);
        self.counts.fetch_and(!BACKOFF, SeqCst);
    }

    fn end_backoff_early(&self) {
        let m = self.backing_off.load(Acquire);
        if m > 0 {
            self.ms[m - 1].note.store(true, Release);
        }
    }

    // The end of a run.

    fn start_closing(&self) {
        self.counts.fetch_or(CLOSING, SeqCst);
        for m in std::mem::take(&mut self.lists().ms) {
            self.ms[m].note.store(true, Release);
        }
        self.break_();
    }

    /// A thread leaves; the last one ends the runtime.
    fn leave_thread(&self) {
        let last = {
            let mut lists = self.lists();
            lists.threads -= 1;
            lists.threads == 0
        };
        if last {
            self.finish();
        }
    }

    fn finish(&self) {
        self.touch_local();
        self.ended.store(true, SeqCst);
        fence(SeqCst);
        while self.take() {}
        self.ends.fetch_add(1, Relaxed);
    }

    fn touch_local(&self) {
        // SAFETY: loom checks it: the caller holds P 0, or nobody does.
        self.local.with_mut(|_| ());
    }

    /// A round of a `block_on`.
    fn borrow_p(&self) {
        {
            let mut lists = self.lists();
            if self.counts.load(Relaxed) & CLOSING != 0 || lists.ps.pop().is_none() {
                return;
            }
            self.counts.fetch_sub(PROC, SeqCst);
            lists.threads += 1;
        }
        self.touch_local();
        let mut lists = self.lists();
        if self.counts.load(Relaxed) & CLOSING == 0 {
            lists.ps.push(0);
            self.counts.fetch_add(PROC, SeqCst);
        }
        drop(lists);
        self.leave_thread();
    }

    /// A wake from outside, which may come late.
    fn inject(&self) {
        self.submit_foreign();
        if self.counts.load(Relaxed) & CLOSING != 0 && self.ended.load(SeqCst) {
            while self.take() {}
        }
    }

    /// Runs those Ms that are to wake until all sleep, and checks what is left.
    fn settle(&self) {
        while let Some((m, p)) = self.woken() {
            while self.take() {}
            self.rest(m, p, false);
        }
        assert_eq!(self.queue.load(Relaxed), 0, "work is queued and everybody sleeps");
        let counts = self.counts.load(Relaxed);
        assert_eq!(idle(counts), self.procs, "an idle P is not counted");
        assert_eq!(spinning(counts), 0, "somebody is counted as searching for ever");
    }

    fn woken(&self) -> Option<(usize, usize)> {
        if self.handshake.load(Acquire) == BROKEN {
            self.handshake.store(AWAKE, Relaxed);
        }
        let nextp = |m: &M| m.nextp.swap(0, Acquire).checked_sub(1);
        self.ms.iter().enumerate().find_map(|(i, m)| {
            let asleep = self.handshake.load(Relaxed) == BLOCKING && !m.note.load(Acquire);
            let p = nextp(m)?;
            assert!(!asleep, "the poller has a P and sleeps");
            m.note.store(false, Relaxed);
            Some((i, p))
        })
    }
}

fn run(world: &Arc<World>, f: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || f(&world))
}

/// One P: the wake-up chooses the very M that retires.
#[test]
fn a_foreign_submit_against_the_last_searcher() {
    for polls in [false, true] {
        loom::model(move || {
            let world = World::new(1, 1);
            let submitter = run(&world, World::submit_foreign);
            world.rest(0, 0, polls);
            submitter.join().unwrap();
            world.settle();
        });
    }
}

/// Two submitters: the second one may rely on the first one's wake-up.
#[test]
fn two_foreign_submits_against_the_last_searcher() {
    loom::model(|| {
        let world = World::new(1, 1);
        let submitters = [(); 2].map(|()| run(&world, World::submit_foreign));
        world.rest(0, 0, true);
        submitters.into_iter().for_each(|s| s.join().unwrap());
        world.settle();
    });
}

/// Two searchers retire, each relying on the other until it is the last one.
#[test]
fn two_searchers_retire() {
    loom::model(|| {
        let world = World::new(2, 2);
        let submitter = run(&world, World::submit_foreign);
        let other = run(&world, |world| world.rest(1, 1, false));
        world.rest(0, 0, true);
        submitter.join().unwrap();
        other.join().unwrap();
        world.settle();
    });
}

/// An owner pushes for itself, without a fence: the work may wait for the owner, but the counts
/// stay whole and the owner finds it.
#[test]
fn an_owner_pushes_without_a_fence() {
    loom::model(|| {
        let world = World::new(2, 1);
        world.counts.fetch_sub(SPINNING, SeqCst); // M0 runs a G
        let owner = run(&world, |world| {
            world.push();
            world.wakep();
            while world.take() {}
            world.counts.fetch_add(SPINNING, SeqCst);
            world.rest(0, 0, false);
        });
        let p = world.lists().ps.pop();
        if let Some(p) = p {
            world.counts.fetch_sub(PROC, SeqCst);
            world.counts.fetch_add(SPINNING, SeqCst);
            world.rest(1, p, true);
        }
        owner.join().unwrap();
        world.settle();
    });
}

/// A searcher begins its timed wait while a foreign submit relies on it.
#[test]
fn a_backoff_does_not_sleep_on_work() {
    loom::model(|| {
        let world = World::new(2, 1);
        let submitter = run(&world, World::submit_foreign);
        let waits = world.start_backoff(0);
        submitter.join().unwrap();
        let asleep = waits && !world.ms[0].note.load(Acquire);
        assert!(!asleep || world.queue.load(Relaxed) == 0, "the wait is not cut short");
        world.end_backoff();
    });
}

/// A searcher ends its timed wait, looks, and retires, while a foreign submit relies on it.
#[test]
fn a_submit_at_the_end_of_a_backoff() {
    loom::model(|| {
        let world = World::new(1, 1);
        world.start_backoff(0);
        let submitter = run(&world, World::submit_foreign);
        world.end_backoff();
        while world.take() {}
        world.rest(0, 0, false);
        submitter.join().unwrap();
        world.settle();
    });
}

/// One searcher begins a timed wait, the other retires, and a foreign submit relies on either.
#[test]
fn a_backoff_beside_a_retiring_m() {
    loom::model(|| {
        let world = World::new(2, 2);
        let submitter = run(&world, World::submit_foreign);
        let other = run(&world, |world| world.rest(1, 1, false));
        let waits = world.start_backoff(0);
        submitter.join().unwrap();
        other.join().unwrap();
        let asleep = waits && !world.ms[0].note.load(Acquire);
        let helped = world.ms[1].nextp.load(Acquire) > 0;
        let work = world.queue.load(Relaxed) > 0;
        assert!(!work || !asleep || helped, "work is queued and everybody sleeps");
    });
}

/// A searcher finds something else while a foreign submit relies on it.
#[test]
fn a_searcher_that_finds_a_g_passes_the_search_on() {
    loom::model(|| {
        let world = World::new(2, 1);
        world.push();
        world.lists().ms.push(1);
        let submitter = run(&world, World::submit_foreign);
        assert!(world.take());
        world.found();
        submitter.join().unwrap();
        let helped = world.ms[1].nextp.load(Acquire) > 0;
        assert!(world.queue.load(Relaxed) == 0 || helped, "a busy M keeps the work waiting");
    });
}

/// The end of the runtime against a retiring M: it is woken, or sees it.
#[test]
fn closing_reaches_who_goes_to_sleep() {
    for polls in [false, true] {
        loom::model(move || {
            let world = World::new(1, 1);
            let closer = run(&world, World::start_closing);
            world.rest(0, 0, polls);
            // What the sleep's loop would see, before it blocks on the note.
            let seen = world.counts.load(Relaxed) & CLOSING != 0;
            closer.join().unwrap();
            let woken = world.ms[0].note.load(Acquire)
                || (polls && world.handshake.load(Relaxed) == BROKEN);
            assert!(woken || (seen && !polls), "an M sleeps through the end");
        });
    }
}

/// A `block_on` borrows the P while the runtime ends: it ends once, with nobody at the P.
#[test]
fn the_last_thread_ends_the_runtime() {
    loom::model(|| {
        let world = World::new(1, 0);
        world.lists().threads = 1;
        let outside = run(&world, World::borrow_p);
        world.start_closing();
        world.leave_thread();
        outside.join().unwrap();
        assert_eq!(world.ends.load(Relaxed), 1);
    });
}

/// A task is woken from outside while the runtime ends: it is drained, by one of the two.
#[test]
fn a_wake_at_the_end_is_drained() {
    loom::model(|| {
        let world = World::new(1, 0);
        world.lists().threads = 1;
        world.lists().ms.push(0);
        let waker = run(&world, World::inject);
        world.start_closing();
        world.leave_thread();
        waker.join().unwrap();
        assert_eq!(world.queue.load(Relaxed), 0, "a task is never cancelled");
    });
}

fn assert_watched(world: &World) {
    let sleeps = world.handshake.load(Relaxed) == BLOCKING;
    assert!(sleeps, "the poller is up for nothing");
    assert!(world.until.load(Relaxed) <= world.timer.load(Relaxed), "a timer is slept past");
}

/// A thread arms a timer in an idle P's heap while the poller chooses its deadline.
#[test]
fn a_timer_armed_beside_an_idle_p_is_watched() {
    loom::model(|| {
        let world = World::new(1, 1);
        let armer = run(&world, |world| world.arm(5));
        world.rest(0, 0, true);
        armer.join().unwrap();
        assert_watched(&world);
    });
}

/// The only P was held while a timer was armed; then its owner retires. Who polls watches it.
#[test]
fn the_timers_of_a_retiring_p_are_watched() {
    loom::model(|| {
        let world = World::new(1, 1);
        let owner = run(&world, |world| {
            world.arm(5);
            world.rest(1, 0, false);
        });
        world.lists().poller = Some(0);
        world.sleep_in_netpoll(0);
        owner.join().unwrap();
        assert_watched(&world);
    });
}

/// The same for a thread from outside, which gives its P back and goes on.
#[test]
fn the_timers_of_a_p_that_is_put_back_are_watched() {
    loom::model(|| {
        let world = World::new(1, 1);
        world.counts.fetch_sub(SPINNING, SeqCst);
        let outside = run(&world, |world| {
            world.arm(5);
            world.put_p(0);
        });
        world.lists().poller = Some(0);
        world.sleep_in_netpoll(0);
        outside.join().unwrap();
        assert_watched(&world);
    });
}

/// A thread gives its P back, empty, while another submits: one of them sees the other.
#[test]
fn a_submit_against_a_p_that_is_put_back() {
    loom::model(|| {
        let world = World::new(1, 1);
        world.counts.fetch_sub(SPINNING, SeqCst);
        world.lists().ms.push(0);
        let submitter = run(&world, World::submit_foreign);
        world.put_p(0);
        submitter.join().unwrap();
        world.settle();
    });
}
