//! The deadlines of a socket. Go: the timers of a pollDesc.
//!
//! The slot in the netpoller has a flag per direction that says "expired"; who reads or writes looks
//! at it in the same load that says "ready". This file keeps the flags true. Both deadlines share
//! one timer, and everything is decided under one lock: what a direction's deadline is now, and
//! whether that has passed. So a firing that was meant for a deadline since moved does nothing but
//! look (Go has sequence numbers for that).
//!
//! # Invariant
//! While the lock is free: a direction is flagged, or its deadline is no earlier than `armed`, or it
//! has none.
//!
//! A deadline that is put off leaves the timer where it is: the firing finds nothing due, and arms
//! itself anew. So a server that pushes its deadline before each operation touches the heap of
//! timers once per deadline and not once per operation, and so does one that sets and clears it.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use gort_netpoll::{Desc, Direction, Wakers};

use crate::sched::Sched;
use crate::sched::m;
use crate::sched::timers::{TimerId, Timers};
use crate::time::Instant;
use crate::util::clock::NEVER;

const BOTH: [Direction; 2] = [Direction::Read, Direction::Write];

/// Made when a socket gets its first deadline. The heap of timers holds it while the timer is
/// armed; it holds no descriptor, and its `Desc` may be one that has ended.
pub(super) struct Deadlines {
    sched: Arc<Sched>,
    desc: Desc,
    state: Mutex<State>,
}

/// By direction, and in nanoseconds of the runtime's clock.
struct State {
    until: [u64; 2],
    /// What the slot has been told.
    expired: [bool; 2],
    armed: Option<Armed>,
}

/// An entry in a heap of timers. It may have fired already.
struct Armed {
    when: u64,
    timers: &'static Timers,
    id: TimerId,
}

impl Deadlines {
    pub(super) fn new(sched: Arc<Sched>, desc: Desc) -> Arc<Deadlines> {
        let state = State { until: [NEVER; 2], expired: [false; 2], armed: None };
        Arc::new(Deadlines { sched, desc, state: Mutex::new(state) })
    }

    /// From now on `directions` expire at `deadline`, which may be past; they wake who waits.
    pub(super) fn set(self: &Arc<Deadlines>, directions: &[Direction], deadline: Option<Instant>) {
        let mut state = self.lock();
        for direction in directions {
            state.until[*direction as usize] = deadline.map_or(NEVER, Instant::nanos);
        }
        self.settle(state);
    }

    pub(super) fn get(&self, direction: Direction) -> Option<Instant> {
        let until = self.lock().until[direction as usize];
        (until != NEVER).then(|| Instant::from_nanos(until))
    }

    /// The socket has gone.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.until = [NEVER; 2];
        state.disarm();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the flags and the timer up to date, and then wakes who must see it.
    fn settle(self: &Arc<Deadlines>, mut state: MutexGuard<'_, State>) {
        let now = self.sched.now();
        let wakers = BOTH.map(|direction| self.flag(&mut state, direction, now));
        self.arm(&mut state);
        drop(state);
        wakers.into_iter().for_each(Wakers::wake);
    }

    fn flag(&self, state: &mut State, direction: Direction, now: u64) -> Wakers {
        let expired = state.until[direction as usize] <= now;
        let before = mem::replace(&mut state.expired[direction as usize], expired);
        match (before, expired) {
            (false, true) => return self.desc.expire(direction),
            (true, false) => self.desc.revive(direction),
            _ => {}
        }
        Wakers::default()
    }

    /// If the timer would be late for the earliest deadline ahead, it is armed for that.
    fn arm(self: &Arc<Deadlines>, state: &mut State) {
        let ahead =
            BOTH.map(|d| if state.expired[d as usize] { NEVER } else { state.until[d as usize] });
        let when = ahead[0].min(ahead[1]);
        if when >= state.armed.as_ref().map_or(NEVER, |armed| armed.when) {
            return;
        }
        state.disarm();
        let here = m::current().filter(|m| m.is_of(&self.sched));
        let _entered = here.map(m::M::enter);
        // After the end of the runtime nothing expires any more; all operations fail in any case.
        let armed = self.sched.arm_timer(when, &Waker::from(self.clone()));
        state.armed = armed.ok().map(|(timers, id)| Armed { when, timers, id });
    }
}

impl State {
    fn disarm(&mut self) {
        if let Some(armed) = self.armed.take() {
            armed.timers.stop(armed.id);
        }
    }
}

/// The timer has fired, perhaps for a deadline that has been moved since.
impl Wake for Deadlines {
    fn wake(self: Arc<Deadlines>) {
        let mut state = self.lock();
        state.disarm();
        self.settle(state);
    }
}
