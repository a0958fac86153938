//! A pipeline: a goroutine makes numbers, some tasks work on them side by side, a goroutine puts
//! the results back into order. Bounded channels keep the fast from running away from the slow;
//! a closed channel ends each stage.
//!
//! ```text
//! cargo run --release -p gort-examples --example pipeline
//! ```

use std::collections::BTreeMap;

use gort::chan::{Receiver, bounded};
use gort::prelude::*;

const WORKERS: usize = 4;

#[gort::main]
fn main() {
    let steps = in_order(with_workers(numbers(10_000)));
    let longest = steps.iter().max_by_key(|(_, steps)| *steps);
    let Some((n, steps)) = longest else { unreachable!("there are numbers") };
    println!("of the first 10000 numbers {n} takes the most steps to 1: {steps}");
    assert_eq!((n, steps), (6171, 261));
}

/// The first stage.
fn numbers(n: u64) -> Receiver<u64> {
    let (out, numbers) = bounded(16);
    gort::go(move || (1..=n).try_for_each(|n| out.send(n).wait()));
    numbers
}

/// The second stage: tasks, as there is nothing to block in them. Their results come as they come.
fn with_workers(numbers: Receiver<u64>) -> Receiver<(u64, u32)> {
    let (out, results) = bounded(16);
    for _ in 0..WORKERS {
        let (numbers, out) = (numbers.clone(), out.clone());
        gort::spawn(async move {
            while let Ok(n) = numbers.recv().await {
                if out.send((n, collatz(n))).await.is_err() {
                    break;
                }
            }
        });
    }
    results
}

/// The last stage: in the order of the numbers again.
fn in_order(results: Receiver<(u64, u32)>) -> Receiver<(u64, u32)> {
    let (out, ordered) = bounded(16);
    gort::go(move || {
        let mut early = BTreeMap::new();
        let mut next = 1;
        for (n, steps) in results {
            early.insert(n, steps);
            while let Some(steps) = early.remove(&next) {
                if out.send((next, steps)).wait().is_err() {
                    return;
                }
                next += 1;
            }
        }
    });
    ordered
}

/// Steps from `n` to 1: half of it, or three times and one.
fn collatz(mut n: u64) -> u32 {
    let mut steps = 0;
    while n != 1 {
        n = if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 };
        steps += 1;
    }
    steps
}
