//! Timers: per P, a 4-ary heap with lazy deletion. Go: time.go, `timers`.
//!
//! A heap entry is 16 bytes: the deadline, a slot, and the slot's generation.
//! What a timer wakes is in the slot. Stopping a timer frees the slot and bumps
//! its generation; the heap entry stays behind and is skipped when its time
//! comes, or swept out when such zombies are a quarter of the heap (N20). An
//! entry that is last in the array goes at once: that is where the timeout
//! that was armed and cancelled a moment later usually stands.
//!
//! The earliest deadline is published, so that a dispatch costs one load while
//! there are no timers and the netpoller can tell how long to sleep.
//!
//! Any thread may arm and stop a timer in any heap: it takes the lock, which is
//! a byte, held for some tens of instructions, and never over user code.
//! Wakers are woken and dropped outside.
//!
//! Heaps live for ever, and are used again by later runtimes: a `Sleep` may be
//! dropped long after its runtime has gone, and must still find its slot to see
//! that the generation has moved on. That spares each timer a reference count.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use crossbeam_utils::CachePadded;

use crate::util::clock::NEVER;

/// Below this many zombies no sweep is worth it (a guess).
const SWEEP_MIN: usize = 64;
/// Wakers taken out at once, so that the lock is not held over their wake.
const FIRE_BATCH: usize = 32;

/// The timers of one P.
pub(crate) struct Timers {
    /// The earliest deadline in the heap, or `NEVER`. May belong to a zombie.
    earliest: CachePadded<AtomicU64>,
    locked: AtomicBool,
    heap: UnsafeCell<Heap>,
}

// SAFETY: `heap` is reached through `with`, under the lock.
unsafe impl Sync for Timers {}
// SAFETY: wakers are Send.
unsafe impl Send for Timers {}

#[derive(Default)]
struct Heap {
    entries: Vec<Entry>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    zombies: usize,
    closed: bool,
    /// Which runtime this heap serves, counted.
    life: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    when: u64,
    slot: u32,
    generation: u32,
}

struct Slot {
    generation: u32,
    waker: Option<Waker>,
}

/// An armed timer: where it stands, and which life of that slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerId {
    slot: u32,
    generation: u32,
    life: u32,
}

/// The runtime has gone, and its clock with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

/// Heaps without a runtime.
static POOL: Mutex<Vec<&'static Timers>> = Mutex::new(Vec::new());

