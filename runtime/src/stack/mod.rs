//! The machine island: stacks, the switch between them, and what happens when one overflows.
//!
//! Nothing here knows what a G is. The island deals in *slots*: equal, aligned pieces of a large
//! reservation of address space, each a guard at the bottom and a stack above it. The README next
//! to this file draws one and lists the rules; in short:
//!
//! - [`arena`] reserves address space per [`SizeClass`] and commits it a slab at a time;
//! - [`guard`] makes the lowest page of every slot fault, and refuses to hand out a slot without;
//! - [`pool`] keeps free slots: a [`pool::LocalPool`] per P, a locked list per class behind it, and
//!   the scavenger that gives memory of idle stacks back;
//! - [`mod@switch`] makes a context on a slot and switches to it; the only file that names `context`;
//! - [`unwind`] reads the frames of a suspended stack, [`sample`] those of a thread that goes on;
//! - [`fault`] turns a hit on a guard into a message and a clean death.
//!
//! A stack is never unmapped and its address never leaves its class, so an address alone is enough
//! to find the slot around it ([`arena::slot_of`]): no thread-local is read, hence none can be
//! cached by the compiler over a switch, and a signal handler can ask the same question.

pub(crate) mod arena;
pub(crate) mod fault;
mod guard;
pub(crate) mod pool;
pub(crate) mod sample;
pub(crate) mod switch;
mod sys;
mod tables;
#[cfg(test)]
mod tests;
pub(crate) mod unwind;

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::panic::Location;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The size of a slot, guard included. Each class has arenas, free lists and pools of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum SizeClass {
    /// 16 KiB, for experts: printing a panic's backtrace alone needs 20 KiB.
    K16,
    /// 64 KiB.
    K64,
    /// 256 KiB, the default: real synchronous libraries run on it. Compared with 64 KiB it costs
    /// 384 bytes of page tables per stack and nothing else, as pages come on first touch.
    K256,
    /// 1 MiB.
    M1,
}

impl SizeClass {
    /// All classes, smallest first; `ALL[class as usize] == class`.
    pub(crate) const ALL: [Self; 4] = [Self::K16, Self::K64, Self::K256, Self::M1];
    /// The class of a goroutine that asked for nothing.
    pub(crate) const DEFAULT: Self = Self::K256;

    /// The smallest class of at least `bytes`, or `None` above 1 MiB. At least four pages, so on
    /// machines with large pages the smallest classes are passed over.
    pub(crate) fn fit(bytes: usize) -> Option<Self> {
        let bytes = bytes.max(4 * sys::page_size());
        Self::ALL.into_iter().find(|class| class.bytes() >= bytes)
    }

    /// The size of a slot in bytes, guard included.
    pub(crate) const fn bytes(self) -> usize {
        1 << self.shift()
    }

    const fn shift(self) -> u32 {
        14 + 2 * self as u32
    }
}

/// Stack tops are staggered over this many offsets…
const COLOURS: usize = 8;
/// …this far apart. Without it the hottest lines of all stacks fall into the same sets of the L1
/// cache: 43 ns instead of 12.6 per switch pair in a round over 1,000 goroutines.
const COLOUR_STEP: usize = 128;

/// Where a slot lies. A plain address, without any claim on the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    base: usize,
    class: SizeClass,
}

impl Slot {
    /// The slot of `class` around `addr`.
    fn around(addr: usize, class: SizeClass) -> Self {
        Self { base: addr & !(class.bytes() - 1), class }
    }

    /// One past the highest usable byte. Aligned to 128; the top page is the only one in use while
    /// a stack is shallow, so what lies there (header, closure, result) should stay small.
    #[inline]
    pub(crate) fn top(self) -> *mut u8 {
        let colour = self.index() % COLOURS * COLOUR_STEP;
        ptr::with_exposed_provenance_mut(self.base + self.class.bytes() - colour)
    }

    /// The lowest usable byte; the guard ends here.
    #[inline]
    pub(crate) fn limit(self) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.base + sys::page_size())
    }

    /// The size of the slot in bytes, guard and colour included: the number a user asked for,
    /// rounded up to its class.
    #[inline]
    pub(crate) fn size(self) -> usize {
        self.class.bytes()
    }

    /// Whether `addr` lies in the slot.
    #[inline]
    pub(crate) fn holds(self, addr: usize) -> bool {
        addr & !(self.class.bytes() - 1) == self.base
    }

    /// The plate of the stack in this slot, once somebody has put one there.
    #[inline]
    pub(crate) fn plate(self) -> *mut Plate {
        self.top().cast::<Plate>().wrapping_sub(1)
    }

    /// The slot as one word, which is not 0.
    fn word(self) -> usize {
        self.base | self.class as usize
    }

    /// The other direction of `word`.
    #[inline]
    fn of_word(word: usize) -> Slot {
        const CLASS: usize = SizeClass::ALL.len() - 1;
        Slot { base: word & !CLASS, class: SizeClass::ALL[word & CLASS] }
    }

    /// A number no other slot of this class has.
    #[inline]
    pub(crate) fn index(self) -> usize {
        self.base >> self.class.shift()
    }
}

