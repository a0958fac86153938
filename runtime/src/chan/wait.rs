//! Those who wait at a channel: records inside their pinned futures, in two lists per channel.
//!
//! A **token** stands for a future that waits, a **waiter** for its place in one list. A plain
//! `send` or `recv` has one of each; a select has one token and a waiter per case. Whoever wants
//! to serve a waiter takes it from its list and *claims* its token; the first claim wins, so of
//! a select's cases one is served. The states of a token:
//!
//! ```text
//! WAITING  -> TAKEN(case) // a peer claims it, under the lock of that case's channel
//! TAKEN    -> DONE        // the peer has moved the value and will wake the owner
//! WAITING  -> DONE        // both in one, where the token has one waiter: the lock is the claim
//! WAITING <-> BUSY        // the owner replaces the waker; peers wait for these few instructions
//! WAITING  -> SPOKEN(case)// a select has promised its value to this one, and will bring it
//! SPOKEN   -> DONE        // it has, or it never will: then the owner looks again
//! ```
//!
//! DONE is the peer's last access: from then on the owner may free the record. So the peer takes
//! the waker out before, and wakes after it has given the lock back. WAITING is left only under
//! the lock of a channel in whose list a waiter stands; an owner that has unlinked all of its
//! waiters therefore knows that nobody will touch them any more, once a TAKEN has become DONE.
//!
//! A waiter is in a list only while its owner is alive and in its place: the futures are pinned
//! and unlink their waiters when they are dropped.

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomPinned;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::task::{RawWakerVTable, Waker};

use crate::util::sync::atomic::{AtomicUsize, Ordering};
use crate::util::sync::relax;

const WAITING: usize = 0;
const BUSY: usize = 1;
const TAKEN: usize = 2;
const DONE: usize = 3;
const SPOKEN: usize = 4;
/// Which of these it is; the number of the case stands above.
const MASK: usize = 7;
const CASE: u32 = 3;

/// What a waker wakes, and how.
type Identity = (*const (), *const RawWakerVTable);

fn identity(waker: &Waker) -> Identity {
    (waker.data(), std::ptr::from_ref(waker.vtable()))
}

/// See the module.
pub(super) struct Token {
    state: AtomicUsize,
    /// Whoever claims it takes this; the owner writes it before it is in any list, or when BUSY.
    waker: UnsafeCell<Option<Waker>>,
    /// What the owner put in last, for the owner to compare.
    registered: Cell<Identity>,
    /// It has one waiter, and that waiter's channel's lock protects all.
    single: bool,
    _pin: PhantomPinned,
}

impl Token {
    pub(super) fn new(single: bool) -> Token {
        Token {
            state: AtomicUsize::new(WAITING),
            waker: UnsafeCell::new(None),
            registered: Cell::new((std::ptr::null(), std::ptr::null())),
            single,
            _pin: PhantomPinned,
        }
    }

    /// Makes it ready for a wait: the owner has no waiter in any list.
    ///
    /// # Safety
    /// The caller owns the token.
    pub(super) unsafe fn arm(&self, waker: Waker) {
        // Relaxed: peers find the token through a list, whose lock orders.
        self.state.store(WAITING, Ordering::Relaxed);
        self.registered.set(identity(&waker));
        // SAFETY: no waiter is in a list, so nobody else reads it.
        unsafe { *self.waker.get() = Some(waker) };
    }

    /// The case that a peer has served, if one has. Waits for a peer that is at it.
    #[inline]
    pub(super) fn served(&self) -> Option<usize> {
        let mut rounds = 0;
        loop {
            // Acquire: pairs with the Release in `finish`, so the record is the owner's again.
            let state = self.state.load(Ordering::Acquire);
            match state & MASK {
                DONE => return Some(state >> CASE),
                TAKEN => relax(&mut rounds),
                _ => return None,
            }
        }
    }

    /// A peer's claim, to TAKEN or SPOKEN, for the waiter of `case`; false if another one has been
    /// faster.
    #[inline(always)]
    fn claim(&self, case: usize, to: usize) -> bool {
        // A single one stood in the list, and the caller has the lock.
        self.single || self.claim_shared(case << CASE | to)
    }

    fn claim_shared(&self, to: usize) -> bool {
        let mut rounds = 0;
        loop {
            // Acquire: the waker that the owner has written is readable.
            match self.cas(WAITING, to, Ordering::Acquire) {
                Ok(_) => return true,
                Err(BUSY) => relax(&mut rounds),
                Err(_) => return false,
            }
        }
    }

    fn cas(&self, from: usize, to: usize, order: Ordering) -> Result<usize, usize> {
        // Relaxed on failure: nothing is read then.
        self.state.compare_exchange(from, to, order, Ordering::Relaxed)
    }

    /// The case that somebody has spoken for, without bringing a value yet.
    pub(super) fn spoken_for(&self) -> Option<usize> {
        // Relaxed: whoever acts on it takes that channel's lock and looks there.
        let state = self.state.load(Ordering::Relaxed);
        (state & MASK == SPOKEN).then_some(state >> CASE)
    }

