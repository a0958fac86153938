//! What lives on one M: goroutines that have begun, and local tasks. They queue at the M and not at
//! a P, and the M runs them in turn with its P's queues. The protocol is in `README.md`.

use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::sync::{Arc, PoisonError};

use super::g::{GRef, Runnable};
use super::m::M;
use super::p::{push_link, take_links};
use crate::util::note::Note;
use crate::util::opaque;

impl M {
    /// How many live here, runnable or not.
    pub(super) fn residents(&self) -> usize {
        // Relaxed: this thread's own, or read under the idle lock while the M sleeps.
        self.residents.load(Ordering::Relaxed)
    }

    fn add_residents(&self, n: isize) {
        // Relaxed: one writer, this thread.
        self.residents.store(self.residents().wrapping_add_signed(n), Ordering::Relaxed);
    }

    /// `g`, which this thread runs, stays here from now on.
    pub(crate) fn adopt(&self, g: GRef) {
        if g.home().is_none() {
            g.set_home(self);
            self.add_residents(1);
        }
    }

    /// `g`, which this M owns, may go elsewhere again.
    pub(super) fn let_go(&self, g: GRef) {
        g.clear_home();
        self.add_residents(-1);
    }

    /// A local task of this thread is being made.
    pub(super) fn count_resident(&self) {
        self.add_residents(1);
    }

    /// `g` has ended here.
    pub(super) fn forget_resident(&self, g: GRef) {
        self.add_residents(-1);
        if self.residents() == 0 {
            self.clear_private();
        }
        self.unlock_dead(g);
        if self.is_outside() {
            self.forget_local(g);
        }
    }

    /// Whether `g` lives here.
    pub(super) fn is_home_of(&self, g: GRef) -> bool {
        g.home().is_some_and(|home| std::ptr::eq(home, self))
    }

    /// This M serves a `block_on` of the calling thread from now on.
    pub(super) fn set_outside(&self) {
        self.outside.set(true);
        self.use_sleeper();
    }

    #[inline(never)]
    fn use_sleeper(&self) {
        opaque();
        thread_local!(static SLEEPER: Arc<Note> = Arc::default());
        // A thread that is being torn down sleeps on a note of this call's own.
        let sleeper = SLEEPER.try_with(Arc::clone).unwrap_or_default();
        *self.sleeper.lock().unwrap_or_else(PoisonError::into_inner) = sleeper;
    }

    /// Queues a G that lives here, from another thread, and sees to it that this M runs it.
    pub(super) fn push_resident(&self, g: Runnable) {
        if self.outside.get() {
            // Before the push: after it the `block_on` here may end.
            let sleeper = self.sleeper();
            push_link(&self.inbox, g.into_g());
            return sleeper.wake();
        }
        push_link(&self.inbox, g.into_g());
        fence(Ordering::SeqCst); // PushFence: the push comes before the look at what the M does
        // Relaxed twice: ordered by the fence, which pairs with SleepFence and NestFence.
        if self.resting.load(Ordering::Relaxed) {
            self.sched().wake_home(self);
        } else if self.nested.load(Ordering::Relaxed) != 0 {
            self.sleeper().wake();
        } else {
            self.sched().idle.end_backoff_of(self);
        }
    }

    /// Queues a G that lives here, from this thread: to run next, as it was woken just now.
    pub(super) fn push_resident_next(&self, g: Runnable) {
        let old = self.pop_resident_next();
        self.local_next.set(Some(g.into_g()));
        if let Some(old) = old {
            self.push_resident_last(old);
        }
    }

    /// Queues a G that lives here, from this thread, at the tail.
    pub(super) fn push_resident_last(&self, g: Runnable) {
        self.local_runq.borrow_mut().push_back(g);
    }

    /// The resident that was woken last, here.
    #[inline]
    pub(super) fn pop_resident_next(&self) -> Option<Runnable> {
        let g = self.local_next.get()?;
        self.local_next.set(None);
        // SAFETY: `push_resident_next` had it as a Runnable, and it is taken once.
        Some(unsafe { Runnable::claim(g) })
    }

    /// The next resident.
    #[inline]
    pub(super) fn pop_resident(&self) -> Option<Runnable> {
        // Relaxed: a look; the take orders.
        if !self.inbox.load(Ordering::Relaxed).is_null() {
            self.open_mail();
        }
        self.pop_resident_next().or_else(|| self.local_runq.borrow_mut().pop_front())
    }

    #[inline(never)]
    fn open_mail(&self) {
        take_links(&self.inbox, |g| self.push_resident_last(g));
    }

    /// Whether others have queued nothing for this M.
    pub(super) fn inbox_is_empty(&self) -> bool {
        // Relaxed: who sleeps on it, or looks at all of them, has a fence before.
        self.inbox.load(Ordering::Relaxed).is_null()
    }

    /// Whether another thread has queued a resident that this M has not taken yet: a hint.
    pub(super) fn has_mail(&self) -> bool {
        !self.inbox.load(Ordering::Relaxed).is_null() // Relaxed: a hint
    }

    /// Whether any resident is runnable.
    #[inline]
    pub(super) fn has_residents(&self) -> bool {
        // Relaxed: who sleeps on it has a fence before (SleepFence).
        !self.inbox.load(Ordering::Relaxed).is_null()
            || !self.local_runq.borrow().is_empty()
            || self.local_next.get().is_some()
    }

    /// Takes turns between the residents and the P's queues.
    #[inline]
    pub(super) fn residents_first(&self) -> bool {
        self.residents_first.replace(!self.residents_first.get())
    }

    /// This worker's thread is about to block inside a poll while `f` runs.
    pub(super) fn nesting<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Leave<'a>(&'a AtomicU32);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed); // Relaxed: this thread is awake
            }
        }
        self.use_sleeper();
        self.nested.fetch_add(1, Ordering::Relaxed); // Relaxed: ordered by the fence
        let _leave = Leave(&self.nested);
        fence(Ordering::SeqCst); // NestFence: announced before the inbox is looked at
        f()
    }

    /// Whether it does.
    pub(super) fn is_nested(&self) -> bool {
        self.nested.load(Ordering::SeqCst) != 0 // SeqCst: pairs with NestFence
    }

    /// Where this M's thread sleeps.
    pub(super) fn sleeper(&self) -> Arc<Note> {
        self.sleeper.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
