//! Start and end of a scheduler.
//!
//! **The end.** Nobody is stopped in the middle of a poll, so a runtime ends in steps:
//!
//! 1. `shutdown` sets CLOSING and wakes everybody. From here on spawns are refused.
//! 2. Each worker leaves at its next dispatch; so does sysmon.
//! 3. The last thread to leave drops what is left: it drains the queues, walks
//!    all cells and cancels every task, on its own stack. Then the poller and
//!    the timers are closed, and what waited on them is woken to see that.
//! 4. `shutdown` returns when that is done, or after its grace: then a task
//!    is still in one poll, its thread goes on, and step 3 happens whenever that
//!    thread leaves. A shutdown from one of the runtime's own threads does not
//!    wait at all, for it would wait for itself.
//!
//! Handles, wakers and sockets may outlive all that. A cell keeps the
//! scheduler's memory (`heap.rs`); a wake that was under way in step 3 finds
//! `ended` set after its push and drains the queue itself.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use gort_netpoll::Netpoll;

use super::g::{GRef, Runnable};
use super::handoff::Handoffs;
use super::heap::Heap;
use super::idle::{CHAOS, Idle};
use super::m::M;
use super::outside::NewG;
use super::paused::Clock;
use super::ps::Ps;
use super::runq::Global;
use super::schedtrace::Debug;
use super::sites::Sites;
use super::stats::Counters;
use super::status::Wake;
use super::stuck::{OnStuck, Stuck};
use super::sysmon::Sysmon;
use super::tags::Table;
use super::trace;
use crate::stack::SizeClass;
use crate::task::goroutine;
use crate::util::{clock::NEVER, fence as asymmetric, soon, thread_id};

/// What a runtime is built with.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// How many Ps to begin with.
    pub(crate) procs: usize,
    /// More worker threads are fatal.
    pub(crate) max_threads: usize,
    /// What its threads are called.
    pub(crate) thread_name: String,
    /// Whether a panic in a task ends the process.
    pub(crate) abort_on_panic: bool,
    /// The stacks of goroutines that ask for nothing else.
    pub(crate) stack_size: SizeClass,
    /// Whether started goroutines may move between threads.
    pub(crate) migrate: bool,
    /// Whether dispatches are shaken, and the seed for it.
    pub(crate) chaos: Option<u64>,
    /// Whether its clock stands still from the beginning.
    pub(crate) start_paused: bool,
    /// Whom to tell of Gs that are stuck.
    pub(crate) on_stuck: Option<OnStuck>,
    /// Whether a deadlock ends the process; None: while a `Runtime::run` waits.
    pub(crate) deadlock: Option<bool>,
    /// What `GORT_DEBUG` asks for.
    pub(crate) debug: Debug,
}

/// One scheduler: the Ps, what they share, and who is idle. Go: schedt.
pub(crate) struct Sched {
    pub(super) ps: Ps,
    pub(super) global: Global,
    pub(super) idle: Idle,
    pub(super) heap: Heap,
    pub(crate) netpoll: Arc<Netpoll>,
    pub(super) sysmon: Sysmon,
    pub(super) clock: Clock,
    pub(super) handoffs: Handoffs,
    pub(super) sites: Sites,
    pub(super) stuck: Stuck,
    /// Ms that are locked to a goroutine.
    pub(super) locked: AtomicUsize,
    pub(super) ids: AtomicU64,
    /// What traces call this runtime.
    pub(crate) number: u16,
    pub(super) outside: Counters,
    /// Dumps that are under way.
    pub(super) looks: AtomicUsize,
    /// Calls of `Runtime::run` that are under way.
    pub(super) runs: AtomicUsize,
    pub(super) tags: Table,
    pub(crate) config: Config,
    ended: AtomicBool,
    end: (Mutex<bool>, Condvar),
}

// SAFETY: the tasks in the cells are Send, or have a home and are touched there only (`g.rs`);
// everything else is shared by type.
unsafe impl Send for Sched {}
// SAFETY: as above.
unsafe impl Sync for Sched {}

/// All schedulers that there are; those that are gone are forgotten when the next one comes.
static ALL: Mutex<Vec<Weak<Sched>>> = Mutex::new(Vec::new());

impl Sched {
    /// All schedulers of the process. Waits for nobody.
    pub(crate) fn all() -> Vec<Arc<Sched>> {
        let all = soon::lock(&ALL);
        all.map_or(Vec::new(), |all| all.iter().filter_map(Weak::upgrade).collect())
    }

    /// Calls `f` for every scheduler of the process.
    pub(super) fn for_all(f: impl FnMut(&Sched)) {
        let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let living: Vec<Arc<Sched>> = all.iter().filter_map(Weak::upgrade).collect();
        drop(all); // before what may turn out to be the last references
        living.iter().map(|sched| &**sched).for_each(f);
    }