    /// Replaces the waker of a token with several waiters. Returns the one to drop; or `waker`
    /// itself, if the token has been claimed.
    ///
    /// # Safety
    /// The caller owns the token.
    pub(super) unsafe fn renew(&self, waker: Waker) -> Result<Option<Waker>, Waker> {
        debug_assert!(!self.single);
        // Relaxed: only the owner writes the waker while nobody has claimed the token.
        if self.cas(WAITING, BUSY, Ordering::Relaxed).is_err() {
            return Err(waker);
        }
        // SAFETY: BUSY keeps the peers out.
        let old = unsafe { self.swap_waker(Some(waker)) };
        // Release: pairs with the Acquire in `claim`.
        self.state.store(WAITING, Ordering::Release);
        Ok(old)
    }

    /// Whether the waker that was put in last would do the same as `waker`.
    pub(super) fn will_wake(&self, waker: &Waker) -> bool {
        self.registered.get() == identity(waker)
    }

    /// Takes the waker out, or puts another in.
    ///
    /// # Safety
    /// The caller has the token alone: it owns it and no waiter is in a list, or it has claimed
    /// it, or it owns it and holds the lock of the channel in whose list its only waiter, or the
    /// one that somebody has spoken for, stands.
    pub(super) unsafe fn swap_waker(&self, waker: Option<Waker>) -> Option<Waker> {
        if let Some(waker) = &waker {
            self.registered.set(identity(waker));
        }
        // SAFETY: as the caller vouches.
        unsafe { std::mem::replace(&mut *self.waker.get(), waker) }
    }
}

/// What a served waiter finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The value has been moved: into the receiver's slot, or out of the sender's.
    Moved,
    /// The sender of a select is to bring its value: a place is kept, or a receiver spoken for.
    Promised,
    /// The sender of a select is to bring its value to a receiver that has asked, and waits.
    Asked,
    /// The channel was closed.
    Closed,
    /// A promise was broken: look again.
    Again,
}

/// A place in the list of a channel. All but `value` and `outcome` belongs to the channel's lock.
pub(super) struct Waiter<T> {
    next: Cell<Option<NonNull<Waiter<T>>>>,
    prev: Cell<Option<NonNull<Waiter<T>>>>,
    linked: Cell<bool>,
    /// It stands in the list of those that somebody has spoken for.
    spoken: Cell<bool>,
    token: Cell<Option<NonNull<Token>>>,
    case: Cell<usize>,
    outcome: Cell<Outcome>,
    /// The turn of the value that was moved here, see `Core::turns`.
    turn: Cell<u64>,
    /// The sender's value, or the receiver's room for one: the peer's while the waiter is linked
    /// or claimed, else the owner's.
    value: UnsafeCell<MaybeUninit<T>>,
    /// A sender brings its value along; that of a select does not.
    loaded: bool,
    _pin: PhantomPinned,
}

impl<T> Waiter<T> {
    /// A receiver, or a sender in a select.
    pub(super) fn empty() -> Waiter<T> {
        Waiter::with(MaybeUninit::uninit(), false)
    }

    /// A sender with its value.
    pub(super) fn loaded(value: T) -> Waiter<T> {
        Waiter::with(MaybeUninit::new(value), true)
    }

    #[inline(always)]
    fn with(value: MaybeUninit<T>, loaded: bool) -> Waiter<T> {
        Waiter {
            next: Cell::new(None),
            prev: Cell::new(None),
            linked: Cell::new(false),
            spoken: Cell::new(false),
            token: Cell::new(None),
            case: Cell::new(0),
            outcome: Cell::new(Outcome::Moved),
            turn: Cell::new(0),
            value: UnsafeCell::new(value),
            loaded,
            _pin: PhantomPinned,
        }
    }

    /// Where the value is, or goes.
    #[inline(always)]
    pub(super) fn value(&self) -> *mut T {
        self.value.get().cast()
    }

    /// How the wait ended, for the owner.
    pub(super) fn outcome(&self) -> Outcome {
        self.outcome.get()
    }

    /// Whether it is a sender that brings its value along.
    pub(super) fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Notes which value is here, for the owner.
    pub(super) fn set_turn(&self, turn: u64) {
        self.turn.set(turn);
    }

    /// The turn of the value here, for the owner.
    pub(super) fn turn(&self) -> u64 {
        self.turn.get()
    }

    /// Whether it stands in a list. Under the channel's lock.
    pub(super) fn is_linked(&self) -> bool {
        self.linked.get()
    }

    /// In which of two lists it stands. Under the channel's lock.
    pub(super) fn is_spoken_for(&self) -> bool {
        self.spoken.get()
    }

    fn token(&self) -> &Token {
        let token = self.token.get().expect("a linked waiter has a token");
        // SAFETY: the owner keeps the token as long as the waiter is linked or claimed.
        unsafe { token.as_ref() }
    }
}

