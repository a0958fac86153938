//! A socket's handle on its slot.

use std::{
    fmt, io,
    task::{Context, Poll},
};

use crate::{
    slab::{Page, Slab},
    slot::{Direction, Flags, GENERATION_BITS, Readiness, Slot, Wakers, deregistered},
};

/// The registration of one socket with its [`Netpoll`](crate::Netpoll).
///
/// Clones mean the same registration. It ends with [`Netpoll::deregister`], not with the last
/// clone; afterwards, and after [`Netpoll::close`], waiting is an error. A desc keeps the memory of
/// its slot alive, and may outlive the `Netpoll`.
///
/// Any number of tasks may wait, in either direction; an event wakes all that wait for it. A waker
/// stays until the next event of its direction even if its task has lost interest.
///
/// [`Netpoll::deregister`]: crate::Netpoll::deregister
/// [`Netpoll::close`]: crate::Netpoll::close
#[derive(Clone)]
pub struct Desc {
    page: Page,
    /// In `page`.
    place: u32,
    /// In the slab.
    index: u32,
    generation: u32,
}

impl Desc {
    pub(crate) fn open(slab: &Slab, flags: Flags) -> io::Result<Desc> {
        let (index, generation, page, place) = slab.open(flags)?;
        Ok(Desc { page, place: place as u32, index, generation })
    }

    /// What an event of this registration carries.
    pub(crate) fn token(&self) -> usize {
        (self.index as usize) << GENERATION_BITS | self.generation as usize
    }

    /// The slot and the generation an event was made for.
    pub(crate) fn find(slab: &Slab, token: usize) -> Option<(&Slot, u32)> {
        let index = u32::try_from(token >> GENERATION_BITS).ok()?;
        let generation = token & ((1 << GENERATION_BITS) - 1);
        Some((slab.get(index)?, generation as u32))
    }

    /// Is this a registration with the poller of `slab`?
    pub(crate) fn belongs_to(&self, slab: &Slab) -> bool {
        slab.get(self.index).is_some_and(|slot| std::ptr::eq(slot, self.slot()))
    }

    /// Ends the registration. The caller wakes whoever waited, and then releases the index.
    pub(crate) fn retire(&self) -> Option<Wakers> {
        self.slot().retire(self.generation)
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// May `direction` be tried?
    ///
    /// If not, the waker of `cx` is woken once it may (or once the registration ends), and never
    /// again: a wake is a hint to poll, and a poll that is pending waits anew. Blocks nothing. If
    /// the direction is ready this is one atomic load.
    ///
    /// # Errors
    ///
    /// `NotConnected` after the socket was deregistered, `Other` after the poller was closed,
    /// `TimedOut` while the direction is [expired](Desc::expire), be it ready or not.
    #[inline]
    pub fn poll_ready(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Readiness>> {
        self.slot().poll_ready(self.generation, direction, cx)
    }

    /// What [`poll_ready`](Desc::poll_ready) would say, without waiting. `None` if the direction is
    /// not ready, expired, or the registration has ended.
    #[inline]
    pub fn ready(&self, direction: Direction) -> Option<Readiness> {
        self.slot().ready(self.generation, direction)
    }

    /// What [`poll_ready`](Desc::poll_ready) would say, without waiting.
    ///
    /// # Errors
    ///
    /// As [`poll_ready`](Desc::poll_ready).
    #[inline]
    pub fn look(&self, direction: Direction) -> Poll<io::Result<Readiness>> {
        self.slot().look(self.generation, direction)
    }

    /// The attempt that `seen` gave reason for found the kernel with nothing to give (any more):
    /// `WouldBlock`, or less than was asked for.
    ///
    /// Does nothing if an event has come since `seen`, or if the direction has ended.
    #[inline]
    pub fn clear(&self, direction: Direction, seen: Readiness) {
        self.slot().clear(self.generation, direction, seen);
    }

    /// The deadline of `direction` has passed: whoever waits for it or polls it gets `TimedOut`,
    /// until it is [revived](Desc::revive). Blocks nothing. Nothing if the registration has ended.
    ///
    /// Returns those who wait, for the caller to wake. Calls of `expire` and `revive` for the same
    /// direction have to be put in order by whoever keeps the deadline; timers are not known here.
    pub fn expire(&self, direction: Direction) -> Wakers {
        self.slot().expire(self.generation, direction)
    }

    /// Takes an [`expire`](Desc::expire) back: what is ready may be tried again.
    pub fn revive(&self, direction: Direction) {
        self.slot().revive(self.generation, direction);
    }

    /// What every operation gets if the registration has ended.
    pub fn ended(&self) -> Option<io::Error> {
        self.slot().is_retired(self.generation).then(deregistered)
    }

    #[inline]
    fn slot(&self) -> &Slot {
        &self.page[self.place as usize]
    }
}

impl fmt::Debug for Desc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desc")
            .field("index", &self.index)
            .field("generation", &self.generation)
            .field("slot", self.slot())
            .finish()
    }
}
