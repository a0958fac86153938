//! Prices, printed: `cargo test --release -- --ignored --nocapture stack::tests::measure`

use std::hint::black_box;
use std::time::Instant;

use super::super::pool::{LocalPool, scavenge};
use super::super::switch::Ctx;
use super::super::{SizeClass, arena};
use super::*;

const CLASS: SizeClass = SizeClass::DEFAULT;

/// Prints the best of five runs of `rounds` rounds each.
fn price(name: &str, rounds: u32, mut round: impl FnMut()) {
    let nanos = (0..5).map(|_| {
        let start = Instant::now();
        (0..rounds).for_each(|_| round());
        start.elapsed().as_secs_f64() * 1e9 / f64::from(rounds)
    });
    println!("{name:<46} {:>8.1} ns", nanos.fold(f64::MAX, f64::min));
}

#[test]
#[ignore = "prints measurements"]
fn prices() {
    let mut local = LocalPool::default();
    let slot = local.get(CLASS).unwrap();
    let addr = slot.limit().addr();
    price("slot_of", 10_000_000, || {
        black_box(arena::slot_of(black_box(addr)));
    });
    price("get + put", 10_000_000, || {
        let slot = black_box(local.get(CLASS).unwrap());
        local.put(slot);
    });

    let mut peer = start(*slot, |peer| {
        loop {
            peer.send(0);
        }
    });
    price("switch there and back", 10_000_000, || {
        peer.send(0);
    });
    price("get + make + switch twice + put", 10_000_000, || {
        let slot = local.get(CLASS).unwrap();
        black_box(run_once(&slot));
        local.put(slot);
    });
    for live in [100, 1_000, 10_000] {
        round_robin(&mut local, live);
    }
}

fn run_once(slot: &StackSlot) -> usize {
    extern "C" fn entry(Transfer { context, data }: Transfer) -> ! {
        // SAFETY: back to `run_once`, which drops this flow and owns the slot again.
        unsafe { switch(context, data + 1) };
        unreachable!()
    }
    // SAFETY: the slot is the caller's, and `entry` is done with it when the switch returns.
    unsafe { switch(make(slot.top(), slot.limit(), entry), 1).1 }
}

fn round_robin(local: &mut LocalPool, live: usize) {
    let mut peers: Vec<_> = (0..live)
        .map(|_| {
            let slot = local.get(CLASS).unwrap();
            start(*slot, |peer| {
                loop {
                    peer.send(0);
                }
            })
        })
        .collect();
    let mut next = 0;
    price(&format!("switch there and back, {live} live"), 2_000_000, || {
        peers[next].send(0);
        next = (next + 1) % live;
    });
}

#[test]
#[ignore = "prints measurements"]
fn first_use() {
    const COUNT: usize = 200_000;
    let per_stack = |start: Instant| start.elapsed().as_nanos() / COUNT as u128;
    let mut local = LocalPool::default();

    let start = Instant::now();
    let slots: Vec<_> = (0..COUNT).map(|_| local.get(CLASS).unwrap()).collect();
    println!("new stack, committed and guarded {:>19} ns", per_stack(start));
    let start = Instant::now();
    let contexts: Vec<Ctx> = slots.iter().map(make_unused).collect();
    println!("first touch of its top page {:>24} ns", per_stack(start));
    drop(contexts);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for what in ["VmRSS", "VmPTE"] {
        let line = status.lines().find(|line| line.starts_with(what)).unwrap();
        let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        println!("{what} per stack {:>36} bytes", (kib << 10) / COUNT);
    }
    slots.into_iter().for_each(|slot| local.put(slot));
    local.flush();

    scavenge(0);
    let start = Instant::now();
    while scavenge(512) > 0 {}
    println!("scavenge, one page each {:>28} ns", per_stack(start));
}

fn make_unused(slot: &StackSlot) -> Ctx {
    extern "C" fn entry(_: Transfer) -> ! {
        unreachable!("never started")
    }
    // SAFETY: the slot is the caller's, and the context is never switched to.
    unsafe { make(slot.top(), slot.limit(), entry) }
}
