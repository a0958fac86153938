//! Coroutines: functions that stop in the middle, hand out a value, and go on when they are asked
//! for the next one.
//!
//! ```text
//!   the caller's stack                          the body's stack
//!   resume(input) ── switch ─────────────────▶  y.yield_ returns the input
//!        (nobody else runs, nothing is queued)    └ body goes on, in any call depth
//!   State::Yielded(out) ◀───────── switch ────  y.yield_(out)
//!   resume(input) ── switch ─────────────────▶  …
//!   State::Complete(ret) ◀──────── switch ────  body returns
//!        (the stack goes back to the pool)
//! ```
//!
//! A coroutine is a second stack of whoever runs it: extra concurrency without extra parallelism.
//! A switch is a dozen instructions, no queue and no atomic operation, and the scheduler does not
//! hear of it. Who runs the body is still the same goroutine, or the same poll, or the same plain
//! thread: if the body waits, the goroutine parks as it always does, from the stack on which it is
//! at that moment, and goes on there; an abort unwinds the wait, and so the body, and then the
//! caller; locks are those of the goroutine. So coroutines nest, and the yielder of an outer one
//! may be used in the body of an inner one.
//!
//! Without any runtime it is the same: the switch is from the thread's own stack.
//!
//! # Which one to use
//!
//! | You have | Use |
//! |---|---|
//! | a function that produces values, recursively, with loops in loops, with code of others in between, and a consumer that pulls | [`iter::pull`](crate::iter::pull) |
//! | the same, and answers go back in | [`Coroutine`] |
//! | values that come when they come, in async code | a `Stream` |
//! | producer and consumer that should run at the same time, or on different threads | a channel between goroutines |
//!
//! A `Pull` costs a switch there and back per value (10 to 25 ns) and holds a stack, one page at
//! least. A channel costs some hundred nanoseconds per value, and lets both ends compute at once.
//!
//! # Rules
//!
//! A coroutine stays on its thread: it is `!Send`. Any goroutine of that thread may resume it.
//!
//! Where threads are [locked](crate::lock_os_thread), Go's rule holds: whoever created the
//! coroutine and whoever switches must have the same locks, counted, on the same thread. Else the
//! process ends with code 2 and
//! `fatal error: coro: OS thread locking must match locking at coroutine creation`. Nested or one
//! after the other on one goroutine they are always fine, whatever its locks; to hand one on under
//! locks is not.
//!
//! [`yield_`](Yielder::yield_) panics inside the poll of a future that the body waits for
//! (`block_on(async { y.yield_(1) })`), for that wait belongs to the goroutine or the thread that
//! began it.
//!
//! `yield_` in a destructor that runs because the body panics, or is being dropped, ends the
//! process with `fatal error: coro: yield while the stack is unwound` and code 2.
//!
//! # Ends
//!
//! * The body returns, or panics: the panic comes out of `resume`. The stack goes back to the pool.
//! * The coroutine is dropped: `yield_` unwinds the body by a private panic, so destructors run.
//!   A body that catches it is unwound again at its next `yield_`; what it returns is dropped.
//! * The coroutine is forgotten: its stack stays as it is for good, and is never used again.
//! * In a build with `panic = "abort"` nothing can be unwound: to drop it is to forget it.

mod head;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::thread::{self, Result};

pub(crate) use self::head::resumer_of;
use self::head::{Head, Phase, Unwind};
use crate::stack::switch::{self, Transfer};

/// A function that is suspended, or has not begun. See the [module](self).
///
/// `In` goes in with each [`resume`](Coroutine::resume), `Out` comes out with each
/// [`yield_`](Yielder::yield_), `Ret` is what the body returns in the end.
///
/// # Examples
/// ```
/// use gort::coro::{Coroutine, State};
///
/// let mut sum = Coroutine::new(|y, first: u32| {
///     let mut sum = first;
///     while sum < 10 {
///         sum += y.yield_(sum);
///     }
///     "enough"
/// });
/// assert_eq!(sum.resume(3), State::Yielded(3));
/// assert_eq!(sum.resume(4), State::Yielded(7));
/// assert_eq!(sum.resume(5), State::Complete("enough"));
/// ```
pub struct Coroutine<In, Out, Ret> {
    /// At the top of the body's stack; None when the body has ended.
    head: Option<NonNull<Head>>,
    types: PhantomData<fn(In) -> (Out, Ret)>,
}

