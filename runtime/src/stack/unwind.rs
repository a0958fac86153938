//! The frames of a suspended stack, without running it.
//!
//! The system's unwinder begins with its own caller and goes on from frame to frame by what the
//! compiler has written down about each function. `through` is a function that writes down
//! something untrue: that it was called by the suspended flow. So the unwinder, called on the
//! dumper's own stack, finds the dumper's frames, then `through`, and then those of the suspended
//! stack, of which it only reads the words where return addresses and saved registers lie.
//!
//! ```text
//!   the dumper's stack                the suspended stack
//!   walk                              ... the root frame
//!    └ through ── "my caller" ─────▶  └ ... park
//!       └ trace (the unwinder)           └ eight words at Ctx: what the switch has saved
//! ```
//!
//! No frame description beyond the root frame's exists, and there the unwinder stops.

use super::switch::Ctx;

/// More frames of one stack than this are left out. Go: 100 as well.
pub(crate) const FRAMES_MAX: usize = 100;

/// Appends the return addresses of the suspended flow `ctx` to `to`, innermost first; at most
/// `FRAMES_MAX` in all. Nothing where the system or the build has no unwinder for it.
///
/// # Safety
/// The flow stays suspended meanwhile, and its stack where it is.
pub(crate) unsafe fn walk(ctx: &Ctx, to: &mut Vec<usize>) {
    // No growing while somebody waits for the flow.
    to.reserve(FRAMES_MAX.saturating_sub(to.len()));
    // SAFETY: passed on.
    unsafe { imp::walk(ctx, to) };
}

/// The same for the caller's own stack.
pub(crate) fn walk_here(to: &mut Vec<usize>) {
    imp::walk_here(to);
}

#[cfg(all(
    feature = "backtrace",
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod imp {
    use std::ffi::c_void;

    use super::FRAMES_MAX;
    use crate::stack::switch::{self, Ctx};

    /// What `trace` works on.
    struct Walk<'a> {
        /// Where the suspended flow goes on; the frames before it are the dumper's.
        first: usize,
        begun: bool,
        to: &'a mut Vec<usize>,
    }

    pub(super) unsafe fn walk(ctx: &Ctx, to: &mut Vec<usize>) {
        let mut walk = Walk { first: switch::goes_on_at(ctx), begun: false, to };
        // SAFETY: the frame is that of a suspended flow, by the caller's contract; `trace` gets
        // the walk as it expects it.
        unsafe { through(switch::saved(ctx), trace, (&raw mut walk).cast()) };
    }

    pub(super) fn walk_here(to: &mut Vec<usize>) {
        let mut walk = Walk { first: 0, begun: true, to };
        // SAFETY: as above.
        unsafe { trace((&raw mut walk).cast()) };
    }

    /// # Safety
    /// `walk` is a `Walk`.
    unsafe extern "C" fn trace(walk: *mut c_void) {
        // SAFETY: the contract above.
        let walk = unsafe { &mut *walk.cast::<Walk<'_>>() };
        // SAFETY: what must not be used by two threads at once is the symbolizer on Windows.
        unsafe {
            backtrace::trace_unsynchronized(|frame| {
                let pc = frame.ip().addr();
                walk.begun |= pc == walk.first;
                if walk.begun && pc != 0 {
                    walk.to.push(pc);
                }
                walk.to.len() < FRAMES_MAX
            });
        }
    }

    /// Calls `f(data)`, for the unwinder as if from the flow that is suspended in `saved`. The
    /// directives give the canonical frame address, and where the registers of the caller lie:
    /// where `jump_fcontext` has put them (`switch.rs`).
    #[cfg(target_arch = "x86_64")]
    #[unsafe(naked)]
    unsafe extern "C" fn through(
        saved: *const usize,
        f: unsafe extern "C" fn(*mut c_void),
        data: *mut c_void,
    ) {
        std::arch::naked_asm!(
            ".cfi_startproc",
            "push rbx",
            ".cfi_def_cfa_offset 16",
            ".cfi_offset rbx, -16",
            "mov rbx, rdi",
            ".cfi_def_cfa rbx, 0x40", // the return address is at -8, as in any frame
            ".cfi_offset rbp, -0x10",
            ".cfi_offset rbx, -0x18",
            ".cfi_offset r15, -0x20",
            ".cfi_offset r14, -0x28",
            ".cfi_offset r13, -0x30",
            ".cfi_offset r12, -0x38",
            "mov rdi, rdx",
            "call rsi",
            "pop rbx",
            ".cfi_def_cfa rsp, 8",
            "ret",
            ".cfi_endproc",
        )
    }

    #[cfg(target_arch = "aarch64")]
    #[unsafe(naked)]
    unsafe extern "C" fn through(
        saved: *const usize,
        f: unsafe extern "C" fn(*mut c_void),
        data: *mut c_void,
    ) {
        std::arch::naked_asm!(
            ".cfi_startproc",
            "stp x19, x30, [sp, #-16]!",
            "mov x19, x0",
            ".cfi_def_cfa x19, 0xb0",
            ".cfi_offset x19, -0x70",
            ".cfi_offset x20, -0x68",
            ".cfi_offset x21, -0x60",
            ".cfi_offset x22, -0x58",
            ".cfi_offset x23, -0x50",
            ".cfi_offset x24, -0x48",
            ".cfi_offset x25, -0x40",
            ".cfi_offset x26, -0x38",
            ".cfi_offset x27, -0x30",
            ".cfi_offset x28, -0x28",
            ".cfi_offset x29, -0x20",
            ".cfi_offset x30, -0x18",
            "mov x0, x2",
            "blr x1",
            "ldp x19, x30, [sp], #16",
            ".cfi_def_cfa sp, 0",
            "ret",
            ".cfi_endproc",
        )
    }
}

#[cfg(not(all(
    feature = "backtrace",
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
mod imp {
    use super::Ctx;

    pub(super) unsafe fn walk(_: &Ctx, _: &mut Vec<usize>) {}

    pub(super) fn walk_here(_: &mut Vec<usize>) {}
}
