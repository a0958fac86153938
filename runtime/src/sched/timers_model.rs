//! loom models of one timer: a twin of `timers.rs` with two slots and entries in a list.
//!
//! The lock is a mutex here; what can go wrong lies between its sections: a timer that is stopped
//! and fires, a waker used twice or by the slot's next life, a deadline that nobody publishes.

use loom::sync::atomic::AtomicU64;
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::sync::atomic::AtomicUsize as Count;
use std::sync::atomic::Ordering::Relaxed;

const NEVER: u64 = u64::MAX;
const WAKERS: usize = 4;

/// Wakers are numbers; 0 is none.
type Waker = usize;

#[derive(Clone, Copy, PartialEq)]
struct Id {
    slot: usize,
    generation: u32,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    waker: Waker,
}

#[derive(Default)]
struct Heap {
    entries: Vec<(u64, Id)>,
    slots: [Slot; 2],
    free: Vec<usize>,
    closed: bool,
}

struct Timers {
    earliest: AtomicU64,
    heap: Mutex<Heap>,
    woken: [Count; WAKERS],
    dropped: [Count; WAKERS],
}

impl Timers {
    /// With `slots` of its two slots.
    fn new(slots: usize) -> Arc<Timers> {
        let heap = Heap { free: (0..slots).collect(), ..Heap::default() };
        Arc::new(Timers {
            earliest: AtomicU64::new(NEVER),
            heap: Mutex::new(heap),
            woken: Default::default(),
            dropped: Default::default(),
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut Heap) -> R) -> R {
        f(&mut self.heap.lock().unwrap())
    }

    fn publish(&self, heap: &Heap) {
        let when = heap.entries.iter().map(|e| e.0).min().unwrap_or(NEVER);
        self.earliest.store(when, Relaxed);
    }

    fn arm(&self, when: u64, waker: Waker) -> Option<Id> {
        self.with(|heap| {
            if heap.closed {
                return None;
            }
            let slot = heap.free.pop()?;
            heap.slots[slot].waker = waker;
            let id = Id { slot, generation: heap.slots[slot].generation };
            heap.entries.push((when, id));
            self.publish(heap);
            Some(id)
        })
    }

    /// False: it has fired.
    fn renew(&self, id: Id, waker: Waker) -> bool {
        let old = self.with(|heap| {
            heap.is_live(id).then(|| std::mem::replace(&mut heap.slots[id.slot].waker, waker))
        });
        if let Some(old) = old {
            self.dropped[old].fetch_add(1, Relaxed);
        }
        old.is_some()
    }

    /// False: it has fired.
    fn stop(&self, id: Id) -> bool {
        let waker = self.with(|heap| {
            // The entry stays behind, as a zombie.
            heap.is_live(id).then(|| heap.release(id.slot))
        });
        if let Some(waker) = waker {
            self.dropped[waker].fetch_add(1, Relaxed);
        }
        waker.is_some()
    }

    fn fire(&self, now: u64) {
        while self.earliest.load(Relaxed) <= now {
            let wakers: Vec<Waker> = self.with(|heap| {
                let (due, later) = std::mem::take(&mut heap.entries)
                    .into_iter()
                    .partition::<Vec<_>, _>(|e| e.0 <= now);
                heap.entries = later;
                let live: Vec<_> = due.into_iter().filter(|e| heap.is_live(e.1)).collect();
                let wakers = live.into_iter().map(|e| heap.release(e.1.slot)).collect();
                self.publish(heap);
                wakers
            });
            self.wake(wakers);
        }
    }

    fn close(&self) {
        let wakers = self.with(|heap| {
            heap.closed = true;
            heap.entries.clear();
            self.publish(heap);
            let armed = [0, 1].into_iter().filter(|i| heap.slots[*i].waker != 0);
            let armed: Vec<usize> = armed.collect();
            armed.into_iter().map(|i| heap.release(i)).collect()
        });
        self.wake(wakers);
    }

    fn wake(&self, wakers: Vec<Waker>) {
        for waker in wakers {
            self.woken[waker].fetch_add(1, Relaxed);
        }
    }

    fn uses(&self, waker: Waker) -> (usize, usize) {
        (self.woken[waker].load(Relaxed), self.dropped[waker].load(Relaxed))
    }
}

impl Heap {
    fn is_live(&self, id: Id) -> bool {
        self.slots[id.slot].generation == id.generation
    }

