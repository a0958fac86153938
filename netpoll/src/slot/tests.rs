//! One thread: ticks, generations, who is in the list.

use super::*;
use Direction::{Read, Write};

const READ: Flags = Flags(READ_READY);
const WRITE: Flags = Flags(WRITE_READY);

fn poll(slot: &Slot, generation: u32, direction: Direction) -> Poll<io::Result<Readiness>> {
    slot.poll_ready(generation, direction, &mut Context::from_waker(Waker::noop()))
}

fn deliver(slot: &Slot, generation: u32, event: Flags) -> usize {
    slot.event(generation, event, &mut drop)
}

#[test]
fn a_slot_is_one_cache_line() {
    assert_eq!(size_of::<Slot>(), 64);
}

#[test]
fn clear_takes_back_only_what_was_seen() {
    let slot = Slot::new();
    let generation = slot.open(READ);
    let seen = slot.ready(generation, Read).unwrap();
    assert_eq!(deliver(&slot, generation, WRITE), 0);
    slot.clear(generation, Read, seen);
    assert_eq!(slot.ready(generation, Read), None, "an event for writing is none for reading");

    deliver(&slot, generation, READ);
    let seen = slot.ready(generation, Read).unwrap();
    deliver(&slot, generation, READ);
    slot.clear(generation, Read, seen);
    assert!(slot.ready(generation, Read).is_some(), "the second event is not erased");
}

#[test]
fn ticks_wrap_within_their_field() {
    let slot = Slot::new();
    let generation = slot.open(Flags::NONE);
    deliver(&slot, generation, WRITE);
    let write = slot.ready(generation, Write);
    for _ in 0..=TICK_MASK {
        deliver(&slot, generation, READ);
    }
    assert_eq!(slot.ready(generation, Read).unwrap().tick, 0);
    assert_eq!(slot.ready(generation, Write), write);
    assert!(poll(&slot, generation, Read).is_ready(), "the generation is as it was");
}

#[test]
fn closed_stays() {
    let slot = Slot::new();
    let generation = slot.open(Flags::NONE);
    deliver(&slot, generation, Flags::NONE.closed(Read, true));
    let seen = slot.ready(generation, Read).unwrap();
    assert!(seen.is_closed());
    slot.clear(generation, Read, seen);
    assert!(slot.ready(generation, Read).is_some());
    assert!(slot.ready(generation, Write).is_none(), "half-closed");
}

#[test]
fn one_task_waits_once() {
    struct Nobody;
    impl std::task::Wake for Nobody {
        fn wake(self: std::sync::Arc<Self>) {}
    }

    let slot = Slot::new();
    let generation = slot.open(Flags::NONE);
    let wakers = [(); 3].map(|()| Waker::from(std::sync::Arc::new(Nobody)));
    for waker in wakers.iter().chain(&wakers) {
        let mut cx = Context::from_waker(waker);
        assert!(slot.poll_ready(generation, Read, &mut cx).is_pending());
    }
    assert_eq!(deliver(&slot, generation, READ), 3);
}

#[test]
fn expiry_wins_over_readiness_until_it_is_taken_back() {
    let slot = Slot::new();
    let generation = slot.open(WRITE);
    assert!(poll(&slot, generation, Read).is_pending());
    assert_eq!(slot.expire(generation, Read).into_iter().count(), 1);
    deliver(&slot, generation, READ);
    let Poll::Ready(Err(error)) = poll(&slot, generation, Read) else { panic!("it is ready") };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(poll(&slot, generation, Write).is_ready());
    slot.revive(generation, Read);
    assert!(slot.ready(generation, Read).is_some(), "the event was not lost");

    let _ = slot.retire(generation).unwrap();
    let next = slot.open(Flags::NONE);
    assert_eq!(slot.expire(generation, Read).into_iter().count(), 0);
    assert!(poll(&slot, next, Read).is_pending(), "that was the last owner's deadline");
}

#[test]
fn stale_generations_are_ignored() {
    let slot = Slot::new();
    let old = slot.open(Flags::NONE);
    let _ = slot.retire(old).unwrap();
    let new = slot.open(Flags::NONE);
    assert!(poll(&slot, new, Read).is_pending());

    assert_eq!(deliver(&slot, old, READ), 0);
    assert!(slot.ready(new, Read).is_none());
    assert!(matches!(poll(&slot, old, Read), Poll::Ready(Err(_))));
    assert!(slot.retire(old).is_none());
}

#[test]
fn generations_wrap() {
    let slot = Slot::new();
    let last = (1 << GENERATION_BITS) - 1;
    slot.state.store(last << GENERATION_SHIFT, Ordering::Relaxed);
    let generation = slot.open(WRITE);
    assert_eq!(u64::from(generation), last);
    let _ = slot.retire(generation).unwrap();
    assert_eq!(slot.open(WRITE), 0);
    assert!(slot.ready(0, Write).is_some());
}
