//! The memory of Gs: cells of a few sizes, carved from slabs, kept on free lists.
//!
//! A task lives for tens of nanoseconds, so its memory must come from the P
//! that spawns it: malloc costs 24 ns more per task (`HACKING.md`). Each P has
//! a free list per size class; a list that grows too long gives a chain to the
//! central store and one that runs dry takes a chain from it. A cell is freed
//! to the list of whoever frees it.
//!
//! **The slab directory is the list of all Gs.** The first word of a cell is
//! its status word, also while it is free (then it is 0), and slabs are not
//! returned while the scheduler lives, so a walk over all cells finds each
//! live G at no cost per spawn. Bodies that are too large for a class come from
//! the allocator and are listed in a set.
//!
//! **The end.** Handles and wakers may outlive the runtime and keep cells.
//! `close` counts these; each free then counts down, and the last one drops
//! the scheduler, whose memory the header of each cell points to.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::g::{G, GRef};
use super::status::Activity;
use crate::util::soon;

/// Cells are multiples of this, and aligned to it.
const GRAIN: usize = 32;
/// The largest cell that is carved from a slab.
const LARGEST: usize = 4096;
/// Steps of `GRAIN` up to 512 bytes, then four to each doubling.
const SIZES: [usize; 28] = [
    32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448, 480, 512, 640, 768, 896,
    1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584, LARGEST,
];
const SLAB: usize = 256 * 1024;
/// Cells that move between a P and the central store at once.
const CHAIN: usize = 64;

/// Which cells fit a body. Computed at compile time, once per body type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// An index into `SIZES`.
    Slab(u8),
    /// Too large or too strictly aligned: from the allocator.
    Large,
}

impl Class {
    /// The class for a cell of this layout.
    pub(crate) const fn of(layout: Layout) -> Class {
        let (size, align) = (layout.size(), layout.align());
        if size > LARGEST || align > GRAIN {
            return Class::Large;
        }
        let mut i = 0;
        while SIZES[i] < size {
            i += 1;
        }
        Class::Slab(i as u8)
    }
}

/// A singly linked chain of dead cells.
#[derive(Clone, Copy)]
struct Chain {
    head: *mut G,
    len: usize,
}

impl Default for Chain {
    fn default() -> Chain {
        Chain::EMPTY
    }
}

impl Chain {
    const EMPTY: Chain = Chain { head: std::ptr::null_mut(), len: 0 };

    fn push(&mut self, cell: NonNull<u8>) {
        let g = cell.cast::<G>().as_ptr();
        // SAFETY: a dead cell belongs to the list it is pushed to; any cell is large enough for
        // the header. Relaxed: the list's owner or lock orders it.
        unsafe { (*g).link.store(self.head, std::sync::atomic::Ordering::Relaxed) };
        self.head = g;
        self.len += 1;
    }

    fn pop(&mut self) -> Option<NonNull<u8>> {
        let g = NonNull::new(self.head)?;
        // SAFETY: as in `push`.
        self.head = unsafe { g.as_ref().link.load(std::sync::atomic::Ordering::Relaxed) };
        self.len -= 1;
        Some(g.cast())
    }

    /// Cuts off the first `n` cells.
    fn split(&mut self, n: usize) -> Chain {
        let mut cut = Chain::EMPTY;
        while cut.len < n
            && let Some(cell) = self.pop()
        {
            cut.push(cell);
        }
        cut
    }
}

/// The free lists of one P. Touched by the P's owner only.
pub(super) struct Cache {
    lists: [Chain; SIZES.len()],
}

// SAFETY: the cells in the lists are dead and belong to the cache alone.
unsafe impl Send for Cache {}

impl Cache {
    pub(super) fn new() -> Cache {
        Cache { lists: [Chain::EMPTY; SIZES.len()] }
    }

    /// Cells on the lists.
    pub(super) fn len(&self) -> usize {
        self.lists.iter().map(|list| list.len).sum()
    }

    /// A cell whose status word is 0 and whose other bytes are anything.
    #[inline]
    pub(super) fn alloc(&mut self, heap: &Heap, class: Class, layout: Layout) -> NonNull<u8> {
        match class {
            Class::Slab(i) => match self.lists[usize::from(i)].pop() {
                Some(cell) => cell,
                None => self.refill(heap, i),
            },
            Class::Large => heap.alloc(class, layout).0, // a P allocates only before the end
        }
    }

