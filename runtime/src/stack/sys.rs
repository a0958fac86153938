//! The memory calls of this island, thin.

use std::io;
use std::ops::Range;
use std::ptr;
use std::sync::OnceLock;

/// The size of a page in bytes. Also the size of a guard.
#[inline]
pub(super) fn page_size() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(|| {
        // SAFETY: sysconf has no preconditions.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size).expect("the page size is known")
    })
}

/// Reserves `len` bytes of address space that cannot be touched yet.
///
/// # Errors
/// What mmap(2) says, untouched.
pub(super) fn reserve(len: usize) -> io::Result<Range<usize>> {
    // Not charged against the commit limit until touched, once it is accessible.
    #[cfg(target_os = "linux")]
    let uncharged = libc::MAP_NORESERVE;
    #[cfg(not(target_os = "linux"))]
    let uncharged = 0;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | uncharged;
    // SAFETY: a new anonymous mapping at a place of the kernel's choice disturbs nobody.
    let addr = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
    if addr == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let start = addr.expose_provenance();
    Ok(start..start + len)
}

/// Gives address space back.
///
/// # Safety
/// The range is part of what [`reserve`] gave, in whole pages, and nobody uses it.
pub(super) unsafe fn release(range: Range<usize>) {
    // SAFETY: the contract above. If it fails, the space stays reserved.
    let _ = unsafe { libc::munmap(pointer(range.start), range.len()) };
}

/// Makes `range` accessible, or not.
///
/// # Safety
/// The range lies in a mapping of this island and, if access is taken away, nobody uses it.
///
/// # Errors
/// What mprotect(2) says, untouched. Parts of the range may have changed.
pub(super) unsafe fn protect(range: &Range<usize>, accessible: bool) -> io::Result<()> {
    let protection = if accessible { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_NONE };
    // SAFETY: the caller vouches for the range.
    check(unsafe { libc::mprotect(pointer(range.start), range.len(), protection) })
}

/// madvise(2) on one range.
///
/// # Safety
/// The range lies in a mapping of this island, and nobody minds losing its contents if the advice
/// discards them.
///
/// # Errors
/// What madvise(2) says, untouched.
pub(super) unsafe fn advise(range: &Range<usize>, advice: i32) -> io::Result<()> {
    // SAFETY: the caller vouches for the range.
    check(unsafe { libc::madvise(pointer(range.start), range.len(), advice) })
}

/// madvise(2) on many ranges, in one call where the kernel can (Linux 6.15 and later), which
/// halves the price per range. `advice` must be one that does no harm when repeated.
///
/// # Safety
/// As for [`advise`], for each range.
///
/// # Errors
/// That of the first range that failed; later ones may or may not have been advised.
pub(super) unsafe fn advise_all(ranges: &[Range<usize>], advice: i32) -> io::Result<()> {
    // SAFETY: passed on.
    if unsafe { advise_batched(ranges, advice) } {
        return Ok(());
    }
    ranges.iter().try_for_each(|range| {
        // SAFETY: passed on.
        unsafe { advise(range, advice) }
    })
}

/// Whether all ranges were advised by batched calls. After a `false` any part of them may have been.
///
/// # Safety
/// As for [`advise_all`].
#[cfg(target_os = "linux")]
unsafe fn advise_batched(ranges: &[Range<usize>], advice: i32) -> bool {
    use std::sync::atomic::{AtomicBool, Ordering};

    /// `PIDFD_SELF`: this process without a descriptor, so a fork's child cannot hit its parent.
    const PIDFD_SELF: i32 = -10_000;
    /// What fits a modest buffer on a thread's stack; the gain flattens out at 64.
    const BATCH: usize = 64;
    static UNSUPPORTED: AtomicBool = AtomicBool::new(false);

    // Relaxed, here and below: a hint; a stale value costs one refused call.
    if UNSUPPORTED.load(Ordering::Relaxed) {
        return false;
    }
    ranges.chunks(BATCH).all(|chunk| {
        let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        for (vector, range) in vectors.iter_mut().zip(chunk) {
            vector.iov_base = pointer(range.start);
            vector.iov_len = range.len();
        }
        let bytes: usize = chunk.iter().map(Range::len).sum();
        // SAFETY: `vectors` holds `chunk.len()` ranges that the caller vouches for.
        let advised = unsafe {
            libc::syscall(
                libc::SYS_process_madvise,
                PIDFD_SELF,
                vectors.as_ptr(),
                chunk.len(),
                advice,
                0,
            )
        };
        let refused = advised == -1
            && !matches!(
                io::Error::last_os_error().raw_os_error(),
                Some(libc::ENOMEM | libc::EAGAIN | libc::EINTR)
            );
        if refused {
            UNSUPPORTED.store(true, Ordering::Relaxed);
        }
        usize::try_from(advised) == Ok(bytes)
    })
}

#[cfg(not(target_os = "linux"))]
unsafe fn advise_batched(_: &[Range<usize>], _: i32) -> bool {
    false
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn pointer(addr: usize) -> *mut libc::c_void {
    ptr::with_exposed_provenance_mut(addr)
}