    fn enlist(self: &Arc<Sched>) {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|sched| sched.strong_count() > 0);
        all.push(Arc::downgrade(self));
        drop(all);
        trace::introduce(self);
    }

    /// Starts a scheduler with its first worker and sysmon.
    pub(crate) fn start(config: Config) -> io::Result<Arc<Sched>> {
        asymmetric::init();
        goroutine::init()?;
        let sched = Arc::new(Sched {
            ps: Ps::new(config.procs, config.chaos.unwrap_or(0)),
            global: Global::default(),
            idle: Idle::new(),
            heap: Heap::new(),
            netpoll: Arc::new(Netpoll::new()?),
            sysmon: Sysmon::new(),
            clock: Clock::new(config.start_paused),
            handoffs: Handoffs::default(),
            sites: Sites::default(),
            stuck: Stuck::default(),
            locked: AtomicUsize::new(0),
            ids: AtomicU64::new(1),
            number: trace::next_number(),
            outside: Counters::default(),
            looks: AtomicUsize::new(0),
            runs: AtomicUsize::new(0),
            tags: Table::default(),
            config,
            ended: AtomicBool::new(false),
            end: (Mutex::new(false), Condvar::new()),
        });
        sched.idle.set_bit(CHAOS, sched.config.chaos.is_some());
        sched.start_sysmon()?;
        sched.enlist();
        if let Err(error) = sched.start_first() {
            sched.shutdown(Duration::MAX);
            return Err(error);
        }
        Ok(sched)
    }

    fn start_sysmon(self: &Arc<Sched>) -> io::Result<()> {
        let sched = self.clone();
        self.idle.thread_starts();
        let body = move || {
            sched.run_sysmon();
            sched.leave_thread();
        };
        let name = format!("{}-sysmon", self.config.thread_name);
        match std::thread::Builder::new().name(name).spawn(body) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.idle.thread_ends();
                Err(error)
            }
        }
    }

    /// Starts the thread of a new M.
    pub(super) fn start_thread(&self, m: &'static M) -> io::Result<()> {
        let sched = self.arc();
        let body = move || {
            // Without a signal stack an overflow is a plain SIGSEGV.
            let _signal_stack = goroutine::init_thread();
            // Relaxed: for who looks while the thread sleeps.
            m.thread.store(thread_id(), Ordering::Relaxed);
            m.scoped(|| {
                m.run();
                m.drop_residents();
            });
            sched.leave_worker(m);
        };
        let name = format!("{}-{}", self.config.thread_name, m.id);
        std::thread::Builder::new().name(name).spawn(body).map(drop)
    }

    /// Another owner of this scheduler; every `Sched` is in an `Arc` (`start`).
    pub(crate) fn arc(&self) -> Arc<Sched> {
        // SAFETY: `self` came from `Arc::new` in `start`, and is alive.
        unsafe {
            Arc::increment_strong_count(self);
            Arc::from_raw(self)
        }
    }

    /// Whether the end has begun.
    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        self.idle.counts().is_closing()
    }

    /// Whether it is over with everything here.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst) // SeqCst: as in `drain_if_closed`
    }

    /// Ends the runtime; see the module. True if it has ended when this returns.
    pub(crate) fn shutdown(&self, grace: Duration) -> bool {
        self.start_closing();
        self.sysmon.wake();
        if super::m::is_within(self) {
            return false;
        }
        let deadline = Instant::now().checked_add(grace);
        let (lock, cond) = &self.end;
        let mut ended = lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !*ended {
            let Some(deadline) = deadline else {
                ended = cond.wait(ended).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = cond.wait_timeout(ended, left);
            ended = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn leave_worker(&self, m: &'static M) {
        m.renew();
        let last = self.worker_ends(&mut self.idle.lock(), m);
        if last {
            self.finish();
        } else {
            self.watch_quiet();
        }
    }

    fn leave_thread(&self) {
        if self.idle.thread_ends() {
            self.finish();
        }
    }

    /// Step 3: nothing runs here any more.
    pub(super) fn finish(&self) {
        let m = self.take_outside_m();
        m.scoped(|| {
            m.cancel_all();
            self.netpoll.close();
            for p in self.ps.iter() {
                p.timers.close().into_iter().for_each(|w| m.ready_waker(w));
            }
            m.run_foreign();
            self.ended.store(true, Ordering::SeqCst); // SeqCst: with the fence in `wakep_foreign`
            fence(Ordering::SeqCst);
            m.cancel_all();
        });
        drop(m);
        self.close_heap();
        let (lock, cond) = &self.end;
        *lock.lock().unwrap_or_else(PoisonError::into_inner) = true;
        cond.notify_all();
    }

    /// From here on the cells that are left own the scheduler together.
    fn close_heap(&self) {
        // SAFETY: the count is given to the last cell (`free_outside`), or taken back below.
        unsafe { Arc::increment_strong_count(self) };
        // SAFETY: nobody holds a P any more, and nobody will.
        let cached = self.ps.iter().map(|p| unsafe { p.local() }.cache.len()).sum();
        if self.heap.close(cached) == 0 {
            // SAFETY: taken above; the caller holds another.
            unsafe { Arc::decrement_strong_count(self) };
        }
    }

    /// A push to the global queue found the runtime closing. If nobody will look there any
    /// more, this thread cancels what it pushed.
    #[cold]
    pub(super) fn drain_if_closed(&self) {
        // SeqCst: with the store in `finish`; the pusher's fence lies between its push and this.
        if self.ended.load(Ordering::SeqCst) {
            let m = self.take_outside_m();
            m.scoped(|| m.cancel_queued());
            self.put_outside_m(m);
        }
    }

    /// A cell for a thread that holds no P here.
    pub(super) fn alloc_outside(&self, new: &NewG<'_>) -> NonNull<u8> {
        let (cell, first) = self.heap.alloc(new.class, new.layout);
        if first {
            // SAFETY: the caller has a handle. The count is given to the last cell.
            unsafe { Arc::increment_strong_count(self) };
        }
        cell
    }

    /// Frees a cell from a thread that holds no P here.
    #[cold]
    pub(super) fn free_outside(&self, g: GRef) {
        if self.heap.free_counted(g) {
            // SAFETY: the count that `close_heap` left to the last cell.
            unsafe { Arc::decrement_strong_count(self) };
        }
    }

    /// Whether something is queued that its pusher will not run itself.
    pub(super) fn has_foreign_work(&self) -> bool {
        !self.global.is_empty() || self.ps.iter().any(|p| !p.inbox_is_empty())
    }

    /// Whether a queue that anyone may take from holds something.
    pub(super) fn has_work(&self) -> bool {
        !self.global.is_empty()
            || self.ps.iter().any(|p| !p.stealers.is_empty() || !p.inbox_is_empty())
    }

    /// Dispatches so far, over all Ps.
    pub(super) fn dispatches(&self) -> u64 {
        // Relaxed: statistics.
        self.ps.iter().map(|p| p.counters.dispatches.load(Ordering::Relaxed)).sum()
    }

    /// Whether a timer should have fired.
    pub(super) fn is_due(&self) -> bool {
        self.earliest_timer().is_some_and(|when| when <= self.now())
    }

    /// The earliest deadline of all Ps.
    pub(super) fn earliest_timer(&self) -> Option<u64> {
        self.ps.iter().map(|p| p.timers.earliest()).min().filter(|when| *when != NEVER)
    }
}

impl Drop for Sched {
    fn drop(&mut self) {
        for p in self.ps.iter() {
            p.timers.close();
            p.timers.put();
        }
    }
}

impl M {
    /// Cancels every task of the runtime, until there is none. Their destructors may wake others.
    fn cancel_all(&self) {
        let sched = self.sched();
        let mut any = true;
        while any {
            any = false;
            for p in sched.ps.iter() {
                // SAFETY: the threads have gone, nobody else holds the P.
                let local = unsafe { p.local() };
                p.drain_inbox(local);
                while let Some(g) = local.pop() {
                    self.cancel_owned(g);
                    any = true;
                }
            }
            any |= self.cancel_queued();
            sched.heap.for_each_live(|g| {
                any |= self.cancel_waiting(g);
                super::ready::drop_ref(g);
            });
        }
    }

    /// Cancels what is in the global queue. Several threads may do this at once.
    fn cancel_queued(&self) -> bool {
        let mut any = false;
        while let Some(g) = self.sched().global.pop() {
            self.cancel_owned(g);
            any = true;
        }
        any
    }

    pub(super) fn cancel_owned(&self, g: Runnable) {
        // What it does with its wake bits does not matter any more.
        let _ = g.g().status().abort();
        self.execute(g);
    }

    /// True if the G was waiting. One that is owned is on its way through somebody's hands into
    /// the global queue, or belongs to a thread of its own.
    fn cancel_waiting(&self, g: GRef) -> bool {
        if g.home().is_some() {
            return false;
        }
        match g.status().abort() {
            Wake::Queue => {
                // SAFETY: the abort gave the G to this thread.
                self.execute(unsafe { Runnable::claim(g) });
                true
            }
            Wake::Nothing | Wake::Free => false,
        }
    }
}