/// What lies at the very top of each stack in use, so that somebody who has no more than an address
/// on it can tell whose it is.
#[repr(C)]
pub(crate) struct Plate {
    /// The owner's address; the lowest bit tells coroutines (1) from goroutines.
    owner: Cell<usize>,
    /// [`Hold`]s on this stack.
    holds: Cell<usize>,
}

const _: () = assert!(size_of::<Plate>() == 16, "the stack below it stays aligned to 16");

impl Plate {
    const COROUTINE: usize = 1;

    /// The plate of a goroutine, by the address of its G.
    pub(crate) fn of_goroutine(g: *const ()) -> Plate {
        Plate { owner: Cell::new(g.expose_provenance()), holds: Cell::new(0) }
    }

    /// The plate of a coroutine, by the place that created it.
    pub(crate) fn of_coroutine(created_at: &'static Location<'static>) -> Plate {
        let owner = ptr::from_ref(created_at).expose_provenance() | Plate::COROUTINE;
        Plate { owner: Cell::new(owner), holds: Cell::new(0) }
    }

    /// The owner.
    pub(crate) fn owner(&self) -> Owner {
        let owner = self.owner.get();
        if owner & Plate::COROUTINE == 0 {
            return Owner::Goroutine(ptr::with_exposed_provenance(owner));
        }
        let at = ptr::with_exposed_provenance(owner & !Plate::COROUTINE);
        // SAFETY: `of_coroutine` had it as a reference.
        Owner::Coroutine(unsafe { &*at })
    }

    /// Whether this stack must not be left but by a wait.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        self.holds.get() != 0
    }
}

/// Whose stack it is.
pub(crate) enum Owner {
    /// A goroutine's, by the address of its G.
    Goroutine(*const ()),
    /// A coroutine's, by the place that created it.
    Coroutine(&'static Location<'static>),
}

/// Keeps the coroutine on whose stack it lies, if any, from yielding: its flow has left things with
/// the thread or the goroutine that runs it, which nobody else may find there.
#[must_use = "the stack is held until this is dropped"]
pub(crate) struct Hold(Option<Slot>);

impl Hold {
    /// Holds nothing.
    pub(crate) const NONE: Hold = Hold(None);

    /// Holds the stack of the caller, unless it is a thread's own.
    pub(crate) fn here() -> Hold {
        let slot = arena::slot_of(here());
        if let Some(slot) = slot {
            // SAFETY: a stack that somebody runs on has its plate; only its owner touches it.
            let holds = unsafe { &(*slot.plate()).holds };
            holds.set(holds.get() + 1);
        }
        Hold(slot)
    }
}

impl Drop for Hold {
    #[inline]
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            // SAFETY: as in `here`; the guard lies on that stack.
            let holds = unsafe { &(*slot.plate()).holds };
            holds.set(holds.get() - 1);
        }
    }
}

/// An address in the caller's frame.
#[inline(always)]
pub(crate) fn here() -> usize {
    let mark = MaybeUninit::<u8>::uninit();
    std::hint::black_box(&raw const mark).addr()
}

/// Possession of a slot: whoever has it may use the memory between `limit` and `top`.
///
/// Dropping it leaks the stack, on purpose: a stack that was started and not finished holds other
/// people's borrows (scopes, pinned locals, wait nodes), so letting it go unused for ever is the
/// only thing that is always right. A finished one goes back through [`pool`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a dropped StackSlot is a leaked stack; return it to a pool"]
pub(crate) struct StackSlot(Slot);

impl Deref for StackSlot {
    type Target = Slot;

    #[inline]
    fn deref(&self) -> &Slot {
        &self.0
    }
}

/// A place for a stack. Its owner puts one there and takes it out; others may see which it is.
pub(crate) struct StackCell(AtomicUsize);

impl StackCell {
    pub(crate) fn new(stack: Option<StackSlot>) -> StackCell {
        StackCell(AtomicUsize::new(stack.map_or(0, |stack| stack.word())))
    }

    /// Takes the stack out. Only the owner.
    pub(crate) fn take(&self) -> Option<StackSlot> {
        let slot = self.slot();
        self.0.store(0, Ordering::Relaxed); // Relaxed: as in `slot`
        slot.map(StackSlot)
    }

    /// Puts one there. Only the owner.
    pub(crate) fn set(&self, stack: StackSlot) {
        self.0.store(stack.word(), Ordering::Relaxed); // Relaxed: as in `slot`
    }

    /// Where the stack lies that is there.
    #[inline]
    pub(crate) fn slot(&self) -> Option<Slot> {
        // Relaxed: the owner reads its own; others want a number.
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            word => Some(Slot::of_word(word)),
        }
    }
}
