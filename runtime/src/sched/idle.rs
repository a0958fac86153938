//! Who sleeps, who searches, who wakes whom. The proof is in `README.md`, the model in
//! `idle_model.rs`.
//!
//! The tension (Go, proc.go): too few Ms awake waste cores, too many waste
//! power and, on a small machine, time: waking a thread costs the waker 1.8 us
//! and takes 7 us to arrive, while a task lives for 42 ns. So wake-ups are
//! rationed:
//!
//! * at most one M searches on behalf of all producers: while somebody
//!   searches, nobody else is woken; a searcher that finds work wakes the next;
//! * a producer wakes for a spawn, or when two Gs are runnable. A lone wake
//!   into `next` will be run by its own waker in a moment, so it wakes another
//!   M only every 2^k-th time; k grows while that help comes to nothing, and
//!   falls to 0 when a steal of a `next` succeeds;
//! * a thief whose loot was worth less than the trip backs off (`steal.rs`).
//!
//! One word holds the counts that decide, so a producer needs one load. `startm.rs` has those who
//! wake, `rest.rs` those who sleep, `handoff.rs` those who give up a P on the way.

use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::blocking::Blocking;
use super::m::M;
use super::p::P;
use crossbeam_utils::CachePadded;

pub(super) const PROC: u64 = 1;
pub(super) const SPINNING: u64 = 1 << 16;
/// One of the searching Ms is in a timed wait: it counts as searching, but looks at nothing now.
pub(super) const BACKOFF: u64 = 1 << 32;
/// The runtime ends.
pub(super) const CLOSING: u64 = 1 << 33;
/// Some M has something that only it can run, and no P.
pub(super) const WANTED: u64 = 1 << 34;
/// Something was put into the global queue since it was last found empty.
const FAIR: u64 = 1 << 35;
/// Some P is held that should rest (`ps.rs`).
pub(super) const SURPLUS: u64 = 1 << 36;
/// Some M is locked to a goroutine (`lock.rs`).
pub(super) const LOCKED: u64 = 1 << 37;
/// Some spawn sites are known to surprise (`sites.rs`).
pub(super) const SITES: u64 = 1 << 38;
/// Somebody records (`trace.rs`).
pub(super) const TRACED: u64 = 1 << 39;
/// Chaos mode.
pub(super) const CHAOS: u64 = 1 << 40;
/// Whoever dispatches has more to do than usual.
const UNUSUAL: u64 = CLOSING | WANTED | FAIR | SURPLUS | LOCKED;
pub(super) const MASK: u64 = 0xFFFF;
/// A lone wake helps every 2^k-th time; k stops here (a guess: 4096 wakes are about 0.4 ms).
const LONE_SHIFT_MAX: u32 = 12;

/// See the module.
pub(super) struct Idle {
    pub(super) counts: CachePadded<AtomicU64>,
    lists: Mutex<Lists>,
    /// The M in a timed wait, if any.
    backing_off: AtomicPtr<M>,
    /// k of the rule for lone wakes.
    lone_shift: AtomicU32,
}

#[derive(Default)]
pub(super) struct Lists {
    /// Idle Ps; LIFO, so that caches stay warm.
    pub(super) ps: Vec<&'static P>,
    /// Ps that do not count at present (`ps.rs`).
    pub(super) resting: Vec<&'static P>,
    /// Ms that sleep on their note; LIFO.
    pub(super) ms: Vec<&'static M>,
    /// The same, but they wake for what lives there only: they are locked to a goroutine.
    pub(super) locked: Vec<&'static M>,
    /// The M that sleeps in the netpoller, or is about to.
    pub(super) poller: Option<&'static M>,
    /// Ms that have something to run, but no P to run it with.
    pub(super) wanting: Vec<&'static M>,
    /// Gs of `spawn_blocking` that wait for a thread.
    pub(super) blocking: Blocking,
    /// Threads that must leave before the runtime can end: workers, sysmon, and those from outside
    /// that hold a P.
    pub(super) threads: usize,
    /// Worker threads.
    pub(super) workers: usize,
    /// All Ms there ever were.
    pub(super) all: Vec<Arc<M>>,
    /// Ms of `block_on` calls that have ended.
    pub(super) outside: Vec<Arc<M>>,
    /// Ms of threads that have ended.
    pub(super) spare: Vec<&'static M>,
}

/// A snapshot of the word.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    pub(super) procs: usize,
    pub(super) spinning: usize,
    word: u64,
}

