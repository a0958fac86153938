//! loom models of the queues: the inbox, the revoke bracket, and what is expected of a deque.
//!
//! The bracket's asymmetric fence is a full fence on both sides here; what membarrier adds is
//! the kernel's promise that this is so.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, fence};
use loom::thread;
use std::sync::atomic::AtomicUsize as Count;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

fn run<T: 'static>(it: &Arc<T>, f: impl FnOnce(&T) + 'static) -> thread::JoinHandle<()> {
    let it = it.clone();
    thread::spawn(move || f(&it))
}

/// What each G went through, and whether one was given out twice.
#[derive(Default)]
struct Taken([Count; 4]);

impl Taken {
    fn add(&self, g: usize) {
        assert_eq!(self.0[g].fetch_add(1, Relaxed), 0, "G {g} is taken twice");
    }

    fn assert_all(&self, n: usize) {
        (0..n).for_each(|g| assert_eq!(self.0[g].load(Relaxed), 1, "G {g} is lost"));
    }
}

/// The intrusive stack of `push_link` and `take_links`; Gs are numbers, links are G + 1.
struct Inbox {
    head: AtomicUsize,
    links: [AtomicUsize; 3],
    /// What the pusher did to the G before.
    bodies: [UnsafeCell<bool>; 3],
    taken: Taken,
}

impl Inbox {
    fn new() -> Arc<Inbox> {
        Arc::new(Inbox {
            head: AtomicUsize::new(0),
            links: Default::default(),
            bodies: [(); 3].map(|()| UnsafeCell::new(false)),
            taken: Taken::default(),
        })
    }

