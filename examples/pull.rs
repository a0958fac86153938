//! Pull iterators: functions that hand out values from wherever they are, and go on from there.
//!
//! The walk through a tree is three lines of recursion; as an `Iterator` written by hand it would be
//! a stack of nodes and a state machine.

use std::time::Instant;

use gort::coro::{Coroutine, State};
use gort::iter::{Pull, Yielder, pull, pull_scoped};

/// A binary tree with values in the leaves.
enum Tree {
    Leaf(u32),
    Fork(Box<Tree>, Box<Tree>),
}

impl Tree {
    /// The leaves from `first` to `last`, split in the ratio of `left` to `right`.
    fn new(first: u32, last: u32, (left, right): (u32, u32)) -> Tree {
        if first == last {
            return Tree::Leaf(first);
        }
        let middle = first + (last - first) * left / (left + right);
        let fork = |first, last| Box::new(Tree::new(first, last, (left, right)));
        Tree::Fork(fork(first, middle), fork(middle + 1, last))
    }

    fn walk(&self, y: &Yielder<u32>) {
        match self {
            Tree::Leaf(value) => y.yield_(*value),
            Tree::Fork(left, right) => {
                left.walk(y);
                right.walk(y);
            }
        }
    }

    /// Hewitt's same-fringe problem: the same leaves in the same order, whatever the shape? Stops
    /// at the first difference, and holds no list of leaves.
    fn same_fringe(&self, other: &Tree) -> bool {
        pull_scoped(|y| self.walk(y), |mine| pull_scoped(|y| other.walk(y), |its| mine.eq(its)))
    }
}

/// Two sorted iterators as one.
fn merge(
    a: impl Iterator<Item = u32> + 'static,
    b: impl Iterator<Item = u32> + 'static,
) -> Pull<u32> {
    pull(|y| {
        let (mut a, mut b) = (a.peekable(), b.peekable());
        while let (Some(left), Some(right)) = (a.peek(), b.peek()) {
            let next = if left <= right { a.next() } else { b.next() };
            next.into_iter().for_each(|value| y.yield_(value));
        }
        a.chain(b).for_each(|value| y.yield_(value));
    })
}

fn main() {
    let tree = Tree::new(1, 9, (1, 1));
    let leaves: Vec<u32> = pull_scoped(|y| tree.walk(y), |leaves| leaves.collect());
    println!("the leaves of a tree: {leaves:?}");

    let (even, skewed) = (Tree::new(1, 10_000, (1, 1)), Tree::new(1, 10_000, (1, 7)));
    println!("two shapes, the same fringe: {}", even.same_fringe(&skewed));
    println!("another last leaf: {}", even.same_fringe(&Tree::new(1, 9_999, (1, 1))));

    let multiples_of = |n: u32| pull(move |y| (1..=5).for_each(|i| y.yield_(i * n)));
    let merged: Vec<u32> = merge(multiples_of(2), multiples_of(3)).collect();
    println!("merged: {merged:?}");

    // What goes in is the answer to what came out.
    let mut guess = Coroutine::new(|y, mut is_less: bool| {
        let (mut low, mut high) = (0, 100);
        while low < high {
            let middle = (low + high) / 2;
            is_less = y.yield_(middle);
            (low, high) = if is_less { (low, middle) } else { (middle + 1, high) };
        }
        (low, is_less)
    });
    let mut state = guess.resume(false);
    while let State::Yielded(asked) = state {
        state = guess.resume(42 <= asked);
    }
    println!("guessed: {state:?}");

    let values = 1_000_000;
    let start = Instant::now();
    let sum: u64 = pull(|y| (0..u64::MAX).for_each(|i| y.yield_(i))).take(values).sum();
    println!("{values} values, sum {sum}: {:?}", start.elapsed());
}
