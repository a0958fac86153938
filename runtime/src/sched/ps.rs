//! The Ps of a scheduler: a table that only grows, and how many of them count.
//!
//! Their number may change while the runtime runs (`set_procs`). A P that does
//! not count any more is drained into the global queue and rests outside all
//! lists, at once if it is idle, or else when its owner gives it up: at its
//! next dispatch, or when sysmon takes it (`Sched::is_surplus`). Nobody is
//! stopped, and nothing refers to "all Ps at one moment"; Go stops the world.
//! A P that counts again goes back to the idle list. Its timers stay where
//! they are: whoever sleeps in the netpoller looks at all heaps, and sysmon
//! fires those of resting Ps while nobody sleeps there.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::Sched;
use super::idle::{Lists, PROC, SURPLUS};
use super::p::P;
use super::timers::Timers;

/// More Ps than any machine has threads; each costs some kilobytes.
pub(crate) const PROCS_MAX: usize = 4096;

/// See the module.
pub(super) struct Ps {
    /// The first `made` are set, for good.
    slots: Box<[AtomicPtr<P>]>,
    made: AtomicUsize,
    /// Those with a lower id count.
    procs: AtomicUsize,
    seed: u64,
}

impl Ps {
    pub(super) fn new(procs: usize, seed: u64) -> Ps {
        let slots = (0..PROCS_MAX).map(|_| AtomicPtr::default()).collect();
        let ps = Ps { slots, made: AtomicUsize::new(0), procs: AtomicUsize::new(procs), seed };
        (0..procs).for_each(|_| ps.make());
        ps
    }

    /// One more. Called by one thread at a time: before the start, or under the idle lock.
    fn make(&self) {
        let id = self.made.load(Ordering::Relaxed); // Relaxed: this thread's
        let p = Box::new(P::new(id as u32, self.seed, Timers::take()));
        self.slots[id].store(Box::into_raw(p), Ordering::Relaxed); // Relaxed: published below
        // Release: pairs with the Acquire in `iter` and `get`.
        self.made.store(id + 1, Ordering::Release);
    }

    /// How many count: how many Gs may run at once.
    #[inline]
    pub(super) fn procs(&self) -> usize {
        self.procs.load(Ordering::Relaxed) // Relaxed: a number, nothing is behind it
    }

    /// How many there are, with those that rest.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.made.load(Ordering::Acquire) // Acquire: pairs with the Release in `make`
    }

    /// All there are, with those that rest.
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = &'static P> {
        (0..self.len()).map(|i| self.at(i))
    }

    #[inline]
    pub(super) fn get(&self, i: usize) -> Option<&'static P> {
        (i < self.len()).then(|| self.at(i))
    }

    /// P number `i`, one of the first `len()`.
    #[inline]
    pub(super) fn at(&self, i: usize) -> &'static P {
        // SAFETY: the caller has seen `made` above `i`, so the slot is set. Ps live as long as the
        // scheduler, which outlives whoever can ask. Relaxed: ordered by `made`.
        unsafe { &*self.slots[i].load(Ordering::Relaxed) }
    }
}

impl Drop for Ps {
    fn drop(&mut self) {
        for i in 0..self.len() {
            // SAFETY: made by `Box::into_raw`; the scheduler goes, and nobody has a P any more.
            drop(unsafe { Box::from_raw(self.slots[i].load(Ordering::Relaxed)) });
        }
        self.slots.iter_mut().for_each(|slot| *slot.get_mut() = ptr::null_mut());
    }
}

impl Sched {
    /// How many Gs may run at once.
    pub(crate) fn procs(&self) -> usize {
        self.ps.procs()
    }

    /// Whether `p` counts no more, and must be given up.
    #[inline]
    pub(super) fn is_surplus(&self, p: &P) -> bool {
        p.id as usize >= self.ps.procs()
    }

    /// Whether some P is held, or on its way to an M, that must be given up.
    pub(super) fn has_held_surplus(&self, lists: &Lists) -> bool {
        self.ps.len().saturating_sub(self.ps.procs()) > lists.resting.len()
    }

    /// Lets `n` Gs run at once from here on, and says how many it were before. Go: GOMAXPROCS.
    pub(crate) fn set_procs(&self, n: usize) -> usize {
        let mut lists = self.idle.lock();
        // Relaxed: who must see it at once reads it under the lock.
        let before = self.ps.procs.swap(n, Ordering::Relaxed);
        if n < before {
            self.lists_shrink(&mut lists);
        } else {
            self.lists_grow(&mut lists);
        }
        self.idle.set_bit(SURPLUS, self.has_held_surplus(&lists));
        drop(lists);
        if n > before {
            self.serve_wanting();
            self.look_after_retiring();
        }
        before
    }

    /// Ps have been listed as idle while some M may want one.
    pub(super) fn serve_wanting(&self) {
        loop {
            let mut lists = self.idle.lock();
            if lists.ps.is_empty() {
                return;
            }
            let Some(m) = lists.next_wanting(&self.idle) else { return };
            let Some(p) = self.take_p(&mut lists) else { return };
            self.wake_with(lists, m, p);
        }
    }

    fn lists_shrink(&self, lists: &mut Lists) {
        let (rest, stay) = lists.ps.iter().copied().partition(|p| self.is_surplus(p));
        lists.ps = stay;
        let rest: Vec<&'static P> = rest;
        // SeqCst: see README, IdleCount.
        self.idle.counts.fetch_sub(PROC * rest.len() as u64, Ordering::SeqCst);
        lists.resting.extend(rest);
    }

    fn lists_grow(&self, lists: &mut Lists) {
        let (rest, back) = lists.resting.iter().copied().partition(|p| self.is_surplus(p));
        lists.resting = rest;
        let mut back: Vec<&'static P> = back;
        while self.ps.len() < self.ps.procs() {
            self.ps.make();
            back.push(self.ps.at(self.ps.len() - 1));
        }
        // SeqCst: see README, IdleCount.
        self.idle.counts.fetch_add(PROC * back.len() as u64, Ordering::SeqCst);
        lists.ps.extend(back);
    }

    /// Moves what is queued at a P that nobody will hold again, or not for long, to the global queue,
    /// and home what has one. The caller has the P alone: it holds it, or it is in no list.
    #[cold]
    pub(super) fn drain_p(&self, p: &P) {
        // SAFETY: see above.
        let local = unsafe { p.local() };
        p.drain_inbox(local);
        while let Some(g) = local.pop() {
            match g.g().home() {
                Some(home) => home.push_resident(g),
                None => self.global.push(g),
            }
        }
        p.counters.set_hidden(0);
        self.idle.want_fair_turn();
        self.wakep_foreign();
    }

    /// Fires what is due at Ps that rest, and passes on what came late into their inboxes.
    pub(super) fn fire_resting(&self) {
        if self.ps.len() > self.ps.procs() {
            for p in self.ps.iter().skip(self.ps.procs()).filter(|p| !p.inbox_is_empty()) {
                p.take_inbox(|g| self.inject(g));
            }
            let now = self.now();
            let mut fired = Vec::new();
            for p in self.ps.iter().skip(self.ps.procs()).filter(|p| p.timers.earliest() <= now) {
                p.timers.fire(now, |waker| fired.push(waker));
            }
            self.wake_all(fired);
        }
    }
}
