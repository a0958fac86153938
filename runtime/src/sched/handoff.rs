//! Giving up a P on the way, and coming back to one. Go: handoffp, retake, entersyscall,
//! exitsyscall.
//!
//! A P changes hands without its owner's knowledge when that has been away in
//! user code for too long: sysmon locks it out of the core (`M::lock_out`),
//! takes the P and gives it to another M. The owner notices at its next entry:
//! `M::p` is None. What it does then without a P is
//!
//! * *soft*: wakes, spawns, timers, dropped handles go the way that threads
//!   from outside go, through the global queue;
//! * *hard*: when its G stops, waits or ends, the M is an idle one, and sleeps
//!   until it is given a P. A resident of this thread that is runnable wants
//!   one (`Sched::wake_home`).
//!
//! So nothing is atomic on the way in and out of the core, there is no signal,
//! and no system call of the user ends early. Between its slice of 10 ms and
//! its return such an M is *detached*, and runs beside the Ps. Of those that
//! compute there are at most `max(8, 4 procs)`. Those that were asleep in the
//! kernel when their P went take no core from anybody, and have no such limit
//! but that of all threads: what they sleep for may be the work of a task here,
//! which needs a P.
//!
//! `syscall` announces that the call will be short, so the P is taken after one
//! look of sysmon, 1 ms. `blocking` (`blocking.rs`) gives it up at once.

use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use super::Sched;
use super::g::GRef;
use super::idle::{Lists, PROC, SPINNING, SURPLUS};
use super::m::{self, M};
use super::p::P;
use super::stats::bump;
use super::sysmon::Away;
use super::trace::{self, Kind};
use crate::task::goroutine;

/// How often sysmon looks whether the owner has left the core, before it gives up until the next
/// look: some 100 us. What an M does inside the core takes less than one.
const PATIENCE: u32 = 5_000;
/// Detached Ms, at least and for each P.
const DETACHED_MIN: usize = 8;
const DETACHED_PER_P: usize = 4;
/// Private Ms, at least and for each P: fewer, for these stay as long as what lives there, which
/// may be a connection's hour, and what has brought them about may have been the machine.
const PRIVATE_MIN: usize = 8;
const PRIVATE_PER_P: usize = 1;

/// See the module.
#[derive(Default)]
pub(super) struct Handoffs {
    /// Ms that run user code and have lost their P, or never had one.
    detached: AtomicUsize,
    /// Those of them that were asleep then.
    asleep: AtomicUsize,
    /// Ms that were woken for one goroutine, which lives there yet.
    private: AtomicUsize,
}

impl Sched {
    /// Takes `p` from its owner, which is away in user code, and gives it to an M that has the
    /// time. False: the owner is not away, or `dispatches` is not the number of its last one.
    /// `why` it does not come back: None, it has announced that.
    pub(super) fn retake(&self, p: &'static P, dispatches: u64, why: Option<Away>) -> bool {
        // SAFETY: Ms live as long as the scheduler. Acquire: pairs with `acquirep`.
        let Some(m) = (unsafe { p.owner.load(Ordering::Acquire).as_ref() }) else { return false };
        let taken = m.lock_out(p, PATIENCE, || {
            if p.counters.dispatches() != dispatches {
                return None; // it has been back meanwhile
            }
            // SAFETY: `lock_out` runs this only while the owner cannot enter the core.
            let local = unsafe { p.local() };
            local.end_slice(None); // what the slice has spawned keeps its order
            p.counters.set_hidden(local.hidden());
            trace::event_of(Kind::Retake, m, p);
            m.releasep();
            Some((local.is_empty(), m.is_outside(), m.lose_p(why)))
        });
        let Some((empty, outside, site)) = taken.flatten() else { return false };
        bump(&p.counters.retakes); // sysmon is the only writer
        if let Some(site) = site {
            self.note_surprise(site);
        }
        self.put_p(p, empty, outside);
        true
    }

    /// Whether there may be one more detached M that computes.
    pub(super) fn may_detach(&self) -> bool {
        let asleep = self.handoffs.asleep.load(Ordering::Relaxed); // Relaxed: a count
        self.detached().saturating_sub(asleep) < self.detached_max()
    }

