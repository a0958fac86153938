//! The cases of a select: a channel, a waiter, and how far they are.

use std::cell::Cell;
use std::marker::PhantomPinned;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::task::Waker;

use super::super::core::{Core, NO_TURN, READABLE, Received, Sent, WRITABLE};
use super::super::error::{RecvError, SendError};
use super::super::hchan::{Hchan, Head, wake};
use super::super::wait::{Outcome, Token, Waiter};
use super::super::{Receiver, Sender};
use crate::time::Instant;

/// A case of any type, as the passes see it. Methods called `locked` need the channel's lock.
pub(crate) trait Case {
    /// The lock, and what may be seen without it. Its address stands for the channel.
    fn head(&self) -> &Head;
    /// Whether it is worth to take the lock.
    fn is_ready(&self) -> bool;
    /// When to look again, for a channel of the clock.
    fn due(&self) -> Option<Instant>;
    /// Whether the channel is one of the clock, which has no list to stand in.
    fn is_timed(&self) -> bool;
    /// Chooses this case, if it is ready. With `ask`, a sender that would have to promise its
    /// value does so; that does not make the case ready yet, but wakes that sender.
    fn commit_locked(&self, ask: bool) -> Committed;
    /// Enlists the waiter as case `number` of `token`.
    ///
    /// # Safety
    /// The lock is held; both stay where they are until the waiter is unlinked.
    unsafe fn enlist_locked(&self, token: &Token, number: usize);
    /// Takes the waiter out of the list. The lock is not held.
    fn unlink(&self);
    /// Replaces the waker of a select whose case here has been spoken for. False: look again.
    fn renew(&self, token: &Token, waker: Waker) -> bool;
    /// A peer has served this case. False: it was a mistake, look again.
    fn accept(&self) -> bool;
    /// Undoes the choice: the value goes back, the promise is broken.
    fn undo(&self);
    /// The case's address, if it receives.
    fn as_recv(&self) -> Option<*const ()>;
    /// The case's address, if it sends.
    fn as_send(&self) -> Option<*const ()>;
}

/// What came of a look at a case. The waker is to be woken after the unlock.
pub(crate) enum Committed {
    Yes(Option<Waker>),
    No(Option<Waker>),
}

/// How far a case is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Enlisted,
    Chosen(Outcome),
}

/// What both kinds have.
struct Place<'a, T> {
    hchan: &'a Hchan<T>,
    state: Cell<State>,
    number: Cell<usize>,
    token: Cell<*const Token>,
    waiter: Waiter<T>,
    _pin: PhantomPinned,
}

// SAFETY: what peers touch is protected by the channel's lock and the token; the rest is used by
// the select that the case belongs to, which is polled by one thread at a time.
unsafe impl<T: Send> Send for Place<'_, T> {}
// SAFETY: as above; all methods that change anything are called by that select only.
unsafe impl<T: Send> Sync for Place<'_, T> {}

impl<'a, T> Place<'a, T> {
    fn new(hchan: &'a Hchan<T>) -> Place<'a, T> {
        Place {
            hchan,
            state: Cell::new(State::Idle),
            number: Cell::new(0),
            token: Cell::new(std::ptr::null()),
            waiter: Waiter::empty(),
            _pin: PhantomPinned,
        }
    }

    fn note(&self, token: &Token, number: usize) {
        self.number.set(number);
        self.token.set(token);
        self.state.set(State::Enlisted);
    }

    fn renew(&self, token: &Token, waker: Waker) -> bool {
        let mut waker = Some(waker);
        let linked = self.hchan.with(|_| {
            let linked = self.waiter.is_linked();
            if linked {
                // SAFETY: this is the case that was spoken for, and its channel's lock is held.
                waker = unsafe { token.swap_waker(waker.take()) };
            }
            linked
        });
        drop(waker);
        linked
    }

    /// Whether a peer has served this case, of those that were enlisted.
    fn is_served(&self) -> bool {
        // SAFETY: the select keeps its token longer than its cases.
        let token = unsafe { &*self.token.get() };
        token.served() == Some(self.number.get())
    }

    fn accept(&self) -> bool {
        let outcome = self.waiter.outcome();
        let again = outcome == Outcome::Again;
        self.state.set(if again { State::Idle } else { State::Chosen(outcome) });
        !again
    }

    /// The outcome, of a case that was chosen.
    fn outcome(&self) -> Outcome {
        match self.state.replace(State::Idle) {
            State::Chosen(outcome) => outcome,
            _ => unreachable!("only the chosen case is completed"),
        }
    }
}

/// A case that receives.
pub struct RecvCase<'a, T>(Place<'a, T>);

