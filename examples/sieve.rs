//! The sieve of Eratosthenes as a chain of goroutines, one per prime, each of which lets through
//! what its prime does not divide. Go: test/chan/sieve1.go; the idea is McIlroy's.
//!
//! ```text
//! cargo run --release -p gort-examples --example sieve -- 1000
//! ```
//! prints the thousandth prime.

use gort::chan::{Receiver, Sender, bounded};
use gort::prelude::*;

#[gort::main]
fn main() {
    let n = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(100);
    match primes().iter().nth(n - 1) {
        Some(prime) => println!("prime number {n} is {prime}"),
        None => unreachable!("there are more"),
    }
}

/// All primes, for as long as somebody receives them.
fn primes() -> Receiver<u64> {
    let (found, primes) = bounded(0);
    gort::go(move || {
        let mut numbers = count();
        while let Ok(prime) = numbers.recv().wait() {
            if found.send(prime).wait().is_err() {
                break; // and with `numbers` goes the whole chain, link by link
            }
            let (out, filtered) = bounded(0);
            gort::go(move || filter(&numbers, prime, &out));
            numbers = filtered;
        }
    });
    primes
}

/// 2, 3, 4, ...
fn count() -> Receiver<u64> {
    let (out, numbers) = bounded(0);
    gort::go(move || (2..).try_for_each(|n| out.send(n).wait()));
    numbers
}

fn filter(numbers: &Receiver<u64>, prime: u64, out: &Sender<u64>) {
    let mut others = numbers.iter().filter(|n| n % prime != 0);
    while let Some(n) = others.next()
        && out.send(n).wait().is_ok()
    {}
}
