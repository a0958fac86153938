//! G: a task, whichever kind. The core knows this header and nothing of the body behind it.
//!
//! ```text
//!   cell (from heap.rs)
//!   +--------+--------+------+------------+-------+------+----+-----+------+-----------------+
//!   | status | vtable | link | join waker | sched | home | id | ... | spawned_at | body ...  |
//!   +--------+--------+------+------------+-------+------+----+-----+------+-----------------+
//! ```
//!
//! Who may touch what:
//!
//! * `status`: anyone who holds a reference.
//! * `link`: the holder of the G's queue reference, and the heap once it is dead.
//! * `join_waker`: as `status.rs` says.
//! * the body: the owner (`OWNED` in the status); after `DONE`, the handle.
//! * `span`: the owner.
//! * all else is written before the G is published and never again.

use std::panic::Location;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, Ordering};
use std::task::{RawWakerVTable, Waker};

use super::Sched;
use super::heap::Class;
use super::m::M;
use super::outside::NewG;
use super::spans::Slot;
use super::status::Status;
use super::wait::WaitReason;

/// The header of every G. Go: g.
#[repr(C)]
pub(crate) struct G {
    status: Status,
    vtable: &'static VTable,
    /// The next G in an inbox, or the next free cell.
    pub(super) link: AtomicPtr<G>,
    join_waker: JoinWaker,
    sched: NonNull<Sched>,
    /// The M that this G must run on, or null. Go: lockedm. A goroutine's is set when it first
    /// runs, by that M.
    home: AtomicPtr<M>,
    id: u64,
    spawned_at: &'static Location<'static>,
    /// The P that dispatched it last; a hint for join wakes.
    last_p: AtomicU32,
    /// Where its mark stands in the queue of that P (`p.rs`), modulo 2^32; a hint.
    mark: AtomicU32,
    /// When it parked last, on the coarse clock (`Sched::coarse_now`), for dumps; of a sample, since
    /// when it is runnable (`latency.rs`).
    since: AtomicU32,
    /// What its last poll has noted that it waits for (`wait.rs`), for dumps.
    reason: AtomicU8,
    class: Class,
    /// It has a name or labels, in the scheduler's table (`tags.rs`).
    tagged: AtomicBool,
    /// The owner's, but for a part that stays as it is. Without the feature `tracing` it has no size.
    span: Slot,
}

/// What a kind of G brings along: its body's operations.
pub(crate) struct VTable {
    /// Runs the body until it stops. The caller owns the G and has left the core.
    pub(crate) resume: unsafe fn(GRef) -> Stopped,
    /// Ends the body and stores "cancelled" as the output. Same conditions. A goroutine's
    /// destructors may stop it again before that.
    pub(crate) cancel: unsafe fn(GRef) -> Stopped,
    /// Whether the body has a stack of its own, and so stays on the thread where it began.
    pub(crate) is_goroutine: bool,
    /// Drops the stored output. The caller owns the output.
    pub(crate) drop_output: unsafe fn(GRef),
    /// Moves the output to `*mut ()`, a `Result<T, JoinError>`. The caller owns the output.
    pub(crate) take_output: unsafe fn(GRef, *mut ()),
    /// The body's type.
    pub(crate) type_name: fn() -> &'static str,
}

/// How a body came back to the scheduler.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It has ended and its output is stored.
    Done,
    /// It waits for a wake.
    Parked,
    /// It waits for nobody, but its frames elsewhere on this thread have to go on first: they do so
    /// as soon as they are the topmost. It is owned by them.
    Returned,
}

/// A pointer to a G that somebody keeps alive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(crate) struct GRef(NonNull<G>);

/// The right and the duty to run a G: its owner bit and one reference. It
/// travels through the queues and ends in `execute`.
#[must_use = "a runnable G must be queued or run"]
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Runnable(GRef);

// SAFETY: the header is shared by design (see the module's table); bodies that are not Send carry
// a home and reach only that M.
unsafe impl Send for GRef {}
// SAFETY: as above.
unsafe impl Send for Runnable {}

impl GRef {
    /// The G behind an erased pointer.
    pub(crate) fn from_raw(p: *const ()) -> GRef {
        debug_assert!(!p.is_null());
        // SAFETY: callers pass what `as_raw` gave.
        GRef(unsafe { NonNull::new_unchecked(p.cast_mut().cast()) })
    }

