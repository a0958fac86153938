//! Free stacks: a pool per P, a list per class behind the pools, and the scavenger. Go: gfget, gfput.
//!
//! ```text
//!   LocalPool of a P          global list of the class              the kernel
//!   64 at most, LIFO   32 ⇄   warm: as they came back        ◀──   a new slab
//!   no lock, no atomic        cold: idle for a period, top page kept
//!                             bare: the same, nothing resident  ──▶ MADV_DONTNEED
//! ```
//!
//! A goroutine that exits leaves its pages in place: the next one on that stack finds them mapped
//! and, as the lists are LIFO, often still in the cache (5 to 40 ns against 2 µs for a fault). Only
//! what lay untouched on the *global* list for a whole period is trimmed. `MADV_FREE` would be no
//! cheaper and leaves the memory in the process's account until the system runs short.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;

use super::{SizeClass, Slot, StackSlot, arena, sys};

/// Go's size of the per-P list, and half of it moves at a time.
const LOCAL: usize = 64;
const HALF: usize = LOCAL / 2;

/// Idle stacks that keep their top page, per class: a guess, 4 MiB resident at most.
const KEEP_TOP: usize = 1024;

/// A P's own free stacks. Only the owner touches it. On drop everything goes to the global lists.
#[derive(Default)]
pub(crate) struct LocalPool {
    shelves: [Shelf; SizeClass::ALL.len()],
}

/// Slots by their base address, newest last.
struct Shelf {
    len: usize,
    bases: [usize; LOCAL],
}

impl Default for Shelf {
    fn default() -> Self {
        Self { len: 0, bases: [0; LOCAL] }
    }
}

impl LocalPool {
    /// A free stack of `class`, the most recently used one. Its contents are arbitrary.
    ///
    /// # Errors
    /// If a new slab was needed and the kernel refused. The text names what to raise.
    #[inline]
    pub(crate) fn get(&mut self, class: SizeClass) -> io::Result<StackSlot> {
        let shelf = &mut self.shelves[class as usize];
        if shelf.len == 0 {
            shelf.refill(class)?;
        }
        shelf.len -= 1;
        Ok(owned(shelf.bases[shelf.len], class))
    }

    /// Takes a stack back that nobody runs on any more.
    #[inline]
    pub(crate) fn put(&mut self, slot: StackSlot) {
        let shelf = &mut self.shelves[slot.class as usize];
        if shelf.len == LOCAL {
            shelf.spill(slot.class);
        }
        shelf.bases[shelf.len] = slot.base;
        shelf.len += 1;
    }

    /// Gives everything to the global lists, where the scavenger sees it. For a P that goes idle
    /// for long, or for good.
    pub(crate) fn flush(&mut self) {
        for class in SizeClass::ALL {
            let shelf = &mut self.shelves[class as usize];
            if shelf.len > 0 {
                lock(class).push_all(&shelf.bases[..shelf.len]);
                shelf.len = 0;
            }
        }
    }
}

impl Drop for LocalPool {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Shelf {
    /// Half a shelf from the global list, or a slab.
    #[cold]
    fn refill(&mut self, class: SizeClass) -> io::Result<()> {
        self.len = lock(class).pop_into(&mut self.bases[..HALF]);
        if self.len == 0 {
            let mut fresh = commit(class)?;
            let kept = fresh.len().min(HALF);
            let surplus = fresh.len() - kept;
            self.bases[..kept].copy_from_slice(&fresh[surplus..]);
            self.len = kept;
            fresh.truncate(surplus);
            lock(class).push_all(&fresh);
        }
        Ok(())
    }

    /// The older half to the global list.
    #[cold]
    fn spill(&mut self, class: SizeClass) {
        lock(class).push_all(&self.bases[..HALF]);
        self.bases.copy_within(HALF.., 0);
        self.len = LOCAL - HALF;
    }
}

/// A free stack for somebody without a P.
///
/// # Errors
/// As [`LocalPool::get`].
pub(crate) fn get(class: SizeClass) -> io::Result<StackSlot> {
    let mut base = [0];
    if lock(class).pop_into(&mut base) == 0 {
        let mut fresh = commit(class)?;
        base = [fresh.pop().expect("a slab has slots")];
        lock(class).push_all(&fresh);
    }
    Ok(owned(base[0], class))
}

/// Takes a stack back from somebody without a P. Nobody runs on it any more.
pub(crate) fn put(slot: StackSlot) {
    lock(slot.class).push_all(&[slot.base]);
}

/// The slots of a new slab, lowest last.
fn commit(class: SizeClass) -> io::Result<Vec<usize>> {
    let slab = arena::commit_slab(class)?;
    Ok(slab.step_by(class.bytes()).rev().collect())
}

/// What a list held is handed out: the pools hold each committed slot once, as base address.
#[inline]
fn owned(base: usize, class: SizeClass) -> StackSlot {
    StackSlot(Slot { base, class })
}

/// The global list of a class.
///
/// `idle <= quiet <= warm.len()`: as the list is LIFO, its oldest `quiet` stacks are those that
/// nobody took since this period began, and the oldest `idle` ones had lain there for the whole
/// period before and are still to be trimmed.
struct FreeList {
    warm: VecDeque<usize>,
    quiet: usize,
    idle: usize,
    /// Trimmed, top page kept.
    cold: VecDeque<usize>,
    /// Trimmed, nothing resident.
    bare: VecDeque<usize>,
}

static GLOBAL: [CachePadded<Mutex<FreeList>>; SizeClass::ALL.len()] =
    [const { CachePadded::new(Mutex::new(FreeList::new())) }; SizeClass::ALL.len()];

fn lock(class: SizeClass) -> MutexGuard<'static, FreeList> {
    // A panic in here could only be a failed push, which changes nothing.
    GLOBAL[class as usize].lock().unwrap_or_else(PoisonError::into_inner)
}

