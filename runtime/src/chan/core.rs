//! What a channel's lock protects: values, those who wait, and the rules by which they meet.
//! Go: chan.go, whose invariants hold here with additions.
//!
//! * While a receiver waits there is no value that it could have; while a sender waits there is no
//!   room. The exception is an unbuffered channel with a promise, below.
//! * A value goes straight into the slot of the first waiting receiver. It enters the ring only
//!   when nobody waits.
//! * Who takes the head of a full ring puts the first waiting sender's value at its tail.
//!
//! **Values that come back.** A receiver may be dropped between the hand-over and its next poll.
//! Then its value goes to the next receiver, or waits in `returned`, before everything else, even
//! if that is more than the capacity. Values were handed over in turns, and come back in them.
//!
//! **Promises.** A select evaluates the value of a send case only when the case is chosen. To
//! choose it is to promise a value: a place in the ring is kept for it, or, in an unbuffered
//! channel, the first waiting receiver is *spoken for*, and waits in a list of its own. The other
//! way round, a receiver that finds such a sender in the list *asks* it for its value, and waits.
//! Should the receiver be dropped before the value comes, that waits in `returned` too.

use std::mem::ManuallyDrop;
use std::task::Waker;

use super::ring::{Ring, Slots};
use super::wait::{Claimed, List, Outcome, Waiter};

/// A receive would find something, or should look.
pub(super) const READABLE: u8 = 1;
/// A send would find room or a receiver, or should look.
pub(super) const WRITABLE: u8 = 2;
/// The channel is closed.
pub(super) const CLOSED: u8 = 4;

/// See the module.
pub(super) struct Core<T> {
    capacity: usize,
    closed: bool,
    ring: Ring<T>,
    returned: Option<Box<Returned<T>>>,
    pub(super) receivers: List<T>,
    pub(super) senders: List<T>,
    /// Receivers to whom a value is promised, in an unbuffered channel.
    spoken: List<T>,
    /// Places in the ring that are kept; in an unbuffered channel, senders that were asked.
    promised: usize,
    /// Values moved to receivers so far, and promises kept without one.
    turns: u64,
}

/// A value whose receiver has gone, in a list by turns. Made and freed outside the lock.
pub(super) struct Returned<T> {
    value: Option<T>,
    turn: u64,
    next: Option<Box<Returned<T>>>,
}

/// The turn of a value that nobody has moved yet.
pub(super) const NO_TURN: u64 = u64::MAX;

impl<T> Returned<T> {
    pub(super) fn new(value: T, turn: u64) -> Box<Returned<T>> {
        Box::new(Returned { value: Some(value), turn, next: None })
    }
}

/// What is left to do after `give_back`.
#[must_use]
pub(super) struct Given<T> {
    pub(super) waker: Option<Waker>,
    /// The node, if it is not needed: to be freed.
    pub(super) empty: Option<Box<Returned<T>>>,
}

/// All values of a channel, to be dropped outside the lock.
pub(super) struct Discarded<T> {
    _ring: Ring<T>,
    returned: Option<Box<Returned<T>>>,
}

impl<T> Drop for Discarded<T> {
    fn drop(&mut self) {
        // One by one: a chain of boxes drops itself by recursion.
        while let Some(mut node) = self.returned.take() {
            self.returned = node.next.take();
        }
    }
}

/// How a send went. `Done` has moved the value.
#[must_use]
pub(super) enum Sent {
    Done(Option<Waker>),
    Full,
    Closed,
    /// The ring of an unbounded channel has to grow first.
    Grow,
}

/// How a receive went. `Done` has moved the value.
#[must_use]
pub(super) enum Received<T> {
    Done(Option<Waker>),
    /// Done, with one that had come back; its empty node is to be freed.
    Returned(Box<Returned<T>>),
    /// There is none; a sender that has promised one is to be woken.
    Empty(Option<Waker>),
    Closed,
}

impl<T> Core<T> {
    pub(super) fn new(capacity: usize, ring: Ring<T>) -> Core<T> {
        Core {
            capacity,
            closed: false,
            ring,
            returned: None,
            receivers: List::new(),
            senders: List::new(),
            spoken: List::new(),
            promised: 0,
            turns: 0,
        }
    }

    /// What the lock-free looks should find.
    #[inline(always)]
    pub(super) fn hint(&self) -> u8 {
        let readable = self.ring.len() > 0
            || !self.senders.is_empty()
            || self.closed
            || self.returned.is_some();
        let writable = self.has_room() || self.wants_value() || self.closed;
        u8::from(readable) | u8::from(writable) << 1 | u8::from(self.closed) << 2
    }

    #[inline(always)]
    fn has_room(&self) -> bool {
        self.ring.len() + self.promised < self.capacity
    }

