//! P: the right to run Gs, and the queues that go with it. Go: p.
//!
//! A P is in three parts, by who may touch them:
//!
//! * `Local`: its owner, the M that holds it and is inside the core. While that
//!   M runs user code, a thief may borrow the part through the revoke bracket
//!   (`steal.rs`), which keeps the owner out of the core for that moment.
//! * the `Stealer`s, the inbox, the timers: anyone.
//! * the counters: stored by the owner, read by anyone, for hints and statistics.
//!
//! Four queues, in the order in which the owner looks at them:
//!
//! | queue | holds | owner takes | thieves |
//! |---|---|---|---|
//! | `next` | the G that was woken last | it | bracket |
//! | `fresh` | spawns | the newest batch, in spawn order | bracket: the oldest half |
//! | `shown` | spawns made while somebody was looking for work | the oldest | lock-free |
//! | `woken` | yielded and woken Gs | the oldest | lock-free |
//!
//! Taking the newest spawns first makes a tree of spawns depth-first: skynet
//! then needs 14 MB instead of 250, and runs 5 to 15 times faster. `fresh` is
//! a plain deque, because a lock-free LIFO pop needs a fence (13 ns); it need
//! not be lock-free, because a thief that is really idle makes itself heard
//! (`Counts::is_hungry`) and the owner then spawns into `shown`.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::g::{G, GRef, Runnable};
use super::heap::Cache;
use super::m::M;
use super::runq::{self, Shared, Stealers};
use super::stats::Counters;
use super::timers::Timers;
use crate::util::rng::Rng;

/// Ids are handed to a P in batches of this many. Go: `_GoidCacheBatch`.
const ID_BATCH: u64 = 16;
/// The woken and the global queue are looked at first every so many
/// dispatches. Go's prime: it does not resonate with powers of two.
pub(super) const FAIR_TICK: u32 = 61;
/// Or after so many, when something waits in the global queue, or when dispatches are slow.
const FAIR_SOON: u32 = 8;
/// The oldest spawn goes first every so many dispatches. Rarely: it breaks
/// the depth-first order, which is worth a factor of two in skynet.
const OLDEST_TICK: u32 = 1021;
/// Or after so many, when dispatches are slow: there the order is worth nothing, and 1,021 of them
/// take long. (1,000 requests at a time over HTTP/2, P = 1: p99 100 ms instead of 250.)
const OLDEST_SOON: u32 = 16;
/// At most so many spawns are put in front of thieves ahead of demand.
const SHOWN_MAX: usize = 32;
/// A bracket steal takes at most this many spawns. Go takes half of 256.
const BRACKET_MAX: usize = 128;

/// See the module.
pub(crate) struct P {
    pub(super) id: u32,
    /// The M that holds this P, or null while it is idle.
    pub(super) owner: AtomicPtr<M>,
    /// Woken joiners whose last P this was.
    inbox: CachePadded<AtomicPtr<G>>,
    pub(super) timers: &'static Timers,
    pub(super) stealers: Stealers,
    /// Written by the owner only.
    pub(super) counters: CachePadded<Counters>,
    local: CachePadded<UnsafeCell<Local>>,
}

// SAFETY: `local` is reached through `P::local`, whose callers hold the P; the rest is shared by type.
unsafe impl Sync for P {}
// SAFETY: nothing in a P belongs to a thread.
unsafe impl Send for P {}

/// The owner's part.
pub(super) struct Local {
    next: Option<Runnable>,
    fresh: VecDeque<Fresh>,
    /// `fresh.len()` when the running slice began.
    slice: usize,
    /// How many entries have been taken from the front of `fresh`: positions count from there.
    front: u64,
    /// The joiner that was put into its mark last, and where.
    deferred: Option<(GRef, u32)>,
    /// Up to where `pop_oldest` has looked; 0 once `fresh` has been empty.
    marks_seen: u64,
    pub(super) shared: Shared,
    pub(super) cache: Cache,
    pub(super) rng: Rng,
    ids: std::ops::Range<u64>,
    /// Dispatches until the next fair pick.
    fair_in: u32,
    oldest_in: u32,
    /// Dispatches until the clock is read for the timers.
    pub(super) clock_in: u32,
    /// When it was read last, in nanoseconds (`util::clock`).
    pub(super) clock_at: u64,
    /// Lone wakes since one of them woke another M.
    pub(super) lone_wakes: u32,
}

/// An entry of `fresh`.
///
/// A slice that spawned several Gs leaves a mark below them. When one of these
/// ends and wakes its parent, which awaits them one by one, the parent takes
/// the place of its mark: it runs when all of them have started, and finds most
/// of them done, instead of running once for each. That is worth 40 ns per task.
/// So that a parent that works on the results is not kept waiting for a long
/// batch, it is taken from there at the next fair turn.
enum Fresh {
    Run(Runnable),
    /// Only a position. Never followed: the G may have gone.
    Mark(GRef),
}

