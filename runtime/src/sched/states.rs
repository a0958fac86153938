//! How many Gs are doing what.

use super::Sched;
use super::status::Activity;

/// How many tasks and goroutines are doing what. See [`Handle::states`](crate::Handle::states).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct States {
    /// On a thread: those that compute, and those that block it.
    pub running: usize,
    /// On a thread, in a [`syscall`](crate::syscall).
    pub in_syscall: usize,
    /// In some queue.
    pub runnable: usize,
    /// Parked.
    pub waiting: usize,
}

impl Sched {
    /// Looks at each cell once, without touching it.
    pub(crate) fn states(&self) -> States {
        let mut states = States::default();
        for m in self.idle.lock().all.iter().filter(|m| m.curg().is_some()) {
            let place =
                if m.syscall().is_some() { &mut states.in_syscall } else { &mut states.running };
            *place += 1;
        }
        let mut owned = 0usize;
        self.heap.glance(|activity| match activity {
            Activity::None => {}
            Activity::Owned => owned += 1,
            Activity::Waiting => states.waiting += 1,
        });
        states.runnable = owned.saturating_sub(states.running + states.in_syscall);
        states
    }
}