    /// Whether a receiver waits that has not asked somebody else.
    #[inline(always)]
    fn wants_value(&self) -> bool {
        let asked = if self.capacity == 0 { self.promised } else { 0 };
        self.receivers.len() > asked
    }

    /// Takes a receiver out of the list in which it stands, if it is in one.
    pub(super) fn unlink_receiver(&mut self, receiver: &Waiter<T>) {
        let list = if receiver.is_spoken_for() { &mut self.spoken } else { &mut self.receivers };
        list.unlink(receiver);
    }

    /// Sends the value at `from`.
    ///
    /// # Safety
    /// There is a value at `from`. After `Done` it is not the caller's any more.
    #[inline(always)]
    pub(super) unsafe fn send(&mut self, from: *const T) -> Sent {
        if self.closed {
            return Sent::Closed;
        }
        if self.wants_value()
            && let Some(receiver) = self.receivers.claim()
        {
            // SAFETY: the value is given to us.
            return Sent::Done(unsafe { self.hand_over(receiver, from) });
        }
        if !self.has_room() {
            return Sent::Full;
        }
        if self.ring.is_full() {
            return Sent::Grow;
        }
        // SAFETY: the ring is not full; the value is given to us.
        unsafe { self.ring.push(from) };
        Sent::Done(None)
    }

    /// # Safety
    /// There is a value at `from`, and it is not used from there again.
    #[inline(always)]
    unsafe fn hand_over(&mut self, receiver: Claimed<T>, from: *const T) -> Option<Waker> {
        // SAFETY: a claimed receiver's slot is empty and ours.
        unsafe { std::ptr::copy_nonoverlapping(from, receiver.value(), 1) };
        receiver.set_turn(self.turns);
        self.turns += 1;
        receiver.finish(Outcome::Moved)
    }

    /// Receives to `to`. With `ask`, a sender in a select that waits first has to promise its value.
    ///
    /// # Safety
    /// `to` may be written. After `Done` there is a value, the caller's.
    #[inline(always)]
    pub(super) unsafe fn recv(&mut self, to: *mut T, ask: bool) -> Received<T> {
        if self.returned.is_some() {
            // SAFETY: as the caller vouches.
            return unsafe { self.recv_returned(to) };
        }
        if self.ring.len() > 0 {
            // SAFETY: it is not empty.
            unsafe { self.ring.pop(to) };
            return Received::Done(self.refill());
        }
        if self.capacity == 0 && !self.closed && self.promised <= self.receivers.len() {
            // SAFETY: as the caller vouches.
            return unsafe { self.recv_from_sender(to, ask) };
        }
        if self.closed { Received::Closed } else { Received::Empty(None) }
    }

    /// # Safety
    /// As `recv`.
    unsafe fn recv_from_sender(&mut self, to: *mut T, ask: bool) -> Received<T> {
        match self.senders.claim_if(|sender| ask || sender.is_loaded()) {
            Some(sender) if sender.is_loaded() => {
                // SAFETY: a claimed sender's value is ours; `to` is the caller's.
                unsafe { std::ptr::copy_nonoverlapping(sender.value(), to, 1) };
                Received::Done(sender.finish(Outcome::Moved))
            }
            Some(sender) => {
                self.promised += 1;
                Received::Empty(sender.finish(Outcome::Asked))
            }
            None => Received::Empty(None),
        }
    }

    /// # Safety
    /// As `recv`; something has been returned.
    #[cold]
    unsafe fn recv_returned(&mut self, to: *mut T) -> Received<T> {
        let mut first = self.returned.take().expect("the caller has looked");
        self.returned = first.next.take();
        let value = first.value.take().expect("it was made with a value");
        // SAFETY: `to` is the caller's.
        unsafe { to.write(value) };
        Received::Returned(first)
    }

    fn promise(&mut self, sender: Claimed<T>) -> Option<Waker> {
        self.promised += 1;
        sender.finish(Outcome::Promised)
    }

    /// A place in the ring has become free: for the first waiting sender.
    #[inline(always)]
    fn refill(&mut self) -> Option<Waker> {
        if self.senders.is_empty() || self.closed || !self.has_room() {
            return None;
        }
        let sender = self.senders.claim()?;
        if !sender.is_loaded() {
            return self.promise(sender);
        }
        // SAFETY: there is room, so the ring of a channel that makes senders wait is not full; a
        // claimed sender's value is ours.
        unsafe { self.ring.push(sender.value()) };
        sender.finish(Outcome::Moved)
    }

    /// Chooses the send case of a select. `Done`: the caller has promised a value.
    pub(super) fn reserve(&mut self) -> Sent {
        if self.closed {
            return Sent::Closed;
        }
        if self.has_room() {
            self.promised += 1;
            return Sent::Done(None);
        }
        if self.capacity == 0 && self.wants_value() && self.receivers.speak_for(&mut self.spoken) {
            return Sent::Done(None);
        }
        Sent::Full
    }

