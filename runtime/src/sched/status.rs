//! The status word of a G: who owns its body, who wants its result, who keeps its memory.
//!
//! One word holds everything that two threads could disagree about, so each
//! step is one atomic operation and has one place in the word's history.
//!
//! ```text
//! spawn                          -> OWNED           // queued from the start
//! OWNED            -> WAITING    // park: the poll ended, nothing has come meanwhile
//! OWNED            -> OWNED|NOTIFIED  // a wake during the poll: the permit
//! OWNED|NOTIFIED   -> OWNED      // start: the permit is used up by this dispatch
//! WAITING          -> OWNED      // a wake; the waker must queue the G
//! WAITING          -> OWNED      // look: a dump reads the body, and parks it again
//! OWNED            -> DONE       // the body has ended
//! any but DONE     -> +ABORT     // abort: the next dispatch drops the body
//! DONE, no refs    -> DEAD (0)   // the memory is free
//! ```
//!
//! `OWNED` is the lock on the body. It is taken by the *wake*, not by the
//! dispatcher, so a dispatch costs a load: RUNNABLE and RUNNING differ only in
//! whether some M's `curg` names the G. WAITING is the absence of `OWNED` and
//! `DONE`.
//!
//! The scheduler's reference travels: a waker that is consumed hands its own
//! to the queue, and parking drops it in the same compare-exchange.
//!
//! **The joiner's waker.** The handle writes the waker field while `WAKER` is
//! clear and publishes it by setting `WAKER`. The completing side copies the
//! field and then takes it in the same compare-exchange that sets `DONE`. That
//! is safe only while the field cannot have changed and changed back in
//! between, so the first *replacement* of a waker sets `REPLACED` for good,
//! and completion then takes two steps (first `DONE`, which freezes the field,
//! then the field, then the reference).
//!
//! `status_model.rs` checks wake, park, completion, abort, join, both drops and
//! the walk over all cells against each other.

use crate::util::sync::atomic::{AtomicU64, Ordering};

/// The body belongs to whoever holds the G from a queue or runs it.
const OWNED: u64 = 1;
/// A wake came while the G was owned: it must run once more.
const NOTIFIED: u64 = 1 << 1;
/// The body has ended; what is left is the output, and it belongs to the handle.
const DONE: u64 = 1 << 2;
/// Somebody asked for the end: the owner drops the body at its next dispatch.
const ABORT: u64 = 1 << 3;
/// A `JoinHandle` exists and may still take the output.
const JOIN: u64 = 1 << 4;
/// The waker field is set; it belongs to the side that ends the body.
const WAKER: u64 = 1 << 5;
/// The waker field has been replaced at least once.
const REPLACED: u64 = 1 << 6;
/// A sample of the latency (`latency.rs`): owned, and not dispatched yet.
const SAMPLED: u64 = 1 << 7;
/// One reference. The count fills the rest of the word.
const REF: u64 = 1 << 8;

/// See the module.
#[derive(Debug)]
pub(crate) struct Status(AtomicU64);

/// What a G is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// There is none, or it has ended.
    None,
    /// It runs, or is queued.
    Owned,
    /// It waits.
    Waiting,
}

/// What a waker owes after its wake.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The caller now owns the G and its queue reference, and must queue it.
    Queue,
    /// Nothing more to do.
    Nothing,
    /// That was the last reference: the caller must free the G.
    Free,
}

/// What the dispatcher may do with the G it took from a queue.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Run the body.
    Run,
    /// Count how long it was runnable, then run the body.
    RunSampled,
    /// Drop the body, then complete.
    Cancel,
}

/// How parking ended.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Park {
    /// The G waits; the caller must not touch it again.
    Parked,
    /// A wake came meanwhile: still owned, queue it again.
    Notified,
    /// Nobody is left who could wake or join it: still owned, drop the body.
    Orphan,
}

/// What completion leaves to do.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Complete {
    /// Nothing; the caller's reference is gone.
    Nothing,
    /// The copied waker is the caller's to wake; its reference is gone.
    Wake,
    /// The field is frozen: take the waker from it, then call `drop_ref`.
    WakeSlow,
    /// Nobody wants the output any more: drop it, then call `complete(false, ..)`.
    DropOutput,
    /// That was the last reference: the caller must free the G.
    Free,
}

/// What a handle finds when it polls.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// The output is there and is the handle's.
    Done,
    /// No waker is registered: write the field, then `join_publish`.
    Empty,
    /// A waker is registered; if it is not the right one, `join_unpublish` first.
    Registered,
}

