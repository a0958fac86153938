//! A slot: what is known of one socket's readiness, and who waits for it.
//!
//! # The state word
//!
//! ```text
//!  63          40 39          24 23           8 7            0
//! +--------------+--------------+--------------+--------------+
//! |  generation  |  write tick  |   read tick  |     flags    |
//! +--------------+--------------+--------------+--------------+
//! ```
//!
//! - The **generation** names the owner of the slot. Everything that reaches the slot, from the
//!   kernel or from a [`Desc`](crate::Desc), brings the generation it was made for, and is compared.
//! - A **tick** counts the events of a direction. [`Slot::clear`] takes back the readiness of the
//!   tick it saw and no other.
//! - **Flags**: READY per direction, set by events, taken back by `clear`; CLOSED per direction, set
//!   by events, never taken back; EXPIRED per direction, set and taken back by the owner of the
//!   deadline ([`Slot::expire`], [`Slot::revive`]); URGENT, set by events, never taken back; SHUT, set
//!   once when the whole poller closes.
//!
//! # Invariants
//!
//! 1. Flags are set before the waiters are taken, and a waiter looks at the flags *after* it has the
//!    lock: so whoever is in the list when the list is taken is woken, and whoever comes later sees
//!    the flags.
//! 2. Wakers are woken after the lock is released, and leave by value, so that the wake can hand
//!    its reference on.
//! 3. A wake is a hint. A waiter may be woken although its direction is not ready (an event that
//!    lost a race against the reuse of the slot takes the next owner's waiters); it polls again.

use std::{
    fmt, io,
    sync::{PoisonError, atomic::Ordering},
    task::{Context, Poll, Waker},
};

use crate::loom::{AtomicU64, Mutex, MutexGuard};

const READ_READY: u64 = 1 << 0;
const WRITE_READY: u64 = 1 << 1;
const READ_CLOSED: u64 = 1 << 2;
const WRITE_CLOSED: u64 = 1 << 3;
const SHUT: u64 = 1 << 4;
const READ_EXPIRED: u64 = 1 << 5;
const WRITE_EXPIRED: u64 = 1 << 6;
const URGENT: u64 = 1 << 7;

const TICK_MASK: u64 = 0xffff;
const READ_TICK_SHIFT: u32 = 8;
const WRITE_TICK_SHIFT: u32 = 24;
const GENERATION_SHIFT: u32 = 40;

/// Generations wrap after this many; 16 million reuses of one slot outlive any event of the first.
pub(crate) const GENERATION_BITS: u32 = u64::BITS - GENERATION_SHIFT;

/// One of the two halves of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Reading, receiving, accepting.
    Read,
    /// Writing, sending, connecting.
    Write,
}

impl Direction {
    const BOTH: [Direction; 2] = [Direction::Read, Direction::Write];

    fn ready(self) -> u64 {
        match self {
            Direction::Read => READ_READY,
            Direction::Write => WRITE_READY,
        }
    }

    fn closed(self) -> u64 {
        match self {
            Direction::Read => READ_CLOSED,
            Direction::Write => WRITE_CLOSED,
        }
    }

    fn expired(self) -> u64 {
        match self {
            Direction::Read => READ_EXPIRED,
            Direction::Write => WRITE_EXPIRED,
        }
    }

    fn tick_shift(self) -> u32 {
        match self {
            Direction::Read => READ_TICK_SHIFT,
            Direction::Write => WRITE_TICK_SHIFT,
        }
    }

    /// `state` with this direction's tick advanced; it wraps without touching its neighbour.
    fn advance_tick(self, state: u64) -> u64 {
        let mask = TICK_MASK << self.tick_shift();
        state & !mask | state.wrapping_add(1 << self.tick_shift()) & mask
    }
}

/// A set of facts about a socket, as an event brings them, or as a new slot starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u64);

impl Flags {
    pub(crate) const NONE: Flags = Flags(0);

    fn directions(self) -> impl Iterator<Item = Direction> {
        Direction::BOTH.into_iter().filter(move |direction| self.0 & direction.ready() != 0)
    }

    /// `direction` may be tried.
    pub(crate) fn ready(self, direction: Direction, yes: bool) -> Flags {
        if yes { Flags(self.0 | direction.ready()) } else { self }
    }