    /// Whether one more goroutine may start on a thread of its own (`sites.rs`).
    pub(super) fn may_start_beside(&self) -> bool {
        let most = PRIVATE_MIN.max(PRIVATE_PER_P * self.ps.procs());
        // Relaxed: a count.
        let private = self.handoffs.private.load(Ordering::Relaxed);
        self.may_detach() && private < most && self.has_m_to_spare()
    }

    /// A goroutine will start on a thread of its own. Counted before the thread is woken or made:
    /// that may take long, and the next ones must see it.
    pub(super) fn count_private(&self) {
        self.handoffs.private.fetch_add(1, Ordering::Relaxed); // Relaxed: a count
    }

    /// It has not, or nobody lives there any more.
    pub(super) fn uncount_private(&self) {
        self.handoffs.private.fetch_sub(1, Ordering::Relaxed); // Relaxed: a count
    }

    fn detached_max(&self) -> usize {
        DETACHED_MIN.max(DETACHED_PER_P * self.ps.procs())
    }

    /// Ms that run user code and have lost their P.
    pub(super) fn detached(&self) -> usize {
        self.handoffs.detached.load(Ordering::Relaxed) // Relaxed: a count
    }

    /// Takes back the P of a thread that goes on without one. `outside`: it was counted only for
    /// as long as it had it (`take_idle_p`).
    pub(super) fn put_p(&self, p: &'static P, empty: bool, outside: bool) {
        let mut lists = self.idle.lock();
        let closing = self.is_closing();
        let nobody = closing || self.is_surplus(p);
        if !empty && (nobody || lists.wanting.is_empty() && self.will_come(&lists)) {
            drop(lists);
            self.drain_p(p); // nobody will hold it again, or only who looks for work first
            return self.put_p(p, true, outside);
        }
        if outside {
            lists.threads -= 1;
        }
        if closing {
            let last = lists.threads == 0;
            drop(lists);
            if last {
                self.finish();
            }
        } else if !self.is_surplus(p)
            && let Some(m) = lists.next_wanting(&self.idle)
        {
            self.wake_with(lists, m, p);
        } else if empty {
            self.enlist_p(&mut lists, p);
            drop(lists);
            self.look_after_retiring();
        } else {
            // SeqCst: see README, SpinCount. The M that gets it counts as searching.
            self.idle.counts.fetch_add(SPINNING, Ordering::SeqCst);
            self.startm(lists, p);
        }
    }

    /// Lists an empty P as idle, or lets it rest.
    pub(super) fn enlist_p(&self, lists: &mut Lists, p: &'static P) {
        let change = self.list_p(lists, p);
        self.idle.counts.fetch_add(change, Ordering::SeqCst); // SeqCst: see README, IdleCount
    }

    /// As `enlist_p`; the caller adds what is returned to the counts.
    pub(super) fn list_p(&self, lists: &mut Lists, p: &'static P) -> u64 {
        if self.is_surplus(p) {
            lists.resting.push(p);
            self.idle.set_bit(SURPLUS, self.has_held_surplus(lists));
            return 0;
        }
        lists.ps.push(p);
        PROC
    }

    /// A P has become idle outside of `rest`.
    pub(super) fn look_after_retiring(&self) {
        fence(Ordering::SeqCst); // RetireFence: as in `rest`
        if self.has_work() {
            self.wakep();
        }
        // While every P was held, nobody watched the timers for others.
        self.watch_timers();
    }

    /// An idle P for a thread that comes from outside, without searching. Until it gives it back
    /// the thread counts as one that must leave before the runtime can end.
    pub(super) fn take_idle_p(&self, outside: bool) -> Option<&'static P> {
        // Relaxed: a look that spares the lock.
        if self.idle.counts().procs == 0 {
            return None;
        }
        let mut lists = self.idle.lock();
        if self.is_closing() {
            return None;
        }
        let p = self.take_p(&mut lists)?;
        lists.threads += usize::from(outside);
        Some(p)
    }
}