/// A case that sends. Its value comes when it has been chosen.
pub struct SendCase<'a, T>(Place<'a, T>);

impl<'a, T> RecvCase<'a, T> {
    /// A case that is not enlisted.
    pub fn new(receiver: &'a Receiver<T>) -> RecvCase<'a, T> {
        RecvCase(Place::new(receiver.hchan()))
    }

    /// What the chosen case has received.
    ///
    /// # Errors
    /// The channel is closed and empty.
    ///
    /// # Panics
    /// If the case has not been chosen.
    pub fn take(self: Pin<&Self>) -> Result<T, RecvError> {
        self.get_ref().complete()
    }

    pub(super) fn complete(&self) -> Result<T, RecvError> {
        match self.0.outcome() {
            Outcome::Closed => Err(RecvError),
            // SAFETY: the value has been moved to the slot, and is taken once.
            _ => Ok(unsafe { self.0.waiter.value().read() }),
        }
    }
}

impl<'a, T> SendCase<'a, T> {
    /// A case that is not enlisted.
    pub fn new(sender: &'a Sender<T>) -> SendCase<'a, T> {
        SendCase(Place::new(sender.hchan()))
    }

    /// What the chosen case owes.
    ///
    /// # Panics
    /// If the case has not been chosen.
    pub fn promise(self: Pin<&Self>) -> Promise<'a, T> {
        self.get_ref().complete()
    }

    pub(super) fn complete(&self) -> Promise<'a, T> {
        Promise { hchan: self.0.hchan, outcome: self.0.outcome() }
    }
}

/// A send that has been chosen and lacks its value. Dropped, it takes the promise back.
pub struct Promise<'a, T> {
    hchan: &'a Hchan<T>,
    outcome: Outcome,
}

impl<T> Promise<'_, T> {
    /// Sends the value.
    ///
    /// # Errors
    /// The channel is closed; the value comes back.
    pub fn send(self, value: T) -> Result<(), SendError<T>> {
        let kept = ManuallyDrop::new(self);
        if kept.outcome == Outcome::Closed {
            return Err(SendError(value));
        }
        let value = ManuallyDrop::new(value);
        loop {
            // SAFETY: there is a value, and it is given away.
            let keep =
                |core: &mut Core<T>| unsafe { core.keep_promise(&raw const *value, kept.outcome) };
            match kept.hchan.with(keep) {
                Sent::Done(waker) => {
                    wake(waker);
                    return Ok(());
                }
                Sent::Closed => return Err(SendError(ManuallyDrop::into_inner(value))),
                Sent::Grow => kept.hchan.grow(),
                Sent::Full => {
                    kept.hchan.give_back(ManuallyDrop::into_inner(value), NO_TURN);
                    return Ok(());
                }
            }
        }
    }
}

impl<T> Drop for Promise<'_, T> {
    fn drop(&mut self) {
        if self.outcome != Outcome::Closed {
            let wakers = self.hchan.with(|core| core.break_promise(self.outcome));
            wakers.into_iter().for_each(wake);
        }
    }
}

