//! The handshake between the thread that sleeps in the poll and those that want it up.
//!
//! # States
//!
//! ```text
//! IDLE     -> BLOCKING   publish: the holder of the poll lock is about to sleep
//! BLOCKING -> BROKEN     break_: exactly one thread makes this edge, and writes the eventfd
//! BLOCKING -> IDLE       retract: the sleeper is up (event, deadline, or it thought better of it)
//! BROKEN   -> IDLE       retract
//! ```
//!
//! Only the holder of the poll lock makes the edges from and to IDLE.
//!
//! # The rule
//!
//! Sleeper: publish, PublishFence, look at all queues and timers, sleep. Waker: make the work
//! visible, BreakFence, look at the state. One of the fences comes first; if it is PublishFence the
//! waker sees BLOCKING, else the sleeper sees the work. The README has the whole proof.

use std::sync::atomic::Ordering;

use crate::loom::{AtomicU32, AtomicU64, fence};

/// Nobody sleeps or is about to: there is nothing to break.
const IDLE: u32 = 0;
/// The holder of the poll lock sleeps or is about to: whoever wants it up must break it.
const BLOCKING: u32 = 1;
/// Somebody has broken this sleep, and owes or has paid the eventfd write.
const BROKEN: u32 = 2;

/// The deadline of a sleep without one.
pub(crate) const NEVER: u64 = u64::MAX;

/// The word that says whether somebody sleeps, and until when.
#[derive(Debug)]
pub(crate) struct Handshake {
    state: AtomicU32,
    /// When the sleeper must be up, in nanoseconds of the poller's clock. Means something only
    /// while `state` is BLOCKING. Set by the sleeper, lowered by anybody.
    until: AtomicU64,
}

impl Handshake {
    pub(crate) fn new() -> Handshake {
        Handshake { state: AtomicU32::new(IDLE), until: AtomicU64::new(NEVER) }
    }

    /// Announces a sleep until `until`. The caller holds the poll lock and looks for work once more
    /// after this. If the sleep is announced already, the deadline can only come forward.
    pub(crate) fn publish(&self, until: u64) {
        // Relaxed: only the holder of the poll lock writes IDLE, and reads it here. If a breaker's
        // BROKEN is missed, the answer is the same.
        if self.state.load(Ordering::Relaxed) == IDLE {
            // Relaxed: published by the store below.
            self.until.store(until, Ordering::Relaxed);
            // Release: pairs with the acquire load in `bring_forward`, which then reads this sleep's
            // deadline, or a lower one.
            self.state.store(BLOCKING, Ordering::Release);
        } else {
            // Not a store: it could undo a `bring_forward`. Relaxed: ordered by the fence below.
            self.until.fetch_min(until, Ordering::Relaxed);
        }
        // PublishFence: pairs with BreakFence. Weaker, and both sides could miss each other.
        fence(Ordering::SeqCst);
    }

    /// Ends the announcement.
    pub(crate) fn retract(&self) {
        // Acquire: pairs with the release in `break_`, so that a thread that was got up sees what
        // it was got up for. No release: a stale BLOCKING costs the reader a syscall at most.
        self.state.swap(IDLE, Ordering::Acquire);
    }

    /// Gets the sleeper up. `true`: the caller now owes a write to the eventfd.
    #[must_use]
    pub(crate) fn break_(&self) -> bool {
        // BreakFence: the caller's work is visible before the state is read. Pairs with
        // PublishFence.
        fence(Ordering::SeqCst);
        // The load keeps the cache line shared among those who find nobody asleep. Relaxed: the
        // fence has ordered it. Release on success: pairs with `retract`.
        self.state.load(Ordering::Relaxed) == BLOCKING
            && self
                .state
                .compare_exchange(BLOCKING, BROKEN, Ordering::Release, Ordering::Relaxed)
                .is_ok()
    }

    /// Lowers the deadline of the sleep, if there is a sleep and its deadline is later. `true`: the
    /// caller now owes the sleeper a timer armed for [`Handshake::until`].
    #[must_use]
    pub(crate) fn bring_forward(&self, when: u64) -> bool {
        // BreakFence, with the caller's timer heap as the work.
        fence(Ordering::SeqCst);
        // Acquire: pairs with the release in `publish`.
        self.state.load(Ordering::Acquire) == BLOCKING
            // Relaxed: what is read is this sleep's deadline or a lower one (see `publish`).
            && when < self.until.load(Ordering::Relaxed)
            // Relaxed: whoever arms the timer reads it under the timer's lock.
            && when < self.until.fetch_min(when, Ordering::Relaxed)
    }

    /// Is a sleep announced and not broken yet?
    pub(crate) fn is_blocking(&self) -> bool {
        // Relaxed: an optimisation only; a break missed here still writes the eventfd.
        self.state.load(Ordering::Relaxed) == BLOCKING
    }

