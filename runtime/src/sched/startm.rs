//! Waking an M: the waker's side of the protocol in `README.md`. Go: wakep, startm.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, MutexGuard};

use super::Sched;
use super::idle::{CLOSING, Lists, MASK, PROC, SPINNING};
use super::m::{self, M};
use super::p::P;
use crate::util::fatal;

impl Sched {
    /// There is work that somebody else might run. Go: wakep.
    #[inline]
    pub(super) fn wakep(&self) {
        let now = self.idle.counts();
        if now.procs > 0 && now.spinning == 0 {
            self.wakep_slow();
        }
    }

    /// As `wakep`, after a push that this thread will not run itself: to the global queue or to
    /// another P's inbox.
    pub(super) fn wakep_foreign(&self) {
        fence(Ordering::SeqCst); // PushFence: the push comes before the look
        let now = self.idle.counts();
        if now.is_backing_off() {
            self.idle.end_backoff_early();
        } else if now.procs > 0 && now.spinning == 0 {
            self.wakep_slow();
        }
    }

    #[cold]
    fn wakep_slow(&self) {
        // One producer wins; SeqCst: see README, SpinCount.
        let word = &self.idle.counts;
        let Ok(_) = word.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |w| {
            let free = w & MASK > 0 && (w / SPINNING) & MASK == 0 && w & CLOSING == 0;
            free.then_some(w + SPINNING)
        }) else {
            return;
        };
        let mut lists = self.idle.lock();
        // Under the lock that `start_closing` takes after it has set the bit: a thread that is
        // started here is counted before the last one leaves.
        let leave_it = self.is_closing() || self.will_come(&lists);
        let p = if leave_it { None } else { self.take_p(&mut lists) };
        match p {
            Some(p) => self.startm(lists, p),
            None => {
                // Under the lock: whoever has been counting on this searcher has pushed before the M
                // that comes is listed.
                self.idle.stop_spinning();
                drop(lists);
            }
        }
    }

    /// Takes an idle P.
    pub(super) fn take_p(&self, lists: &mut Lists) -> Option<&'static P> {
        let all_idle = self.all_idle(lists);
        let p = lists.ps.pop()?;
        // SeqCst: see README, IdleCount.
        self.idle.counts.fetch_sub(PROC, Ordering::SeqCst);
        if all_idle {
            self.sysmon.work_begins();
        }
        Some(p)
    }

    /// Whether nobody holds a P, or is about to.
    pub(super) fn all_idle(&self, lists: &Lists) -> bool {
        debug_assert_eq!(self.idle.counts().procs, lists.ps.len(), "the idle Ps are counted");
        lists.ps.len() + lists.resting.len() == self.ps.len()
    }

    /// Finds an M to hold `p`, searching: one that sleeps, or the one in the netpoller, or a new
    /// one. Go: startm.
    pub(super) fn startm(&self, mut lists: MutexGuard<'_, Lists>, p: &'static P) {
        // With the last idle P goes the poller: those who run poll by themselves, and a sleeping
        // one would only be woken to pass on what it found.
        let prefer_poller = lists.ps.is_empty() && lists.poller.is_some();
        if !prefer_poller && let Some(m) = lists.pop_m(&self.idle) {
            give(m, p); // under the lock: see `sleep_on_note`
            drop(lists);
            m.note.wake();
        } else if let Some(m) = lists.poller.take() {
            give(m, p);
            drop(lists);
            self.netpoll.break_();
        } else {
            let m = self.new_worker(&mut lists);
            drop(lists);
            give(m, p);
            self.start_worker(m);
        }
    }

    /// Whether a P that is taken from its M would find another one without a fatal error.
    pub(super) fn has_m_to_spare(&self) -> bool {
        self.has_m(&self.idle.lock())
    }

    fn has_m(&self, lists: &Lists) -> bool {
        let sleeps = !lists.ms.is_empty() || lists.poller.is_some();
        sleeps || lists.workers < self.config.max_threads
    }

    /// Whether every thread exists that may, and one of them is on its way to the list: it looks for
    /// work when it gets there, after this lock section, and needs no waking.
    pub(super) fn will_come(&self, lists: &Lists) -> bool {
        !self.has_m(lists) && lists.all.iter().any(|m| m.is_coming() && !lists.has_left(m))
    }

    /// An M for one more worker thread, which is counted from here on.
    pub(super) fn new_worker(&self, lists: &mut Lists) -> &'static M {
        if lists.workers == self.config.max_threads {
            fatal::throw(
                format_args!("runtime: program exceeds {}-thread limit", lists.workers),
                format_args!("thread exhaustion"),
            );
        }
        lists.threads += 1;
        lists.workers += 1;
        lists.spare.pop().unwrap_or_else(|| self.new_m(lists))
    }

    /// Starts the thread of an M from `new_worker`. A thread inherits from the one that makes it
    /// what the user may have changed in that one (namespaces, credentials, affinity): a thread
    /// that is locked to a goroutine has sysmon do it. Go: the template thread.
    pub(super) fn start_worker(&self, m: &'static M) {
        let elsewhere = m::current().is_some_and(M::is_locked) && self.sysmon.start_worker(m);
        if !elsewhere && self.start_thread(m).is_err() {
            self.thread_refused(m);
        }
    }

    /// The system gives no more threads: the P stays idle, and those that run go on. The first
    /// worker exists since `start`, so the work will be done.
    #[cold]
    pub(super) fn thread_refused(&self, m: &'static M) {
        let mut lists = self.idle.lock();
        // Relaxed: no thread runs this M.
        let p = m.nextp.swap(std::ptr::null_mut(), Ordering::Relaxed);
        let left = self.unserved(&mut lists, m);
        // SAFETY: Ps live as long as the scheduler.
        if let Some(p) = unsafe { p.as_ref() } {
            self.idle.stop_spinning();
            self.enlist_p(&mut lists, p);
        }
        let last = self.worker_ends(&mut lists, m);
        drop(lists);
        left.into_iter().for_each(|g| self.inject(g));
        if last {
            self.finish(); // everybody else has left meanwhile
        } else {
            self.serve_wanting();
            self.watch_quiet();
        }
    }

    /// A worker thread ends, or never began. True: it was the last thread of all.
    pub(super) fn worker_ends(&self, lists: &mut Lists, m: &'static M) -> bool {
        lists.workers -= 1;
        lists.threads -= 1;
        lists.spare.push(m);
        lists.threads == 0
    }

    /// `m` has got something that only it can run while it was idle: it needs a P. Go: the
    /// "hand off our P to the locked M" of schedule.
    #[cold]
    pub(super) fn wake_home(&self, m: &M) {
        let mut lists = self.idle.lock();
        let Some(m) = lists.find_idle(m) else { return }; // it has been woken meanwhile
        match self.take_p(&mut lists) {
            Some(p) => self.wake_with(lists, m, p),
            None => lists.want_p(&self.idle, m),
        }
    }

    /// Takes `m` out of the idle lists and gives it `p`.
    pub(super) fn wake_with(&self, mut lists: MutexGuard<'_, Lists>, m: &'static M, p: &'static P) {
        // SeqCst: see README, SpinCount. The M that gets it counts as searching.
        self.idle.counts.fetch_add(SPINNING, Ordering::SeqCst);
        give(m, p);
        if lists.poller.is_some_and(|poller| std::ptr::eq(poller, m)) {
            lists.poller = None;
            drop(lists);
            self.netpoll.break_();
        } else {
            lists.remove(m);
            drop(lists);
            m.note.wake();
        }
    }

    fn new_m(&self, lists: &mut Lists) -> &'static M {
        let m = Arc::new(M::new(lists.all.len() as u32, self));
        lists.all.push(m);
        // SAFETY: the list keeps it as long as the scheduler lives.
        unsafe { &*Arc::as_ptr(lists.all.last().expect("just pushed")) }
    }

    /// The first worker: it goes to sleep in the netpoller.
    pub(super) fn start_first(&self) -> std::io::Result<()> {
        let mut lists = self.idle.lock();
        let mut ps: Vec<_> = self.ps.iter().collect();
        ps.reverse();
        lists.ps = ps;
        // Relaxed: no other thread knows this scheduler yet.
        self.idle.counts.fetch_add(PROC * self.ps.len() as u64, Ordering::Relaxed);
        let m = self.new_worker(&mut lists);
        drop(lists);
        self.start_thread(m).inspect_err(|_| {
            self.worker_ends(&mut self.idle.lock(), m);
        })
    }

    /// Wakes everybody to see that the runtime ends.
    pub(super) fn start_closing(&self) {
        // SeqCst: pairs with the re-check after SleepFence.
        self.idle.counts.fetch_or(CLOSING, Ordering::SeqCst);
        let mut lists = self.idle.lock();
        let ms = std::mem::take(&mut lists.ms);
        let locked = std::mem::take(&mut lists.locked);
        let blocking = lists.blocking.close();
        // Those that wait in the middle of something have to end what lives on them.
        lists.all.iter().filter(|m| m.is_nested()).for_each(|m| m.sleeper().wake());
        drop(lists);
        ms.iter().chain(&locked).for_each(|m| m.note.wake());
        self.cancel_unstarted(blocking);
        self.netpoll.break_();
        self.idle.end_backoff_early();
    }

    /// An M for a thread from outside; given back with `put_outside_m`.
    pub(super) fn take_outside_m(&self) -> Arc<M> {
        let mut lists = self.idle.lock();
        if let Some(m) = lists.outside.pop() {
            return m;
        }
        self.new_m(&mut lists);
        lists.all.last().expect("just made").clone()
    }

    pub(super) fn put_outside_m(&self, m: Arc<M>) {
        self.idle.lock().outside.push(m);
        self.watch_quiet();
    }
}

/// Tells `m` which P to hold when it wakes, and that it counts as searching.
fn give(m: &M, p: &'static P) {
    // Release: pairs with the Acquire in `take_nextp`.
    m.nextp.store(std::ptr::from_ref(p).cast_mut(), Ordering::Release);
}