    /// The erased pointer, for wakers.
    pub(crate) fn as_raw(self) -> *const () {
        self.0.as_ptr().cast_const().cast()
    }

    /// The start of the cell.
    pub(crate) fn cell(self) -> NonNull<u8> {
        self.0.cast()
    }

    /// Writes a header into a fresh cell. The G is not published yet.
    ///
    /// # Safety
    /// `cell` is exclusively the caller's and large enough for the class.
    #[inline]
    pub(super) unsafe fn init(
        cell: NonNull<u8>,
        sched: &Sched,
        new: &NewG<'_>,
        id: u64,
        home: *const M,
    ) -> GRef {
        let g = cell.cast::<G>().as_ptr();
        // SAFETY: the caller owns the cell; `status` is left alone, for walks over all cells read
        // it at any time (it is 0 until `publish`).
        unsafe {
            (&raw mut (*g).vtable).write(new.vtable);
            (&raw mut (*g).sched).write(NonNull::from(sched));
            (&raw mut (*g).home).write(AtomicPtr::new(home.cast_mut()));
            (&raw mut (*g).id).write(id);
            (&raw mut (*g).spawned_at).write(new.spawned_at);
            (&raw mut (*g).last_p).write(AtomicU32::new(u32::MAX));
            (&raw mut (*g).class).write(new.class);
            (&raw mut (*g).tagged).write(AtomicBool::new(false));
            (&raw mut (*g).span).write(new.span.take());
            (&raw mut (*g).mark).write(AtomicU32::new(0));
            (&raw mut (*g).since).write(AtomicU32::new(0));
            (&raw mut (*g).reason).write(AtomicU8::new(0));
        }
        GRef(cell.cast())
    }

    fn header<'a>(self) -> &'a G {
        // SAFETY: a GRef exists only while a reference keeps the cell; all fields are either
        // constant, atomic, or a `Cell` of the owner's.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn status<'a>(self) -> &'a Status {
        &self.header().status
    }

    pub(crate) fn vtable(self) -> &'static VTable {
        self.header().vtable
    }

    pub(super) fn link<'a>(self) -> &'a AtomicPtr<G> {
        &self.header().link
    }

    pub(crate) fn join_waker<'a>(self) -> &'a JoinWaker {
        &self.header().join_waker
    }

    /// The scheduler it belongs to, which lives as long as any of its cells (see `heap.rs`).
    pub(crate) fn sched<'a>(self) -> &'a Sched {
        // SAFETY: see the doc line.
        unsafe { self.header().sched.as_ref() }
    }

    /// The M that it must run on.
    pub(super) fn home<'a>(self) -> Option<&'a M> {
        // Relaxed: the status word orders it: it is set by the owner, before the first park.
        // SAFETY: Ms are never freed before their scheduler.
        unsafe { self.header().home.load(Ordering::Relaxed).as_ref() }
    }

    /// Binds the G to an M from here on. Only its owner, on that M.
    pub(super) fn set_home(self, m: &M) {
        // Relaxed: as in `home`.
        self.header().home.store(std::ptr::from_ref(m).cast_mut(), Ordering::Relaxed);
    }

    /// Unbinds it again. Only its owner, on that M.
    pub(super) fn clear_home(self) {
        // Relaxed: as in `home`.
        self.header().home.store(std::ptr::null_mut(), Ordering::Relaxed);
    }

    pub(crate) fn id(self) -> u64 {
        self.header().id
    }

    pub(crate) fn spawned_at(self) -> &'static Location<'static> {
        self.header().spawned_at
    }

    pub(super) fn class(self) -> Class {
        self.header().class
    }

    pub(super) fn last_p(self) -> u32 {
        self.header().last_p.load(Ordering::Relaxed) // Relaxed: a hint
    }

    pub(super) fn set_last_p(self, id: u32) {
        self.header().last_p.store(id, Ordering::Relaxed); // Relaxed: a hint
    }

    /// Whether it has a name or labels.
    pub(super) fn is_tagged(self) -> bool {
        self.header().tagged.load(Ordering::Relaxed) // Relaxed: the table has a lock
    }

    /// Notes that it has. By its maker, or itself.
    pub(super) fn set_tagged(self) {
        self.header().tagged.store(true, Ordering::Relaxed); // Relaxed: as above
    }

    /// Its span, if it has one.
    #[cfg(feature = "tracing")]
    pub(super) fn span<'a>(self) -> &'a Slot {
        &self.header().span
    }

    pub(super) fn mark(self) -> u32 {
        self.header().mark.load(Ordering::Relaxed) // Relaxed: a hint
    }

    pub(super) fn set_mark(self, at: u32) {
        self.header().mark.store(at, Ordering::Relaxed); // Relaxed: a hint
    }

    /// What it waits for: meaningful while it does.
    pub(super) fn reason(self) -> WaitReason {
        WaitReason::from_u8(self.header().reason.load(Ordering::Relaxed)) // Relaxed: for dumps
    }

    /// Notes what it waits for. By whoever polls it, or with its waker.
    #[inline(always)]
    pub(super) fn set_reason(self, reason: WaitReason) {
        self.header().reason.store(reason as u8, Ordering::Relaxed); // Relaxed: for dumps
    }

    /// When it parked last, on the coarse clock.
    pub(super) fn since(self) -> u32 {
        self.header().since.load(Ordering::Relaxed) // Relaxed: for dumps
    }

    /// Notes when it parks. Its owner.
    #[inline(always)]
    pub(super) fn set_since(self, now: u32) {
        self.header().since.store(now, Ordering::Relaxed); // Relaxed: for dumps
    }

    pub(super) fn as_ptr(self) -> *mut G {
        self.0.as_ptr()
    }

    /// The other direction of `as_ptr`; None for null.
    pub(super) fn from_ptr(p: *mut G) -> Option<GRef> {
        NonNull::new(p).map(GRef)
    }
}