impl Counts {
    /// Whether somebody would run more work right now.
    #[inline]
    pub(super) fn is_hungry(self) -> bool {
        if self.spinning == 0 {
            self.procs > 0
        } else {
            self.spinning > usize::from(self.is_backing_off())
        }
    }

    /// Whether nothing is set or counted: every P runs, and nobody asks for anything.
    #[inline(always)]
    pub(super) fn is_calm(self) -> bool {
        self.word == 0
    }

    #[inline]
    pub(super) fn is_closing(self) -> bool {
        self.word & CLOSING != 0
    }

    /// Whether the global queue should be looked at soon.
    #[inline]
    pub(super) fn wants_fair_turn(self) -> bool {
        self.word & FAIR != 0
    }

    /// Whether any of these bits is set.
    #[inline]
    pub(super) fn has(self, bits: u64) -> bool {
        self.word & bits != 0
    }

    /// Whether somebody records what happens.
    #[inline(always)]
    pub(super) fn is_traced(self) -> bool {
        self.word & TRACED != 0
    }

    /// Whether somebody records what happens, or chaos is wanted, or the runtime ends.
    #[inline(always)]
    pub(super) fn is_watched(self) -> bool {
        self.word & (TRACED | CHAOS | CLOSING) != 0
    }

    /// Whether there is more to a dispatch than to find a G and run it.
    #[inline]
    pub(super) fn is_unusual(self) -> bool {
        self.word & UNUSUAL != 0
    }

    pub(super) fn is_backing_off(self) -> bool {
        self.word & BACKOFF != 0
    }
}

