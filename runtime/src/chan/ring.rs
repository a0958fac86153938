//! The buffer of a channel: a ring of fixed size, or one that grows.

use std::mem::MaybeUninit;

/// Room for values, not yet part of a ring.
pub(super) type Slots<T> = Box<[MaybeUninit<T>]>;

/// The first size of a ring that grows (a guess).
const FIRST: usize = 16;

/// `len` values from `head` on, around the end of `slots`.
pub(super) struct Ring<T> {
    slots: Slots<T>,
    head: usize,
    len: usize,
}

impl<T> Ring<T> {
    /// With room for `capacity` values.
    pub(super) fn new(capacity: usize) -> Ring<T> {
        Ring { slots: Box::new_uninit_slice(capacity), head: 0, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == self.slots.len()
    }

    /// Moves a value in, at the tail.
    ///
    /// # Safety
    /// The ring is not full. `from` holds a value, which is the ring's from now on.
    #[inline(always)]
    pub(super) unsafe fn push(&mut self, from: *const T) {
        debug_assert!(!self.is_full());
        let at = self.wrap(self.head + self.len);
        // SAFETY: the slot is one of the empty ones; `from` is the caller's.
        unsafe { std::ptr::copy_nonoverlapping(from, self.slots.as_mut_ptr().add(at).cast(), 1) };
        self.len += 1;
    }

    /// Moves the first value out, to `to`.
    ///
    /// # Safety
    /// The ring is not empty. `to` may be written.
    #[inline(always)]
    pub(super) unsafe fn pop(&mut self, to: *mut T) {
        debug_assert!(self.len > 0);
        // SAFETY: the slot at `head` holds a value, which is forgotten below.
        unsafe {
            std::ptr::copy_nonoverlapping(self.slots.as_ptr().add(self.head).cast(), to, 1);
        }
        self.head = self.wrap(self.head + 1);
        self.len -= 1;
    }

    fn wrap(&self, at: usize) -> usize {
        if at >= self.slots.len() { at - self.slots.len() } else { at }
    }

    /// How large the next size is.
    pub(super) fn next_size(&self) -> usize {
        FIRST.max(self.slots.len().saturating_mul(2))
    }

    /// Moves into `slots`, if they are more. Returns those that are not used now.
    pub(super) fn grow(&mut self, mut slots: Slots<T>) -> Slots<T> {
        if slots.len() <= self.slots.len() {
            return slots; // somebody else was faster
        }
        let first = self.len.min(self.slots.len() - self.head);
        // SAFETY: the values stand in two stretches, from `head` and from 0; the new slots are
        // more, and nobody else's. The old ones count as empty afterwards.
        unsafe {
            let (from, to) = (self.slots.as_ptr(), slots.as_mut_ptr());
            std::ptr::copy_nonoverlapping(from.add(self.head), to, first);
            std::ptr::copy_nonoverlapping(from, to.add(first), self.len - first);
        }
        self.head = 0;
        std::mem::replace(&mut self.slots, slots)
    }

    /// Takes all values, with their ring.
    pub(super) fn take(&mut self) -> Ring<T> {
        std::mem::replace(self, Ring { slots: Box::default(), head: 0, len: 0 })
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        let first = self.len.min(self.slots.len() - self.head);
        let at = self.slots.as_mut_ptr().cast::<T>();
        // SAFETY: as in `grow`; each value is dropped once, for the slots drop none.
        let (a, b) = unsafe {
            let a = std::ptr::slice_from_raw_parts_mut(at.add(self.head), first);
            (a, std::ptr::slice_from_raw_parts_mut(at, self.len - first))
        };
        let rest = DropSlice(b); // also when a value of the first stretch panics
        // SAFETY: as above.
        unsafe { a.drop_in_place() };
        drop(rest);
    }
}

struct DropSlice<T>(*mut [T]);

impl<T> Drop for DropSlice<T> {
    fn drop(&mut self) {
        // SAFETY: made by `Ring::drop` for values that nobody else drops.
        unsafe { self.0.drop_in_place() };
    }
}
