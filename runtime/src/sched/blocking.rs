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
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::MutexGuard;

use super::Sched;
use super::g::{GRef, Runnable};
use super::idle::Lists;
use super::m::{self, M};
use super::status::Status;
use crate::rt;
use crate::spawn;

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
            self.cancel_unstarted([g]);
        } else if let Some(m) = lists.take_vacant() {
            m.set_nextg(g, serves); // under the lock: see `sleep_on_note`
            drop(lists);
            m.note.wake();
        } else if !serves && lists.workers >= self.config.max_threads {
            drop(lists);
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
        lists.blocking.running -= usize::from(m.serves.take());
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

    /// Whether nothing but the running G lives on this thread.
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
    pub(super) fn without_p<R>(&self, f: impl FnOnce() -> R) -> R {
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

/// Runs `f`, which blocks its thread for long.
pub(crate) fn blocking<F, R>(f: F) -> R
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    match m::current() {
        None => f(),
        Some(m) if m.is_alone() && m.sched().config.chaos.is_none() => m.without_p(f),
        Some(m) => elsewhere(&m.sched().arc(), f),
    }
}

/// What the caller of `blocking` and the thread that runs its closure share.
struct Call<F, R> {
    f: Option<F>,
    output: Option<std::thread::Result<R>>,
}

impl<F: FnOnce() -> R, R> Call<F, R> {
    /// # Safety
    /// `call` is a `Call<F, R>` that nobody else uses until this has returned.
    unsafe fn run(call: *mut ()) {
        // SAFETY: the contract above.
        let call = unsafe { &mut *call.cast::<Call<F, R>>() };
        if let Some(f) = call.f.take() {
            call.output = Some(catch_unwind(AssertUnwindSafe(f)));
        }
    }
}

/// A pointer to a `Call` of `Send` parts, and its `run`.
struct Erased(*mut (), unsafe fn(*mut ()));

// SAFETY: the closure and its output are Send, and one thread at a time uses the call.
unsafe impl Send for Erased {}

impl Erased {
    fn run(self) {
        // SAFETY: `elsewhere` keeps the call until the task has ended.
        unsafe { (self.1)(self.0) }
    }
}

/// Runs `f` on another thread; this one goes on with what lives here.
fn elsewhere<F, R>(sched: &Sched, f: F) -> R
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    let mut call = Call { f: Some(f), output: None };
    let erased = Erased((&raw mut call).cast(), Call::<F, R>::run);
    let at = std::panic::Location::caller();
    let task = spawn::blocking_on(sched, at, false, move || erased.run());
    // Whatever comes of it: when this returns, nobody uses the call any more.
    drop(rt::block_on_to_the_end(task));
    match (call.output, call.f) {
        (Some(Ok(output)), _) => output,
        (Some(Err(payload)), _) => resume_unwind(payload),
        (None, Some(f)) => f(), // the runtime ends and takes no more tasks
        (None, None) => unreachable!("taken and run in one step"),
    }
}
