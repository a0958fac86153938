//! A lock of one byte, for sections of a few instructions.
//!
//! It is taken with one swap and given back with a plain store; a mutex that can put threads to
//! sleep pays a second locked instruction for each unlock, which is a tenth of a round trip. No
//! section calls user code: wakers are cloned, woken and dropped, and values are dropped, before
//! or after it. So a holder is away for long only when it has lost its core, and then whoever
//! waits gives way too.
//!
//! Who finds it held does not look again for some hundreds of nanoseconds. Two threads that hand a
//! line of memory to and fro pay 200 ns for each section; one that has the line to itself does
//! dozens of sections in the time for which the other one stands back.

use crate::util::sync::atomic::{AtomicBool, Ordering};
use crate::util::sync::stand_back;

/// See the module.
#[derive(Debug)]
pub(super) struct Lock(AtomicBool);

impl Lock {
    pub(super) fn new() -> Lock {
        Lock(AtomicBool::new(false))
    }

    #[inline(always)]
    pub(super) fn lock(&self) {
        // Acquire: pairs with the Release in `unlock`; this section sees what the last one did.
        if self.0.swap(true, Ordering::Acquire) {
            self.lock_slow();
        }
    }

    #[cold]
    fn lock_slow(&self) {
        let mut rounds = 0;
        loop {
            stand_back(&mut rounds);
            // Relaxed: a look; the swap decides. Acquire: as in `lock`.
            if !self.0.load(Ordering::Relaxed) && !self.0.swap(true, Ordering::Acquire) {
                return;
            }
        }
    }

    /// Gives the lock back. Only its holder calls this.
    #[inline(always)]
    pub(super) fn unlock(&self) {
        // Release: pairs with the Acquire in `lock`.
        self.0.store(false, Ordering::Release);
    }
}
