//! Small tools that know nothing of the scheduler.

pub(crate) mod clock;
#[cfg(not(loom))]
pub(crate) mod fatal;
pub(crate) mod fence;
#[cfg(not(loom))]
pub(crate) mod note;
pub(crate) mod ring;
pub(crate) mod rng;
#[cfg(not(loom))]
pub(crate) mod soon;
pub(crate) mod sync;
#[cfg(not(loom))]
pub(crate) mod ticks;
pub(crate) mod word_lock;

/// Keeps the compiler from seeing through a function that touches a thread-local. Such a function
/// is also `#[inline(never)]`: together they make each call find the thread that runs it then.
/// Without this the compiler infers that the function has no effects, and calls it once.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn opaque() {
    // SAFETY: no instructions.
    unsafe { std::arch::asm!("", options(nostack, preserves_flags)) };
}

/// The calling thread's number as the system has it; 0 where that is not known.
#[cfg(not(loom))]
#[inline(never)]
pub(crate) fn thread_id() -> u32 {
    opaque();
    thread_local!(static ID: std::cell::Cell<u32> = const { std::cell::Cell::new(0) });
    #[cfg(target_os = "linux")]
    if ID.get() == 0 {
        // SAFETY: no preconditions.
        ID.set(unsafe { libc::gettid() }.cast_unsigned());
    }
    ID.get()
}

/// Whether a thread of this process sleeps in the kernel: it neither runs nor waits for a core. False
/// where the system does not say. Some microseconds.
#[cfg(not(loom))]
pub(crate) fn is_asleep(thread: u32) -> bool {
    // proc_pid_stat(5): the number, the name in parentheses, which may contain any of them, the state.
    let stat =
        std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('S' | 'D'))
}

/// The time for which a thread of this process has been on a core, in nanoseconds; None where the
/// system does not say. A system call, 0.3 us.
#[cfg(not(loom))]
pub(crate) fn cpu_time(thread: u32) -> Option<u64> {
    #[cfg(target_os = "linux")]
    if thread != 0 {
        // clock_getres(2), NOTES: the thread's number, inverted, and three bits of flags: of a thread (4),
        // by the scheduler's count (2).
        let clock = !thread.cast_signed() << 3 | 6;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the struct is ours.
        if unsafe { libc::clock_gettime(clock, &raw mut time) } == 0 {
            return Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64);
        }
    }
    let _ = thread;
    None
}

/// Processors that this process may use, as the system says when first asked.
#[cfg(not(loom))]
pub(crate) fn processors() -> usize {
    static PROCESSORS: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}
