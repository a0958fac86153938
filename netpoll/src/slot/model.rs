//! Loom: a waiter against an event, a clear, a deadline, the end, the reuse of the slot.

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

fn spawn_expire(slot: &Arc<Slot>, generation: u32) -> thread::JoinHandle<()> {
    let slot = slot.clone();
    thread::spawn(move || slot.expire(generation, Read).wake())
}

fn is_expired(slot: &Slot, generation: u32) -> bool {
    matches!(slot.look(generation, Read), Poll::Ready(Err(e)) if e.kind() == io::ErrorKind::TimedOut)
}

/// Data and the deadline come at the same time: who waits is woken, and finds that it is too late.
#[test]
fn a_waiter_meets_its_deadline_and_an_event() {
    model(|| {
        let (slot, generation) = slot(Flags::NONE);
        let poller = spawn_event(&slot, generation);
        let timer = spawn_expire(&slot, generation);
        let (count, waker) = counter();
        let seen = slot.poll_ready(generation, Read, &mut Context::from_waker(&waker));
        poller.join().unwrap();
        timer.join().unwrap();
        assert_eq!(count.0.load(Relaxed), usize::from(seen.is_pending()));
        assert!(is_expired(&slot, generation), "the deadline wins");
    });
}

/// The deadline is put off while an event comes in and a reader takes back what it saw before.
#[test]
fn a_revival_meets_an_event_and_a_clear() {
    model(|| {
        let (slot, generation) = slot(READ);
        let seen = slot.ready(generation, Read).unwrap();
        let _ = slot.expire(generation, Read);
        let poller = spawn_event(&slot, generation);
        let other = {
            let slot = slot.clone();
            thread::spawn(move || slot.clear(generation, Read, seen))
        };
        slot.revive(generation, Read);
        let (count, waker) = counter();
        let mine = slot.poll_ready(generation, Read, &mut Context::from_waker(&waker));
        poller.join().unwrap();
        other.join().unwrap();
        assert!(slot.ready(generation, Read).is_some(), "the event was erased");
        assert_eq!(count.0.load(Relaxed), usize::from(mine.is_pending()));
    });
}

/// The deadline of a socket that is closed, and whose slot has a new owner, meanwhile.
#[test]
fn a_stale_deadline_meets_reuse() {
    model(|| {
        let (slot, old) = slot(Flags::NONE);
        let timer = spawn_expire(&slot, old);
        let _ = slot.retire(old).unwrap();
        let new = slot.open(Flags::NONE);
        let (_, waker) = counter();
        let mine = slot.poll_ready(new, Read, &mut Context::from_waker(&waker));
        timer.join().unwrap();
        assert!(mine.is_pending());
        assert!(!is_expired(&slot, new));
    });
}

/// A deadline and a close at once: each waiter is woken once, by either.
#[test]
fn a_waiter_meets_its_deadline_and_the_end() {
    model(|| {
        let (slot, generation) = slot(Flags::NONE);
        let timer = spawn_expire(&slot, generation);
        let closer = {
            let slot = slot.clone();
            thread::spawn(move || slot.retire(generation).unwrap().wake())
        };
        let (count, waker) = counter();
        let mine = slot.poll_ready(generation, Read, &mut Context::from_waker(&waker));
        timer.join().unwrap();
        closer.join().unwrap();
        assert_eq!(count.0.load(Relaxed), usize::from(mine.is_pending()));
        assert!(slot.is_retired(generation));
    });
}