impl<T> Case for RecvCase<'_, T> {
    fn head(&self) -> &Head {
        &self.0.hchan.head
    }

    fn is_ready(&self) -> bool {
        self.head().hint() & READABLE != 0
            || self.is_timed() && self.0.hchan.timer.as_ref().is_some_and(|timer| timer.is_due())
    }

    fn due(&self) -> Option<Instant> {
        if self.is_timed() { self.0.hchan.timer.as_ref()?.due() } else { None }
    }

    fn is_timed(&self) -> bool {
        self.head().timed
    }

    fn commit_locked(&self, ask: bool) -> Committed {
        let slot = self.0.waiter.value();
        if let Some(timer) = &self.0.hchan.timer {
            let Some((value, due)) = timer.take_due() else { return Committed::No(None) };
            // SAFETY: nothing is in the slot of a case that has not been chosen.
            unsafe { slot.write(value) };
            self.0.waiter.set_turn(due);
            self.0.state.set(State::Chosen(Outcome::Moved));
            return Committed::Yes(None);
        }
        // SAFETY: the caller holds the lock; nothing is in the slot.
        let received = unsafe { self.0.hchan.locked(|core| core.recv(slot, ask)) };
        let (outcome, waker) = match received {
            Received::Done(waker) => (Outcome::Moved, waker),
            // To free an empty node under the lock is not nice, and rare; it calls no user code.
            Received::Returned(node) => {
                drop(node);
                (Outcome::Moved, None)
            }
            Received::Closed => (Outcome::Closed, None),
            Received::Empty(waker) => return Committed::No(waker),
        };
        self.0.state.set(State::Chosen(outcome));
        Committed::Yes(waker)
    }

    unsafe fn enlist_locked(&self, token: &Token, number: usize) {
        if self.is_timed() {
            return;
        }
        self.0.note(token, number);
        // SAFETY: as the caller vouches.
        unsafe {
            self.0.hchan.locked(|core| core.receivers.push(&self.0.waiter, token, number));
        }
    }

    fn unlink(&self) {
        if self.0.state.get() == State::Enlisted {
            self.0.state.set(State::Idle);
            self.0.hchan.with(|core| core.unlink_receiver(&self.0.waiter));
        }
    }

    fn renew(&self, token: &Token, waker: Waker) -> bool {
        self.0.renew(token, waker)
    }

    fn accept(&self) -> bool {
        self.0.accept()
    }

    fn undo(&self) {
        if self.0.state.replace(State::Idle) != State::Chosen(Outcome::Moved) {
            return;
        }
        // SAFETY: the value is in the slot, and is taken once.
        let value = unsafe { self.0.waiter.value().read() };
        match &self.0.hchan.timer {
            Some(timer) => timer.put_back(self.0.waiter.turn()),
            None => self.0.hchan.give_back(value, self.0.waiter.turn()),
        }
    }

    fn as_recv(&self) -> Option<*const ()> {
        Some(std::ptr::from_ref(self).cast())
    }

    fn as_send(&self) -> Option<*const ()> {
        None
    }
}

impl<T> Case for SendCase<'_, T> {
    fn head(&self) -> &Head {
        &self.0.hchan.head
    }

    fn is_ready(&self) -> bool {
        self.head().hint() & WRITABLE != 0
    }

    fn due(&self) -> Option<Instant> {
        None
    }

    fn is_timed(&self) -> bool {
        false
    }

    fn commit_locked(&self, _: bool) -> Committed {
        // SAFETY: the caller holds the lock.
        let outcome = match unsafe { self.0.hchan.locked(|core| core.reserve()) } {
            Sent::Done(_) => Outcome::Promised,
            Sent::Closed => Outcome::Closed,
            Sent::Full | Sent::Grow => return Committed::No(None),
        };
        self.0.state.set(State::Chosen(outcome));
        Committed::Yes(None)
    }

    unsafe fn enlist_locked(&self, token: &Token, number: usize) {
        self.0.note(token, number);
        // SAFETY: as the caller vouches.
        unsafe {
            self.0.hchan.locked(|core| core.senders.push(&self.0.waiter, token, number));
        }
    }

    fn unlink(&self) {
        if self.0.state.get() == State::Enlisted {
            self.0.state.set(State::Idle);
            self.0.hchan.with(|core| core.senders.unlink(&self.0.waiter));
        }
    }

    fn renew(&self, token: &Token, waker: Waker) -> bool {
        self.0.renew(token, waker)
    }

    fn accept(&self) -> bool {
        self.0.accept()
    }

    fn undo(&self) {
        if matches!(self.0.state.get(), State::Chosen(_)) {
            drop(self.complete());
        }
    }

    fn as_recv(&self) -> Option<*const ()> {
        None
    }

    fn as_send(&self) -> Option<*const ()> {
        Some(std::ptr::from_ref(self).cast())
    }
}

/// A select that is dropped in the middle: out of the list, and what came meanwhile goes back.
fn cancel<T>(case: &impl Case, place: &Place<'_, T>) {
    if place.state.get() == State::Enlisted {
        case.unlink();
        if place.is_served() {
            case.accept();
        }
    }
    case.undo();
}

impl<T> Drop for RecvCase<'_, T> {
    fn drop(&mut self) {
        if self.0.state.get() != State::Idle {
            cancel(self, &self.0);
        }
    }
}

impl<T> Drop for SendCase<'_, T> {
    fn drop(&mut self) {
        if self.0.state.get() != State::Idle {
            cancel(self, &self.0);
        }
    }
}