/// What a dropped handle leaves to do.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DropJoin {
    /// The output, if it was not taken, is the caller's to drop; then `drop_ref`.
    Output,
    /// Detached, the reference is gone; a copied waker is the caller's.
    Detached {
        /// Whether the field held a waker.
        had_waker: bool,
    },
    /// As `Detached`, and nobody is left who could wake the G: queue it, the
    /// dispatcher will drop its body.
    Queue {
        /// Whether the field held a waker.
        had_waker: bool,
    },
    /// A change came in between: look at the field again.
    Retry,
}

/// What dropping a reference leaves to do.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DropRef {
    /// Nothing.
    Nothing,
    /// That was the last reference: free the G.
    Free,
    /// That was the last reference to a waiting G: queue it, the dispatcher will drop its body.
    Queue,
}

impl Status {
    /// The word of a G that spawn is about to queue: owned, with one reference
    /// for the queue and one for the handle.
    pub(crate) fn spawned() -> u64 {
        OWNED | JOIN | (2 * REF)
    }

    /// The word of free memory.
    #[cfg(loom)]
    pub(crate) fn new(word: u64) -> Status {
        Status(AtomicU64::new(word))
    }

    /// Publishes a G whose other fields have been written.
    #[inline]
    pub(crate) fn publish(&self, word: u64) {
        // Release: pairs with the Acquire in `try_ref` (the walk over all cells). The queue and
        // the handle order their own access.
        self.0.store(word, Ordering::Release);
    }

    /// Marks the memory free. The caller has seen the last reference go.
    pub(crate) fn kill(&self) {
        // Relaxed: whoever gets the cell next gets it through a free list.
        self.0.store(0, Ordering::Relaxed);
    }

    /// What the G is doing, if there is one. For walks over all cells.
    pub(crate) fn activity(&self) -> Activity {
        let s = self.0.load(Ordering::Relaxed); // Relaxed: statistics
        match s {
            s if s < REF || s & DONE != 0 => Activity::None,
            s if s & OWNED != 0 => Activity::Owned,
            _ => Activity::Waiting,
        }
    }

    /// Takes a reference if the cell holds a G that has not ended. For walks over all cells.
    pub(crate) fn try_ref(&self) -> bool {
        // Relaxed: the compare-exchange decides.
        let mut s = self.0.load(Ordering::Relaxed);
        loop {
            if s < REF || s & DONE != 0 {
                return false;
            }
            // Acquire: pairs with `publish`, so the header may be read.
            match self.cas(s, s + REF, Ordering::Acquire) {
                Ok(()) => return true,
                Err(now) => s = now,
            }
        }
    }

    /// One more reference, from one that the caller holds.
    pub(crate) fn add_ref(&self) {
        // Relaxed: a reference is passed on by whatever passes the pointer on.
        let before = self.0.fetch_add(REF, Ordering::Relaxed);
        if before > u64::MAX / 2 {
            std::process::abort(); // 2^54 leaked wakers, as `Arc` does
        }
    }

    /// Gives a reference back.
    pub(crate) fn drop_ref(&self) -> DropRef {
        // Relaxed: the compare-exchange decides.
        let mut s = self.0.load(Ordering::Relaxed);
        loop {
            if s >= 2 * REF {
                // Release: what this holder did comes before the free. Pairs with the Acquire below.
                match self.cas(s, s - REF, Ordering::Release) {
                    Ok(()) => return DropRef::Nothing,
                    Err(now) => s = now,
                }
            } else if s & DONE != 0 {
                // The last holder needs no locked instruction: nobody else can reach the word.
                // Acquire: pairs with the Release of the other holders.
                self.acquire();
                return DropRef::Free;
            } else {
                debug_assert_eq!(s & OWNED, 0, "an owned G keeps the scheduler's reference");
                // Acquire: the new owner reads the body that the last owner wrote (`park`).
                match self.cas(s, s | OWNED | ABORT, Ordering::Acquire) {
                    Ok(()) => return DropRef::Queue,
                    Err(now) => s = now,
                }
            }
        }
    }

