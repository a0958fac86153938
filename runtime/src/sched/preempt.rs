//! Time slices. A G that has kept its P for 10 ms is asked to yield at a wait,
//! also if that would not have to wait. Go: preempt, stackguard.
//!
//! The first wait after the request is let through: a poll that has computed
//! for 10 ms before its first wait would otherwise never get anywhere. One word
//! for the whole process says whether anybody is asked at all; so a wait costs
//! one load more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use super::m::{self, M};

/// The states of a request.
const NONE: u8 = 0;
const ASKED: u8 = 1;
/// One wait has been let through.
const WARNED: u8 = 2;

/// Ms that are asked to yield.
static REQUESTS: AtomicUsize = AtomicUsize::new(0);

impl M {
    /// Asks the running G for a yield. By sysmon.
    pub(super) fn ask_to_yield(&self) {
        // Relaxed twice: a request that is seen late is served late.
        if self.preempt.swap(ASKED, Ordering::Relaxed) == NONE {
            REQUESTS.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes the request back. By sysmon, and by an M whose G has stopped.
    pub(super) fn forget_request(&self) {
        // Relaxed three times: as above.
        if self.preempt.load(Ordering::Relaxed) != NONE
            && self.preempt.swap(NONE, Ordering::Relaxed) != NONE
        {
            REQUESTS.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether the running G has to yield at this wait.
    fn take_request(&self) -> bool {
        // Relaxed three times: as above. An exchange, for sysmon may just be taking it back.
        match self.preempt.load(Ordering::Relaxed) {
            ASKED => {
                let (asked, warned) = (ASKED, WARNED);
                let relaxed = Ordering::Relaxed;
                let _ = self.preempt.compare_exchange(asked, warned, relaxed, relaxed);
                false
            }
            WARNED => {
                self.forget_request();
                true
            }
            _ => false,
        }
    }
}

/// Whether the running G has used up its slice. Asked once: the caller yields.
#[inline(always)]
pub(crate) fn must_yield() -> bool {
    // Relaxed: as in `ask_to_yield`.
    REQUESTS.load(Ordering::Relaxed) != 0 && is_asked()
}

#[cold]
fn is_asked() -> bool {
    m::current().is_some_and(M::take_request)
}

/// What every future of gort polls first: pending, with a wake on its way, if the slice is used up.
#[inline(always)]
pub(crate) fn poll_slice(cx: &Context<'_>) -> Poll<()> {
    if must_yield() {
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    Poll::Ready(())
}
