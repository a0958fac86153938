//! Guards: the lowest page of every slot faults when touched. A slot without one is never handed
//! out, as running into the neighbour's stack would be memory corruption from safe code.
//!
//! Two ways, in this order:
//!
//! 1. `MADV_GUARD_INSTALL` (Linux 6.13) marks the page in the page table. The mapping stays in one
//!    piece, so a million stacks are a handful of lines in `/proc/self/maps`. Markers survive
//!    `MADV_DONTNEED` and fork. The kernel refuses them on locked memory (`mlockall`).
//! 2. The page keeps its `PROT_NONE` while its slot becomes accessible. That makes two mappings
//!    per stack, of which a process has 65,530 by default, and a process that used them all up can
//!    neither allocate, nor start a thread, nor print a panic. So these stacks are budgeted, with
//!    a reserve for everybody else; past the budget a goroutine is an error, not a hang.

use std::io;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::sys;

/// Makes `slab` accessible except for the lowest page of each of its slots of `size` bytes.
///
/// # Safety
/// The slab is part of an arena, and nobody uses it.
///
/// # Errors
/// If the kernel refused; the slab is then not to be used, but may be tried again. The text names
/// what to raise.
pub(super) unsafe fn commit(slab: &Range<usize>, size: usize) -> io::Result<()> {
    // SAFETY: passed on.
    if markers_work()? && unsafe { commit_with_markers(slab, size) }? {
        return Ok(());
    }
    // SAFETY: passed on.
    unsafe { commit_with_mappings(slab, size) }
}

/// Whether it worked; `false` if this memory cannot have markers, because it is locked.
///
/// # Safety
/// As for [`commit`].
unsafe fn commit_with_markers(slab: &Range<usize>, size: usize) -> io::Result<bool> {
    let guards: Vec<_> = slots(slab, size).map(|slot| guard_of(&slot)).collect();
    // Access first: mprotect is ten times as dear on memory that has page tables, for the markers.
    // SAFETY: giving access to memory that nobody uses, and marking some of it.
    let done = unsafe {
        sys::protect(slab, true).and_then(|()| sys::advise_all(&guards, MADV_GUARD_INSTALL))
    };
    let Err(error) = done else { return Ok(true) };
    // SAFETY: taking access back, as nobody uses the slab yet.
    let _ = unsafe { sys::protect(slab, false) };
    match error.kind() {
        io::ErrorKind::InvalidInput => Ok(false),
        _ => Err(explain(slab.len(), &error)),
    }
}

/// The fallback: only what lies above the guards becomes accessible.
///
/// # Safety
/// As for [`commit`].
unsafe fn commit_with_mappings(slab: &Range<usize>, size: usize) -> io::Result<()> {
    let count = slab.len() / size;
    take_budget(count)?;
    // The guards have no access to begin with, whatever an earlier attempt left behind.
    // SAFETY: taking access from memory that nobody uses, and giving it back to parts.
    let mut done = unsafe { sys::protect(slab, false) };
    for slot in slots(slab, size) {
        let usable = guard_of(&slot).end..slot.end;
        // SAFETY: as above.
        done = done.and_then(|()| unsafe { sys::protect(&usable, true) });
    }
    done.map_err(|error| {
        // SAFETY: as above.
        let _ = unsafe { sys::protect(slab, false) };
        give_budget(count);
        explain(slab.len(), &error)
    })
}

fn slots(slab: &Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    slab.clone().step_by(size).map(move |base| base..base + size)
}

fn guard_of(slot: &Range<usize>) -> Range<usize> {
    slot.start..slot.start + sys::page_size()
}

fn explain(bytes: usize, error: &io::Error) -> io::Error {
    let text = format!(
        "no memory for goroutine stacks: committing {} KiB failed ({error}); raise \
         vm.max_map_count, or vm.overcommit_ratio where vm.overcommit_memory is 2",
        bytes >> 10
    );
    io::Error::new(error.kind(), text)
}

const MADV_GUARD_INSTALL: i32 = 102;

static MARKERS_WORK: OnceLock<bool> = OnceLock::new();

