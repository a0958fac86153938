//! Address space for stacks: reserved once, committed a slab at a time, never given back.
//!
//! ```text
//!  arena (one class)   4 Mi slots of address space, PROT_NONE, costs nothing
//!  ├── slab 0          64 slots, committed: accessible except for the guards
//!  ├── slab 1          committed
//!  ├── …
//!  └── the rest        reserved
//! ```
//!
//! Slots are aligned to their size, so the slot around an address is a range check and a mask.
//! Adjacent committed slabs are one mapping, whatever their number. Where address space is rationed
//! (`RLIMIT_AS`, small page tables) an arena is smaller and a class gets further ones as it grows.
//!
//! Invariants: an arena in the table is there for good, and its memory with it; a slab handed out
//! by [`commit_slab`] is fully guarded, and is handed out once.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::{COLOURS, SizeClass, Slot, guard, sys};

/// The room an arena asks for first: at one resident page each, 16 GiB of live stacks.
const ARENA_SLOTS: usize = 4 << 20;
/// Arenas of all classes together. More than one per class exists only where address space is
/// rationed to a sixteenth per arena.
const MAX_ARENAS: usize = 64;

struct Arena {
    space: Range<usize>,
    class: SizeClass,
}

/// Filled from the front; read without a lock, also by the signal handler.
static ARENAS: [OnceLock<Arena>; MAX_ARENAS] = [const { OnceLock::new() }; MAX_ARENAS];

/// The part of each class's newest arena that no slab was cut from yet.
static FRONTIERS: [Mutex<Frontier>; SizeClass::ALL.len()] =
    [const { Mutex::new(Frontier { fresh: 0..0, returned: Vec::new() }) }; SizeClass::ALL.len()];

/// Slots handed out by [`commit_slab`], per class.
static COMMITTED: [AtomicUsize; SizeClass::ALL.len()] =
    [const { AtomicUsize::new(0) }; SizeClass::ALL.len()];

struct Frontier {
    fresh: Range<usize>,
    /// Slabs that could not be committed; to be tried again before fresh ones.
    returned: Vec<Range<usize>>,
}

/// The slot around `addr`, if that lies in an arena. Lock-free, async-signal-safe, 1 to 2 ns.
///
/// The slot need not be in use, or even committed, unless the address is one that somebody's stack
/// pointer holds.
#[inline]
pub(crate) fn slot_of(addr: usize) -> Option<Slot> {
    ARENAS
        .iter()
        .map_while(OnceLock::get)
        .find(|arena| addr.wrapping_sub(arena.space.start) < arena.space.len())
        .map(|arena| Slot::around(addr, arena.class))
}

/// Makes a further slab of `class` usable and hands it out, whole.
///
/// # Errors
/// If the kernel gives no more address space, memory or mappings. The text names what to raise.
/// Nothing is lost: a later call tries again.
pub(super) fn commit_slab(class: SizeClass) -> io::Result<Range<usize>> {
    let slab = cut_slab(class)?;
    // The lock is free meanwhile, so that several Ps can grow at once.
    // SAFETY: cut from the frontier, so ours alone, and never handed out before.
    if let Err(error) = unsafe { guard::commit(&slab, class.bytes()) } {
        lock_frontier(class).returned.push(slab);
        return Err(error);
    }
    // Relaxed: statistics, and a hint below.
    let before = COMMITTED[class as usize].fetch_add(slab.len() / class.bytes(), Ordering::Relaxed);
    if before > 0 {
        populate_tops(&slab, class);
    }
    Ok(slab)
}

