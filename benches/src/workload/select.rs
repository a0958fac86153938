//! One receiver that waits for one of several channels, on gort's tasks and goroutines and on
//! crossbeam-channel's threads. Go has a twin; other runtimes have no select over channels.
//!
//! `select_ready`: all channels have a value; one is taken and put back. `select`: a partner sends to the channels in an order
//! that looks random, so that the receiver waits often. The channels have room for one value.

use std::thread;

use gort::chan::{Receiver, Sender, bounded};
use gort::{Wait as _, select, select_async};

use super::{Setup, Workload};
use crate::measure::Stopwatch;
use crate::{Report, Rt as _, rt::Gort};

/// What measures itself on one of the subjects.
type Measured = fn(u64) -> u64;

/// All workloads under their names, for `gort`, `gort-go` and `crossbeam`.
pub fn find(name: &str, runtime: &str) -> Option<Workload> {
    Some(match (name, runtime) {
        ("select2", "gort") => |s| as_task(s, tasks2),
        ("select8", "gort") => |s| as_task(s, tasks8),
        ("select64", "gort") => |s| as_task(s, tasks64),
        ("select2", "gort-go") => |s| as_goroutine(s, goroutines2),
        ("select8", "gort-go") => |s| as_goroutine(s, goroutines8),
        ("select64", "gort-go") => |s| as_goroutine(s, goroutines64),
        ("select2", "crossbeam") => |s| as_thread(s, |n| crossbeam::<2>(n / 10) * 10),
        ("select8", "crossbeam") => |s| as_thread(s, |n| crossbeam::<8>(n / 10) * 10),
        ("select64", "crossbeam") => |s| as_thread(s, |n| crossbeam::<64>(n / 10) * 10),
        ("select_ready2", "gort" | "gort-go") => |s| as_goroutine(s, ready2),
        ("select_ready8", "gort" | "gort-go") => |s| as_goroutine(s, ready8),
        ("select_ready64", "gort" | "gort-go") => |s| as_goroutine(s, ready64),
        ("select_ready2", "crossbeam") => |s| as_thread(s, crossbeam_ready::<2>),
        ("select_ready8", "crossbeam") => |s| as_thread(s, crossbeam_ready::<8>),
        ("select_ready64", "crossbeam") => |s| as_thread(s, crossbeam_ready::<64>),
        _ => return None,
    })
}

/// Their names.
pub const NAMES: [&str; 6] =
    ["select2", "select8", "select64", "select_ready2", "select_ready8", "select_ready64"];

fn as_task<F: Future<Output = u64> + Send + 'static>(setup: &Setup, work: fn(u64) -> F) -> Report {
    super::per_op::<Gort, _>(setup, 300_000, work)
}

fn as_goroutine(setup: &Setup, work: Measured) -> Report {
    let n = setup.scaled(300_000);
    let runtime = gort::Builder::new().procs(setup.procs).build().expect("gort starts");
    runtime.run(move || measure(n, work))
}

fn as_thread(setup: &Setup, work: Measured) -> Report {
    measure(setup.scaled(300_000), work)
}

fn measure(n: u64, work: Measured) -> Report {
    work(n / 10);
    let watch = Stopwatch::start();
    let ops = work(n);
    watch.stop().per_op(ops)
}

/// The next of `N` channels, the same for all.
fn next<const N: usize>(x: &mut u64) -> usize {
    *x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*x >> 33) as usize % N
}

type Ends<const N: usize> = ([Sender<u64>; N], [Receiver<u64>; N]);

fn channels<const N: usize>(full: bool) -> Ends<N> {
    let ends: [_; N] = std::array::from_fn(|_| bounded(1));
    let txs = ends.each_ref().map(|(tx, _)| tx.clone());
    if full {
        txs.iter().for_each(|tx| tx.try_send(0).expect("there is room"));
    }
    (txs, ends.map(|(_, rx)| rx))
}

/// The workloads over as many channels as there are indices.
macro_rules! over {
    ($n:literal $tasks:ident $goroutines:ident $ready:ident: $($i:literal)*) => {
        async fn $tasks(n: u64) -> u64 {
            let (txs, rxs) = channels::<$n>(false);
            let _open = txs.clone();
            let sending = Gort::spawn(async move {
                let mut x = 1;
                for i in 0..n {
                    txs[next::<$n>(&mut x)].send(i).await.expect("there is a receiver");
                }
            });
            let mut sum = 0;
            for _ in 0..n {
                sum += select_async! { $(recv(rxs[$i]) -> i => i.expect("it is open"),)* };
            }
            sending.await;
            assert_eq!(sum, n * (n - 1) / 2);
            n
        }

        fn $goroutines(n: u64) -> u64 {
            let (txs, rxs) = channels::<$n>(false);
            let _open = txs.clone();
            let sending = gort::go(move || {
                let mut x = 1;
                for i in 0..n {
                    txs[next::<$n>(&mut x)].send(i).wait().expect("there is a receiver");
                }
            });
            let mut sum = 0;
            for _ in 0..n {
                sum += select! { $(recv(rxs[$i]) -> i => i.expect("it is open"),)* };
            }
            sending.wait().expect("it does not panic");
            assert_eq!(sum, n * (n - 1) / 2);
            n
        }

        fn $ready(n: u64) -> u64 {
            let (txs, rxs) = channels::<$n>(true);
            for _ in 0..n {
                let i = select! { $(recv(rxs[$i]) -> _ => $i,)* };
                txs[i].try_send(0).expect("there is room");
            }
            n
        }
    };
}

over!(2 tasks2 goroutines2 ready2: 0 1);
over!(8 tasks8 goroutines8 ready8: 0 1 2 3 4 5 6 7);
over!(64 tasks64 goroutines64 ready64:
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
    32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63);

fn crossbeam<const N: usize>(n: u64) -> u64 {
    let ends: [_; N] = std::array::from_fn(|_| crossbeam_channel::bounded(1));
    let txs = ends.each_ref().map(|(tx, _)| tx.clone());
    let sending = thread::spawn(move || {
        let mut x = 1;
        for i in 0..n {
            txs[next::<N>(&mut x)].send(i).expect("there is a receiver");
        }
    });
    let mut select = crossbeam_channel::Select::new();
    for (_, rx) in &ends {
        select.recv(rx);
    }
    let mut sum = 0;
    for _ in 0..n {
        let chosen = select.select();
        let rx = &ends[chosen.index()].1;
        sum += chosen.recv(rx).expect("it is open");
    }
    sending.join().expect("it does not panic");
    assert_eq!(sum, n * (n - 1) / 2);
    n
}

fn crossbeam_ready<const N: usize>(n: u64) -> u64 {
    let ends: [_; N] = std::array::from_fn(|_| crossbeam_channel::bounded(1));
    ends.iter().for_each(|(tx, _)| tx.try_send(0_u64).expect("there is room"));
    let mut select = crossbeam_channel::Select::new();
    for (_, rx) in &ends {
        select.recv(rx);
    }
    for _ in 0..n {
        let chosen = select.select();
        let (tx, rx) = &ends[chosen.index()];
        chosen.recv(rx).expect("it is open");
        tx.try_send(0).expect("there is room");
    }
    n
}
