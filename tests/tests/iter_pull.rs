//! `pull` and `pull_scoped`: Go's tests of iter.Pull (`iter_test.go`), and what Rust adds.

mod coro_places;
mod go_modes;

use std::cell::Cell;
use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use gort::iter::{Pull, ScopedPull, Yielder, pull, pull_scoped};
use gort_tests::{Rng, panic_text};

use coro_places::{Drops, assert_calm, everywhere};

fn count(n: u32) -> Pull<u32> {
    pull(move |y| (0..n).for_each(|i| y.yield_(i)))
}

/// Go: TestPull.
#[test]
fn each_length_and_each_stop() {
    everywhere(|| {
        for end in 0..=3 {
            for stop_after in 0..=end {
                let mut p = count(3);
                for i in 0..stop_after.min(3) {
                    assert_eq!(p.next(), Some(i));
                }
                p.stop();
                for _ in 0..2 {
                    assert_eq!(p.next(), None);
                    p.stop();
                }
            }
            let mut p = count(end);
            assert_eq!(p.by_ref().collect::<Vec<_>>(), (0..end).collect::<Vec<_>>());
            assert_eq!((p.next(), p.next()), (None, None));
        }
    });
}

/// S80: stopped before the first `next`, it never begins.
#[test]
fn stopped_before_the_first_next() {
    everywhere(|| {
        let drops = Drops::default();
        let guard = drops.guard();
        let mut p = pull(move |y| {
            let _guard = guard;
            y.yield_(());
            unreachable!("it never begins");
        });
        p.stop();
        assert_eq!(drops.count(), 1);
        assert_eq!(p.next(), None);
        p.stop();
    });
}

/// Go: TestPullPanicOnNext, TestPullPanicOnStop.
#[test]
fn panics() {
    everywhere(|| {
        let mut p = pull(|_: &Yielder<()>| resume_unwind(Box::new("boom")));
        let payload = catch_unwind(AssertUnwindSafe(|| p.next())).unwrap_err();
        assert_eq!(panic_text(&*payload), "boom");
        assert_eq!((p.next(), p.next()), (None, None));
        p.stop();

        let mut p = pull(|y| {
            let _ = catch_unwind(AssertUnwindSafe(|| y.yield_(55)));
            resume_unwind(Box::new("boom"));
        });
        assert_eq!(p.next(), Some(55));
        let payload = catch_unwind(AssertUnwindSafe(|| p.stop())).unwrap_err();
        assert_eq!(panic_text(&*payload), "boom");
        assert_eq!(p.next(), None);
        p.stop();
        assert_calm();
    });
}

#[test]
fn it_is_an_iterator() {
    fn is_fused<I: FusedIterator>(_: &I) {}

    everywhere(|| {
        let p = count(10);
        is_fused(&p);
        let odd: Vec<_> = p.filter(|i| i % 2 == 1).zip("abc".chars()).collect();
        assert_eq!(odd, [(1, 'a'), (3, 'b'), (5, 'c')]);
        let mut p = count(10).peekable();
        assert_eq!(p.peek(), Some(&0));
        assert_eq!((p.next(), p.nth(3)), (Some(0), Some(4)));
        assert_eq!(count(4).chain(count(2)).sum::<u32>(), 7);
        let strings: String =
            pull(|y| ["a", "b"].iter().for_each(|s| y.yield_(s.to_string()))).collect();
        assert_eq!(strings, "ab");
    });
}

/// Values that are not taken, and those that are, are dropped once.
#[test]
fn values_are_dropped_once() {
    everywhere(|| {
        let drops = Drops::default();
        let theirs = drops.clone();
        let mut p = pull(move |y| {
            for _ in 0..10 {
                y.yield_(theirs.guard());
            }
        });
        let kept = p.next();
        drop(p.next());
        assert_eq!(drops.count(), 1);
        drop(p);
        assert_eq!(drops.count(), 1);
        drop(kept);
        assert_eq!(drops.count(), 2);
    });
}

struct Node {
    left: Tree,
    value: u32,
    right: Tree,
}

type Tree = Option<Box<Node>>;

/// A tree of random shape with these leaves in order; inner nodes have the value 0.
fn tree(rng: &mut Rng, leaves: &[u32]) -> Tree {
    match leaves {
        [] => None,
        [value] => Some(Box::new(Node { left: None, value: *value, right: None })),
        _ => {
            let (left, right) = leaves.split_at(1 + rng.below(leaves.len() as u64 - 1) as usize);
            let (left, right) = (tree(rng, left), tree(rng, right));
            Some(Box::new(Node { left, value: 0, right }))
        }
    }
}

fn walk(tree: &Tree, y: &Yielder<u32>) {
    if let Some(node) = tree {
        walk(&node.left, y);
        if node.value > 0 {
            y.yield_(node.value);
        }
        walk(&node.right, y);
    }
}

/// Hewitt's problem: do two trees of different shapes have the same leaves in the same order?
#[test]
fn same_fringe() {
    let mut rng = Rng::from_env();
    let leaves: Vec<u32> = (1..=500).collect();
    let mut other = leaves.clone();
    other[321] = 7;
    let seeds: Vec<Rng> = (0..3).map(|_| rng.split()).collect();
    let same = |a: &Tree, b: &Tree| {
        pull_scoped(|y| walk(a, y), |p| pull_scoped(|y| walk(b, y), |q| p.eq(q)))
    };
    for mut rng in seeds {
        let (a, b) = (tree(&mut rng, &leaves), tree(&mut rng, &leaves));
        assert!(same(&a, &b));
        assert!(!same(&a, &tree(&mut rng, &other)));
        assert!(!same(&a, &tree(&mut rng, &leaves[..499])));
    }
}