/// Whether this system has markers, found out once.
///
/// # Errors
/// If that could not be found out now, for want of memory or mappings.
fn markers_work() -> io::Result<bool> {
    if let Some(&known) = MARKERS_WORK.get() {
        return Ok(known);
    }
    let found = probe_markers()?;
    Ok(*MARKERS_WORK.get_or_init(|| found))
}

/// Sets a marker on a page and looks whether it faults. Looking matters: an emulator that accepts
/// advice it does not know would otherwise leave every stack without a guard.
#[cfg(target_os = "linux")]
fn probe_markers() -> io::Result<bool> {
    let page = sys::reserve(sys::page_size()).map_err(|error| explain(sys::page_size(), &error))?;
    // SAFETY: the page is fresh and nobody else's.
    let accessible = unsafe { sys::protect(&page, true) };
    let found = accessible.map(|()| {
        // SAFETY: as above.
        let marked = unsafe { sys::advise(&page, MADV_GUARD_INSTALL) }.is_ok();
        marked && !readable(page.start)
    });
    // SAFETY: as above, and unused from here on.
    unsafe { libc::munmap(std::ptr::with_exposed_provenance_mut(page.start), page.len()) };
    found.map_err(|error| explain(page.len(), &error))
}

#[cfg(not(target_os = "linux"))]
fn probe_markers() -> io::Result<bool> {
    Ok(false)
}

/// Whether the kernel can read from `addr`: it copies the signal set before it looks at the
/// command, which is one that does not exist, so nothing ever comes of the call.
#[cfg(target_os = "linux")]
fn readable(addr: usize) -> bool {
    const NO_SUCH_COMMAND: i32 = -1;
    const SET_BYTES: usize = 8;
    // SAFETY: the kernel checks the address itself and changes nothing.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, NO_SUCH_COMMAND, addr, 0, SET_BYTES) };
    io::Error::last_os_error().raw_os_error() != Some(libc::EFAULT)
}

/// Stacks that may still be guarded by mappings of their own.
static BUDGET: OnceLock<AtomicUsize> = OnceLock::new();

fn budget() -> &'static AtomicUsize {
    BUDGET.get_or_init(|| AtomicUsize::new(affordable_stacks()))
}

/// Half of the mappings that are left, less a reserve for the rest of the process.
#[cfg(target_os = "linux")]
fn affordable_stacks() -> usize {
    /// For malloc, threads and libraries: a guess, generous for what processes usually have.
    const RESERVED: usize = 4096;
    /// The kernel's default, should `/proc` not be there.
    const DEFAULT_MAX: usize = 65_530;

    let max = std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(DEFAULT_MAX);
    let used = std::fs::read("/proc/self/maps")
        .map_or(0, |maps| maps.iter().filter(|&&byte| byte == b'\n').count());
    max.saturating_sub(used + RESERVED) / 2
}

/// Elsewhere no limit on the number of mappings is known.
#[cfg(not(target_os = "linux"))]
fn affordable_stacks() -> usize {
    usize::MAX
}

fn take_budget(count: usize) -> io::Result<()> {
    // Relaxed, here and below: a counter that orders nothing else.
    let taken =
        budget().fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(count));
    taken.map(drop).map_err(|_| {
        io::Error::new(
            io::ErrorKind::OutOfMemory,
            "no more goroutine stacks: without MADV_GUARD_INSTALL (Linux 6.13, memory not \
             locked) each takes two mappings; raise vm.max_map_count",
        )
    })
}

fn give_budget(count: usize) {
    budget().fetch_add(count, Ordering::Relaxed);
}

/// Makes this process use mappings for guards, `budget` stacks at most. Before the first stack.
#[cfg(test)]
pub(super) fn force_mappings(budget: usize) {
    MARKERS_WORK.set(false).expect("called before any stack");
    BUDGET.set(AtomicUsize::new(budget)).expect("called before any stack");
}

/// Whether this process has markers, for tests that count mappings.
#[cfg(test)]
pub(super) fn uses_markers() -> bool {
    markers_work().unwrap()
}
