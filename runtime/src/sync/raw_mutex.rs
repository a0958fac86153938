//! The lock inside `Mutex`. Go: sync.Mutex (internal/sync/mutex.go), whose rules these are.
//!
//! The word says everything that the fast paths need:
//!
//! | bit | meaning |
//! |---|---|
//! | LOCKED | somebody has it |
//! | QUEUED | the wait list is not empty; changes inside its sections only |
//! | WOKEN | a waiter was woken and is on its way: an unlock wakes no second one |
//! | STARVING | the lock is handed over, and newcomers queue; implies QUEUED |
//!
//! **Normal mode.** An unlock clears LOCKED and, if somebody waits and nobody is WOKEN, chooses the
//! first waiter and wakes it. That one competes with newcomers, who are on a processor already and
//! mostly win: the lock goes from task to task without a switch between. If it loses it returns to
//! the front of the list.
//!
//! **Starvation mode.** A woken waiter that has waited for 1 ms and loses again sets STARVING. Now
//! each unlock gives the lock to the first waiter, LOCKED with it. A waiter that gets the lock so
//! and had waited for less than 1 ms, or was the last one, ends the mode.
//!
//! No lost wake-up: a waiter goes to sleep inside a section of the wait list, after a compare-
//! exchange that set QUEUED on a word that was LOCKED (or STARVING). Whoever clears LOCKED later
//! sees QUEUED in the same word, and finds the waiter in the next section. A waiter that is dropped
//! after it was chosen gives the lock back, or its WOKEN and the wake with it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::wait_list::{Node, Queue, WaitList};
#[cfg(not(loom))]
use crate::util::clock;
use crate::util::sync::atomic::{AtomicUsize, Ordering};
use crate::util::sync::const_fn;

const LOCKED: usize = 1;
const QUEUED: usize = 2;
const WOKEN: usize = 4;
const STARVING: usize = 8;

/// From here on a waiter is handed the lock. Go: starvationThresholdNs, 1 ms.
const STARVATION: u64 = Duration::from_millis(1).as_nanos() as u64;

/// A round of spinning is this many pauses, with a look after each round. Go: active_spin,
/// active_spin_cnt.
const ROUNDS: usize = 4;
const PAUSES: usize = 30;

/// See the module.
#[derive(Debug)]
pub(crate) struct RawMutex {
    word: AtomicUsize,
    waiters: WaitList<(), Ticket>,
}

/// What a waiter brings, and gets.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    /// When it first queued, on `clock`.
    since: u64,
    /// It was chosen together with the lock.
    granted: bool,
}

/// The part of a future that waits for the lock.
pub(crate) type Waiter = Node<Ticket>;

impl RawMutex {
    const_fn! {
        pub(crate) const fn new() -> RawMutex {
            RawMutex { word: AtomicUsize::new(0), waiters: WaitList::new(()) }
        }
    }

    /// Takes the lock if it is free. Newcomers may pass waiters, unless these starve.
    #[inline]
    pub(crate) fn try_lock(&self) -> bool {
        // Acquire: pairs with the Release in `unlock`.
        let free = self.word.compare_exchange(0, LOCKED, Ordering::Acquire, Ordering::Relaxed);
        match free {
            Ok(_) => true,
            Err(word) => word & (LOCKED | STARVING) == 0 && self.try_lock_as(0),
        }
    }

