//! `Timer` and `after_func`: a firing that can be stopped and put off by anybody.
//!
//! What has happened to a timer is decided under its own lock, not in the heap: `stop` finds the
//! phase PENDING and takes it, or the firing does. So "stopped" and "fired" exclude each other, and a
//! heap entry that is on its way while the timer is stopped or reset comes to nothing: there is no
//! stale firing to drain (N22).
//!
//! ```text
//! PENDING -> FIRED    // after_func: the firing; Timer::new: the first poll past the deadline
//! PENDING -> STOPPED  // stop
//! any     -> PENDING  // reset
//! ```
//!
//! A timer without a function is in a heap only while somebody waits for it (N21); its state is a
//! matter of looking at the clock. One that is dropped is gone.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::Instant;
use crate::rt;
use crate::sched::Sched;
use crate::sched::m;
use crate::sched::timers::{Closed, TimerId, Timers};
use crate::sched::wait::{WaitReason, note_wait};
use crate::spawn::go_on;

/// Runs `f` as a goroutine of its own, `duration` from now. Go: `time.AfterFunc`.
///
/// The call returns at once; the goroutine is started when the time has come, on the
/// [current](crate::spawn) runtime. [`stop`](Timer::stop) prevents that,
/// [`reset`](Timer::reset) puts it off, or runs `f` once more; it may then run while an earlier
/// run still does. Dropping the `Timer` does not stop it; the end of the runtime does.
///
/// # Examples
/// ```
/// use gort::prelude::*;
/// use gort::time::{Duration, after_func};
///
/// let timer = after_func(Duration::from_millis(1), || println!("time is up"));
/// timer.wait(); // until it has been started
/// assert!(!timer.stop(), "too late");
/// ```
#[track_caller]
pub fn after_func<F>(duration: Duration, f: F) -> Timer
where
    F: Fn() + Send + Sync + 'static,
{
    Timer::start(duration, Some(Func { run: Box::new(f), at: Location::caller() }))
}

/// A single firing at some time, which can be stopped and reset from anywhere. Go: `time.Timer`.
///
/// `&Timer` can be awaited, by any number of waiters at once: `timer.wait()`, `(&timer).await`. It
/// is ready when the timer has fired, and stays so until `stop` or `reset`; after either of these
/// returns, no earlier firing can be seen any more. While the timer is stopped, the wait goes on; a
/// reset is noticed by those who wait.
///
/// Clones are the same timer. It counts on the clock of the runtime that was the
/// [current](crate::spawn) one where it was made.
///
/// # Examples
/// ```
/// use gort::time::{Duration, Timer};
/// # gort::block_on(async {
/// let timer = Timer::new(Duration::from_secs(1000));
/// assert!(timer.reset(Duration::from_millis(1)), "it was pending");
/// (&timer).await;
/// assert!(!timer.stop(), "it has fired");
/// # });
/// ```
#[derive(Clone)]
pub struct Timer {
    shared: Arc<Shared>,
}

struct Shared {
    sched: Arc<Sched>,
    func: Option<Func>,
    state: Mutex<State>,
}

struct Func {
    run: Box<dyn Fn() + Send + Sync>,
    at: &'static Location<'static>,
}

struct State {
    phase: Phase,
    /// The heap entry, if there is one. It may have fired already.
    armed: Option<(&'static Timers, TimerId)>,
    /// Who waits, the oldest first.
    waiters: BTreeMap<u64, Waker>,
    next_waiter: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Stopped,
    /// Until this time, in nanoseconds of the runtime's clock.
    Pending(u64),
    Fired,
}

impl Timer {
    /// A timer that fires `duration` from now.
    #[must_use]
    #[track_caller]
    pub fn new(duration: Duration) -> Timer {
        Timer::start(duration, None)
    }

    #[track_caller]
    fn start(duration: Duration, func: Option<Func>) -> Timer {
        let state =
            State { phase: Phase::Stopped, armed: None, waiters: BTreeMap::new(), next_waiter: 0 };
        let sched = rt::with_current(Arc::clone);
        let timer = Timer { shared: Arc::new(Shared { sched, func, state: Mutex::new(state) }) };
        timer.reset(duration);
        timer
    }

    /// Stops the timer. True if it was pending: it had neither been stopped nor, as far as anybody
    /// has seen, fired. For [`after_func`] that means that the function has not been started and
    /// will not be; if it is false the function may still be running. Blocks nothing.
    pub fn stop(&self) -> bool {
        let mut state = self.shared.lock();
        state.disarm();
        let before = std::mem::replace(&mut state.phase, Phase::Stopped);
        matches!(before, Phase::Pending(_))
    }

    /// Lets the timer fire `duration` from now, whatever it has done before. True if it was
    /// pending, as [`stop`](Timer::stop) would say. Blocks nothing.
    ///
    /// A timer whose runtime has ended never fires.
    pub fn reset(&self, duration: Duration) -> bool {
        let shared = &self.shared;
        let mut state = shared.lock();
        state.disarm();
        let when = Instant::from_nanos(shared.sched.now()) + duration;
        let before = std::mem::replace(&mut state.phase, Phase::Pending(when.nanos()));
        let _ = shared.arm(&mut state); // on a runtime that has ended it does not fire
        matches!(before, Phase::Pending(_))
    }

