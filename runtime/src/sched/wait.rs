//! Why a G waits. Go: waitReason.
//!
//! A future that is about to say Pending notes the reason in the header of the G whose waker it
//! was polled with: a comparison and a plain store, on a path that parks. Nothing is noted where
//! the waker is somebody else's (`FuturesUnordered`, a plain thread), and nothing on the ready
//! path. Of several futures in one poll the last one counts, so a future that polls others
//! (a select, a timeout) notes after them, or leaves the word to them.

use std::fmt;
use std::task::{Context, Poll};

/// Makes the enum, its texts and the way back from its number. One list: a reason is never used
/// twice, each kind of wait has its own.
macro_rules! reasons {
    ($($(#[$meta:meta])* $name:ident = $text:literal,)*) => {
        /// What a task or a goroutine waits for, in Go's words where Go has it too.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum WaitReason {
            $($(#[$meta])* $name,)*
        }

        impl WaitReason {
            #[cfg(not(loom))]
            const ALL: &'static [WaitReason] = &[$(WaitReason::$name,)*];

            /// As dumps print it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(WaitReason::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// Something that is not gort's: a foreign future, or several at once.
    #[default]
    Other = "waiting",
    /// A value from a channel.
    ChanReceive = "chan receive",
    /// A value from a channel that never has one ([`never`](crate::chan::never)).
    ChanReceiveNil = "chan receive (nil chan)",
    /// Room in a channel, or its receiver.
    ChanSend = "chan send",
    /// One of several channel operations.
    Select = "select",
    /// A select without any.
    SelectNoCases = "select (no cases)",
    /// A socket or another descriptor.
    Io = "IO wait",
    /// A point in time.
    Sleep = "sleep",
    /// A [`Mutex`](crate::sync::Mutex).
    Mutex = "sync.Mutex.Lock",
    /// An [`RwLock`](crate::sync::RwLock), to read.
    RwLockRead = "sync.RWMutex.RLock",
    /// An [`RwLock`](crate::sync::RwLock), to write.
    RwLockWrite = "sync.RWMutex.Lock",
    /// A [`Cond`](crate::sync::Cond).
    Cond = "sync.Cond.Wait",
    /// A [`WaitGroup`](crate::sync::WaitGroup).
    WaitGroup = "sync.WaitGroup.Wait",
    /// Permits of a [`Semaphore`](crate::sync::Semaphore).
    Semaphore = "semacquire",
    /// A [`Barrier`](crate::sync::Barrier).
    Barrier = "barrier",
    /// A [`Notify`](crate::sync::Notify).
    Notify = "notify",
    /// The value of a [`oneshot`](crate::sync::oneshot).
    Oneshot = "oneshot receive",
    /// A [`CancelToken`](crate::sync::CancelToken).
    Cancel = "cancelled",
    /// The end of another task or goroutine.
    Join = "join",
    /// The end of the goroutines of a [`scope`](crate::scope()).
    Scope = "scope",
    /// The end of a call of [`blocking`](crate::blocking) on another thread.
    Blocking = "blocking",
    /// Quiet, on a paused clock.
    Settle = "synctest.Wait",
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(not(loom))]
impl WaitReason {
    /// The other direction of `as u8`.
    pub(super) fn from_u8(n: u8) -> WaitReason {
        WaitReason::ALL.get(usize::from(n)).copied().unwrap_or_default()
    }
}

/// Notes what the caller waits for, if it does, and passes the result on.
#[inline(always)]
pub(crate) fn note_wait<T>(polled: Poll<T>, cx: &Context<'_>, reason: WaitReason) -> Poll<T> {
    if polled.is_pending() {
        note(cx, reason);
    }
    polled
}

#[cfg(not(loom))]
#[inline(always)]
fn note(cx: &Context<'_>, reason: WaitReason) {
    if let Some(g) = crate::task::waker::g_of(cx.waker()) {
        g.set_reason(reason);
    }
}

/// Models have no Gs.
#[cfg(loom)]
fn note(_: &Context<'_>, _: WaitReason) {}
