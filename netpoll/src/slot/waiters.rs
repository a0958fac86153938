//! Who waits for one slot.
//!
//! A poll leaves its waker, and has nothing by which it could take it back: a task that has lost
//! interest (a timeout, a `select`) stays in the list until the next event of its direction. Where
//! nothing happens they would pile up, each with the memory of its task. So a crowd that reaches its
//! limit is *called*: all are woken, which is always allowed, and who still cares comes back. A little
//! later it is known how many those are, and the limit becomes four times that: a call is paid for by
//! three times as many newcomers. Before it is known, which the scheduler decides, the limit doubles:
//! a crowd that gathers quickly is not called at all, and nobody is called twice in a short time.
//!
//! What may be kept in vain is thus three for each one who waits, and what comes within `PATIENCE`.

use std::{
    collections::HashSet,
    iter, mem, option,
    panic::{self, AssertUnwindSafe},
    task::Waker,
    time::{Duration, Instant},
    vec,
};

use super::Direction;

/// A crowd of so many is no crowd yet (a guess).
const SMALL: usize = 32;
/// Who has not come back after this long does not care any more. If it is too short, because the
/// machine is slow, a call comes too early, and costs some wakes.
const PATIENCE: Duration = Duration::from_millis(100);

/// Nearly always there is at most one per direction, so the others live elsewhere: `one` is taken
/// whenever `more` is not empty.
#[derive(Default)]
pub(super) struct Waiters {
    one: [Option<Waker>; 2],
    more: Option<Box<[Crowd; 2]>>,
}

#[derive(Default)]
struct Crowd {
    wakers: Vec<Waker>,
    /// How many there may be until something is done; `SMALL` if that is more.
    limit: usize,
    /// When they were called, or were first found to be many.
    since: Option<Instant>,
    /// Those of the last call who have not come back, by the data of their wakers, and how many have.
    called: HashSet<usize>,
    back: usize,
}

impl Waiters {
    /// Adds `waker`, unless it (or one that wakes the same task) waits already. Returns those whom
    /// this calls.
    pub(super) fn add(&mut self, direction: Direction, waker: &Waker) -> Wakers {
        let Some(one) = &self.one[direction as usize] else {
            self.one[direction as usize] = Some(waker.clone());
            return Wakers::default();
        };
        if one.will_wake(waker) {
            return Wakers::default();
        }
        self.more.get_or_insert_default()[direction as usize].add(waker, Instant::now)
    }

    /// Takes all who wait for `direction`, the one who has waited longest first.
    pub(super) fn take(&mut self, direction: Direction) -> Wakers {
        let more = self.more.as_mut();
        Wakers {
            one: self.one[direction as usize].take(),
            more: more
                .map_or_else(Vec::new, |more| mem::take(&mut more[direction as usize].wakers)),
        }
    }

    /// Takes all.
    pub(super) fn take_all(&mut self) -> Wakers {
        let mut wakers = self.take(Direction::Read);
        wakers.more.extend(self.take(Direction::Write));
        wakers
    }
}

impl Crowd {
    #[cold]
    fn add(&mut self, waker: &Waker, now: impl FnOnce() -> Instant) -> Wakers {
        if self.wakers.iter().any(|other| other.will_wake(waker)) {
            return Wakers::default();
        }
        self.back += usize::from(self.called.remove(&waker.data().addr()));
        let full = self.wakers.len() >= self.limit.max(SMALL);
        let more = if full { self.overflow(now()) } else { Vec::new() };
        self.wakers.push(waker.clone());
        Wakers { one: None, more }
    }

    /// Makes room: by a higher limit, or by a call.
    fn overflow(&mut self, now: Instant) -> Vec<Waker> {
        let since = *self.since.get_or_insert(now);
        let known = now.saturating_duration_since(since) >= PATIENCE;
        self.limit = if known { 4 * self.back } else { 2 * self.wakers.len() };
        if self.wakers.len() < self.limit {
            return Vec::new();
        }
        self.limit = self.wakers.len(); // those who come back find their places
        self.since = Some(now);
        self.back = 0;
        self.called = self.wakers.iter().map(|waker| waker.data().addr()).collect();
        mem::take(&mut self.wakers)
    }
}

/// Those who waited for a socket, to be woken by the caller once it holds no lock.
#[must_use = "they would wait for ever"]
#[derive(Debug, Default)]
pub struct Wakers {
    one: Option<Waker>,
    more: Vec<Waker>,
}

impl Wakers {
    /// Wakes all of them, also if one's waker panics: neither a socket's end nor the runtime's
    /// stops half-way. The panic hook has reported it.
    pub fn wake(self) {
        for waker in self {
            let _ = panic::catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }

    pub(super) fn each(self, ready: &mut dyn FnMut(Waker)) -> usize {
        self.into_iter().map(ready).count()
    }
}

impl IntoIterator for Wakers {
    type Item = Waker;
    type IntoIter = iter::Chain<option::IntoIter<Waker>, vec::IntoIter<Waker>>;

    fn into_iter(self) -> Self::IntoIter {
        self.one.into_iter().chain(self.more)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::{Arc, atomic::AtomicUsize, atomic::Ordering::Relaxed};

    use super::*;

    /// A task that can be told from others, and counts its wakes.
    struct Task(AtomicUsize);

    impl std::task::Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// Tasks that are about to wait.
    fn tasks(n: usize) -> Vec<Arc<Task>> {
        (0..n).map(|_| Arc::new(Task(1.into()))).collect()
    }

    /// Lets all that have been woken wait anew, until nobody is woken. Returns how many wakes it took.
    fn settle(crowd: &mut Crowd, tasks: &[Arc<Task>], now: Instant) -> usize {
        let mut wakes = 0;
        loop {
            let before = wakes;
            for task in tasks.iter().filter(|task| task.0.swap(0, Relaxed) > 0) {
                wakes += 1;
                crowd.add(&Waker::from(task.clone()), || now).wake();
            }
            if wakes == before {
                return wakes;
            }
        }
    }

    #[test]
    fn those_who_have_lost_interest_do_not_pile_up() {
        const LOST: usize = 5_000;
        for live in [0, 1, 10, 100] {
            let mut crowd = Crowd::default();
            let mut now = Instant::now();
            let stay = tasks(live);
            settle(&mut crowd, &stay, now);
            let (lost, mut wakes) = (tasks(LOST), 0);
            for task in &lost {
                now += PATIENCE / 10;
                crowd.add(&Waker::from(task.clone()), || now).wake();
                wakes += settle(&mut crowd, &stay, now);
            }
            assert!(crowd.wakers.len() <= 2 * SMALL + 4 * live, "{} are kept", crowd.wakers.len());
            assert!(crowd.called.len() <= 2 * SMALL + 4 * live);
            assert!(wakes <= LOST, "{wakes} wakes of {live}");
            stay.iter().for_each(|task| {
                let waker = Waker::from(task.clone());
                assert!(crowd.wakers.iter().any(|other| other.will_wake(&waker)), "forgotten");
            });
        }
    }

    #[test]
    fn a_crowd_that_stays_is_left_alone() {
        const CROWD: usize = 1_000;
        for pace in [Duration::ZERO, PATIENCE / 50, 2 * PATIENCE] {
            let mut crowd = Crowd::default();
            let mut now = Instant::now();
            let mut wakes = 0;
            let stay = tasks(CROWD);
            for i in 0..CROWD {
                now += pace;
                wakes += settle(&mut crowd, &stay[..=i], now);
            }
            assert!(wakes <= 3 * CROWD, "{wakes} wakes while it gathers");
            assert_eq!(crowd.wakers.len(), CROWD);
        }
    }
}