impl Fresh {
    fn run(self) -> Option<Runnable> {
        match self {
            Fresh::Run(g) => Some(g),
            Fresh::Mark(_) => None,
        }
    }
}

impl P {
    pub(super) fn new(id: u32, seed: u64, timers: &'static Timers) -> P {
        let (shared, stealers) = runq::new();
        let local = Local {
            next: None,
            fresh: VecDeque::new(),
            slice: 0,
            front: 0,
            deferred: None,
            marks_seen: 0,
            shared,
            cache: Cache::new(),
            rng: Rng::new(seed.wrapping_add(id.into())),
            ids: 0..0,
            fair_in: FAIR_TICK,
            oldest_in: OLDEST_TICK,
            clock_in: 0,
            clock_at: 0,
            lone_wakes: 0,
        };
        P {
            id,
            owner: AtomicPtr::default(),
            inbox: CachePadded::default(),
            timers,
            stealers,
            counters: CachePadded::default(),
            local: CachePadded::new(UnsafeCell::new(local)),
        }
    }

    /// The owner's part.
    ///
    /// # Safety
    /// The caller holds this P inside the core, or has its owner locked out of
    /// the core by the revoke bracket; and no other `&mut` to it is alive.
    #[expect(clippy::mut_from_ref, reason = "the P is the lock; see the contract")]
    #[inline(always)]
    pub(super) unsafe fn local(&self) -> &mut Local {
        // SAFETY: the contract above.
        unsafe { &mut *self.local.get() }
    }

    /// Whether some M holds it: a hint.
    pub(super) fn is_held(&self) -> bool {
        // Relaxed: who pushes here then wakes as a foreign submitter does.
        !self.owner.load(Ordering::Relaxed).is_null()
    }

    /// Whether somebody holds it and thieves would find something: a hint.
    pub(super) fn has_waiting(&self) -> bool {
        let hidden = self.counters.hidden.load(Ordering::Relaxed); // Relaxed: a hint
        (hidden > 0 || !self.stealers.is_empty()) && self.is_held()
    }

    /// Whether whoever holds it is inside the core, and nothing is queued here: a hint.
    pub(super) fn seems_to_search(&self) -> bool {
        // SAFETY: Ms live as long as the scheduler. Acquire: pairs with `acquirep`.
        let owner = unsafe { self.owner.load(Ordering::Acquire).as_ref() };
        let hidden = self.counters.hidden.load(Ordering::Relaxed); // Relaxed: a hint
        !owner.is_some_and(M::is_in_user_code)
            && hidden == 0
            && self.stealers.is_empty()
            && self.inbox_is_empty()
    }

    /// Queues a woken joiner here from another P. The caller then wakes as for
    /// a foreign submit (`Sched::wakep_foreign`), for this P may just be going idle.
    pub(super) fn push_inbox(&self, g: Runnable) {
        push_link(&self.inbox, g.into_g());
    }

    /// Whether the inbox holds anything.
    #[inline]
    pub(super) fn inbox_is_empty(&self) -> bool {
        // Relaxed: a hint; `take_inbox` orders.
        self.inbox.load(Ordering::Relaxed).is_null()
    }

    /// Takes what is in the inbox, oldest first. Anyone may do this.
    #[cold]
    pub(super) fn take_inbox(&self, f: impl FnMut(Runnable)) {
        take_links(&self.inbox, f);
    }

    /// Moves the inbox to the woken queue of `to`, oldest first. Anyone may do this.
    #[cold]
    pub(super) fn drain_inbox(&self, to: &mut Local) {
        self.take_inbox(|g| to.shared.woken.push(g));
    }
}

/// What lives on some M goes back there instead of to a thief.
fn send_home(g: Runnable) -> Option<Runnable> {
    match g.g().home() {
        None => Some(g),
        Some(home) => {
            home.push_resident(g);
            None
        }
    }
}

/// Pushes to an intrusive stack. Anyone may.
pub(super) fn push_link(head: &AtomicPtr<G>, g: GRef) {
    // Relaxed: the compare-exchange decides.
    let mut old = head.load(Ordering::Relaxed);
    loop {
        // Relaxed: published by the Release below.
        g.link().store(old, Ordering::Relaxed);
        // Release: pairs with the Acquire in `take_links`.
        match head.compare_exchange_weak(old, g.as_ptr(), Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => old = now,
        }
    }
}