    /// The deadline of the announced sleep.
    pub(crate) fn until(&self) -> u64 {
        // Relaxed: the callers are ordered by the timer's lock, or are the sleeper itself.
        self.until.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_break_without_a_sleeper_is_free_and_forgotten() {
        let handshake = Handshake::new();
        assert!(!handshake.break_());
        handshake.publish(NEVER);
        assert!(handshake.is_blocking());
    }

    #[test]
    fn one_write_per_sleep() {
        let handshake = Handshake::new();
        for _ in 0..3 {
            handshake.publish(NEVER);
            assert!(handshake.break_());
            assert!(!handshake.break_());
            handshake.publish(5);
            assert!(!handshake.is_blocking(), "publishing again does not undo a break");
            handshake.retract();
        }
    }

    #[test]
    fn a_deadline_only_comes_forward() {
        let handshake = Handshake::new();
        assert!(!handshake.bring_forward(1), "nobody sleeps");
        handshake.publish(100);
        assert!(!handshake.bring_forward(100));
        assert!(handshake.bring_forward(50));
        handshake.publish(70);
        assert_eq!(handshake.until(), 50);
        handshake.publish(30);
        assert_eq!(handshake.until(), 30);
    }
}

#[cfg(all(test, loom))]
mod model {
    use loom::{
        model,
        sync::{Arc, Mutex, atomic::AtomicBool},
        thread,
    };
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    /// The world around the handshake: a queue, a heap with one timer, an eventfd, a timerfd.
    struct World {
        handshake: Handshake,
        work: AtomicBool,
        timer: AtomicU64,
        eventfd: Mutex<u32>,
        timerfd: Mutex<u64>,
    }

    impl World {
        fn new() -> Arc<World> {
            Arc::new(World {
                handshake: Handshake::new(),
                work: AtomicBool::new(false),
                timer: AtomicU64::new(NEVER),
                eventfd: Mutex::new(0),
                timerfd: Mutex::new(NEVER),
            })
        }

        fn push_and_break(&self) {
            self.work.store(true, Relaxed);
            if self.handshake.break_() {
                *self.eventfd.lock().unwrap() += 1;
            }
        }

        fn add_timer(&self, when: u64) {
            // Release, as a heap's lock would be.
            self.timer.fetch_min(when, Ordering::AcqRel);
            if self.handshake.bring_forward(when) {
                self.arm();
            }
        }

        fn arm(&self) {
            let mut armed = self.timerfd.lock().unwrap();
            *armed = self.handshake.until();
        }
    }

    #[test]
    fn a_break_is_never_lost_and_never_doubled() {
        model(|| {
            let world = World::new();
            let breakers: Vec<_> = (0..2)
                .map(|_| {
                    let world = world.clone();
                    thread::spawn(move || world.push_and_break())
                })
                .collect();

            world.handshake.publish(NEVER);
            let sleeps = !world.work.load(Relaxed) && world.handshake.is_blocking();
            for breaker in breakers {
                breaker.join().unwrap();
            }
            let writes = *world.eventfd.lock().unwrap();
            assert!(writes <= 1);
            assert!(!sleeps || writes == 1, "the sleeper would never get up");
        });
    }

    #[test]
    fn a_broken_sleeper_sees_the_work() {
        model(|| {
            let world = World::new();
            let breaker = {
                let world = world.clone();
                thread::spawn(move || world.push_and_break())
            };
            world.handshake.publish(NEVER);
            let broken = !world.handshake.is_blocking();
            world.handshake.retract();
            assert!(!broken || world.work.load(Relaxed));
            breaker.join().unwrap();
        });
    }

    #[test]
    fn a_break_for_an_old_sleep_does_not_eat_the_next_ones() {
        model(|| {
            let world = World::new();
            let breaker = {
                let world = world.clone();
                thread::spawn(move || world.push_and_break())
            };
            world.handshake.publish(NEVER);
            world.handshake.retract();
            world.handshake.publish(NEVER);
            let sleeps = !world.work.load(Relaxed) && world.handshake.is_blocking();
            breaker.join().unwrap();
            assert!(!sleeps || *world.eventfd.lock().unwrap() == 1);
        });
    }

    fn spawn_timer(world: &Arc<World>, when: u64) -> thread::JoinHandle<()> {
        let world = world.clone();
        thread::spawn(move || world.add_timer(when))
    }

    #[test]
    fn an_earlier_timer_is_found_or_armed() {
        model(|| {
            let world = World::new();
            let arming = spawn_timer(&world, 5);
            world.handshake.publish(10);
            let seen = world.timer.load(Ordering::Acquire);
            if seen < 10 {
                world.handshake.publish(seen);
            }
            world.arm();
            arming.join().unwrap();
            assert_eq!(*world.timerfd.lock().unwrap(), 5);
        });
    }

    /// The sleeper and two others set the timerfd, in any order: the earliest deadline stays.
    #[test]
    fn the_last_to_arm_arms_the_earliest() {
        model(|| {
            let world = World::new();
            world.handshake.publish(10);
            let arming = [5, 3].map(|when| spawn_timer(&world, when));
            world.arm();
            for thread in arming {
                thread.join().unwrap();
            }
            assert_eq!(*world.timerfd.lock().unwrap(), 3);
        });
    }
}