    /// A wake that consumes the caller's reference.
    pub(crate) fn wake_by_val(&self) -> Wake {
        // Relaxed: the compare-exchange decides.
        let mut s = self.0.load(Ordering::Relaxed);
        loop {
            if s & DONE != 0 {
                return match self.drop_ref() {
                    DropRef::Nothing => Wake::Nothing,
                    DropRef::Free => Wake::Free,
                    DropRef::Queue => unreachable!("DONE is final"),
                };
            }
            let (next, after) = if s & OWNED != 0 {
                ((s | NOTIFIED) - REF, Wake::Nothing) // the scheduler's own reference remains
            } else {
                (s | OWNED, Wake::Queue) // the waker's reference becomes the queue's
            };
            // Release: what the waker wrote is seen by the poll that it causes (`start`).
            // Acquire: if it takes OWNED, it passes on the body that `park` released.
            match self.cas(s, next, Ordering::AcqRel) {
                Ok(()) => return after,
                Err(now) => s = now,
            }
        }
    }

    /// Takes the body of a G that waits, to look at it. True: the caller owns it as a dispatcher
    /// does, with a reference more, and goes on with `park`; a wake that comes meanwhile finds it
    /// owned, and `park` finds the wake.
    pub(crate) fn look(&self) -> bool {
        // Relaxed: the compare-exchange decides.
        let mut s = self.0.load(Ordering::Relaxed);
        loop {
            if s & (OWNED | DONE) != 0 {
                return false;
            }
            // Acquire: the caller reads the body that the last owner wrote (`park`). Release: who
            // wakes it meanwhile knows that somebody looks (`Sched::is_looked_at`).
            match self.cas(s, (s | OWNED) + REF, Ordering::AcqRel) {
                Ok(()) => return true,
                Err(now) => s = now,
            }
        }
    }

    /// A wake that leaves the caller's reference alone.
    pub(crate) fn wake_by_ref(&self) -> Wake {
        self.claim(0)
    }

    /// Asks for the end. As a wake: if the G was waiting, the caller must queue it.
    pub(crate) fn abort(&self) -> Wake {
        self.claim(ABORT)
    }

    fn claim(&self, extra: u64) -> Wake {
        // Relaxed: the compare-exchange decides.
        let mut s = self.0.load(Ordering::Relaxed);
        loop {
            if s & DONE != 0 {
                return Wake::Nothing;
            }
            // Also when NOTIFIED is set already: a plain load there could be ordered before
            // the caller's own writes, and the poll that follows would miss them.
            let (next, after) = if s & OWNED != 0 {
                (s | NOTIFIED | extra, Wake::Nothing)
            } else {
                ((s | OWNED | extra) + REF, Wake::Queue)
            };
            // AcqRel: as in `wake_by_val`.
            match self.cas(s, next, Ordering::AcqRel) {
                Ok(()) => return after,
                Err(now) => s = now,
            }
        }
    }

    /// The dispatcher has taken the G from a queue.
    #[inline]
    pub(crate) fn start(&self) -> Start {
        // Relaxed: the queue has ordered the body; a wake that is missed here is seen by `park`.
        let s = self.0.load(Ordering::Relaxed);
        if s & (NOTIFIED | SAMPLED | ABORT) == 0 { Start::Run } else { self.start_slowly() }
    }

    #[inline(never)]
    fn start_slowly(&self) -> Start {
        // Acquire: the poll that follows sees what the wakers wrote before (`wake_by_val`).
        match self.0.fetch_and(!(NOTIFIED | SAMPLED), Ordering::Acquire) {
            s if s & ABORT != 0 => Start::Cancel,
            s if s & SAMPLED != 0 => Start::RunSampled,
            _ => Start::Run,
        }
    }

    /// The owner, who is about to queue the G, makes it a sample.
    #[cfg(not(loom))]
    pub(crate) fn sample(&self) {
        self.0.fetch_or(SAMPLED, Ordering::Relaxed); // Relaxed: this thread's own, until it is queued
    }

    /// The body has returned Pending.
    #[inline]
    pub(crate) fn park(&self) -> Park {
        // Relaxed: the compare-exchange decides.
        let mut s = self.0.load(Ordering::Relaxed);
        loop {
            if s & NOTIFIED != 0 {
                return Park::Notified;
            }
            if s < 2 * REF {
                return Park::Orphan;
            }
            // Release: hands the body to the next owner. Acquire is not needed: a wake that
            // is older than this operation has set NOTIFIED and made it fail.
            match self.cas(s, (s & !OWNED) - REF, Ordering::Release) {
                Ok(()) => return Park::Parked,
                Err(now) => s = now,
            }
        }
    }

