//! The switch from one stack to another, and the only file that names `context` (Boost.Context).
//!
//! A [`Ctx`] is the address of the frame in which a suspended flow of control saved itself. It is
//! one-shot: switching to it uses it up, and the flow that was left comes out on the other side as
//! a new `Ctx`, next to one word of the caller's choice. On x86-64 a fresh stack looks like this,
//! top at the top:
//!
//! ```text
//!     slot end ──▶ ┌───────────────────────────┐
//!                  │ colour, 0..=896 bytes     │
//!   Slot::top ──▶  ├───────────────────────────┤
//!                  │ header, result, closure   │  the owner's business
//!   make(top) ──▶  ├───────────────────────────┤  rounded down to 16
//!                  │ 0                         │  two zero words: a debugger that walks past the
//!                  │ 0                         │  root frame finds no return address and stops
//!                  ├───────────────────────────┤  +0x40
//!                  │ trampoline (RIP)          │  +0x38  pushes RBP as return address, jumps RBX
//!                  │ finish     (RBP)          │  +0x30  where `entry` would return to: _exit(0)
//!                  │ entry      (RBX)          │  +0x28
//!                  │ R15 R14 R13 R12           │  +0x08  not set
//!         Ctx ──▶  │ MXCSR, x87 control word   │  +0x00  copied from the thread that called make
//!                  ├───────────────────────────┤
//!                  │ unused                    │
//! Slot::limit ──▶  ├───────────────────────────┤
//!                  │ guard                     │
//!   slot base ──▶  └───────────────────────────┘
//! ```
//!
//! A suspended one has the same eight words at `Ctx`, RIP being the return address of `switch`.
//!
//! Rules, all for the code around the calls:
//!
//! - Never unwind through the assembly. `entry` catches every panic; to unwind a suspended stack,
//!   resume it with a word that its own Rust frame understands and raises `resume_unwind` for.
//!   (A function that panics on top of another stack, `context`'s own recipe, aborts.)
//! - Keep no local with a destructor alive across a switch to a flow that never comes back.
//! - Publish the `Ctx` that came out only from the other stack: until then the stack it names is
//!   still in use.
//! - After a switch returns assume another thread, and read thread-locals only behind a call that
//!   the compiler cannot see through.
//! - Frames between a user's call and the jump cost about 13 ns each (the processor's return
//!   predictor is wrong after a switch). Hence `inline(always)` here; do likewise above.

use context::stack::Stack;

pub(crate) use context::{Context as Ctx, Transfer};

/// The return address of a suspended flow, from where its `Ctx` points.
#[cfg(target_arch = "x86_64")]
const PC_AT: usize = 0x38;
/// As above.
#[cfg(target_arch = "aarch64")]
const PC_AT: usize = 0xa0;

/// The frame in which a suspended flow has saved itself.
pub(crate) fn saved(ctx: &Ctx) -> *const usize {
    const { assert!(size_of::<Ctx>() == size_of::<usize>()) };
    // SAFETY: a `Ctx` is one pointer, to that frame (`#[repr(C)]`).
    unsafe { std::mem::transmute_copy(ctx) }
}

/// The address at which a suspended flow goes on; 0 where that is not known.
pub(crate) fn goes_on_at(ctx: &Ctx) -> usize {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: the switch has saved it there, and the flow is suspended as long as there is a `Ctx`.
    return unsafe { saved(ctx).wrapping_byte_add(PC_AT).read() };
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = ctx;
        0
    }
}

/// The first function of a stack. It gets the flow that switched to it and the word that was sent,
/// and leaves by a last `switch`: it has nowhere to return to, and must not unwind.
pub(crate) type Entry = extern "C" fn(Transfer) -> !;

/// Prepares the calling thread for switching. Call once per thread, before its first [`make`] or
/// [`switch`]; leaving it out makes switches slow, not wrong.
///
/// The switch saves and restores MXCSR, and loading one that *differs* costs 75 to 125 ns. Its
/// exception flags are sticky, so one inexact division on one of two stacks is enough. With all
/// six flags set beforehand nothing can set another, and the value stays the same everywhere:
/// 8 to 17 ns per pair instead of 155 to 260.
#[inline]
pub(crate) fn init_m() {
    #[cfg(target_arch = "x86_64")]
    {
        /// The default control bits (0x1f80: all exceptions masked, round to nearest) and all six
        /// exception flags.
        static ALL_FLAGS_SET: u32 = 0x1fbf;
        // SAFETY: the control bits are the default ones Rust demands; the flags are documented as
        // unspecified at any point in Rust code.
        unsafe {
            std::arch::asm!("ldmxcsr [{}]", in(reg) &ALL_FLAGS_SET, options(nostack, preserves_flags, readonly));
        }
    }
}

/// Makes a context that runs `entry` on the stack between `limit` and `top` when first switched to.
/// Touches the 80 bytes below `top` and nothing else.
///
/// # Safety
/// The memory is writable, the caller's alone until `entry` has left the stack for the last time,
/// and has a guard below `limit`. `top - limit` is at least 1 KiB (in practice, what `entry` needs).
#[inline(always)]
pub(crate) unsafe fn make(top: *mut u8, limit: *mut u8, entry: Entry) -> Ctx {
    let top = top.with_addr(root_of(top));
    // SAFETY: 16-aligned and inside the caller's stack, by this function's contract.
    unsafe { top.cast::<[usize; 2]>().write([0; 2]) };
    // SAFETY: as above; `entry` never returns, and the caller keeps the memory for it.
    unsafe { Ctx::new(&Stack::new(top.cast(), limit.cast()), entry) }
}

/// The stack pointer with which `entry` was called, on a stack that was [`make`]d with this `top`.
pub(crate) fn root_of(top: *mut u8) -> usize {
    (top.addr() & !15) - 16
}

/// Leaves the current flow, which will be suspended inside this call, for `to`. Returns when
/// somebody switches back, with the flow they left and the word they sent.
///
/// # Safety
/// `to` came from [`make`], or out of a switch, and its stack is still there. Whoever holds the
/// flow left behind either resumes it or never frees its stack.
#[inline(always)]
pub(crate) unsafe fn switch(to: Ctx, word: usize) -> (Ctx, usize) {
    // SAFETY: the caller's contract is that of `resume`.
    let Transfer { context, data } = unsafe { to.resume(word) };
    (context, data)
}