    /// As `try_lock`; `woken` is WOKEN if the caller has been, and is given back with success.
    fn try_lock_as(&self, woken: usize) -> bool {
        let take = |w| (w & (LOCKED | STARVING) == 0).then_some((w | LOCKED) & !woken);
        // Acquire: as in `try_lock`.
        self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, take).is_ok()
    }

    /// Gives the lock back.
    ///
    /// The caller has it. Not `unsafe`, for what the lock guards is not in here; the guards see to
    /// it.
    #[inline]
    pub(crate) fn unlock(&self) {
        // Release: pairs with the Acquire of the next lock.
        if self.word.fetch_sub(LOCKED, Ordering::Release) != LOCKED {
            self.unlock_slow();
        }
    }

    #[cold]
    fn unlock_slow(&self) {
        // Relaxed: with QUEUED clear nobody sleeps, with WOKEN somebody is on its way, who looks
        // again inside a section before he sleeps; and who locks now will unlock.
        let word = self.word.load(Ordering::Relaxed);
        if word & QUEUED != 0 && (word & WOKEN == 0 || word & STARVING != 0) {
            self.wake_next();
        }
    }

    fn wake_next(&self) {
        if let Some(waker) = self.waiters.with(|(), queue| self.choose(queue)) {
            waker.wake();
        }
    }

    /// Inside a section: the first waiter, if the lock is free and nobody is on its way to it.
    fn choose(&self, queue: &mut Queue<Ticket>) -> Option<std::task::Waker> {
        let last = if queue.has_one() { QUEUED | STARVING } else { 0 };
        let next = |w: usize| match w {
            w if w & LOCKED != 0 || w & QUEUED == 0 => None,
            w if w & STARVING != 0 => Some((w | LOCKED) & !last),
            w if w & WOKEN != 0 => None,
            w => Some((w | WOKEN) & !last),
        };
        // Acquire: the lock may pass through here to the waiter. Release: as in `unlock`, for whom
        // this word comes next.
        let old = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, next).ok()?;
        queue.pop(|ticket| ticket.granted = old & STARVING != 0)
    }

    /// Ready with the lock.
    #[inline]
    pub(crate) fn poll_lock(&self, node: Pin<&Waiter>, cx: &mut Context<'_>) -> Poll<()> {
        if node.is_idle() && self.try_lock() { Poll::Ready(()) } else { self.poll_slow(node, cx) }
    }

    #[cold]
    fn poll_slow(&self, node: Pin<&Waiter>, cx: &mut Context<'_>) -> Poll<()> {
        let woken = !node.is_idle();
        if woken && !self.waiters.poll_chosen(node, cx) {
            return Poll::Pending;
        }
        let locked = (woken && node.given().granted) || self.spin(woken);
        if !locked && !self.enqueue(node, woken, cx) {
            return Poll::Pending;
        }
        if woken {
            self.calm_down(node.finish());
        }
        Poll::Ready(())
    }

    /// Tries, and waits a little for a holder that runs elsewhere.
    fn spin(&self, woken: bool) -> bool {
        let woken = if woken { WOKEN } else { 0 };
        for _ in 0..ROUNDS {
            if self.try_lock_as(woken) {
                return true;
            }
            // Relaxed: a hint.
            let word = self.word.load(Ordering::Relaxed);
            if word & (LOCKED | STARVING) != LOCKED || !may_spin() {
                return false;
            }
            (0..PAUSES).for_each(|_| std::hint::spin_loop());
        }
        self.try_lock_as(woken)
    }

    /// Puts the waiter to sleep, unless the lock has become free: then it has it.
    fn enqueue(&self, node: Pin<&Waiter>, woken: bool, cx: &mut Context<'_>) -> bool {
        let now = clock::now();
        let since = if woken { node.given().since } else { now };
        let starving = woken && now - since > STARVATION;
        let (clear, set) = (if woken { WOKEN } else { 0 }, if starving { STARVING } else { 0 });
        let mut waker = Some(cx.waker().clone());
        self.waiters.with(|(), queue| {
            let next = |w: usize| match w & (LOCKED | STARVING) {
                0 => (w | LOCKED) & !clear,
                _ => (w | QUEUED | set) & !clear,
            };
            // Acquire: as in `try_lock`.
            let old = fetch_update(&self.word, Ordering::Acquire, next);
            if old & (LOCKED | STARVING) == 0 {
                return true;
            }
            let ticket = Ticket { since, granted: false };
            if let Some(waker) = waker.take() {
                match woken {
                    true => queue.push_front(node, ticket, waker),
                    false => queue.push(node, ticket, waker),
                }
            }
            false
        })
    }

    /// Ends starvation mode if the new holder had not waited long.
    fn calm_down(&self, ticket: Ticket) {
        // Relaxed, both: the caller has the lock, and the bit guards nothing.
        let starving = ticket.granted && self.word.load(Ordering::Relaxed) & STARVING != 0;
        if starving && clock::now() - ticket.since < STARVATION {
            self.word.fetch_and(!STARVING, Ordering::Relaxed);
        }
    }

    /// Ends the wait of a future that is dropped.
    #[inline]
    pub(crate) fn cancel(&self, node: &Waiter) {
        if !node.is_idle() {
            self.cancel_slow(node);
        }
    }

    #[cold]
    fn cancel_slow(&self, node: &Waiter) {
        if !node.is_chosen() && self.leave(node) {
            return;
        }
        if node.finish().granted {
            self.unlock();
        } else {
            // Relaxed: who unlocks before this leaves the waking to `wake_next`, who does so after
            // it wakes by himself.
            self.word.fetch_and(!WOKEN, Ordering::Relaxed);
            self.wake_next();
        }
    }

    /// Leaves the list. False: it was chosen.
    fn leave(&self, node: &Waiter) -> bool {
        let removed = self.waiters.with(|(), queue| {
            let removed = queue.remove(node);
            if queue.is_empty() {
                // Relaxed: changes in sections only. An unlock on its way to the list finds it
                // empty.
                self.word.fetch_and(!(QUEUED | STARVING), Ordering::Relaxed);
            }
            removed
        });
        removed.is_some()
    }

    /// Whether somebody has it, as a hint.
    pub(crate) fn is_locked(&self) -> bool {
        // Relaxed: a hint.
        self.word.load(Ordering::Relaxed) & LOCKED != 0
    }
}

/// As `AtomicUsize::fetch_update` with an `f` that never refuses.
fn fetch_update(word: &AtomicUsize, ok: Ordering, f: impl Fn(usize) -> usize) -> usize {
    let (Ok(old) | Err(old)) = word.fetch_update(ok, Ordering::Relaxed, |w| Some(f(w)));
    old
}

/// Whether the holder may be running on another processor, and this one has nothing better to do.
/// Go: sync_runtime_canSpin.
#[cfg(not(loom))]
fn may_spin() -> bool {
    match crate::sched::m::current() {
        Some(m) => m.may_spin(),
        None => crate::util::processors() > 1,
    }
}

/// A clock that a model can repeat: it goes on by a step at each look. loom runs the threads of a
/// model on one.
#[cfg(loom)]
pub(crate) mod clock {
    use std::cell::Cell;

    thread_local! {
        static TIME: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    }

    pub(crate) fn set(step: u64) {
        TIME.set((0, step));
    }

    pub(crate) fn now() -> u64 {
        let (time, step) = TIME.get();
        TIME.set((time + step, step));
        time
    }
}

#[cfg(loom)]
fn may_spin() -> bool {
    false
}
