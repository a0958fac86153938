//! Loom: a waiter against an event, a clear, the end, the reuse of the slot.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    task::Wake,
};

use loom::{model, sync::Arc, thread};

use super::*;
use Direction::Read;

const READ: Flags = Flags(READ_READY);

/// Counts its wakes. std's atomics: the models look at it only after joining all threads.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

fn counter() -> (std::sync::Arc<Count>, Waker) {
    let count = std::sync::Arc::new(Count::default());
    (count.clone(), Waker::from(count))
}

fn slot(flags: Flags) -> (Arc<Slot>, u32) {
    let slot = Arc::new(Slot::new());
    let generation = slot.open(flags);
    (slot, generation)
}

fn spawn_event(slot: &Arc<Slot>, generation: u32) -> thread::JoinHandle<()> {
    let slot = slot.clone();
    thread::spawn(move || {
        slot.event(generation, READ, &mut Waker::wake);
    })
}

#[test]
fn a_waiter_meets_an_event() {
    model(|| {
        let (slot, generation) = slot(Flags::NONE);
        let poller = spawn_event(&slot, generation);
        let (count, waker) = counter();
        let seen = slot.poll_ready(generation, Read, &mut Context::from_waker(&waker));
        poller.join().unwrap();
        assert!(slot.ready(generation, Read).is_some());
        assert_eq!(count.0.load(Relaxed), usize::from(seen.is_pending()));
    });
}

#[test]
fn two_waiters_meet_an_event() {
    model(|| {
        let (slot, generation) = slot(Flags::NONE);
        let poller = spawn_event(&slot, generation);
        let wait = move |slot: Arc<Slot>| {
            let (count, waker) = counter();
            let seen = slot.poll_ready(generation, Read, &mut Context::from_waker(&waker));
            (count, seen.is_pending())
        };
        let other = {
            let slot = slot.clone();
            thread::spawn(move || wait(slot))
        };
        let mine = wait(slot.clone());
        poller.join().unwrap();
        for (count, pending) in [mine, other.join().unwrap()] {
            assert_eq!(count.0.load(Relaxed), usize::from(pending));
        }
    });
}

/// The reader finds the socket empty and clears, while the event of new data comes in.
#[test]
fn a_clear_meets_an_event() {
    model(|| {
        let (slot, generation) = slot(READ);
        let seen = slot.ready(generation, Read).unwrap();
        let poller = spawn_event(&slot, generation);
        slot.clear(generation, Read, seen);
        let (count, waker) = counter();
        let again = slot.poll_ready(generation, Read, &mut Context::from_waker(&waker));
        poller.join().unwrap();
        assert!(slot.ready(generation, Read).is_some(), "the event was erased");
        assert_eq!(count.0.load(Relaxed), usize::from(again.is_pending()));
    });
}

/// One task clears what it saw while another starts to wait and an event comes in.
#[test]
fn a_waiter_meets_a_foreign_clear_and_an_event() {
    model(|| {
        let (slot, generation) = slot(READ);
        let seen = slot.ready(generation, Read).unwrap();
        let poller = spawn_event(&slot, generation);
        let other = {
            let slot = slot.clone();
            thread::spawn(move || slot.clear(generation, Read, seen))
        };
        let (count, waker) = counter();
        let mine = slot.poll_ready(generation, Read, &mut Context::from_waker(&waker));
        poller.join().unwrap();
        other.join().unwrap();
        assert!(slot.ready(generation, Read).is_some(), "the event was erased");
        assert_eq!(count.0.load(Relaxed), usize::from(mine.is_pending()));
    });
}

#[test]
fn a_waiter_meets_the_end() {
    model(|| {
        let (slot, generation) = slot(Flags::NONE);
        let closer = {
            let slot = slot.clone();
            thread::spawn(move || {
                let wakers = slot.retire(generation).unwrap();
                wakers.into_iter().for_each(Waker::wake);
            })
        };
        let (count, waker) = counter();
        let mine = slot.poll_ready(generation, Read, &mut Context::from_waker(&waker));
        closer.join().unwrap();
        assert_eq!(count.0.load(Relaxed), usize::from(mine.is_pending()));
    });
}

/// The event was made for the old owner: the new one is not ready, and never waits in vain.
#[test]
fn a_stale_event_meets_reuse() {
    model(|| {
        let (slot, old) = slot(Flags::NONE);
        let poller = spawn_event(&slot, old);
        let _ = slot.retire(old).unwrap();
        let new = slot.open(Flags::NONE);
        let (_, waker) = counter();
        let mine = slot.poll_ready(new, Read, &mut Context::from_waker(&waker));
        poller.join().unwrap();
        assert!(mine.is_pending());
        assert!(slot.ready(new, Read).is_none());
    });
}