/// A waiter that the caller has taken from its list and claimed; it must be finished.
#[must_use]
pub(super) struct Claimed<T>(NonNull<Waiter<T>>);

impl<T> Claimed<T> {
    /// Where the value is, or goes.
    #[inline(always)]
    pub(super) fn value(&self) -> *mut T {
        self.waiter().value()
    }

    /// Whether it is a sender that brings its value along.
    pub(super) fn is_loaded(&self) -> bool {
        self.waiter().is_loaded()
    }

    /// Notes which value has been moved here.
    pub(super) fn set_turn(&self, turn: u64) {
        self.waiter().set_turn(turn);
    }

    fn waiter(&self) -> &Waiter<T> {
        // SAFETY: until it is finished, its owner keeps it.
        unsafe { self.0.as_ref() }
    }

    /// The last access. The waker is for the caller to wake, after the unlock.
    #[inline(always)]
    pub(super) fn finish(self, outcome: Outcome) -> Option<Waker> {
        let waiter = self.waiter();
        waiter.outcome.set(outcome);
        let token = waiter.token();
        // SAFETY: it is claimed.
        let waker = unsafe { token.swap_waker(None) };
        // Release: pairs with the Acquire in `served`; the record goes back to its owner.
        token.state.store(waiter.case.get() << CASE | DONE, Ordering::Release);
        waker
    }
}

/// Waiters in the order in which they came. Only touched under the channel's lock.
pub(super) struct List<T> {
    head: Option<NonNull<Waiter<T>>>,
    tail: Option<NonNull<Waiter<T>>>,
    len: usize,
}

impl<T> List<T> {
    pub(super) fn new() -> List<T> {
        List { head: None, tail: None, len: 0 }
    }

    /// How many are linked; those of a select that was served elsewhere may be among them.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Enlists a waiter, for `case` of `token`.
    ///
    /// # Safety
    /// Both stay where they are until the waiter is unlinked; it is not linked now.
    #[inline(always)]
    pub(super) unsafe fn push(&mut self, waiter: &Waiter<T>, token: &Token, case: usize) {
        waiter.token.set(Some(NonNull::from(token)));
        waiter.case.set(case);
        waiter.spoken.set(false);
        self.append(waiter);
    }

    #[inline(always)]
    fn append(&mut self, waiter: &Waiter<T>) {
        waiter.linked.set(true);
        waiter.next.set(None);
        waiter.prev.set(self.tail);
        let this = Some(NonNull::from(waiter));
        match self.tail {
            // SAFETY: linked waiters are alive.
            Some(tail) => unsafe { tail.as_ref() }.next.set(this),
            None => self.head = this,
        }
        self.tail = this;
        self.len += 1;
    }

    /// Takes a waiter out, if it is in.
    pub(super) fn unlink(&mut self, waiter: &Waiter<T>) {
        if !waiter.linked.replace(false) {
            return;
        }
        let (next, prev) = (waiter.next.take(), waiter.prev.take());
        match prev {
            // SAFETY: linked waiters are alive.
            Some(prev) => unsafe { prev.as_ref() }.next.set(next),
            None => self.head = next,
        }
        match next {
            // SAFETY: as above.
            Some(next) => unsafe { next.as_ref() }.prev.set(prev),
            None => self.tail = prev,
        }
        self.len -= 1;
    }

    /// Takes out the first that nobody has served yet, and claims it.
    #[inline(always)]
    pub(super) fn claim(&mut self) -> Option<Claimed<T>> {
        self.claim_if(|_| true)
    }

    /// As `claim`, if `wanted` says so.
    #[inline(always)]
    pub(super) fn claim_if(&mut self, wanted: impl Fn(&Waiter<T>) -> bool) -> Option<Claimed<T>> {
        loop {
            let first = self.head?;
            // SAFETY: linked waiters are alive.
            let waiter = unsafe { first.as_ref() };
            if !wanted(waiter) {
                return None;
            }
            self.unlink(waiter);
            if waiter.token().claim(waiter.case.get(), TAKEN) {
                return Some(Claimed(first));
            }
        }
    }

    /// Speaks for the first that nobody has served yet: moves it to the list `spoken`. False if
    /// there is none.
    pub(super) fn speak_for(&mut self, spoken: &mut List<T>) -> bool {
        while let Some(first) = self.head {
            // SAFETY: linked waiters are alive.
            let waiter = unsafe { first.as_ref() };
            self.unlink(waiter);
            if waiter.token().claim(waiter.case.get(), SPOKEN) {
                waiter.spoken.set(true);
                spoken.append(waiter);
                return true;
            }
        }
        false
    }

    /// Takes out the first of those that have been spoken for.
    pub(super) fn pop_spoken(&mut self) -> Option<Claimed<T>> {
        let first = self.head?;
        // SAFETY: linked waiters are alive.
        self.unlink(unsafe { first.as_ref() });
        Some(Claimed(first))
    }
}