impl Runnable {
    /// Claims the right to run `g`.
    ///
    /// # Safety
    /// The caller's transition of the status word returned `Queue` (or spawn has just initialised
    /// it), and this is called once for it.
    pub(crate) unsafe fn claim(g: GRef) -> Runnable {
        Runnable(g)
    }

    /// The G, still owned through `self`.
    pub(super) fn g(&self) -> GRef {
        self.0
    }

    /// Gives the duty to somebody else: an intrusive list or the running M.
    pub(super) fn into_g(self) -> GRef {
        self.0
    }
}

/// The waker of whoever awaits the handle. Two plain words, relaxed: a torn
/// or stale copy is possible and harmless, for it is used only if the status
/// word then says that the field did not change (`status.rs`).
pub(crate) struct JoinWaker {
    data: AtomicPtr<()>,
    vtable: AtomicPtr<RawWakerVTable>,
}

impl JoinWaker {
    /// Stores `w`. Only the handle, while the field is its own.
    pub(crate) fn store(&self, w: Waker) {
        let w = std::mem::ManuallyDrop::new(w);
        // Relaxed: published by the status word (`join_publish`).
        self.data.store(w.data().cast_mut(), Ordering::Relaxed);
        self.vtable.store(std::ptr::from_ref(w.vtable()).cast_mut(), Ordering::Relaxed);
    }

    /// Copies the field without taking it.
    pub(crate) fn copy(&self) -> RawJoinWaker {
        // Relaxed: ordered by the status word (`complete`, `drop_join`).
        RawJoinWaker(self.data.load(Ordering::Relaxed), self.vtable.load(Ordering::Relaxed))
    }

    /// Whether the stored waker wakes the same as `w`. Only the handle, while it is registered.
    pub(crate) fn will_wake(&self, w: &Waker) -> bool {
        let RawJoinWaker(data, vtable) = self.copy();
        std::ptr::eq(data, w.data()) && std::ptr::eq(vtable, w.vtable())
    }
}

/// A copy of a waker's two words, which may or may not be the copier's to use.
#[derive(Clone, Copy)]
pub(crate) struct RawJoinWaker(*mut (), *mut RawWakerVTable);

impl RawJoinWaker {
    /// Nothing copied yet.
    pub(crate) const NONE: RawJoinWaker = RawJoinWaker(std::ptr::null_mut(), std::ptr::null_mut());

    /// Makes it a waker.
    ///
    /// # Safety
    /// The status word has given the field to the caller, once.
    pub(crate) unsafe fn take(self) -> Waker {
        // SAFETY: the two words came from one waker (the status word says the copy is whole), and
        // ownership is the caller's.
        unsafe { Waker::new(self.0, &*self.1) }
    }
}
