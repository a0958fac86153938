//! Iterators over what a function yields: each library's form of the same endless count.
//!
//! [`RawContext`] is the bare pair of switches, with nothing around it that makes it safe; it abandons its stack in the end,
//! as that library does not unwind.

use context::stack::ProtectedFixedSizeStack;
use context::{Context, Transfer};
use corosensei::stack::DefaultStack;

/// The size that each of them gets.
const STACK: usize = 256 << 10;

/// An iterator whose body counts from 0, and ends where it is told to.
pub trait Counting: Iterator<Item = u64> {
    /// The library's name in tables.
    const NAME: &'static str;

    /// A stack that is used again, or whatever the library keeps of one.
    type Stack: Default;

    /// Counts to `end`.
    fn new(stack: &mut Self::Stack, end: u64) -> Self;

    /// Gives the stack back, after the end.
    fn recycle(self, stack: &mut Self::Stack);
}

/// gort's `Pull`.
#[derive(Debug)]
pub struct Gort(gort::iter::Pull<u64>);

impl Counting for Gort {
    const NAME: &'static str = "gort";
    type Stack = ();

    #[inline]
    fn new(_: &mut (), end: u64) -> Gort {
        Gort(gort::iter::pull(move |y| (0..end).for_each(|i| y.yield_(i))))
    }

    fn recycle(self, _: &mut ()) {}
}

impl Iterator for Gort {
    type Item = u64;

    #[inline(always)]
    fn next(&mut self) -> Option<u64> {
        self.0.next()
    }
}

/// `context`, as gort uses it below.
pub struct RawContext {
    peer: Option<Context>,
    stack: ProtectedFixedSizeStack,
}

/// What `RawContext` keeps of a stack.
#[derive(Default)]
pub struct Spare(Option<ProtectedFixedSizeStack>);

extern "C" fn count(Transfer { mut context, data: end }: Transfer) -> ! {
    for i in 0..end {
        // SAFETY: the flow that asked for the value, suspended in `next`.
        context = unsafe { context.resume(i) }.context;
    }
    // SAFETY: as above; it does not come back.
    unsafe { context.resume(usize::MAX) };
    std::process::abort()
}

impl Counting for RawContext {
    const NAME: &'static str = "context";
    type Stack = Spare;

    #[inline]
    fn new(spare: &mut Spare, end: u64) -> RawContext {
        let fresh = || ProtectedFixedSizeStack::new(STACK).expect("a stack");
        let stack = spare.0.take().unwrap_or_else(fresh);
        // SAFETY: the stack lies beside the context and is not dropped before it.
        let context = unsafe { Context::new(&stack, count) };
        // SAFETY: just made.
        let peer = unsafe { context.resume(end as usize) };
        assert_eq!(peer.data, 0);
        RawContext { peer: Some(peer.context), stack }
    }

    fn recycle(self, spare: &mut Spare) {
        spare.0 = Some(self.stack);
    }
}

impl Iterator for RawContext {
    type Item = u64;

    #[inline(always)]
    fn next(&mut self) -> Option<u64> {
        let peer = self.peer.take()?;
        // SAFETY: the flow suspended in `count`.
        let Transfer { context, data } = unsafe { peer.resume(0) };
        self.peer = (data != usize::MAX).then_some(context);
        (data != usize::MAX).then_some(data as u64)
    }
}

/// corosensei.
pub struct Corosensei(corosensei::Coroutine<(), u64, (), DefaultStack>);

/// What `Corosensei` keeps of a stack.
#[derive(Default)]
pub struct SpareDefault(Option<DefaultStack>);

impl Counting for Corosensei {
    const NAME: &'static str = "corosensei";
    type Stack = SpareDefault;

    #[inline]
    fn new(spare: &mut SpareDefault, end: u64) -> Corosensei {
        let fresh = || DefaultStack::new(STACK).expect("a stack");
        let stack = spare.0.take().unwrap_or_else(fresh);
        Corosensei(corosensei::Coroutine::with_stack(stack, move |y, ()| {
            (0..end).for_each(|i| y.suspend(i));
        }))
    }

    fn recycle(self, spare: &mut SpareDefault) {
        spare.0 = Some(self.0.into_stack());
    }
}

impl Iterator for Corosensei {
    type Item = u64;

    #[inline(always)]
    fn next(&mut self) -> Option<u64> {
        if self.0.done() { None } else { self.0.resume(()).as_yield() }
    }
}

/// generator, which is what may is built on.
pub struct Generator(generator::LocalGenerator<'static, (), u64>);

impl Counting for Generator {
    const NAME: &'static str = "generator";
    type Stack = ();

    #[inline]
    fn new(_: &mut (), end: u64) -> Generator {
        Generator(generator::Gn::new_scoped_opt_local(STACK / size_of::<usize>(), move |mut s| {
            for i in 0..end {
                s.yield_with(i);
            }
            generator::done!()
        }))
    }

    fn recycle(self, _: &mut ()) {}
}

impl Iterator for Generator {
    type Item = u64;

    #[inline(always)]
    fn next(&mut self) -> Option<u64> {
        self.0.next()
    }
}

/// Sums up `n` values.
#[inline(never)]
pub fn sum<C: Counting>(counting: &mut C, n: u64) -> u64 {
    counting.take(usize::try_from(n).unwrap_or(usize::MAX)).sum()
}

/// Creates an iterator, takes its four values and its end.
#[inline(never)]
pub fn whole_life<C: Counting>(stack: &mut C::Stack) -> u64 {
    let mut counting = C::new(stack, 4);
    let sum = counting.by_ref().sum();
    counting.recycle(stack);
    sum
}