impl M {
    /// This M has lost its P to somebody else, who calls this and has locked it out. Returns where
    /// the G was spawned that it runs, if that has come as a surprise: a G whose thread the kernel did
    /// not let run has done nothing of the kind.
    fn lose_p(&self, why: Option<Away>) -> Option<&'static Location<'static>> {
        if self.syscall().is_some() {
            return None; // it has said so
        }
        self.ask_to_yield();
        if !self.is_outside() {
            self.detach();
            self.note_asleep(why == Some(Away::Asleep));
        }
        self.curg().filter(|_| why != Some(Away::Starved)).map(GRef::spawned_at)
    }

    /// This M runs a G without a P, though nobody has asked for that.
    pub(super) fn detach(&self) {
        // Relaxed twice: the bracket orders it; a count.
        if !self.detached.swap(true, Ordering::Relaxed) {
            self.sched().handoffs.detached.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It sleeps in the kernel, or no longer.
    fn note_asleep(&self, asleep: bool) {
        // Relaxed thrice: the bracket orders the first; counts.
        if self.asleep.swap(asleep, Ordering::Relaxed) == asleep {
            return;
        }
        let count = &self.sched().handoffs.asleep;
        if asleep {
            count.fetch_add(1, Ordering::Relaxed);
        } else {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The goroutine that this M was woken for begins here; it is counted already.
    pub(super) fn set_private(&self) {
        if self.private.replace(true) {
            self.sched().uncount_private(); // one before it was over before it began
        }
    }

    /// Nobody lives here any more.
    pub(super) fn clear_private(&self) {
        if self.private.replace(false) {
            self.sched().uncount_private();
        }
    }

    /// This M is back in the core and its G has stopped, or it has a P again.
    #[inline]
    pub(super) fn attach(&self) {
        // Relaxed twice: the bracket orders the first; a count.
        if self.detached.load(Ordering::Relaxed) {
            self.detached.store(false, Ordering::Relaxed); // Relaxed: as above
            self.sched().handoffs.detached.fetch_sub(1, Ordering::Relaxed);
            self.note_asleep(false);
            self.forget_request();
            self.end_private();
        }
    }

    /// Gives the P to an M that has the time, with what is queued there. Go: handoffp.
    pub(super) fn handoffp(&self) {
        let Some(p) = self.p() else { return };
        bump(&p.counters.handoffs);
        trace::event(Kind::HandOff, self, 0);
        // SAFETY: this M holds the P, inside the core.
        let local = unsafe { p.local() };
        local.end_slice(None);
        let empty = local.is_empty();
        p.counters.set_hidden(local.hidden());
        self.releasep();
        self.sched().put_p(p, empty, self.is_outside());
    }

    /// Back from a call that others may have used to take the P: an idle one will do. True if
    /// this M holds one. Go: exitsyscall.
    pub(super) fn reacquirep(&self) -> bool {
        if self.p().is_some() {
            return true;
        }
        let Some(p) = self.sched().take_idle_p(self.is_outside()) else { return false };
        self.acquirep(p);
        self.attach();
        self.begin_slice();
        true
    }
}

/// Announces a short system call.
struct Syscall<'a>(Option<&'a M>);

impl Syscall<'_> {
    fn enter() -> Self {
        let m = m::current();
        if let Some(m) = m {
            m.begin_syscall();
        }
        Syscall(m)
    }
}

impl Drop for Syscall<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(began) = self.0 else { return };
        began.end_syscall();
        // A goroutine that has waited in there may have migrated.
        if let Some(m) = m::current()
            && m.p().is_none()
        {
            exitsyscall(m);
        }
    }
}

/// The P has been taken. A goroutine without one waits for its turn; a task goes on to its next
/// stop, for a poll cannot be left.
#[cold]
pub(super) fn exitsyscall(m: &M) {
    if m.serves.get() {
        return; // it had none, and runs beside the Ps to its end
    }
    if !m.enter().reacquirep() && !m.is_outside() && !goroutine::yield_here() {
        m.detach();
    }
}

/// Runs `f`, a short system call.
#[inline]
pub(crate) fn syscall<R>(f: impl FnOnce() -> R) -> R {
    let _call = Syscall::enter();
    f()
}