    /// When it fires, if it is pending.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.shared.lock().phase {
            Phase::Pending(when) => Some(Instant::from_nanos(when)),
            Phase::Stopped | Phase::Fired => None,
        }
    }

    /// Waits until it has fired; what awaiting `&Timer` does.
    pub fn fired(&self) -> Fired<'_> {
        Fired { timer: self, key: None }
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = self.shared.lock().phase;
        let mut s = f.debug_struct("Timer");
        match phase {
            Phase::Stopped => s.field("phase", &"stopped"),
            Phase::Pending(when) => s.field("deadline", &Instant::from_nanos(when)),
            Phase::Fired => s.field("phase", &"fired"),
        };
        s.finish_non_exhaustive()
    }
}

impl<'a> IntoFuture for &'a Timer {
    type Output = ();
    type IntoFuture = Fired<'a>;

    fn into_future(self) -> Fired<'a> {
        self.fired()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a pending timer into a heap, if somebody cares and it is in none.
    fn arm(self: &Arc<Shared>, state: &mut State) -> Result<(), Closed> {
        let wanted = self.func.is_some() || !state.waiters.is_empty();
        if wanted && let (Phase::Pending(when), None) = (state.phase, state.armed) {
            let here = m::current().filter(|m| m.is_of(&self.sched));
            let _entered = here.map(m::M::enter);
            state.armed = Some(self.sched.arm_timer(when, &Waker::from(self.clone()))?);
        }
        Ok(())
    }

    /// Whether the timer has fired. One without a function does so here.
    fn look(&self, state: &mut State) -> bool {
        match state.phase {
            Phase::Fired => true,
            Phase::Pending(when) if self.func.is_none() && when <= self.sched.now() => {
                // The heap entry stays: others may wait for it.
                state.phase = Phase::Fired;
                true
            }
            Phase::Pending(_) | Phase::Stopped => false,
        }
    }

    /// A heap entry has fired, or the runtime ends; the timer may have been stopped or reset
    /// meanwhile.
    fn due(self: &Arc<Shared>) {
        let mut state = self.lock();
        let due = match state.phase {
            Phase::Stopped => return,
            Phase::Pending(when) => when <= self.sched.now(),
            Phase::Fired => true,
        };
        state.disarm();
        if !due && self.arm(&mut state).is_ok() {
            return; // it was an entry from before a reset, which cannot be told from the current one
        }
        let run = due && self.func.is_some() && state.phase != Phase::Fired;
        if run {
            state.phase = Phase::Fired;
        }
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        if run {
            self.run();
        }
        waiters.into_values().for_each(crate::task::waker::wake_quietly);
    }

    /// Starts the function, if the runtime still starts anything.
    fn run(self: &Arc<Shared>) {
        let Some(func) = &self.func else { return };
        let at = func.at;
        let shared = self.clone();
        let body = move || shared.func.iter().for_each(|func| (func.run)());
        drop(go_on(&self.sched, at, None, None, body));
    }
}

impl State {
    fn disarm(&mut self) {
        if let Some((timers, id)) = self.armed.take() {
            timers.stop(id);
        }
    }
}

/// Wakers from the heap are woken outside of its lock and of the core, and this one runs nothing of
/// the user's: it wakes those who wait, and starts a goroutine for the function (T18).
impl Wake for Shared {
    fn wake(self: Arc<Shared>) {
        self.due();
    }
}

/// The future of `&Timer`. Dropping it has no effect on the timer.
///
/// # Panics
/// Polling panics when the timer is pending and its runtime has ended: it would never be ready.
#[must_use = "futures do nothing unless awaited"]
pub struct Fired<'a> {
    timer: &'a Timer,
    /// Its place among the waiters.
    key: Option<u64>,
}

impl Future for Fired<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone(); // not under the lock
        let shared = &self.timer.shared;
        let mut state = shared.lock();
        if shared.look(&mut state) {
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or(state.next_waiter);
        state.next_waiter += u64::from(self.key.is_none());
        let old = state.waiters.insert(key, waker);
        let armed = shared.arm(&mut state);
        drop(state);
        drop(old);
        self.key = Some(key);
        assert!(armed.is_ok(), "a gort timer was awaited after its runtime had ended");
        note_wait(Poll::Pending, cx, WaitReason::Sleep)
    }
}

impl Drop for Fired<'_> {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let shared = &self.timer.shared;
        let mut state = shared.lock();
        let waker = state.waiters.remove(&key);
        if state.waiters.is_empty() && shared.func.is_none() {
            state.disarm();
        }
        drop(state);
        drop(waker); // outside the lock
    }
}

impl fmt::Debug for Fired<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fired").field("timer", self.timer).finish_non_exhaustive()
    }
}