impl Timers {
    /// An empty heap, new or used again.
    pub(crate) fn take() -> &'static Timers {
        let pooled = POOL.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let timers = pooled.unwrap_or_else(|| Box::leak(Box::new(Timers::new())));
        timers.with(|heap| {
            heap.closed = false;
            heap.life = heap.life.wrapping_add(1);
        });
        timers
    }

    fn new() -> Timers {
        Timers {
            earliest: CachePadded::new(AtomicU64::new(NEVER)),
            locked: AtomicBool::new(false),
            heap: UnsafeCell::default(),
        }
    }

    /// The runtime ends: nothing is armed from now on. Returns what waits here, to be woken.
    pub(crate) fn close(&self) -> Vec<Waker> {
        self.with(|heap| {
            heap.closed = true;
            heap.entries.clear();
            heap.zombies = 0;
            self.publish(heap);
            let mut wakers = Vec::new();
            for i in 0..heap.slots.len() {
                if let Some(waker) = heap.slots[i].waker.take() {
                    heap.release(i as u32);
                    wakers.push(waker);
                }
            }
            wakers
        })
    }

    /// Gives a closed heap back for a later runtime.
    pub(crate) fn put(&'static self) {
        POOL.lock().unwrap_or_else(PoisonError::into_inner).push(self);
    }

    fn with<R>(&self, f: impl FnOnce(&mut Heap) -> R) -> R {
        let mut rounds = 0u32;
        // Acquire: pairs with the Release below.
        while self.locked.swap(true, Ordering::Acquire) {
            // Relaxed: a look; the swap decides.
            while self.locked.load(Ordering::Relaxed) {
                rounds += 1;
                if rounds.is_multiple_of(64) {
                    std::thread::yield_now(); // the holder has lost its core
                } else {
                    std::hint::spin_loop();
                }
            }
        }
        // SAFETY: the lock is held, and `f` calls nothing that would take it again.
        let result = f(unsafe { &mut *self.heap.get() });
        self.locked.store(false, Ordering::Release);
        result
    }

    /// The earliest deadline, or `NEVER`.
    #[inline]
    pub(crate) fn earliest(&self) -> u64 {
        // Relaxed: the owner sees its own; the netpoller has a fence (README, TimerFence).
        self.earliest.load(Ordering::Relaxed)
    }

    fn publish(&self, heap: &Heap) {
        let when = heap.entries.first().map_or(NEVER, |e| e.when);
        self.earliest.store(when, Ordering::Relaxed); // Relaxed: as in `earliest`
    }

    /// Arms a timer. Also tells whether it is now the earliest.
    pub(crate) fn arm(&self, when: u64, waker: &Waker) -> Result<(TimerId, bool), Closed> {
        let mut waker = Some(waker.clone()); // if refused, dropped outside the lock
        self.with(|heap| {
            if heap.closed {
                return Err(Closed);
            }
            let id = heap.occupy(waker.take());
            let first = heap.push(Entry { when, slot: id.slot, generation: id.generation });
            if first {
                self.publish(heap);
            }
            Ok((id, first))
        })
    }

    /// Renews the waker of an armed timer. None: it has fired (or the runtime has ended).
    pub(crate) fn renew(&self, id: TimerId, waker: &Waker) -> Option<Result<(), Closed>> {
        let mut waker = Some(waker.clone());
        self.with(|heap| {
            if heap.closed || heap.life != id.life {
                return Some(Err(Closed));
            }
            let slot = &mut heap.slots[id.slot as usize];
            (slot.generation == id.generation).then(|| {
                std::mem::swap(&mut slot.waker, &mut waker);
                Ok(())
            })
        })
    }

    /// Stops a timer. True if it had not fired.
    pub(crate) fn stop(&self, id: TimerId) -> bool {
        let waker = self.with(|heap| {
            if heap.slots[id.slot as usize].generation != id.generation {
                return None;
            }
            let waker = heap.slots[id.slot as usize].waker.take();
            heap.release(id.slot);
            if heap.bury(id) {
                self.publish(heap);
            }
            waker
        });
        waker.is_some()
    }

    /// How many are armed.
    pub(crate) fn armed(&self) -> usize {
        self.with(|heap| heap.entries.len() - heap.zombies)
    }

    /// Makes the earliest deadline that of a timer that has not been stopped.
    pub(crate) fn prune(&self) {
        self.with(|heap| {
            while heap.entries.first().is_some_and(|e| heap.is_zombie(*e)) {
                heap.pop_first();
                heap.zombies -= 1;
            }
            self.publish(heap);
        });
    }

    /// Takes out the wakers of timers that are due at `now`, a batch at a time, and passes them to
    /// `wake` in the order of their deadlines. Returns how many.
    pub(crate) fn fire(&self, now: u64, mut wake: impl FnMut(Waker)) -> usize {
        let mut fired = 0;
        while self.earliest() <= now {
            let mut batch: [Option<Waker>; FIRE_BATCH] = [const { None }; FIRE_BATCH];
            self.with(|heap| {
                heap.take_due(now, &mut batch);
                self.publish(heap);
            });
            for waker in batch.into_iter().flatten() {
                fired += 1;
                wake(waker);
            }
        }
        fired
    }
}

