//! The loom switch: the real types in production, loom's under `--cfg loom`.

#[cfg(not(loom))]
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering,
    };
}

#[cfg(loom)]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering,
    };
}

#[cfg(loom)]
pub(crate) use loom::sync::atomic::fence;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::fence;

/// One round of waiting for another thread that is in the middle of a few instructions.
#[cfg(not(loom))]
pub(crate) fn relax(rounds: &mut u32) {
    *rounds += 1;
    if rounds.is_multiple_of(64) {
        std::thread::yield_now(); // it has lost its core
    } else {
        std::hint::spin_loop();
    }
}

/// Waits for some hundreds of nanoseconds, up to a few thousand, without a look at what is waited
/// for, so that whoever has it can get on.
#[cfg(not(loom))]
pub(crate) fn stand_back(rounds: &mut u32) {
    *rounds += 1;
    if rounds.is_multiple_of(64) {
        std::thread::yield_now(); // as above
    } else {
        (0..8_u32 << (*rounds).min(4)).for_each(|_| std::hint::spin_loop());
    }
}

/// As above.
#[cfg(loom)]
pub(crate) fn stand_back(_: &mut u32) {
    loom::thread::yield_now();
}

/// As above; loom has to be told that nothing happens until another thread runs.
#[cfg(loom)]
pub(crate) fn relax(_: &mut u32) {
    loom::thread::yield_now();
}

#[cfg(loom)]
pub(crate) use loom::cell::UnsafeCell;

/// [`std::cell::UnsafeCell`] with loom's method, so that a model sees each access.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> UnsafeCell<T> {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    /// Calls `f` with a pointer to write through.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Defines functions that are `const`, except under loom, whose types have no `const` constructors.
macro_rules! const_fn {
    ($($(#[$meta:meta])* $vis:vis const fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty $body:block)*) => {$(
        #[cfg(not(loom))]
        $(#[$meta])*
        $vis const fn $name($($arg: $ty),*) -> $ret $body

        #[cfg(loom)]
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) -> $ret $body
    )*};
}
pub(crate) use const_fn;
