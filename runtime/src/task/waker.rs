//! The waker of a G: a pointer to it, and a reference.
//!
//! The core recognises its own wakers by their vtable and then queues the G
//! itself, without the detour through the waker.

use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{RawWaker, RawWakerVTable, Waker};

use crate::sched::g::{GRef, Runnable};
use crate::sched::ready;
use crate::sched::spans::{self, Op};
use crate::sched::status::Wake;

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// A waker for `g` that owns no reference: the caller's keeps the G meanwhile.
pub(crate) fn borrowed(g: GRef) -> ManuallyDrop<Waker> {
    // SAFETY: the functions of VTABLE keep the contract; as it is never dropped, it gives back no
    // reference that it does not have.
    ManuallyDrop::new(unsafe { Waker::new(g.as_raw(), &VTABLE) })
}

/// Whether `waker` wakes this G, and nothing in between.
pub(crate) fn is_of(waker: &Waker, g: GRef) -> bool {
    std::ptr::eq(waker.data(), g.as_raw()) && std::ptr::eq(waker.vtable(), &VTABLE)
}

/// Whether `waker` is one of gort's own.
pub(crate) fn is_own(waker: &Waker) -> bool {
    std::ptr::eq(waker.vtable(), &VTABLE)
}

/// The G that `waker` wakes, if it is one of gort's own; the waker keeps it.
#[inline(always)]
pub(crate) fn g_of(waker: &Waker) -> Option<GRef> {
    is_own(waker).then(|| GRef::from_raw(waker.data()))
}

/// Takes one of gort's own wakers apart: the reference becomes the caller's. Any other waker goes
/// to `foreign`; also one whose use somebody wants to see, who must be called outside of the core.
pub(crate) fn into_g(waker: Waker, foreign: impl FnOnce(Waker)) -> Option<GRef> {
    if g_of(&waker).is_some_and(|g| !spans::is_seen(g)) {
        let waker = ManuallyDrop::new(waker);
        Some(GRef::from_raw(waker.data()))
    } else {
        foreign(waker);
        None
    }
}

/// The G that is polled with `waker`, which is its own, yields: nobody uses the waker for that.
#[inline(always)]
pub(crate) fn note_yield(waker: &Waker) {
    spans::note(GRef::from_raw(waker.data()), Op::WakeByRef);
}

/// Wakes, and keeps a foreign waker's panic from unwinding into the core.
pub(crate) fn wake_quietly(waker: Waker) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        crate::task::future::drop_quietly(payload);
    }
}

unsafe fn clone(g: *const ()) -> RawWaker {
    spans::note(GRef::from_raw(g), Op::Clone);
    GRef::from_raw(g).status().add_ref();
    RawWaker::new(g, &VTABLE)
}

unsafe fn wake(g: *const ()) {
    let g = GRef::from_raw(g);
    spans::note(g, Op::Wake);
    match g.status().wake_by_val() {
        Wake::Nothing => {}
        Wake::Free => ready::free(g),
        // SAFETY: the wake gave the G to this thread.
        Wake::Queue => ready::ready(unsafe { Runnable::claim(g) }),
    }
}

unsafe fn wake_by_ref(g: *const ()) {
    let g = GRef::from_raw(g);
    spans::note(g, Op::WakeByRef);
    if g.status().wake_by_ref() == Wake::Queue {
        // SAFETY: as in `wake`.
        ready::ready(unsafe { Runnable::claim(g) });
    }
}

unsafe fn drop_waker(g: *const ()) {
    spans::note(GRef::from_raw(g), Op::Drop);
    ready::drop_ref(GRef::from_raw(g));
}