    fn release(&mut self, slot: usize) -> Waker {
        self.slots[slot].generation += 1;
        self.free.push(slot);
        std::mem::take(&mut self.slots[slot].waker)
    }
}

fn run<R: 'static>(
    timers: &Arc<Timers>,
    f: impl FnOnce(&Timers) -> R + 'static,
) -> thread::JoinHandle<R> {
    let timers = timers.clone();
    thread::spawn(move || f(&timers))
}

/// Two Ms fire, the owner stops: exactly one of the three has the waker.
#[test]
fn fired_or_stopped() {
    loom::model(|| {
        let timers = Timers::new(2);
        let id = timers.arm(5, 1).unwrap();
        let firing = [(); 2].map(|()| run(&timers, |timers| timers.fire(5)));
        let stopped = timers.stop(id);
        firing.into_iter().for_each(|f| f.join().unwrap());
        assert_eq!(timers.uses(1), if stopped { (0, 1) } else { (1, 0) });
        assert!(!timers.stop(id));
        timers.fire(5);
        assert_eq!(timers.earliest.load(Relaxed), NEVER);
    });
}

/// A waker is renewed while the timer fires: the one that stands there at that moment is woken.
#[test]
fn fired_or_renewed() {
    loom::model(|| {
        let timers = Timers::new(2);
        let id = timers.arm(5, 1).unwrap();
        let firing = run(&timers, |timers| timers.fire(5));
        let renewed = timers.renew(id, 2);
        firing.join().unwrap();
        assert_eq!(timers.uses(1), if renewed { (0, 1) } else { (1, 0) });
        assert_eq!(timers.uses(2), if renewed { (1, 0) } else { (0, 0) });
    });
}

/// The only slot is used again: neither the old entry nor the old id reaches its next life.
#[test]
fn a_slot_is_used_again() {
    loom::model(|| {
        let timers = Timers::new(1);
        let old = timers.arm(5, 1).unwrap();
        let firing = run(&timers, |timers| timers.fire(5));
        let stopped = timers.stop(old);
        let new = timers.arm(9, 2);
        firing.join().unwrap();
        let new = new.expect("fired or stopped, the slot is free");
        assert_eq!(timers.uses(1), if stopped { (0, 1) } else { (1, 0) });
        assert_eq!(timers.uses(2), (0, 0), "the old entry fires the new timer");
        assert!(!timers.stop(old) && !timers.renew(old, 3), "the old id finds the new timer");
        timers.fire(9);
        assert_eq!(timers.uses(2), (1, 0), "the new timer is lost");
        assert!(!timers.stop(new));
    });
}

/// A timer is armed while others fire: it is due, so either the firing one or the next finds it.
#[test]
fn an_armed_timer_is_published() {
    loom::model(|| {
        let timers = Timers::new(2);
        timers.arm(5, 1).unwrap();
        let firing = run(&timers, |timers| timers.fire(5));
        timers.arm(3, 2).unwrap();
        firing.join().unwrap();
        assert!(timers.uses(2) == (1, 0) || timers.earliest.load(Relaxed) == 3);
        timers.fire(5);
        assert_eq!((timers.uses(1), timers.uses(2)), ((1, 0), (1, 0)));
    });
}

/// The end of the runtime against arming and stopping: refused, stopped or woken, one of them.
#[test]
fn closed_or_armed() {
    loom::model(|| {
        let timers = Timers::new(2);
        let first = timers.arm(5, 1).unwrap();
        let closing = run(&timers, Timers::close);
        let second = timers.arm(7, 2);
        let stopped = timers.stop(first);
        closing.join().unwrap();
        assert_eq!(timers.uses(1), if stopped { (0, 1) } else { (1, 0) });
        assert_eq!(timers.uses(2), if second.is_some() { (1, 0) } else { (0, 0) });
        assert_eq!(timers.arm(8, 3).map(|id| id.slot), None);
    });
}