impl Idle {
    pub(super) fn new() -> Idle {
        Idle {
            counts: CachePadded::default(),
            lists: Mutex::default(),
            backing_off: AtomicPtr::default(),
            lone_shift: AtomicU32::new(0),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lists, for those who must not wait for them for long.
    pub(super) fn lists(&self) -> &Mutex<Lists> {
        &self.lists
    }

    /// The counts, as a hint.
    #[inline]
    pub(super) fn counts(&self) -> Counts {
        // Relaxed: who needs more has put a fence before it (README, PushFence and SleepFence).
        let word = self.counts.load(Ordering::Relaxed);
        Counts {
            procs: (word & MASK) as usize,
            spinning: ((word / SPINNING) & MASK) as usize,
            word,
        }
    }

    /// Worker threads.
    pub(super) fn workers(&self) -> usize {
        self.lock().workers
    }

    /// Sets or clears one of the bits that ask for attention.
    pub(super) fn set_bit(&self, bit: u64, on: bool) {
        // Relaxed twice: hints; what they stand for is ordered by the idle lock.
        if on {
            self.counts.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.counts.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Counts a thread that must end before the runtime can.
    pub(super) fn thread_starts(&self) {
        self.lock().threads += 1;
    }

    /// A thread has ended. True: it was the last one.
    pub(super) fn thread_ends(&self) -> bool {
        let mut lists = self.lock();
        lists.threads -= 1;
        lists.threads == 0
    }

    /// Whether an M sleeps in the netpoller.
    pub(super) fn has_poller(&self) -> bool {
        self.lock().poller.is_some()
    }

    /// Asks those who run for a look at the global queue.
    pub(super) fn want_fair_turn(&self) {
        if !self.counts().wants_fair_turn() {
            self.counts.fetch_or(FAIR, Ordering::Relaxed); // Relaxed: a hint
        }
    }

    /// The global queue was empty. One who pushes at this moment may find its wish cleared; the
    /// turn then comes at its usual time.
    pub(super) fn clear_fair_turn(&self) {
        if self.counts().wants_fair_turn() {
            self.counts.fetch_and(!FAIR, Ordering::Relaxed); // Relaxed: a hint
        }
    }

    pub(super) fn lone_shift(&self) -> u32 {
        self.lone_shift.load(Ordering::Relaxed) // Relaxed: a tuning value
    }

    /// A searcher went to sleep without loot: lone wakes help less often.
    pub(super) fn lone_wake_failed(&self) {
        let shift = self.lone_shift();
        // Relaxed: a tuning value; a lost update does not matter.
        self.lone_shift.store((shift + 1).min(LONE_SHIFT_MAX), Ordering::Relaxed);
    }

    /// A thief took a `next`: lone wakes help.
    pub(super) fn lone_wake_helped(&self) {
        self.lone_shift.store(0, Ordering::Relaxed); // Relaxed: a tuning value
    }

    /// Counts the caller as searching, if there are not too many already: at most half of the
    /// Ms that run (S24), but two in any case, or two Ps could not pass work to and fro.
    pub(super) fn start_spinning(&self, procs: usize) -> bool {
        let now = self.counts();
        if now.spinning >= 2 && 2 * now.spinning >= procs - now.procs.min(procs) {
            return false;
        }
        self.counts.fetch_add(SPINNING, Ordering::SeqCst); // SeqCst: see README, SpinCount
        true
    }

    /// Counts the caller as searching no more.
    pub(super) fn stop_spinning(&self) {
        self.counts.fetch_sub(SPINNING, Ordering::SeqCst); // SeqCst: see README, SpinCount
    }

    /// Announces a timed wait of a searching M. False: there is one already.
    pub(super) fn start_backoff(&self, m: &M) -> bool {
        // SeqCst: see README, SpinCount.
        let before = self.counts.fetch_or(BACKOFF, Ordering::SeqCst);
        if before & BACKOFF != 0 {
            return false;
        }
        // Release: pairs with the Acquire in `end_backoff_early`.
        self.backing_off.store(std::ptr::from_ref(m).cast_mut(), Ordering::Release);
        true
    }

    pub(super) fn end_backoff(&self) {
        // Relaxed: a waker that still sees it wakes an M that is awake, which is harmless.
        self.backing_off.store(std::ptr::null_mut(), Ordering::Relaxed);
        self.counts.fetch_and(!BACKOFF, Ordering::SeqCst); // SeqCst: see README, SpinCount
    }

    /// Ends the timed wait of this M, if that is where it is.
    pub(super) fn end_backoff_of(&self, m: &M) {
        // Relaxed: the caller's fence lies between its push and this.
        if std::ptr::eq(self.backing_off.load(Ordering::Relaxed), m) {
            m.note.wake();
        }
    }

    pub(super) fn end_backoff_early(&self) {
        // Acquire: pairs with the Release in `start_backoff`.
        // SAFETY: Ms live as long as the scheduler.
        if let Some(m) = unsafe { self.backing_off.load(Ordering::Acquire).as_ref() } {
            m.note.wake();
        }
    }
}

impl Lists {
    /// `m`, if it is idle.
    pub(super) fn find_idle(&self, m: &M) -> Option<&'static M> {
        let idle = self.ms.iter().chain(&self.locked).chain(&self.poller);
        idle.copied().find(|other| std::ptr::eq(*other, m))
    }

    /// Whether `m` sleeps as a worker without work does, or has no thread.
    pub(super) fn is_idle(&self, m: &M) -> bool {
        self.find_idle(m).is_some() || self.has_left(m)
    }

    /// Whether `m` has no thread.
    pub(super) fn has_left(&self, m: &M) -> bool {
        self.outside.iter().any(|other| std::ptr::eq(&**other, m))
            || self.spare.iter().any(|other| std::ptr::eq(*other, m))
    }

    /// The first M that wants a P, if it is still idle.
    pub(super) fn next_wanting(&mut self, idle: &Idle) -> Option<&'static M> {
        let mut found = None;
        while found.is_none() && !self.wanting.is_empty() {
            let m = self.wanting.remove(0);
            found = self.find_idle(m);
            self.note_wanting(idle);
        }
        found
    }

    /// Adds an idle M to those that want a P.
    pub(super) fn want_p(&mut self, idle: &Idle, m: &'static M) {
        if !self.wanting.iter().any(|other| std::ptr::eq(*other, m)) {
            self.wanting.push(m);
            idle.set_bit(WANTED, true);
        }
    }

    /// Takes the M that went to sleep last.
    pub(super) fn pop_m(&mut self, idle: &Idle) -> Option<&'static M> {
        let m = self.ms.pop()?;
        if !self.wanting.is_empty() {
            self.wanting.retain(|other| !std::ptr::eq(*other, m)); // it gets what it wants
            self.note_wanting(idle);
        }
        Some(m)
    }

    /// `wanting` has become shorter.
    fn note_wanting(&self, idle: &Idle) {
        if self.wanting.is_empty() {
            idle.set_bit(WANTED, false);
        }
    }

    /// Takes a sleeping M that nothing lives on.
    pub(super) fn take_vacant(&mut self) -> Option<&'static M> {
        let i = self.ms.iter().rposition(|m| m.residents() == 0)?;
        Some(self.ms.remove(i))
    }

    /// Takes `m` out of those that sleep on their notes. False: it was not there.
    pub(super) fn remove(&mut self, m: &M) -> bool {
        let before = self.ms.len() + self.locked.len();
        self.ms.retain(|other| !std::ptr::eq(*other, m));
        self.locked.retain(|other| !std::ptr::eq(*other, m));
        self.ms.len() + self.locked.len() < before
    }
}
