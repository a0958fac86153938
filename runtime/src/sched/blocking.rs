//! Calls that block their thread for long, and say so.
//!
//! `blocking(f)` gives the P up and runs `f` where it is, if nothing else lives
//! on this thread. If there are residents, they would have to wait, so `f`
//! goes to a thread of its own and the caller waits for it like for any task.
//! `spawn_blocking` is the second half alone: a task that runs on a thread
//! without a P and without residents from the start.
//!
//! These threads are Ms like any other: an idle one that nothing lives on is
//! handed the G (`nextg`) instead of a P, and afterwards takes the next one
//! from the queue or goes back to sleep. At most `BLOCKING_MAX` at a time are
//! started by `spawn_blocking`, the rest wait in line. The threads that bursts
//! have left behind end after some seconds (`rest.rs`).

use std::collections::VecDeque;
use std::sync::MutexGuard;

use super::Sched;
use super::g::{GRef, Runnable};
use super::idle::Lists;
use super::m::{self, M};
use super::status::Status;

/// Blocking tasks that run at once, over the Ps' own work. tokio's number.
const BLOCKING_MAX: usize = 512;

/// Those that wait for a thread. Under the idle lock.
#[derive(Default)]
pub(super) struct Blocking {
    queue: VecDeque<Runnable>,
    running: usize,
    closed: bool,
}

impl Blocking {
    /// The runtime ends: what has not begun.
    pub(super) fn close(&mut self) -> VecDeque<Runnable> {
        self.closed = true;
        std::mem::take(&mut self.queue)
    }

    /// How many run or wait.
    pub(super) fn len(&self) -> usize {
        self.running + self.queue.len()
    }

    /// The next one for a thread that has just ended one.
    fn next(&mut self) -> Option<Runnable> {
        let next = self.queue.pop_front();
        self.running -= usize::from(next.is_none());
        next
    }
}

impl Sched {
    /// Publishes a G from `newproc` and starts it on a thread of its own; with `line`, when it is
    /// its turn.
    ///
    /// # Safety
    /// As `submit`.
    pub(crate) unsafe fn submit_blocking(&self, g: GRef, line: bool) {
        g.status().publish(Status::spawned());
        // SAFETY: just made.
        let g = unsafe { Runnable::claim(g) };
        let mut lists = self.idle.lock();
        let Blocking { running, closed, .. } = lists.blocking;
        // The Ps need threads, too.
        let room = self.config.max_threads.saturating_sub(self.ps.procs());
        let full = running >= BLOCKING_MAX || running > 0 && lists.workers >= room;
        if line && full && !closed {
            lists.blocking.queue.push_back(g);
            return;
        }
        lists.blocking.running += 1;
        self.start_beside(lists, g, true);
    }

    /// Runs `g` on an idle M that nothing lives on, or a new one, which holds no P.
    pub(super) fn start_beside(&self, mut lists: MutexGuard<'_, Lists>, g: Runnable, serves: bool) {
        if lists.blocking.closed {
            drop(lists);
            self.cancel_unstarted([g]); // what is counted no longer counts
        } else if let Some(m) = lists.take_vacant() {
            m.set_nextg(g, serves); // under the lock: see `sleep_on_note`
            drop(lists);
            m.note.wake();
        } else if !serves && lists.workers >= self.config.max_threads {
            drop(lists);
            self.uncount_private();
            self.inject(g); // like any other, after all
        } else {
            let m = self.new_worker(&mut lists);
            drop(lists);
            m.set_nextg(g, serves);
            self.start_worker(m);
        }
    }

    /// The thread of `m` was refused: what it was meant to run, which now runs like any other; and
    /// what waits in line, if nobody is left to serve it.
    pub(super) fn unserved(&self, lists: &mut Lists, m: &M) -> Vec<Runnable> {
        let mut left: Vec<Runnable> = m.take_nextg().into_iter().collect();
        if m.serves.take() {
            lists.blocking.running -= 1;
        } else if !left.is_empty() {
            self.uncount_private();
        }
        if lists.blocking.running == 0 {
            left.extend(lists.blocking.queue.drain(..));
        }
        left
    }

    /// Ends Gs that have never begun, on this thread.
    pub(super) fn cancel_unstarted(&self, gs: impl IntoIterator<Item = Runnable>) {
        let m = self.take_outside_m();
        m.scoped(|| gs.into_iter().for_each(|g| m.cancel_owned(g)));
        self.put_outside_m(m);
    }
}

impl M {
    /// What this M was woken to run without a P, or the next of that kind.
    pub(super) fn next_beside(&self) -> Option<Runnable> {
        self.attach();
        if let Some(g) = self.take_nextg() {
            if !self.serves.get() {
                self.begin_private(&g);
            }
            return Some(g);
        }
        if !self.serves.get() {
            return None;
        }
        let next = self.sched().idle.lock().blocking.next();
        self.serves.set(next.is_some());
        next
    }

    /// Whether what blocks may do so here: nothing but the running G lives on this thread. Not in
    /// chaos mode, which takes the long way.
    pub(crate) fn may_block_here(&self) -> bool {
        self.is_alone() && self.sched().config.chaos.is_none()
    }

    fn is_alone(&self) -> bool {
        let mine = |m: &M| m.residents() == usize::from(m.curg().is_some_and(|g| m.is_home_of(g)));
        let mut outer = Some(self);
        while let Some(m) = outer {
            if !mine(m) {
                return false;
            }
            outer = m.outer();
        }
        true
    }

    /// Gives the P up for as long as `f` runs. Go: entersyscallblock.
    pub(crate) fn without_p<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Back;
        impl Drop for Back {
            fn drop(&mut self) {
                if let Some(m) = m::current() {
                    super::handoff::exitsyscall(m);
                }
            }
        }
        self.enter().handoffp();
        let _back = Back;
        f()
    }
}