    /// `direction` has ended for good; from now on it never makes anybody wait.
    pub(crate) fn closed(self, direction: Direction, yes: bool) -> Flags {
        let flags = direction.ready() | direction.closed();
        if yes { Flags(self.0 | flags) } else { self }
    }

    /// There is, or has been, urgent data.
    pub(crate) fn urgent(self, yes: bool) -> Flags {
        if yes { Flags(self.0 | URGENT) } else { self }
    }
}

/// What [`Desc::poll_ready`](crate::Desc::poll_ready) saw: a reason to try.
///
/// Give it back to [`Desc::clear`](crate::Desc::clear) if the attempt finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    tick: u16,
    closed: bool,
    urgent: bool,
}

impl Readiness {
    fn of(state: u64, direction: Direction) -> Option<Readiness> {
        let closed = state & direction.closed() != 0;
        let ready = state & direction.ready() != 0;
        let urgent = state & URGENT != 0;
        (ready || closed).then(|| Readiness { tick: tick_of(state, direction), closed, urgent })
    }

    /// Has the kernel reported the end of this direction (the peer's end of stream, a reset)?
    ///
    /// What was received before can still be read. A direction that has ended is always ready.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Has the peer sent urgent data at some time? Reads of a TCP stream stop before it and after
    /// it, so a short one does not mean that there is no more.
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }
}

fn generation_of(state: u64) -> u32 {
    (state >> GENERATION_SHIFT) as u32
}

fn tick_of(state: u64, direction: Direction) -> u16 {
    (state >> direction.tick_shift()) as u16
}

/// One cache line, so that two sockets on two cores do not fight.
#[repr(align(64))]
pub(crate) struct Slot {
    state: AtomicU64,
    waiters: Mutex<Waiters>,
}

impl Slot {
    pub(crate) fn new() -> Slot {
        Slot { state: AtomicU64::new(0), waiters: Mutex::new(Waiters::default()) }
    }

    /// Begins the slot's next life with `flags`; returns its generation. Only the slab calls this,
    /// for a slot that nobody owns.
    pub(crate) fn open(&self, flags: Flags) -> u32 {
        // Relaxed: ordered after `retire` by the slab's lock, and nobody else writes a slot without
        // an owner.
        let generation = generation_of(self.state.load(Ordering::Relaxed));
        // Relaxed: the owner gets the slot by way of the slab's lock or from this thread; the poller
        // by way of the kernel, whose registration follows.
        self.state.store(u64::from(generation) << GENERATION_SHIFT | flags.0, Ordering::Relaxed);
        generation
    }

    /// Ends the life `generation` of the slot: from now on its events and its descs are stale.
    /// Returns those who waited, or `None` if that life is over already.
    pub(crate) fn retire(&self, generation: u32) -> Option<Wakers> {
        self.update(generation, |_| u64::from(generation.wrapping_add(1)) << GENERATION_SHIFT)
            .then(|| self.take_all())
    }

    /// Marks the slot as part of a closed poller. Returns those who waited.
    pub(crate) fn shut(&self) -> Wakers {
        // Release: pairs with the acquire loads; with the lock it upholds invariant 1.
        self.state.fetch_or(SHUT, Ordering::AcqRel);
        self.take_all()
    }

    /// The deadline of `direction` has passed: until [`revive`](Slot::revive) it may not be tried,
    /// ready or not. Returns those who waited.
    pub(crate) fn expire(&self, generation: u32, direction: Direction) -> Wakers {
        if self.update(generation, |state| state | direction.expired()) {
            self.lock().take(direction)
        } else {
            Wakers::default()
        }
    }

    /// The deadline of `direction` lies ahead again, or there is none. Nobody waits for that.
    pub(crate) fn revive(&self, generation: u32, direction: Direction) {
        self.update(generation, |state| state & !direction.expired());
    }

    /// An event from the kernel, made for `generation`. Wakes those it concerns, and returns how
    /// many.
    pub(crate) fn event(
        &self,
        generation: u32,
        event: Flags,
        ready: &mut dyn FnMut(Waker),
    ) -> usize {
        let fresh = self.update(generation, |state| {
            let mut next = state | event.0;
            for direction in event.directions() {
                next = direction.advance_tick(next);
            }
            next
        });
        if !fresh {
            return 0;
        }
        let mut waiters = self.lock();
        let mut wakers = [Wakers::default(), Wakers::default()];
        for direction in event.directions() {
            wakers[direction as usize] = waiters.take(direction);
        }
        drop(waiters);
        wakers.into_iter().map(|wakers| wakers.each(ready)).sum()
    }

