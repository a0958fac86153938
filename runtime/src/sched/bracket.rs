//! The revoke bracket: an M inside and outside of the core, and a thief that keeps it out.
//!
//! While an M runs user code its `in_rt` is clear. Each entry into the core sets it and then looks
//! at `revoke`: store, asymmetric fence, load (`util/fence.rs`). A thief that finds `in_rt` clear
//! after its own store to `revoke` and the heavy fence therefore knows that the M cannot enter
//! before `revoke` is clear again, and may use the owner's part of its P meanwhile, or take the P
//! away (`handoff.rs`). Entering costs two plain stores, a load and a branch. Calls from the core into user
//! code (a foreign waker, a future's drop) leave the core first.
//!
//! Where the kernel has no asymmetric fence, a bit beside the thief's says so for good: every entry
//! finds `revoke` set and goes the slow way, which has the real fence and looks again.

use std::sync::atomic::{AtomicU32, Ordering, fence};

use super::m::M;
use super::p::P;
use crate::util::fence as asymmetric;

/// A thief keeps the M from entering.
const THIEF: u32 = 1;
/// Entries need a real fence here. Set from the start or never.
const FENCE: u32 = 1 << 1;

/// The word of a new M.
pub(super) fn revoke() -> AtomicU32 {
    AtomicU32::new(if asymmetric::is_asymmetric() { 0 } else { FENCE })
}

/// Inside the core; leaving it again when dropped. See `M::enter`.
pub(crate) struct Entered<'a> {
    m: &'a M,
    before: u32,
}

impl Drop for Entered<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.m.set_in_rt(self.before);
    }
}

impl std::ops::Deref for Entered<'_> {
    type Target = M;

    #[inline(always)]
    fn deref(&self) -> &M {
        self.m
    }
}

impl M {
    /// Enters the core from user code; nested entries are fine. The P may be gone.
    #[inline(always)]
    pub(crate) fn enter(&self) -> Entered<'_> {
        // Relaxed: only this thread writes it.
        let before = self.in_rt.load(Ordering::Relaxed);
        if self.announce() {
            self.enter_slowly(before == 0);
        }
        Entered { m: self, before }
    }

    /// Enters the core for good: the way back from user code that the core called.
    #[inline(always)]
    pub(super) fn reenter(&self) {
        if self.announce() {
            self.enter_slowly(true);
        }
    }

    /// This M is inside the core; true if there is more to see to: a thief, or a fence.
    #[inline(always)]
    fn announce(&self) -> bool {
        // Relaxed: ordered by the fence. EnterFence, pairs with RevokeFence in `lock_out`.
        self.in_rt.store(1, Ordering::Relaxed);
        asymmetric::light();
        // Acquire: pairs with the thief's Release in `lock_out`.
        self.revoke.load(Ordering::Acquire) != 0
    }

    /// The rest of `announce`; true if a thief is at work.
    fn announce_slowly(&self) -> bool {
        // Relaxed: this bit never changes.
        if self.revoke.load(Ordering::Relaxed) & FENCE != 0 {
            fence(Ordering::SeqCst); // EnterFence
        }
        self.has_thief()
    }

    fn has_thief(&self) -> bool {
        // Acquire: as in `announce`.
        self.revoke.load(Ordering::Acquire) & THIEF != 0
    }

    /// Unless it was inside already, this M stays outside while a thief is at work.
    #[cold]
    fn enter_slowly(&self, from_outside: bool) {
        if self.announce_slowly() && from_outside {
            self.wait_for_thief();
        }
    }

    /// Whether this M is outside the core: a hint.
    pub(super) fn is_in_user_code(&self) -> bool {
        self.in_rt.load(Ordering::Relaxed) == 0 // Relaxed: a hint
    }

    /// Leaves the core for user code.
    #[inline(always)]
    pub(super) fn leave(&self) {
        self.set_in_rt(0);
    }

    #[inline(always)]
    fn set_in_rt(&self, value: u32) {
        // Release: a thief that sees 0 sees the P as this M left it (`lock_out`).
        self.in_rt.store(value, Ordering::Release);
    }

    /// Stays outside until the thief has finished: it may be waiting for just that.
    fn wait_for_thief(&self) {
        let mut rounds = 0u32;
        loop {
            self.leave();
            while self.has_thief() {
                rounds += 1;
                if rounds.is_multiple_of(128) {
                    std::thread::yield_now(); // the thief may have lost its core
                } else {
                    std::hint::spin_loop();
                }
            }
            if !self.announce() || !self.announce_slowly() {
                return;
            }
        }
    }

    /// Runs `f` while this M, which holds `p`, is locked out of the core. None if it is inside
    /// and does not come out within `patience` looks, or somebody else does the same. Called by
    /// other threads.
    pub(super) fn lock_out<R>(&self, p: &P, patience: u32, f: impl FnOnce() -> R) -> Option<R> {
        // Relaxed, Acquire: one thief at a time; the second one sees what the first did.
        if patience == 1 && !self.is_in_user_code()
            || self.revoke.fetch_or(THIEF, Ordering::Acquire) & THIEF != 0
        {
            return None;
        }
        asymmetric::heavy(); // RevokeFence, pairs with EnterFence
        // Acquire: pairs with the Release in `set_in_rt`, and with the hand-over of the P.
        let outside = (0..patience).any(|_| {
            std::hint::spin_loop();
            self.in_rt.load(Ordering::Acquire) == 0
        }) && std::ptr::eq(p.owner.load(Ordering::Acquire), self);
        let result = outside.then(f);
        // Release: pairs with the Acquire in `announce`.
        self.revoke.fetch_and(!THIEF, Ordering::Release);
        result
    }
}