/// Makes the top page of each slot resident, in one call: 1.1 µs each instead of 1.6 to 1.9 for the
/// fault that would come as soon as the slot is used. Not for a class's first slab, of which a
/// small program uses a fraction.
fn populate_tops(slab: &Range<usize>, class: SizeClass) {
    #[cfg(target_os = "linux")]
    {
        let ends = slab.clone().step_by(class.bytes()).map(|base| base + class.bytes());
        let tops: Vec<_> = ends.map(|end| end - sys::page_size()..end).collect();
        // SAFETY: a fresh slab; the advice changes nobody's contents. If there is no memory, or the
        // kernel is older than 5.14, the pages come on first touch.
        let _ = unsafe { sys::advise_all(&tops, libc::MADV_POPULATE_WRITE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (slab, class);
}

/// Slots of `class` committed so far.
pub(super) fn committed(class: SizeClass) -> usize {
    // Relaxed: statistics only.
    COMMITTED[class as usize].load(Ordering::Relaxed)
}

/// 64 slots, enough to spread the price of one mprotect, 16 MiB at most.
const fn slab_bytes(class: SizeClass) -> usize {
    let bytes = 64 * class.bytes();
    if bytes < 16 << 20 { bytes } else { 16 << 20 }
}

fn lock_frontier(class: SizeClass) -> std::sync::MutexGuard<'static, Frontier> {
    // Nothing panics with the lock held halfway through a change.
    FRONTIERS[class as usize].lock().unwrap_or_else(PoisonError::into_inner)
}

fn cut_slab(class: SizeClass) -> io::Result<Range<usize>> {
    let mut frontier = lock_frontier(class);
    if let Some(slab) = frontier.returned.pop() {
        return Ok(slab);
    }
    if frontier.fresh.is_empty() {
        frontier.fresh = add_arena(class)?;
    }
    let end = frontier.fresh.start + slab_bytes(class);
    let slab = frontier.fresh.start..end;
    frontier.fresh.start = end;
    Ok(slab)
}

/// Reserves an arena and enters it into the table. Its length is a multiple of the slab's.
#[cold]
fn add_arena(class: SizeClass) -> io::Result<Range<usize>> {
    static ADDING: Mutex<()> = Mutex::new(());
    let _adding = ADDING.lock().unwrap_or_else(PoisonError::into_inner);
    let place = ARENAS.iter().find(|place| place.get().is_none()).ok_or_else(table_is_full)?;
    let space = reserve(class)?;
    // SAFETY: a fresh mapping that nobody uses. Where there are no huge pages the kernel refuses,
    // which is as good; where there are, one would make 64 KiB of every touched stack resident.
    #[cfg(target_os = "linux")]
    let _ = unsafe { sys::advise(&space, libc::MADV_NOHUGEPAGE) };
    place.get_or_init(|| Arena { space: space.clone(), class });
    Ok(space)
}

fn table_is_full() -> io::Error {
    io::Error::new(
        io::ErrorKind::OutOfMemory,
        "no more goroutine stacks: all 64 arenas are full; raise RLIMIT_AS (ulimit -v), so that \
         each can be larger",
    )
}

/// Address space for an arena of `class`, aligned to `COLOURS` slots: as much as asked for, or as
/// the kernel gives, down to one slab.
fn reserve(class: SizeClass) -> io::Result<Range<usize>> {
    let (slab, align) = (slab_bytes(class), COLOURS * class.bytes());
    let mut len = (ARENA_SLOTS * class.bytes()).min(fair_share()).max(slab);
    // What the heap and the threads' own stacks need is not for goroutines, or the process would
    // end of the next small allocation.
    let spared = address_limit().map_or(0, |limit| limit / 16);
    loop {
        len -= len % slab;
        match sys::reserve(len + align + spared) {
            Ok(space) => {
                let start = space.start.next_multiple_of(align);
                let end = space.end - spared;
                if spared > 0 {
                    let end = end.next_multiple_of(sys::page_size());
                    // SAFETY: the end of a fresh mapping, in whole pages.
                    unsafe { sys::release(end..space.end) };
                }
                return Ok(start..start + len);
            }
            Err(_) if len > slab => len = (len / 4).max(slab),
            Err(error) => return Err(explain(len + align, &error)),
        }
    }
}

/// A sixteenth of the address space the process may have: the heap needs some too, and reserved
/// space counts.
fn fair_share() -> usize {
    match address_limit() {
        Some(limit) => limit / 16,
        None => usize::MAX,
    }
}

/// `RLIMIT_AS` in bytes, if there is one.
fn address_limit() -> Option<usize> {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: fills in the struct, which is ours.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) };
    let known = result == 0 && limit.rlim_cur != libc::RLIM_INFINITY;
    known.then(|| usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX))
}

fn explain(bytes: usize, error: &io::Error) -> io::Error {
    let remedy = match address_limit() {
        Some(limit) => format!("raise RLIMIT_AS (ulimit -v), now {} KiB", limit >> 10),
        None => "raise vm.max_map_count".to_string(),
    };
    let text = format!(
        "no address space for goroutine stacks: reserving {} KiB failed ({error}); {remedy}",
        bytes >> 10
    );
    io::Error::new(error.kind(), text)
}