    #[cold]
    fn refill(&mut self, heap: &Heap, i: u8) -> NonNull<u8> {
        let list = &mut self.lists[usize::from(i)];
        *list = heap.lock().take_chain(i);
        list.pop().expect("the central store gives at least one cell")
    }

    /// Takes back a dead cell.
    #[inline]
    pub(super) fn free(&mut self, heap: &Heap, g: GRef) {
        let Class::Slab(i) = g.class() else { return heap.free(g) };
        g.status().kill();
        let list = &mut self.lists[usize::from(i)];
        list.push(g.cell());
        if list.len >= 16 * CHAIN {
            let chain = list.split(CHAIN);
            heap.lock().classes[usize::from(i)].chains.push(chain);
        }
    }
}

/// The central store of one scheduler.
pub(super) struct Heap {
    central: Mutex<Central>,
}

struct Central {
    classes: [Free; SIZES.len()],
    slabs: Vec<Slab>,
    /// Cells that have been carved.
    carved: usize,
    large: HashMap<GPtr, Layout>,
    /// Set by `close`: the cells that are still in use.
    remaining: Option<usize>,
}

#[derive(Default)]
struct Free {
    chains: Vec<Chain>,
    /// Cells that came one by one, until they make a chain.
    loose: Chain,
    /// The slab that is being carved: its next cell and its end.
    fresh: (usize, usize),
}

struct Slab {
    base: NonNull<u8>,
    size: usize,
}

#[derive(PartialEq, Eq, Hash, Clone, Copy)]
struct GPtr(NonNull<u8>);

// SAFETY: the pointers are to memory that only the heap frees; what is in the cells has its own
// rules (`g.rs`).
unsafe impl Send for Central {}

impl Heap {
    pub(super) fn new() -> Heap {
        let classes = std::array::from_fn(|_| Free::default());
        let central = Central {
            classes,
            slabs: Vec::new(),
            carved: 0,
            large: HashMap::new(),
            remaining: None,
        };
        Heap { central: Mutex::new(central) }
    }

    fn lock(&self) -> MutexGuard<'_, Central> {
        self.central.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cell for a thread that holds no P. Also whether it is the only one of a closed heap: then
    /// it owns the scheduler, and the caller must count it.
    #[cold]
    pub(super) fn alloc(&self, class: Class, layout: Layout) -> (NonNull<u8>, bool) {
        let mut central = self.lock();
        let cell = match class {
            Class::Slab(i) => central.take_one(i),
            Class::Large => {
                let cell = alloc(layout);
                central.large.insert(GPtr(cell), layout);
                cell
            }
        };
        let closed = central.remaining.as_mut();
        let first = closed.is_some_and(|n| {
            *n += 1;
            *n == 1
        });
        (cell, first)
    }

    /// Takes a dead cell back from a thread that holds no P. True: it was the last one of a
    /// closed heap, and the caller must drop the scheduler.
    #[cold]
    pub(super) fn free_counted(&self, g: GRef) -> bool {
        let mut central = self.lock();
        // Under the lock, so that `close` counts each cell once.
        g.status().kill();
        match g.class() {
            Class::Slab(i) => {
                central.classes[usize::from(i)].put(g.cell());
            }
            Class::Large => {
                let layout = central.large.remove(&GPtr(g.cell())).expect("it was listed");
                // SAFETY: it was allocated with this layout, and nobody refers to it.
                unsafe { dealloc(g.cell().as_ptr(), layout) };
            }
        }
        match &mut central.remaining {
            Some(n) => {
                *n -= 1;
                *n == 0
            }
            None => false,
        }
    }

    fn free(&self, g: GRef) {
        let last = self.free_counted(g);
        debug_assert!(!last, "a P frees only before the heap is closed");
    }

    /// Calls `f` with every G that has not ended, holding a reference that `f` must give back.
    /// `f` runs without the lock.
    pub(super) fn for_each_live(&self, f: impl FnMut(GRef)) {
        walk(self.lock(), f);
    }

    /// The same, unless somebody holds the central store for good: then false.
    pub(super) fn try_for_each_live(&self, f: impl FnMut(GRef)) -> bool {
        soon::lock(&self.central).map(|central| walk(central, f)).is_some()
    }

