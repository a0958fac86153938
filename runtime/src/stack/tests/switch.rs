//! Words, panics, forced unwinding and backtraces over a switch.

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::panic::resume_unwind;
use std::rc::Rc;

use super::super::{SizeClass, pool};
use super::*;

fn slot() -> StackSlot {
    pool::get(SizeClass::DEFAULT).unwrap()
}

#[test]
fn words_arrive_on_both_sides() {
    const ROUNDS: usize = 1_000_000;
    let slot = slot();
    let mut peer = start(*slot, |peer| {
        let mut sum = 0;
        let mut word = peer.send(0);
        while word != 0 {
            sum += word;
            word = peer.send(word + 1);
        }
        sum
    });
    peer.send(0);
    for word in 1..=ROUNDS {
        assert_eq!(peer.send(word), word + 1);
    }
    assert_eq!(peer.send(0), ROUNDS * (ROUNDS + 1) / 2);
    pool::put(slot);
}

#[test]
fn floats_and_callee_saved_state_survive() {
    let slot = slot();
    let mut peer = start(*slot, |peer| {
        let mut x = 1.0_f64;
        for _ in 0..1000 {
            x = x / 3.0 + 1.0;
            peer.send(x.to_bits() as usize);
        }
        0
    });
    let mut x = 1.0_f64;
    for _ in 0..1000 {
        x = x / 3.0 + 1.0;
        assert_eq!(peer.send(0), x.to_bits() as usize);
    }
    assert_eq!(peer.send(0), 0);
    pool::put(slot);
}

#[test]
fn a_panic_is_caught_at_the_root() {
    let slot = slot();
    let last = run_on(&slot, || {
        resume_unwind(Box::new("quietly"));
    });
    assert_eq!(last, PANICKED);
    assert!(!std::thread::panicking());
    assert_eq!(run_on(&slot, || 7), 7);
    pool::put(slot);
}

/// The way goroutines are aborted: a word that the suspended Rust frame turns into an unwind.
#[test]
fn a_cancel_word_unwinds_and_runs_destructors() {
    const CANCEL: usize = 9;
    struct OnDrop(Rc<Cell<u32>>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    fn park(peer: &mut Peer) {
        if peer.send(1) == CANCEL {
            resume_unwind(Box::new(()));
        }
    }

    let slot = slot();
    let dropped = Rc::new(Cell::new(0));
    let count = dropped.clone();
    let mut peer = start(*slot, move |peer| {
        let _outer = OnDrop(count.clone());
        park(peer);
        let _inner = OnDrop(count);
        park(peer);
        unreachable!("cancelled before");
    });
    assert_eq!(peer.send(0), 1);
    assert_eq!(peer.send(0), 1);
    assert_eq!(dropped.get(), 0);
    assert_eq!(peer.send(CANCEL), PANICKED);
    assert_eq!(dropped.get(), 2);
    assert!(!std::thread::panicking());
    pool::put(slot);
}

#[test]
fn a_backtrace_ends_at_the_root() {
    #[inline(never)]
    fn a_function_of_the_goroutine() -> Backtrace {
        std::hint::black_box(Backtrace::force_capture())
    }

    let slot = slot();
    let frames = run_on(&slot, || {
        let text = a_function_of_the_goroutine().to_string();
        assert!(text.contains("a_function_of_the_goroutine"), "{text}");
        assert!(!text.contains("a_backtrace_ends_at_the_root::h"), "{text}");
        text.lines().filter(|line| !line.contains(" at ")).count()
    });
    assert!((2..100).contains(&frames), "{frames} frames");
    pool::put(slot);
}
