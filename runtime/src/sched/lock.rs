//! Goroutines that are locked to their thread. Go: lockedm, stoplockedm, startlockedm.
//!
//! A started goroutine has a home M already, where alone it runs; locking adds
//! the other half: that M takes no new work. Its earlier residents still run
//! there, they could not elsewhere. So a locked M holds a P only while a
//! resident is runnable, and otherwise gives it away with all that is queued.
//! It sleeps in a list of its own, where nobody looks for an M to start, and
//! never in the netpoller.
//!
//! When a goroutine ends while it is locked, its thread may be in a state that
//! nobody expects (that is what locking is for), so the thread ends too, once
//! its other residents have.

use std::sync::atomic::Ordering;

use super::g::{GRef, Runnable};
use super::idle::{LOCKED, WANTED};
use super::m::{self, M};
use super::p::P;
use crate::task::goroutine;

/// Locks the running goroutine `g`, which is bound, to the calling thread; the outermost lock of
/// several. Others of its residents may do the same.
pub(crate) fn lock() {
    let m = m::current().expect("a goroutine has an M");
    let m = m.enter();
    m.locked.set(m.locked.get() + 1);
    m.sched().count_locked(true);
}

/// The counterpart of `lock`.
pub(crate) fn unlock() {
    let m = m::current().expect("a goroutine has an M");
    let m = m.enter();
    m.locked.set(m.locked.get() - 1);
    m.sched().count_locked(false);
}

/// Binds the running goroutine `g` to the calling thread, if it is not by its mode; it goes on
/// nowhere else.
pub(crate) fn bind(g: GRef) {
    if g.sched().config.migrate {
        m::current().expect("a goroutine has an M").enter().adopt(g);
    }
}

/// The counterpart of `bind`.
pub(crate) fn unbind(g: GRef) {
    if g.sched().config.migrate {
        m::current().expect("a goroutine has an M").enter().let_go(g);
    }
}

impl super::Sched {
    fn count_locked(&self, more: bool) {
        let _lists = self.idle.lock(); // orders the count and the bit
        // Relaxed twice: under the lock.
        let before = if more {
            self.locked.fetch_add(1, Ordering::Relaxed)
        } else {
            self.locked.fetch_sub(1, Ordering::Relaxed)
        };
        self.idle.set_bit(LOCKED, more || before > 1);
    }
}

impl M {
    /// Whether goroutines are locked to this thread, or one has ended while it was.
    pub(crate) fn is_locked(&self) -> bool {
        self.locked.get() > 0 || self.condemned.get()
    }

    /// `g` has ended here.
    pub(super) fn unlock_dead(&self, g: GRef) {
        if g.vtable().is_goroutine && goroutine::locks(g).ext.get() > 0 {
            self.locked.set(self.locked.get() - 1);
            // And stays counted as locked until its thread ends.
            if self.condemned.replace(true) {
                self.sched().count_locked(false);
            }
        }
    }

    /// Whether this thread has nothing left to live for.
    pub(super) fn is_over(&self) -> bool {
        self.condemned.get() && self.residents() == 0
    }

    /// This thread ends: the next one that gets this M is as good as new.
    pub(super) fn renew(&self) {
        if self.condemned.take() {
            self.sched().count_locked(false);
        }
        self.ends.set(false);
        self.stacks.borrow_mut().flush();
    }

    /// What a locked M runs: its residents, in turn with others who want the P. None: it has given
    /// the P away.
    #[cold]
    pub(super) fn next_locked(&self, p: &P) -> Option<Runnable> {
        self.found();
        let sched = self.sched();
        let wanted = sched.idle.counts().has(WANTED) || sched.is_surplus(p);
        // SAFETY: this M holds the P, inside the core.
        let others = wanted || !unsafe { p.local() }.is_empty() || sched.has_work();
        if !(others && self.has_dispatched(p))
            && let Some(g) = self.pop_resident()
        {
            return Some(g);
        }
        self.handoffp();
        None
    }
}