    /// The end of a promise; returns the receiver that was spoken for, if it is still there.
    fn settle(&mut self, outcome: Outcome) -> Option<Claimed<T>> {
        if self.capacity == 0 && outcome == Outcome::Promised {
            return self.spoken.pop_spoken();
        }
        self.promised -= 1;
        None
    }

    /// Keeps a promise with the value at `from`. With `Full` a `Returned` is needed, for
    /// `give_back`.
    ///
    /// # Safety
    /// There is a value at `from`. After `Done` it is not the caller's any more.
    pub(super) unsafe fn keep_promise(&mut self, from: *const T, outcome: Outcome) -> Sent {
        if self.capacity != 0 && self.ring.is_full() && !self.closed {
            return Sent::Grow; // the place that is kept has to be made first
        }
        let receiver = self.settle(outcome);
        if self.closed {
            return Sent::Closed;
        }
        if let Some(receiver) = receiver.or_else(|| self.receivers.claim()) {
            // SAFETY: the value is given to us.
            return Sent::Done(unsafe { self.hand_over(receiver, from) });
        }
        if self.capacity == 0 {
            return Sent::Full;
        }
        // SAFETY: the ring is not full; the value is given to us.
        unsafe { self.ring.push(from) };
        Sent::Done(None)
    }

    /// Takes a promise back. Whoever relied on it is served otherwise, or looks again.
    pub(super) fn break_promise(&mut self, outcome: Outcome) -> [Option<Waker>; 2] {
        let mut receiver = self.settle(outcome);
        if self.closed {
            return [None, None];
        }
        if self.capacity == 0 {
            if receiver.is_none() && !self.senders.is_empty() && self.wants_value() {
                receiver = self.receivers.claim();
            }
            return [receiver.and_then(|r| r.finish(Outcome::Again)), None];
        }
        if !self.has_room() {
            return [None, None];
        }
        match self.senders.claim() {
            None => [None, None],
            Some(sender) if !sender.is_loaded() => [self.promise(sender), None],
            Some(sender) => self.pass_on(sender),
        }
    }

    /// The value of a sender that waited, to a receiver that waited or into the ring.
    fn pass_on(&mut self, sender: Claimed<T>) -> [Option<Waker>; 2] {
        let receiver = match self.receivers.claim() {
            // SAFETY: a claimed sender's value is ours.
            Some(receiver) => unsafe { self.hand_over(receiver, sender.value()) },
            None => {
                // SAFETY: as above; the caller has seen that there is room.
                unsafe { self.ring.push(sender.value()) };
                None
            }
        };
        [receiver, sender.finish(Outcome::Moved)]
    }

    /// Gives a value on that its receiver has not taken: to the next receiver, or back.
    ///
    /// A promised value without a turn gets one.
    pub(super) fn give_back(&mut self, mut node: Box<Returned<T>>) -> Given<T> {
        if let Some(receiver) = self.receivers.claim() {
            let value = ManuallyDrop::new(node.value.take());
            let value = value.as_ref().expect("it was made with a value");
            // SAFETY: the value is forgotten here.
            let waker = unsafe { self.hand_over(receiver, value) };
            return Given { waker, empty: Some(node) };
        }
        if node.turn == NO_TURN {
            node.turn = self.turns;
            self.turns += 1;
        }
        let mut at = &mut self.returned;
        while at.as_ref().is_some_and(|there| there.turn < node.turn) {
            at = &mut at.as_mut().expect("just seen").next;
        }
        node.next = at.take();
        *at = Some(node);
        Given { waker: None, empty: None }
    }

    /// Makes the ring larger, see `Sent::Grow`.
    pub(super) fn grow(&mut self, slots: Slots<T>) -> Slots<T> {
        self.ring.grow(slots)
    }

    pub(super) fn next_size(&self) -> usize {
        self.ring.next_size()
    }

    /// Values inside.
    pub(super) fn len(&self) -> usize {
        let mut len = self.ring.len();
        let mut at = &self.returned;
        while let Some(node) = at {
            len += 1;
            at = &node.next;
        }
        len
    }

    /// Closes the channel; false if it was closed.
    pub(super) fn close(&mut self) -> bool {
        !std::mem::replace(&mut self.closed, true)
    }

    /// After `close`: lets the next one know who waits.
    pub(super) fn dismiss(&mut self) -> Option<Option<Waker>> {
        let receiver = self.receivers.claim().or_else(|| self.spoken.pop_spoken());
        let waiter = receiver.or_else(|| self.senders.claim())?;
        Some(waiter.finish(Outcome::Closed))
    }

    /// Takes out all values.
    pub(super) fn discard(&mut self) -> Discarded<T> {
        Discarded { _ring: self.ring.take(), returned: self.returned.take() }
    }
}