    fn push(&self, g: usize) {
        // SAFETY: loom checks it: the pusher owns the G.
        self.bodies[g].with_mut(|body| unsafe { *body = true });
        let mut old = self.head.load(Relaxed);
        loop {
            self.links[g].store(old, Relaxed);
            match self.head.compare_exchange_weak(old, g + 1, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    fn take(&self) {
        let mut stack = self.head.swap(0, Acquire);
        let mut list = 0;
        while stack != 0 {
            let next = self.links[stack - 1].swap(list, Relaxed);
            list = std::mem::replace(&mut stack, next);
        }
        while list != 0 {
            let g = list - 1;
            list = self.links[g].load(Relaxed);
            // SAFETY: loom checks it: the taker owns the G.
            self.bodies[g].with_mut(|body| assert!(unsafe { *body }));
            self.taken.add(g);
        }
    }
}

#[test]
fn the_inbox_gives_each_g_to_one_taker() {
    loom::model(|| {
        let inbox = Inbox::new();
        let pusher = run(&inbox, |inbox| inbox.push(0));
        let taker = run(&inbox, Inbox::take);
        inbox.push(1);
        inbox.push(2);
        inbox.take();
        pusher.join().unwrap();
        taker.join().unwrap();
        inbox.take();
        inbox.taken.assert_all(3);
    });
}

/// The bracket (`bracket.rs`), and the part of the P that it guards.
struct Bracket {
    in_rt: AtomicU32,
    revoke: AtomicU32,
    /// Whether M 0 holds the P.
    held: AtomicBool,
    local: UnsafeCell<u32>,
}

impl Bracket {
    fn new() -> Arc<Bracket> {
        Arc::new(Bracket {
            in_rt: AtomicU32::new(1),
            revoke: AtomicU32::new(0),
            held: AtomicBool::new(true),
            local: UnsafeCell::new(0),
        })
    }

    fn enter(&self) {
        self.in_rt.store(1, Relaxed);
        fence(SeqCst); // EnterFence
        while self.revoke.load(Acquire) != 0 {
            thread::yield_now();
        }
    }

    fn leave(&self) {
        self.in_rt.store(0, Release);
    }

    fn lock_out(&self) {
        if self.in_rt.load(Relaxed) != 0
            || self.revoke.compare_exchange(0, 1, Acquire, Relaxed).is_err()
        {
            return;
        }
        fence(SeqCst); // RevokeFence
        if self.in_rt.load(Acquire) == 0 && self.held.load(Acquire) {
            self.touch();
        }
        self.revoke.store(0, Release);
    }

    fn touch(&self) {
        // SAFETY: loom checks it.
        self.local.with_mut(|local| unsafe { *local += 1 });
    }
}

#[test]
fn the_bracket_excludes() {
    loom::model(|| {
        let bracket = Bracket::new();
        let thief = run(&bracket, Bracket::lock_out);
        for _ in 0..2 {
            bracket.touch();
            bracket.leave();
            bracket.enter();
        }
        bracket.touch();
        thief.join().unwrap();
    });
}

#[test]
fn two_thieves_exclude_each_other() {
    loom::model(|| {
        let bracket = Bracket::new();
        let thieves = [(); 2].map(|()| run(&bracket, Bracket::lock_out));
        bracket.touch();
        bracket.leave();
        bracket.enter();
        bracket.touch();
        thieves.into_iter().for_each(|t| t.join().unwrap());
    });
}

/// The owner gives the P away, inside the core, and goes out again: a thief that comes late must
/// not touch the P of its next owner.
#[test]
fn a_thief_leaves_the_next_owner_alone() {
    loom::model(|| {
        let bracket = Bracket::new();
        let thief = run(&bracket, Bracket::lock_out);
        bracket.touch();
        bracket.leave();
        bracket.enter();
        bracket.held.store(false, Release);
        let next = run(&bracket, Bracket::touch);
        bracket.leave();
        thief.join().unwrap();
        next.join().unwrap();
    });
}

/// What `runq.rs` expects of a FIFO `Worker`: Go's ring, with four slots and indices that wrap.
struct Ring {
    head: AtomicU32,
    tail: AtomicU32,
    slots: [AtomicUsize; SLOTS as usize],
    bodies: [UnsafeCell<bool>; 4],
    taken: Taken,
}

const SLOTS: u32 = 4;

impl Ring {
    fn new() -> Arc<Ring> {
        let start = u32::MAX; // one before it wraps
        Arc::new(Ring {
            head: AtomicU32::new(start),
            tail: AtomicU32::new(start),
            slots: Default::default(),
            bodies: [(); 4].map(|()| UnsafeCell::new(false)),
            taken: Taken::default(),
        })
    }

    fn slot(&self, i: u32) -> &AtomicUsize {
        &self.slots[(i % SLOTS) as usize]
    }

    /// The owner only. Release: pairs with the thief's Acquire of `tail`.
    fn push(&self, g: usize) {
        // SAFETY: loom checks it: the pusher owns the G.
        self.bodies[g].with_mut(|body| unsafe { *body = true });
        let (head, tail) = (self.head.load(Acquire), self.tail.load(Relaxed));
        assert!(tail.wrapping_sub(head) < SLOTS);
        self.slot(tail).store(g, Relaxed);
        self.tail.store(tail.wrapping_add(1), Release);
    }

    /// The owner only.
    fn pop(&self) -> bool {
        let mut head = self.head.load(Acquire);
        loop {
            if head == self.tail.load(Relaxed) {
                return false;
            }
            let g = self.slot(head).load(Relaxed);
            match self.head.compare_exchange(head, head.wrapping_add(1), AcqRel, Acquire) {
                Ok(_) => {
                    self.run(g);
                    return true;
                }
                Err(now) => head = now,
            }
        }
    }

    /// A thief: half of what is there, copied before the head moves, used only if it did.
    fn steal(&self) {
        let head = self.head.load(Acquire);
        let tail = self.tail.load(Acquire);
        let n = tail.wrapping_sub(head);
        if n == 0 || n > SLOTS {
            return; // empty, or head and tail are of different times
        }
        let n = n.div_ceil(2);
        let loot: Vec<usize> =
            (0..n).map(|i| self.slot(head.wrapping_add(i)).load(Relaxed)).collect();
        if self.head.compare_exchange(head, head.wrapping_add(n), AcqRel, Relaxed).is_ok() {
            loot.into_iter().for_each(|g| self.run(g));
        }
    }

    fn run(&self, g: usize) {
        // SAFETY: loom checks it: whoever took the G owns it.
        self.bodies[g].with_mut(|body| assert!(unsafe { *body }));
        self.taken.add(g);
    }
}

#[test]
fn one_owner_and_two_thieves() {
    loom::model(|| {
        let ring = Ring::new();
        let thieves = [(); 2].map(|()| run(&ring, Ring::steal));
        ring.push(0);
        ring.push(1);
        ring.pop();
        ring.push(2);
        ring.push(3);
        while ring.pop() {}
        thieves.into_iter().for_each(|t| t.join().unwrap());
        ring.taken.assert_all(4);
    });
}