impl Heap {
    fn occupy(&mut self, waker: Option<Waker>) -> TimerId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, waker: None });
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 timers")
        });
        let entry = &mut self.slots[slot as usize];
        entry.waker = waker;
        TimerId { slot, generation: entry.generation, life: self.life }
    }

    fn release(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(slot);
    }

    fn is_zombie(&self, e: Entry) -> bool {
        self.slots[e.slot as usize].generation != e.generation
    }

    /// Adds an entry. True if it is the first now.
    fn push(&mut self, e: Entry) -> bool {
        self.entries.push(e);
        self.sift_up(self.entries.len() - 1) == 0
    }

    /// Deals with the heap entry of a stopped timer. True if the first entry may have changed.
    fn bury(&mut self, id: TimerId) -> bool {
        let last = self.entries.last().copied();
        if last.is_some_and(|e| e.slot == id.slot && e.generation == id.generation) {
            self.entries.pop();
            return self.entries.is_empty();
        }
        self.zombies += 1;
        if self.zombies >= SWEEP_MIN && 4 * self.zombies > self.entries.len() {
            self.sweep();
            return true;
        }
        false
    }

    /// Throws the zombies out and builds the heap anew.
    #[cold]
    fn sweep(&mut self) {
        let slots = &self.slots;
        self.entries.retain(|e| slots[e.slot as usize].generation == e.generation);
        self.zombies = 0;
        for i in (0..self.entries.len().div_ceil(4)).rev() {
            self.sift_down(i);
        }
    }

    fn take_due(&mut self, now: u64, batch: &mut [Option<Waker>]) {
        let mut n = 0;
        while n < batch.len()
            && let Some(e) = self.entries.first().copied()
            && e.when <= now
        {
            self.pop_first();
            if self.is_zombie(e) {
                self.zombies -= 1;
                continue;
            }
            batch[n] = self.slots[e.slot as usize].waker.take();
            self.release(e.slot);
            n += 1;
        }
    }

    fn pop_first(&mut self) {
        self.entries.swap_remove(0);
        if !self.entries.is_empty() {
            self.sift_down(0);
        }
    }

    fn sift_up(&mut self, mut i: usize) -> usize {
        let e = self.entries[i];
        while i > 0 {
            let parent = (i - 1) / 4;
            if self.entries[parent].when <= e.when {
                break;
            }
            self.entries[i] = self.entries[parent];
            i = parent;
        }
        self.entries[i] = e;
        i
    }

    fn sift_down(&mut self, mut i: usize) {
        let n = self.entries.len();
        let e = self.entries[i];
        loop {
            let first = 4 * i + 1;
            if first >= n {
                break;
            }
            let mut least = first;
            for child in first + 1..n.min(first + 4) {
                if self.entries[child].when < self.entries[least].when {
                    least = child;
                }
            }
            if e.when <= self.entries[least].when {
                break;
            }
            self.entries[i] = self.entries[least];
            i = least;
        }
        self.entries[i] = e;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::rng::Rng;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn waker() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        (count.clone(), Waker::from(count))
    }

    #[test]
    fn fires_in_order_and_once() {
        let timers = Timers::new();
        let (_, w) = waker();
        let mut rng = Rng::new(7);
        let mut live = Vec::new();
        for _ in 0..10_000 {
            let when = rng.below(1_000_000) as u64;
            let (id, _) = timers.arm(when, &w).unwrap();
            live.push((when, id));
            if rng.below(3) == 0 {
                let (_, id) = live.swap_remove(rng.below(live.len()));
                assert!(timers.stop(id));
                assert!(!timers.stop(id));
            }
        }
        let mut fired = 0;
        for now in (0..=1_000_000).step_by(1000) {
            let due = live.iter().filter(|(when, _)| *when <= now).count();
            timers.fire(now, |_| fired += 1);
            assert_eq!(fired, due, "at {now}");
        }
        assert_eq!(timers.earliest(), NEVER);
        assert_eq!(fired, live.len());
    }

    #[test]
    fn cancelled_timers_leave_nothing_behind() {
        let timers = Timers::new();
        let (count, w) = waker();
        let (far, _) = timers.arm(u64::MAX - 1, &w).unwrap();
        for i in 0..100_000u64 {
            let (id, _) = timers.arm(1_000_000 - i, &w).unwrap();
            assert!(timers.stop(id));
        }
        timers.with(|heap| {
            assert!(heap.entries.len() <= 2 * SWEEP_MIN, "{} entries", heap.entries.len());
            assert!(heap.slots.len() <= 2);
        });
        assert!(timers.stop(far));
        drop(w);
        assert_eq!(Arc::strong_count(&count), 1, "no waker is kept");
    }

    #[test]
    fn close_wakes_and_refuses() {
        let timers = Timers::new();
        let (_, w) = waker();
        let (id, first) = timers.arm(5, &w).unwrap();
        assert!(first);
        assert_eq!(timers.close().len(), 1);
        assert_eq!(timers.renew(id, &w), Some(Err(Closed)));
        assert!(!timers.stop(id));
        assert_eq!(timers.arm(5, &w), Err(Closed));
    }
}