/// Takes a whole intrusive stack and passes its Gs on, oldest first.
pub(super) fn take_links(head: &AtomicPtr<G>, mut f: impl FnMut(Runnable)) {
    // Acquire: pairs with the Release in `push_link`.
    let mut stack = head.swap(std::ptr::null_mut(), Ordering::Acquire);
    let mut list = std::ptr::null_mut();
    while let Some(g) = GRef::from_ptr(stack) {
        // Relaxed twice: the stack is this thread's now.
        stack = g.link().load(Ordering::Relaxed);
        g.link().store(list, Ordering::Relaxed);
        list = g.as_ptr();
    }
    while let Some(g) = GRef::from_ptr(list) {
        list = g.link().load(Ordering::Relaxed); // Relaxed: as above
        // SAFETY: `push_link` got it from a Runnable, and the swap took each once.
        f(unsafe { Runnable::claim(g) });
    }
}

impl Local {
    /// An unused id.
    #[inline]
    pub(super) fn new_id(&mut self, ids: &AtomicU64) -> u64 {
        if let Some(id) = self.ids.next() {
            return id;
        }
        // Relaxed: only uniqueness matters.
        let first = ids.fetch_add(ID_BATCH, Ordering::Relaxed);
        self.ids = first + 1..first + ID_BATCH;
        first
    }

    /// A slice begins: what is spawned from here on is one batch.
    #[inline]
    pub(super) fn begin_slice(&mut self) {
        self.slice = self.fresh.len();
    }

    /// The slice of `g` ends: what it spawned is turned round, so that `pop` gives it in the order
    /// in which it was made, before all that is older.
    #[inline]
    pub(super) fn end_slice(&mut self, g: Option<GRef>) {
        if self.fresh.len() > self.slice + 1 {
            self.turn_batch(g);
        }
    }

    fn turn_batch(&mut self, g: Option<GRef>) {
        if let Some(g) = g {
            g.set_mark((self.front + self.slice as u64) as u32);
            self.fresh.push_back(Fresh::Mark(g));
        }
        let (mut i, mut j) = (self.slice, self.fresh.len());
        self.slice = j; // what comes after is another batch
        while i + 1 < j {
            j -= 1;
            self.fresh.swap(i, j);
            i += 1;
        }
    }

    /// Queues a G that was woken by the end of a task that it spawned: in place of its mark, if
    /// that is still here, or else as any other. True in the second case, if two are runnable.
    #[inline]
    pub(super) fn push_joiner(&mut self, g: Runnable) -> bool {
        let joiner = g.g();
        let at = joiner.mark();
        if let Some(entry) = self.fresh.get_mut(self.position(at))
            && matches!(entry, Fresh::Mark(parent) if *parent == joiner)
        {
            *entry = Fresh::Run(g);
            self.deferred = Some((joiner, at));
            return false;
        }
        self.push_next(g)
    }

    /// The oldest spawn. It leaves a mark, so that the positions of the others stand. Marks at the
    /// front that were there the last time are old: they go.
    fn pop_oldest(&mut self) -> Option<Runnable> {
        while let Some(Fresh::Mark(_)) = self.fresh.front()
            && self.front < self.marks_seen
        {
            self.fresh.pop_front();
            self.front += 1;
        }
        let i = self.fresh.iter().position(|entry| matches!(entry, Fresh::Run(_)))?;
        self.marks_seen = self.front + i as u64 + 1;
        let entry = &mut self.fresh[i];
        let Fresh::Run(g) = entry else { unreachable!("just found") };
        let mark = Fresh::Mark(g.g());
        std::mem::replace(entry, mark).run()
    }

    /// Where a mark stands now, if it is still there.
    fn position(&self, mark: u32) -> usize {
        mark.wrapping_sub(self.front as u32) as usize
    }

    /// Takes the joiner that was put into its mark last, and leaves the mark.
    fn pop_deferred(&mut self) -> Option<Runnable> {
        let (joiner, at) = self.deferred.take()?;
        let entry = self.fresh.get_mut(self.position(at))?;
        match entry {
            Fresh::Run(g) if g.g() == joiner => std::mem::replace(entry, Fresh::Mark(joiner)).run(),
            _ => None,
        }
    }

    /// How many entries lead up to the oldest spawn, itself included; 0 if there are only marks.
    fn oldest_run(&self) -> usize {
        let is_run = |entry: &Fresh| matches!(entry, Fresh::Run(_));
        self.fresh.iter().position(is_run).map_or(0, |i| i + 1)
    }

    /// How many entries are the oldest half, with one spawn at least if there is any.
    fn oldest_half(&self) -> usize {
        match self.oldest_run() {
            0 => 0,
            n => self.fresh.len().div_ceil(2).min(BRACKET_MAX).max(n),
        }
    }

    /// Takes `n` entries from the front.
    fn take_front(&mut self, n: usize) -> impl Iterator<Item = Runnable> {
        self.front += n as u64;
        self.slice = self.slice.saturating_sub(n);
        self.fresh.drain(..n).filter_map(Fresh::run).filter_map(send_home)
    }

