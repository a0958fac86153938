//! The queues of a P that thieves may take from. The only file that names `crossbeam-deque`.
//!
//! Both are FIFO without a cap. Go's ring of 256 that spills half to the
//! global queue costs 3 to 15 times at two Ps, because the spilled Gs wander
//! between the cores (`HACKING.md`).
//!
//! loom cannot look into crossbeam-deque; `runq_model.rs` checks a twin with
//! the same steps.

use std::cell::Cell;

use crossbeam_deque::{Injector, Steal, Stealer, Worker};

use super::g::Runnable;

/// The owner's ends.
pub(super) struct Shared {
    /// Spawns that are on offer.
    shown: Worker<Runnable>,
    /// Woken and yielded Gs.
    pub(super) woken: Worker<Runnable>,
    /// False: `shown` is empty, and need not be looked at.
    shows: Cell<bool>,
}

impl Shared {
    /// Puts a spawn on offer.
    pub(super) fn show(&self, g: Runnable) {
        self.shows.set(true);
        self.shown.push(g);
    }

    /// How many spawns are on offer.
    pub(super) fn shown(&self) -> usize {
        self.shown.len()
    }

    /// Takes the oldest spawn back that is on offer.
    #[inline]
    pub(super) fn pop_shown(&self) -> Option<Runnable> {
        if self.shows.get() { self.pop_shown_slowly() } else { None }
    }

    fn pop_shown_slowly(&self) -> Option<Runnable> {
        let g = self.shown.pop();
        self.shows.set(g.is_some());
        g
    }

    /// What is in both queues.
    pub(super) fn len(&self) -> usize {
        self.shown.len() + self.woken.len()
    }
}

/// Everybody's ends.
pub(super) struct Stealers {
    shown: Stealer<Runnable>,
    woken: Stealer<Runnable>,
}

pub(super) fn new() -> (Shared, Stealers) {
    let (shown, woken) = (Worker::new_fifo(), Worker::new_fifo());
    let shared = Shared { shown, woken, shows: Cell::new(false) };
    let stealers = Stealers { shown: shared.shown.stealer(), woken: shared.woken.stealer() };
    (shared, stealers)
}

impl Stealers {
    /// Takes up to half of the spawns, or else of the woken Gs: one to run, the rest to `to`.
    /// Unstarted ones first: a woken G's data is in the victim's cache.
    pub(super) fn steal_into(&self, to: &Shared) -> Option<Runnable> {
        let spawn = retry(|| self.shown.steal_batch_and_pop(&to.shown));
        if spawn.is_some() {
            to.shows.set(true);
            return spawn;
        }
        retry(|| self.woken.steal_batch_and_pop(&to.woken))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shown.is_empty() && self.woken.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.shown.len() + self.woken.len()
    }
}

/// The global queue: Gs from threads that hold no P.
#[derive(Default)]
pub(super) struct Global(Injector<Runnable>);

impl Global {
    pub(super) fn push(&self, g: Runnable) {
        self.0.push(g);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes one.
    pub(super) fn pop(&self) -> Option<Runnable> {
        retry(|| self.0.steal())
    }

    /// Takes one to run and at most a fair share to `to` (S15).
    pub(super) fn pop_batch(&self, to: &Shared, procs: usize) -> Option<Runnable> {
        let share = self.0.len() / procs + 1;
        retry(|| self.0.steal_batch_with_limit_and_pop(&to.woken, share))
    }
}

fn retry<T>(mut f: impl FnMut() -> Steal<T>) -> Option<T> {
    loop {
        match f() {
            Steal::Success(t) => return Some(t),
            Steal::Empty => return None,
            Steal::Retry => std::hint::spin_loop(),
        }
    }
}