/// How the body of a [`Coroutine`] stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State<Out, Ret> {
    /// It handed out a value and can go on.
    Yielded(Out),
    /// It returned.
    Complete(Ret),
}

/// The body's side of a [`Coroutine`].
#[repr(transparent)]
pub struct Yielder<In, Out> {
    head: Head,
    types: PhantomData<fn(Out) -> In>,
}

impl<In, Out, Ret> Coroutine<In, Out, Ret> {
    /// A coroutine with this body, which begins at the first [`resume`](Coroutine::resume). It
    /// gets the yielder and the first input. Its stack is of 256 KiB, taken from a pool now.
    ///
    /// # Panics
    /// If the system refuses memory for a stack; the text says what to raise.
    #[track_caller]
    pub fn new<F>(body: F) -> Coroutine<In, Out, Ret>
    where
        F: FnOnce(&Yielder<In, Out>, In) -> Ret + 'static,
        In: 'static,
        Out: 'static,
        Ret: 'static,
    {
        // SAFETY: nothing of the body is borrowed.
        unsafe { Coroutine::scoped(body, false) }
    }

    /// As `new`, for a body that borrows.
    ///
    /// # Safety
    /// With `is_scoped` the coroutine is dropped, and not forgotten, before what it borrows ends.
    /// Without, nothing is borrowed.
    #[track_caller]
    #[inline]
    pub(crate) unsafe fn scoped<F>(body: F, is_scoped: bool) -> Coroutine<In, Out, Ret>
    where
        F: FnOnce(&Yielder<In, Out>, In) -> Ret,
    {
        let at = Location::caller();
        let head = if size_of::<F>() <= head::LARGE && align_of::<F>() <= head::ALIGN {
            Head::new(at, is_scoped, body, Self::entry::<F>)
        } else {
            Self::boxed(at, is_scoped, body)
        };
        match head {
            Ok(head) => Coroutine { head: Some(head), types: PhantomData },
            Err(error) => no_stack(&error),
        }
    }

    #[cold]
    fn boxed<F>(
        at: &'static Location<'static>,
        is_scoped: bool,
        body: F,
    ) -> io::Result<NonNull<Head>>
    where
        F: FnOnce(&Yielder<In, Out>, In) -> Ret,
    {
        fn entry_of<In, Out, Ret, F>(_: &F) -> switch::Entry
        where
            F: FnOnce(&Yielder<In, Out>, In) -> Ret,
        {
            Coroutine::<In, Out, Ret>::entry::<F>
        }
        let large = Box::new(body);
        let body = move |y: &Yielder<In, Out>, input| large(y, input);
        let entry = entry_of::<In, Out, Ret, _>(&body);
        Head::new(at, is_scoped, body, entry)
    }

    /// Whether the body has ended, by itself or by a panic.
    #[must_use]
    #[inline]
    pub fn is_done(&self) -> bool {
        self.head.is_none()
    }

    /// Runs the body until it yields or returns.
    ///
    /// If the body waits, the goroutine that calls waits, or the thread.
    ///
    /// # Panics
    /// With the panic of the body; if the body has ended already; if it is running, that is, if
    /// this is called inside itself.
    #[inline(always)]
    #[track_caller]
    pub fn resume(&mut self, input: In) -> State<Out, Ret> {
        match self.advance(input) {
            Some(state) => state,
            None => panic!("`resume` of a coroutine that has ended"),
        }
    }