    /// Queues a spawn. `hungry`: somebody looks for work, and is shown the oldest one.
    #[inline]
    pub(super) fn push_fresh(&mut self, g: Runnable, hungry: bool) {
        self.fresh.push_back(Fresh::Run(g));
        if hungry {
            self.show_oldest();
        }
    }

    #[cold]
    fn show_oldest(&mut self) {
        if self.shared.shown() < SHOWN_MAX {
            let oldest = self.take_front(self.oldest_run()).next();
            if let Some(g) = oldest {
                self.shared.show(g);
            }
        }
    }

    /// Puts a woken G in front of everything; the one that stood there goes to the woken queue.
    /// True if there was one, so that two Gs are runnable.
    #[inline]
    pub(super) fn push_next(&mut self, g: Runnable) -> bool {
        match self.next.replace(g) {
            None => false,
            Some(old) => {
                self.shared.woken.push(old);
                true
            }
        }
    }

    /// What thieves cannot see without the bracket (`Counters::hidden`).
    #[inline]
    pub(super) fn hidden(&self) -> u32 {
        (self.fresh.len() as u32) << 1 | u32::from(self.next.is_some())
    }

    /// The next G in the owner's own order.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Runnable> {
        self.pop_hot().or_else(|| self.pop_cold())
    }

    /// What was woken or spawned last.
    #[inline]
    pub(super) fn pop_hot(&mut self) -> Option<Runnable> {
        if let Some(g) = self.next.take() {
            return Some(g);
        }
        while let Some(entry) = self.fresh.pop_back() {
            if let Fresh::Run(g) = entry {
                return Some(g);
            }
        }
        self.marks_seen = 0;
        None
    }

    /// What has been waiting.
    #[inline]
    pub(super) fn pop_cold(&mut self) -> Option<Runnable> {
        self.shared.pop_shown().or_else(|| self.shared.woken.pop())
    }

    /// Whether it is some other queue's turn: counts one dispatch.
    #[inline]
    pub(super) fn is_fair_turn(&mut self) -> bool {
        self.fair_in -= 1;
        self.fair_in == 0
    }

    /// Brings the next fair turn forward.
    pub(super) fn hasten_fair_turn(&mut self) {
        self.fair_in = self.fair_in.min(FAIR_SOON);
    }

    /// Whether the next fair turn is `n` dispatches away.
    #[inline(always)]
    pub(super) fn is_before_fair_turn(&self, n: u32) -> bool {
        self.fair_in == n
    }

    /// Whether the next dispatch is a fair turn.
    pub(super) fn is_fair_turn_next(&self) -> bool {
        self.fair_in == 1
    }

    /// The queues that the own order could starve: the woken one, and rarely the oldest spawn.
    #[cold]
    pub(super) fn pop_fair(&mut self, slow: bool) -> Option<Runnable> {
        let (fair, oldest_in) =
            if slow { (FAIR_SOON, OLDEST_SOON) } else { (FAIR_TICK, OLDEST_TICK) };
        self.fair_in = fair;
        self.oldest_in = self.oldest_in.min(oldest_in).saturating_sub(fair);
        if self.oldest_in == 0 {
            self.oldest_in = OLDEST_TICK;
            let oldest = self.shared.pop_shown().or_else(|| self.pop_oldest());
            if oldest.is_some() {
                return oldest;
            }
        }
        self.shared.woken.pop().or_else(|| self.pop_deferred())
    }

    /// Somebody looks for work: puts the oldest half of the spawns where thieves see them.
    /// True if thieves find something now that the owner will not run at once.
    #[cold]
    pub(super) fn show(&mut self) -> bool {
        if self.shared.shown() == 0 {
            let n = self.oldest_half();
            let shown: Vec<Runnable> = self.take_front(n).collect();
            shown.into_iter().for_each(|g| self.shared.show(g));
        }
        // The owner will take one of them itself.
        let waiting = self.shared.len();
        let hidden = self.fresh.len() + usize::from(self.next.is_some());
        waiting > 0 && waiting + hidden > 1
    }

    /// A thief in the bracket: the woken G, or the oldest half of the spawns, to `to`.
    /// Returns how many.
    pub(super) fn rob(&mut self, to: &mut Local) -> usize {
        if let Some(g) = self.next.take() {
            to.shared.woken.push(g);
            return 1;
        }
        let n = self.oldest_half();
        self.take_front(n).map(|g| to.shared.show(g)).count()
    }

    /// Whether every queue is empty. An idle P's must be (S29).
    pub(super) fn is_empty(&self) -> bool {
        self.next.is_none() && self.fresh.is_empty() && self.shared.len() == 0
    }
}
