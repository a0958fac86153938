//! Iterators from plain functions: [`pull`]. Go: iter.Pull.
//!
//! ```text
//!   pull(|y| { … y.yield_(a); … })        the function pushes, in any call depth
//!   p.next() ── switch ──▶ … yield_(a)    and stops here
//!   Some(a)  ◀── switch ──┘
//! ```
//!
//! The [`coro`](crate::coro) module has the rules, and says when a stream or a channel is the
//! better tool.

use std::fmt;
use std::iter::FusedIterator;
use std::panic::resume_unwind;

use crate::coro::{Coroutine, State};

/// The body's side of a [`Pull`]: `y.yield_(value)` hands a value to `next`.
pub type Yielder<T> = crate::coro::Yielder<(), T>;

/// An iterator over what a function yields. See [`pull`].
#[must_use = "iterators are lazy: the body begins at the first `next`"]
pub struct Pull<T> {
    body: Coroutine<(), T, ()>,
}

/// An iterator over what `body` yields. The body runs on a stack of its own, in turns with whoever
/// calls `next`; it begins at the first `next`.
///
/// When it returns, `next` gives None, then and ever after; a panic comes out of `next` once, and
/// after that it gives None too. To drop the iterator, or to [`stop`](Pull::stop) it, unwinds the
/// body where it stands, so that its destructors run.
///
/// # Panics
/// If the system refuses memory for a stack.
///
/// # Examples
/// ```
/// let mut fib = gort::iter::pull(|y| {
///     let (mut a, mut b) = (0u64, 1);
///     loop {
///         y.yield_(a);
///         (a, b) = (b, a + b);
///     }
/// });
/// assert_eq!(fib.by_ref().take(5).collect::<Vec<_>>(), [0, 1, 1, 2, 3]);
/// assert_eq!(fib.next(), Some(5));
/// drop(fib); // unwinds the body
/// ```
///
/// A walk through a tree, without a stack of nodes:
/// ```
/// use gort::iter::{Yielder, pull};
///
/// struct Node(Option<Box<Node>>, i32, Option<Box<Node>>);
///
/// fn walk(node: &Option<Box<Node>>, y: &Yielder<i32>) {
///     if let Some(node) = node {
///         walk(&node.0, y);
///         y.yield_(node.1);
///         walk(&node.2, y);
///     }
/// }
///
/// let leaf = |n| Some(Box::new(Node(None, n, None)));
/// let tree = Some(Box::new(Node(leaf(1), 2, leaf(3))));
/// assert_eq!(pull(move |y| walk(&tree, y)).collect::<Vec<_>>(), [1, 2, 3]);
/// ```
#[track_caller]
#[inline]
pub fn pull<T, F>(body: F) -> Pull<T>
where
    F: FnOnce(&Yielder<T>) + 'static,
    T: 'static,
{
    Pull { body: Coroutine::new(move |y, ()| body(y)) }
}

impl<T> Pull<T> {
    /// Ends the iterator: unwinds the body where it stands. One that has not begun never does.
    /// `next` gives None from then on. To call it again does nothing.
    ///
    /// # Panics
    /// With the panic of a destructor in the body.
    pub fn stop(&mut self) {
        if let Err(payload) = self.body.unwind() {
            resume_unwind(payload);
        }
    }
}

impl<T> Iterator for Pull<T> {
    type Item = T;

    #[inline(always)]
    #[track_caller]
    fn next(&mut self) -> Option<T> {
        next(&mut self.body)
    }
}

impl<T> FusedIterator for Pull<T> {}

impl<T> fmt::Debug for Pull<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pull").field(&self.body).finish()
    }
}

#[inline(always)]
#[track_caller]
fn next<T>(body: &mut Coroutine<(), T, ()>) -> Option<T> {
    match body.advance(()) {
        Some(State::Yielded(value)) => Some(value),
        Some(State::Complete(())) | None => None,
    }
}

/// As [`pull`], for a body that borrows from outside: the iterator is lent to `f`, and the body is
/// unwound when `f` returns.
///
/// In a build with `panic = "abort"` an unfinished body cannot be unwound, and what it borrows is
/// about to end; there the process ends instead, with code 2.
///
/// # Panics
/// With the panic of `f` or of the body, or if the system refuses memory for a stack.
///
/// # Examples
/// ```
/// let words = [String::from("to"), String::from("be")];
/// let letters = |y: &gort::iter::Yielder<char>| {
///     words.iter().flat_map(|word| word.chars()).for_each(|letter| y.yield_(letter));
/// };
/// let found = gort::iter::pull_scoped(letters, |mut p| p.find(|letter| *letter > 'o'));
/// assert_eq!(found, Some('t'));
/// assert_eq!(words.len(), 2);
/// ```
#[track_caller]
pub fn pull_scoped<T, R>(
    body: impl FnOnce(&Yielder<T>),
    f: impl FnOnce(ScopedPull<'_, T>) -> R,
) -> R {
    // SAFETY: `f` gets no more than a reference to it, so it is dropped in this frame, before
    // anything outside of it that the body borrows.
    let mut body = unsafe { Coroutine::scoped(move |y, ()| body(y), true) };
    f(ScopedPull { body: &mut body })
}

/// The iterator of [`pull_scoped`].
#[must_use = "iterators are lazy: the body begins at the first `next`"]
pub struct ScopedPull<'p, T> {
    body: &'p mut Coroutine<(), T, ()>,
}

impl<T> ScopedPull<'_, T> {
    /// As [`Pull::stop`].
    ///
    /// # Panics
    /// With the panic of a destructor in the body.
    pub fn stop(&mut self) {
        if let Err(payload) = self.body.unwind() {
            resume_unwind(payload);
        }
    }
}

impl<T> Iterator for ScopedPull<'_, T> {
    type Item = T;

    #[inline(always)]
    #[track_caller]
    fn next(&mut self) -> Option<T> {
        next(self.body)
    }
}

impl<T> FusedIterator for ScopedPull<'_, T> {}

impl<T> fmt::Debug for ScopedPull<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScopedPull").field(&self.body).finish()
    }
}