    /// May `direction` be tried? If not, the waker of `cx` is woken when it may, or when there is
    /// nothing to wait for any longer.
    pub(crate) fn poll_ready(
        &self,
        generation: u32,
        direction: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Readiness>> {
        match self.look(generation, direction) {
            Poll::Pending => self.wait(generation, direction, cx.waker()),
            seen => seen,
        }
    }

    /// Is `direction` known to be ready? Nobody waits.
    pub(crate) fn ready(&self, generation: u32, direction: Direction) -> Option<Readiness> {
        match self.look(generation, direction) {
            Poll::Ready(seen) => seen.ok(),
            Poll::Pending => None,
        }
    }

    /// Is this life of the slot over?
    pub(crate) fn is_retired(&self, generation: u32) -> bool {
        // Relaxed: nothing is inferred but the fact.
        generation_of(self.state.load(Ordering::Relaxed)) != generation
    }

    /// Takes back the readiness `seen`, unless an event has come since.
    pub(crate) fn clear(&self, generation: u32, direction: Direction, seen: Readiness) {
        self.update(generation, |state| {
            let current = tick_of(state, direction) == seen.tick;
            if current { state & !direction.ready() } else { state }
        });
    }

    /// May `direction` be tried? Nobody waits.
    pub(crate) fn look(
        &self,
        generation: u32,
        direction: Direction,
    ) -> Poll<io::Result<Readiness>> {
        // Acquire: pairs with the release in `update`, so that whoever sees an event also sees what
        // the poller did before it.
        let state = self.state.load(Ordering::Acquire);
        if generation_of(state) != generation {
            return Poll::Ready(Err(deregistered()));
        }
        // Before READY: an expired deadline wins over data.
        if state & (SHUT | direction.expired()) != 0 {
            return Poll::Ready(Err(refused(state)));
        }
        match Readiness::of(state, direction) {
            Some(seen) => Poll::Ready(Ok(seen)),
            None => Poll::Pending,
        }
    }

    fn wait(
        &self,
        generation: u32,
        direction: Direction,
        waker: &Waker,
    ) -> Poll<io::Result<Readiness>> {
        let mut waiters = self.lock();
        // Again, now that nobody can take the list unnoticed (invariant 1).
        let seen = self.look(generation, direction);
        let called =
            if seen.is_pending() { waiters.add(direction, waker) } else { Wakers::default() };
        drop(waiters);
        called.wake();
        seen
    }

    /// Replaces the state by `change(state)`, if it is still of this generation.
    fn update(&self, generation: u32, change: impl Fn(u64) -> u64) -> bool {
        let change = |state| (generation_of(state) == generation).then(|| change(state));
        // AcqRel: the release pairs with the acquire in `look`; the acquire makes the updates of a
        // slot one chain, so that the last of them publishes all.
        self.state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, change).is_ok()
    }

    fn take_all(&self) -> Wakers {
        self.lock().take_all()
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        // A waker that panics in `clone` leaves the list as it was.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Relaxed: for people.
        let state = self.state.load(Ordering::Relaxed);
        f.debug_struct("Slot")
            .field("generation", &generation_of(state))
            .field("read", &Readiness::of(state, Direction::Read))
            .field("write", &Readiness::of(state, Direction::Write))
            .field("expired", &Direction::BOTH.map(|d| state & d.expired() != 0))
            .field("shut", &(state & SHUT != 0))
            .finish_non_exhaustive()
    }
}

/// What a socket gets that outlives its registration. Go's words.
#[cold]
pub(crate) fn deregistered() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "use of closed network connection")
}

/// What a socket gets that may not be tried although it is registered.
#[cold]
fn refused(state: u64) -> io::Error {
    if state & SHUT != 0 { shut() } else { io::ErrorKind::TimedOut.into() }
}

/// What a socket gets that outlives its runtime.
#[cold]
pub(crate) fn shut() -> io::Error {
    io::Error::other("the runtime of this socket has been shut down")
}

mod waiters;

use waiters::Waiters;
pub use waiters::Wakers;

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod model;