    /// The body has ended and its output is stored, or dropped if `output` is
    /// false. `copy` is called while the waker field is readable and must copy
    /// it; the copy is the caller's only after `Complete::Wake`.
    #[inline]
    pub(crate) fn complete(&self, output: bool, mut copy: impl FnMut()) -> Complete {
        // Acquire: pairs with `join_publish`, so that the field is readable.
        let mut s = self.0.load(Ordering::Acquire);
        loop {
            if output && s & JOIN == 0 {
                return Complete::DropOutput;
            }
            let done = (s & !(OWNED | NOTIFIED)) | DONE;
            let (next, after) = match s & (WAKER | REPLACED) {
                // Not without the exchange: until DONE is there, `try_ref` may find the cell.
                _ if s < 2 * REF => (done, Complete::Free),
                0 | REPLACED => (done - REF, Complete::Nothing),
                WAKER => {
                    copy();
                    ((done & !WAKER) - REF, Complete::Wake)
                }
                _ => (done, Complete::WakeSlow),
            };
            // Release: publishes the output to `join`. Acquire, also on failure: a newly
            // published waker becomes readable.
            match self.0.compare_exchange_weak(s, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return after,
                Err(now) => s = now,
            }
        }
    }

    /// A handle looks for the output.
    #[inline]
    pub(crate) fn join(&self) -> Join {
        // Acquire: pairs with the Release in `complete`, so that the output is readable.
        let s = self.0.load(Ordering::Acquire);
        if s & DONE != 0 {
            Join::Done
        } else if s & WAKER != 0 {
            Join::Registered
        } else {
            Join::Empty
        }
    }

    /// Publishes the waker field, which the handle has written. False: DONE has
    /// come first, and the field is still the handle's.
    pub(crate) fn join_publish(&self) -> bool {
        // Release: pairs with the Acquire loads in `complete`.
        self.change_unless_done(|s| s | WAKER, Ordering::Release)
    }

    /// Takes the waker field back, to replace it. False: DONE has come first,
    /// and the field belongs to the completing side.
    pub(crate) fn join_unpublish(&self) -> bool {
        // Relaxed: the field was written by this handle; the other side only reads it.
        self.change_unless_done(|s| (s & !WAKER) | REPLACED, Ordering::Relaxed)
    }

    fn change_unless_done(&self, f: impl Fn(u64) -> u64, order: Ordering) -> bool {
        // Relaxed: the compare-exchange decides.
        let mut s = self.0.load(Ordering::Relaxed);
        loop {
            if s & DONE != 0 {
                // Acquire: the caller goes on to read the output.
                self.acquire();
                return false;
            }
            match self.cas(s, f(s), order) {
                Ok(()) => return true,
                Err(now) => s = now,
            }
        }
    }

    /// The handle goes. `copy` copies the waker field if there is one.
    pub(crate) fn drop_join(&self, copy: impl FnOnce()) -> DropJoin {
        // Acquire: the output may be the caller's to drop (`complete`).
        let s = self.0.load(Ordering::Acquire);
        if s & DONE != 0 {
            return DropJoin::Output;
        }
        let had_waker = s & WAKER != 0;
        if had_waker {
            copy();
        }
        let (next, after) = if s < 2 * REF {
            (s | OWNED | ABORT, DropJoin::Queue { had_waker })
        } else {
            (s - REF, DropJoin::Detached { had_waker })
        };
        // Release: what this holder did comes before the free. Acquire: as a wake (`claim`).
        match self.cas(s, next & !(JOIN | WAKER), Ordering::AcqRel) {
            Ok(()) => after,
            Err(_) => DropJoin::Retry,
        }
    }

    /// Whether somebody asked for the end.
    pub(crate) fn is_aborting(&self) -> bool {
        // Relaxed: a wait that misses it is woken and looks again.
        self.0.load(Ordering::Relaxed) & ABORT != 0
    }

    /// Whether the body has ended.
    pub(crate) fn is_done(&self) -> bool {
        // Acquire: whoever sees the end also sees what the body did (`complete`).
        self.0.load(Ordering::Acquire) & DONE != 0
    }

    /// Orders what follows after the last change of the word.
    fn acquire(&self) {
        // Acquire: pairs with the Release of the other holders, whose changes this one follows.
        self.0.load(Ordering::Acquire);
    }

    #[inline(always)]
    fn cas(&self, from: u64, to: u64, order: Ordering) -> Result<(), u64> {
        // Relaxed on failure: every caller tries again from the value it got.
        self.0.compare_exchange_weak(from, to, order, Ordering::Relaxed).map(drop)
    }
}