impl FreeList {
    const fn new() -> Self {
        Self {
            warm: VecDeque::new(),
            quiet: 0,
            idle: 0,
            cold: VecDeque::new(),
            bare: VecDeque::new(),
        }
    }

    fn push_all(&mut self, bases: &[usize]) {
        self.warm.extend(bases);
    }

    /// Fills `places` from the front, the warmest last, and says how many it filled.
    fn pop_into(&mut self, places: &mut [usize]) -> usize {
        let mut filled = 0;
        for list in [&mut self.warm, &mut self.cold, &mut self.bare] {
            let keep = list.len().saturating_sub(places.len() - filled);
            for base in list.drain(keep..).rev() {
                places[filled] = base;
                filled += 1;
            }
        }
        places[..filled].reverse();
        self.quiet = self.quiet.min(self.warm.len());
        self.idle = self.idle.min(self.quiet);
        filled
    }

    /// Takes out up to `max` idle stacks. Starts a new period if none are left of the last.
    fn take_idle(&mut self, max: usize) -> Vec<usize> {
        if self.idle == 0 {
            self.idle = self.quiet;
            self.quiet = self.warm.len();
        }
        let count = self.idle.min(max);
        self.idle -= count;
        self.quiet -= count;
        self.warm.drain(..count).collect()
    }
}

/// Gives the memory of idle stacks back: of those that nobody took from the global list for a
/// period, everything below the top page; where more than 1,024 of a class are idle, of the
/// others the top page too. Trims `max` stacks of each class at most (about 0.5 µs each, 4 µs if it
/// was deep) and returns how many are left to trim. No lock is held over a system call.
///
/// A period is the time between one call that returned 0 and the next, so: call once per period,
/// and until it returns 0.
pub(crate) fn scavenge(max: usize) -> usize {
    SizeClass::ALL.into_iter().map(|class| scavenge_class(class, max)).sum()
}

fn scavenge_class(class: SizeClass, max: usize) -> usize {
    let (idle, cold, left) = {
        let mut list = lock(class);
        (list.take_idle(max), list.cold.len(), list.idle)
    };
    if idle.is_empty() {
        return left;
    }
    let (keep_top, drop_all) = idle.split_at(idle.len().min(KEEP_TOP.saturating_sub(cold)));
    trim(keep_top, class, sys::page_size());
    trim(drop_all, class, 0);

    let mut list = lock(class);
    list.cold.extend(keep_top);
    list.bare.extend(drop_all);
    left
}

/// Discards the slots' pages, except for `kept` bytes at the top.
fn trim(bases: &[usize], class: SizeClass, kept: usize) {
    let ranges: Vec<Range<usize>> =
        bases.iter().map(|base| base + sys::page_size()..base + class.bytes() - kept).collect();
    // SAFETY: the slots were taken off the list of free ones, so nobody uses their contents. If
    // the kernel refuses (locked memory) they stay resident, which harms nobody.
    let _ = unsafe { sys::advise_all(&ranges, libc::MADV_DONTNEED) };
}

/// The stacks of one class, in numbers. Exact when nothing moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stats {
    /// The class these numbers are of.
    pub(crate) class: SizeClass,
    /// Stacks taken from the kernel so far; never goes down.
    pub(crate) committed: usize,
    /// Those on the global list. The difference is in use, or in a [`LocalPool`].
    pub(crate) free: usize,
    /// Those of the free ones that the scavenger trimmed.
    pub(crate) trimmed: usize,
}

impl Stats {
    /// Address space made accessible, in bytes, guards included. What is resident is far less.
    pub(crate) fn committed_bytes(&self) -> usize {
        self.committed * self.class.bytes()
    }
}

/// The numbers of each class, smallest class first.
pub(crate) fn stats() -> [Stats; SizeClass::ALL.len()] {
    SizeClass::ALL.map(|class| {
        let (warm, trimmed) = {
            let list = lock(class);
            (list.warm.len(), list.cold.len() + list.bare.len())
        };
        Stats { class, committed: arena::committed(class), free: warm + trimmed, trimmed }
    })
}