    /// As `resume`; None if the body has ended already.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn advance(&mut self, input: In) -> Option<State<Out, Ret>> {
        // SAFETY: while `self.head` says so, the head is there; only this thread touches it.
        let head = unsafe { self.head?.as_ref() };
        if !head.may_resume() {
            head::resumed_inside();
        }
        let input = ManuallyDrop::new(input);
        // The body takes the input out of this frame.
        head.switch_in((&raw const input).cast());
        if head.phase() == Phase::Suspended {
            // SAFETY: `yield_` has sent its address, and does not touch it again.
            return Some(State::Yielded(unsafe { head.mail().cast::<Out>().read() }));
        }
        match self.ended() {
            Ok(ret) => Some(State::Complete(ret)),
            Err(payload) => resume_unwind(payload),
        }
    }

    /// The body has sent its last word.
    #[inline(never)]
    fn ended(&mut self) -> Result<Ret> {
        let head = self.head.take().expect("it was there");
        // SAFETY: `entry` has sent its address and does not touch it again, nor does it come back,
        // so that the stack is free.
        unsafe {
            let result = head.as_ref().mail().cast::<Result<Ret>>().read();
            Head::release(head);
            result
        }
    }

    /// The first function on the body's stack.
    extern "C" fn entry<F>(Transfer { context, data }: Transfer) -> !
    where
        F: FnOnce(&Yielder<In, Out>, In) -> Ret,
    {
        let head: *const Head = std::ptr::with_exposed_provenance(data);
        // SAFETY: `switch_in` sends it, and keeps it while this runs. A `Yielder` is a `Head`.
        let (head, yielder) = unsafe { (&*head, &*head.cast::<Yielder<In, Out>>()) };
        head.set_peer(context);
        // SAFETY: the first resume sends an input, and the closure is there until now.
        let (body, input) =
            unsafe { (head.closure::<F>().read(), head.mail().cast::<In>().read()) };
        let result = catch_unwind(AssertUnwindSafe(|| body(yielder, input)));
        let result = ManuallyDrop::new(result);
        head.leave((&raw const result).cast());
    }

    /// Ends the body, by unwinding it if it has begun.
    ///
    /// # Errors
    /// The panic of a destructor, or whatever else came out instead of the end.
    pub(crate) fn unwind(&mut self) -> Result<()> {
        let Some(at) = self.head else { return Ok(()) };
        // SAFETY: as in `advance`.
        let head = unsafe { at.as_ref() };
        match head.phase() {
            Phase::New => {
                self.head = None;
                // SAFETY: the body has not begun, and nobody has the head any more.
                unsafe { Head::discard(at) };
                Ok(())
            }
            Phase::Suspended if head.can_unwind() => {
                head.set_unwinding();
                head.switch_in(std::ptr::null());
                match self.ended() {
                    Err(payload) if !Unwind::is_of(&*payload, at) => Err(payload),
                    // A body that caught it and returned.
                    Ok(ret) => catch_unwind(AssertUnwindSafe(|| drop(ret))),
                    Err(_) => Ok(()),
                }
            }
            _ => {
                self.head = None;
                head.forget();
                Ok(())
            }
        }
    }
}

impl<In, Out, Ret> Drop for Coroutine<In, Out, Ret> {
    #[inline]
    fn drop(&mut self) {
        if self.head.is_some()
            && let Err(payload) = self.unwind()
            && !thread::panicking()
        {
            resume_unwind(payload);
        }
    }
}

impl<In, Out, Ret> fmt::Debug for Coroutine<In, Out, Ret> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: as in `advance`.
        let phase = self.head.map_or(Phase::Done, |head| unsafe { head.as_ref() }.phase());
        f.debug_struct("Coroutine").field("phase", &phase).finish()
    }
}

impl<In, Out> Yielder<In, Out> {
    /// Stops the body here and hands out `out`; returns the next input.
    ///
    /// When the coroutine is dropped meanwhile, this unwinds instead.
    ///
    /// # Panics
    /// Inside the poll of a future that the body waits for; and when another goroutine calls it,
    /// which takes `unsafe` code. See the [module](self) for what ends the process.
    #[inline(always)]
    #[track_caller]
    pub fn yield_(&self, out: Out) -> In {
        self.head.check_yield();
        let out = ManuallyDrop::new(out);
        // `resume` takes it out of this frame.
        self.head.switch_out((&raw const out).cast());
        // SAFETY: `advance` has sent its address, and does not touch it again.
        unsafe { self.head.mail().cast::<In>().read() }
    }
}

impl<In, Out> fmt::Debug for Yielder<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yielder").finish_non_exhaustive()
    }
}

#[cold]
#[track_caller]
fn no_stack(error: &io::Error) -> ! {
    panic!("gort: cannot create a coroutine: {error}")
}
