//! The asymmetric fence: a store-load barrier whose price is paid by one side.
//!
//! Two threads each write their own flag and then read the other's; at least
//! one must see the other. Usually both need a full fence. Here the frequent
//! side (`light`, on each entry into the core) only keeps the compiler from
//! reordering, and the rare side (`heavy`, a thief or sysmon) asks the kernel
//! to run a full barrier on every running thread of the process
//! (`membarrier(PRIVATE_EXPEDITED)`, 0.4 to 2.6 us). A thread that is not
//! running has passed the context switch, which is a full barrier too.
//!
//! Where the kernel refuses (before Linux 4.14, seccomp, other systems) both
//! sides use real fences: the frequent side, which asks `is_asymmetric` once and
//! remembers it, then pays about 10 ns.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, compiler_fence, fence};

/// Whether the frequent side needs a real fence. Written once, before the first M starts.
static SYMMETRIC: AtomicBool = AtomicBool::new(true);

/// Registers the process with the kernel. Called before any runtime starts.
pub(crate) fn init() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        // Relaxed: threads that use the fence are started after this.
        SYMMETRIC.store(!register(), Ordering::Relaxed);
    });
}

/// Whether the kernel's barrier is in use.
pub(crate) fn is_asymmetric() -> bool {
    // Relaxed: see `SYMMETRIC`.
    !SYMMETRIC.load(Ordering::Relaxed)
}

/// The frequent side, where `is_asymmetric`; elsewhere it is a `fence(SeqCst)`.
#[inline(always)]
pub(crate) fn light() {
    compiler_fence(Ordering::SeqCst);
}

/// The rare side.
#[cold]
pub(crate) fn heavy() {
    // SeqCst: pairs with the fence of the frequent side; beside membarrier it orders this thread itself.
    fence(Ordering::SeqCst);
    if is_asymmetric() {
        barrier();
    }
}

#[cfg(target_os = "linux")]
fn membarrier(command: libc::c_int) -> libc::c_long {
    // SAFETY: membarrier takes no pointers and changes no memory.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }
}

#[cfg(target_os = "linux")]
fn register() -> bool {
    membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0
}

#[cfg(target_os = "linux")]
fn barrier() {
    let done = membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    debug_assert_eq!(done, 0, "membarrier was registered at start");
}

#[cfg(not(target_os = "linux"))]
fn register() -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn barrier() {}