/// A `Pull` per node, each inside the body of its parent's.
#[test]
fn recursive_pulls() {
    fn walk(depth: u32, at: u32) -> Pull<u32> {
        pull(move |y| {
            if depth > 0 {
                walk(depth - 1, 2 * at).for_each(|i| y.yield_(i));
                y.yield_(at);
                walk(depth - 1, 2 * at + 1).for_each(|i| y.yield_(i));
            }
        })
    }

    everywhere(|| {
        let mut all: Vec<_> = walk(7, 1).collect();
        assert_eq!(all.len(), 127);
        assert_eq!(walk(7, 1).take(10).collect::<Vec<_>>(), all[..10]);
        all.sort_unstable();
        assert_eq!(all, (1..128).collect::<Vec<_>>());
    });
}

/// Two sorted iterators become one.
#[test]
fn merge() {
    fn merge(
        a: impl Iterator<Item = u32> + 'static,
        b: impl Iterator<Item = u32> + 'static,
    ) -> Pull<u32> {
        pull(move |y| {
            let (mut a, mut b) = (a.peekable(), b.peekable());
            while let (Some(x), Some(z)) = (a.peek(), b.peek()) {
                let next = if x <= z { a.next() } else { b.next() };
                y.yield_(next.expect("peeked"));
            }
            a.chain(b).for_each(|x| y.yield_(x));
        })
    }

    everywhere(|| {
        let of = |step: u32| pull(move |y| (0..50).for_each(|i| y.yield_(i * step)));
        let merged: Vec<_> = merge(merge(of(2), of(3)), of(7)).collect();
        assert_eq!(merged.len(), 150);
        assert!(merged.is_sorted());
    });
}

/// The body borrows, and is gone when the call returns, however it returns.
#[test]
fn scoped() {
    everywhere(|| {
        let mut log = Vec::new();
        let drops = Drops::default();
        let body = |y: &Yielder<usize>| {
            let _guard = drops.guard();
            for i in 0.. {
                log.push(i);
                y.yield_(i);
            }
        };
        assert_eq!(pull_scoped(body, |mut p| p.nth(2)), Some(2));
        assert_eq!((log.as_slice(), drops.count()), ([0, 1, 2].as_slice(), 1));

        // The handle is nothing to be kept or forgotten.
        let mut dropped = false;
        let body = |y: &Yielder<()>| {
            let _guard = gort_tests::OnDrop::new(|| dropped = true);
            y.yield_(());
            y.yield_(());
        };
        pull_scoped(body, |mut p: ScopedPull<'_, ()>| {
            p.next();
            let _forgotten = ManuallyDrop::new(p);
        });
        assert!(dropped);

        let caught = catch_unwind(AssertUnwindSafe(|| {
            let body = |y: &Yielder<()>| {
                let _guard = drops.guard();
                y.yield_(());
                y.yield_(());
            };
            pull_scoped(body, |mut p| {
                p.next();
                resume_unwind(Box::new("out"));
            })
        }));
        assert_eq!(panic_text(&*caught.unwrap_err()), "out");
        assert_eq!(drops.count(), 2);
        let mut stopped = 0;
        pull_scoped(
            |y| {
                let _guard = gort_tests::OnDrop::new(|| stopped += 1);
                y.yield_(1);
                y.yield_(2);
            },
            |mut p| {
                assert_eq!(p.next(), Some(1));
                p.stop();
                assert_eq!((p.next(), p.next()), (None, None));
            },
        );
        assert_eq!(stopped, 1);
        assert_calm();
    });
}

/// Two at a time on one flow of control, in turns, and out of order.
#[test]
fn interleaved() {
    everywhere(|| {
        let mut all: VecDeque<_> = (1..=10).map(count).collect();
        let mut sum = 0;
        while let Some(mut p) = all.pop_front() {
            if let Some(i) = p.next() {
                sum += i;
                all.push_back(p);
            }
        }
        assert_eq!(sum, (1..=10).map(|n| n * (n - 1) / 2).sum::<u32>());
        let mut all: Vec<_> = (0..20).map(|_| count(100)).collect();
        all.iter_mut().for_each(|p| assert_eq!(p.next(), Some(0)));
        while !all.is_empty() {
            drop(all.remove(all.len() / 2));
            all.iter_mut().for_each(|p| assert!(p.next().is_some()));
        }
    });
}

/// The body sees what the caller does between two values, for they share the thread.
#[test]
fn shared_state() {
    everywhere(|| {
        let shared = Rc::new(Cell::new(0));
        let theirs = shared.clone();
        let mut p = pull(move |y| {
            loop {
                y.yield_(theirs.get());
                theirs.set(theirs.get() + 1);
            }
        });
        for i in 0..10 {
            shared.set(10 * i);
            assert_eq!(p.next(), Some(if i == 0 { 0 } else { 10 * i + 1 }));
        }
    });
}