    /// Calls `f` for every cell that has ever been used, or may have been, with what its G is doing.
    /// The cells stay as they are, and nobody is held up but those who take large ones.
    pub(super) fn glance(&self, mut f: impl FnMut(Activity)) {
        let cells: Vec<_> = {
            let central = self.lock();
            let large = central.large.keys().map(|p| GRef::from_raw(p.0.as_ptr().cast()));
            large.for_each(|g| f(g.status().activity())); // under the lock, which keeps them
            central.cells().collect()
        };
        for (first, size, count) in cells {
            for i in 0..count {
                let g = GRef::from_raw(std::ptr::with_exposed_provenance(first + i * size));
                f(g.status().activity());
            }
        }
    }

    /// No P is left, and `cached` cells are on their free lists: from now on every free is counted.
    /// Returns the cells still in use, or about to be used by a spawn from outside.
    pub(super) fn close(&self, cached: usize) -> usize {
        let mut central = self.lock();
        let free: usize = central.classes.iter().map(Free::len).sum();
        let live = central.large.len() + central.carved - free - cached;
        central.remaining = Some(live);
        live
    }

    /// Bytes held from the allocator.
    pub(super) fn bytes(&self) -> usize {
        self.lock().slabs.len() * SLAB
    }
}

/// Calls `f` with every G that has not ended, without the lock; see `for_each_live`.
fn walk(central: MutexGuard<'_, Central>, mut f: impl FnMut(GRef)) {
    // A large cell may be gone once the lock is released: these are taken under it.
    let large = central.large.keys().map(|p| GRef::from_raw(p.0.as_ptr().cast()));
    let large: Vec<_> = large.filter(|g| g.status().try_ref()).collect();
    let cells: Vec<_> = central.cells().collect();
    drop(central);
    large.into_iter().for_each(&mut f);
    for (first, size, count) in cells {
        for i in 0..count {
            let g = GRef::from_raw(std::ptr::with_exposed_provenance(first + i * size));
            if g.status().try_ref() {
                f(g);
            }
        }
    }
}

impl Central {
    /// First cell, cell size and number of cells of each slab that has been carved.
    fn cells(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        self.slabs.iter().map(|slab| {
            let base = slab.base.as_ptr().expose_provenance();
            (base, slab.size, SLAB / slab.size)
        })
    }

    fn take_one(&mut self, i: u8) -> NonNull<u8> {
        let mut chain = self.take_chain(i);
        let cell = chain.pop().expect("a chain holds at least one cell");
        self.classes[usize::from(i)].loose = chain; // `take_chain` has left it empty
        cell
    }

    fn take_chain(&mut self, i: u8) -> Chain {
        let free = &mut self.classes[usize::from(i)];
        if free.loose.len > 0 {
            return std::mem::take(&mut free.loose);
        }
        if let Some(chain) = free.chains.pop() {
            return chain;
        }
        let size = SIZES[usize::from(i)];
        if free.fresh.0 == free.fresh.1 {
            let base = alloc(Layout::from_size_align(SLAB, 4096).expect("a constant layout"));
            let start = base.as_ptr().expose_provenance();
            free.fresh = (start, start + SLAB / size * size);
            self.slabs.push(Slab { base, size });
        }
        let chain = free.carve(size);
        self.carved += chain.len;
        chain
    }
}

impl Free {
    fn put(&mut self, cell: NonNull<u8>) {
        self.loose.push(cell);
        if self.loose.len >= CHAIN {
            self.chains.push(std::mem::take(&mut self.loose));
        }
    }

    fn len(&self) -> usize {
        self.loose.len + self.chains.iter().map(|chain| chain.len).sum::<usize>()
    }

    /// The next cells of the current slab, linked in address order.
    fn carve(&mut self, size: usize) -> Chain {
        let (start, end) = self.fresh;
        let count = CHAIN.min((end - start) / size);
        self.fresh.0 = start + count * size;
        let mut chain = Chain::EMPTY;
        for i in (0..count).rev() {
            let cell = std::ptr::with_exposed_provenance_mut::<u8>(start + i * size);
            chain.push(NonNull::new(cell).expect("slabs are not at address 0"));
        }
        chain
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        let central = self.central.get_mut().unwrap_or_else(PoisonError::into_inner);
        for slab in &central.slabs {
            let layout = Layout::from_size_align(SLAB, 4096).expect("a constant layout");
            // SAFETY: allocated with this layout; the scheduler is dropped after its last cell.
            unsafe { dealloc(slab.base.as_ptr(), layout) };
        }
    }
}

fn alloc(layout: Layout) -> NonNull<u8> {
    // SAFETY: no layout here is of size 0. Zeroed, so that each status word reads as dead.
    NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}
