//! loom models of the hand-off: a P that is taken from an M in user code, the residents of an M
//! that has none, and the end of an idle thread. A twin of `bracket.rs`, `handoff.rs`,
//! `residents.rs`, `startm.rs` and `rest.rs`, with the same steps, words and orderings.
//!
//! One P. `Local` is loom's cell, so a second user at the same moment is found, and so is one who
//! does not see what the last one did. As in `idle_model.rs` nobody blocks: an M that decides to
//! sleep returns, and what it was told to do is looked at in the end.

use loom::cell::{Cell, UnsafeCell};
use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, fence};
use loom::sync::{Arc, Mutex, MutexGuard};
use loom::thread;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

const PROC: usize = 1;
const SPINNING: usize = 1 << 8;
const WANTED: usize = 1 << 16;
const CLOSING: usize = 1 << 17;
const MASK: usize = 0xFF;
/// A thief's, and sysmon's; large enough to see the owner come out.
const ONE_LOOK: usize = 1;
const PATIENCE: usize = 2;
/// The bits of `revoke`.
const THIEF: u32 = 1;
const FENCE: u32 = 1 << 1;

#[derive(Default)]
struct Lists {
    /// Whether the P is idle.
    idle: bool,
    ms: Vec<usize>,
    wanting: Vec<usize>,
    closed: bool,
}

#[derive(Default)]
struct M {
    in_rt: AtomicU32,
    revoke: AtomicU32,
    /// Whether it holds the P.
    p: AtomicBool,
    /// Plain in the model: the bracket orders it.
    detached: Cell<bool>,
    nextp: AtomicBool,
    nextg: AtomicBool,
    /// Written by who wakes it.
    serves: Cell<bool>,
    note: AtomicBool,
    ends: Cell<bool>,
    residents: AtomicUsize,
    resting: AtomicBool,
    inbox: AtomicUsize,
}

struct World {
    /// Else FENCE is set in each `revoke`.
    is_asymmetric: bool,
    ms: [M; 3],
    /// M + 1, or 0.
    owner: AtomicUsize,
    /// What the P's owner uses; how often it was used.
    local: UnsafeCell<usize>,
    counts: AtomicUsize,
    detached: AtomicUsize,
    lists: Mutex<Lists>,
}

impl World {
    /// M0 holds the P, inside the core.
    fn new() -> Arc<World> {
        World::with(true)
    }

    fn with(is_asymmetric: bool) -> Arc<World> {
        let world = World::idle_with(is_asymmetric);
        world.lists().idle = false;
        world.counts.fetch_sub(PROC, Relaxed);
        world.acquirep(0);
        world.ms[0].in_rt.store(1, Relaxed);
        world
    }

    /// The P is idle.
    fn idle() -> Arc<World> {
        World::idle_with(true)
    }

    fn idle_with(is_asymmetric: bool) -> Arc<World> {
        let revoke = if is_asymmetric { 0 } else { FENCE };
        Arc::new(World {
            is_asymmetric,
            ms: [(); 3].map(|()| M { revoke: AtomicU32::new(revoke), ..M::default() }),
            owner: AtomicUsize::new(0),
            local: UnsafeCell::new(0),
            counts: AtomicUsize::new(PROC),
            detached: AtomicUsize::new(0),
            lists: Mutex::new(Lists { idle: true, ..Lists::default() }),
        })
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap()
    }

    // The bracket.

    /// What `enter` gives back to `set_in_rt`.
    fn enter(&self, m: usize) -> u32 {
        let before = self.ms[m].in_rt.load(Relaxed);
        if self.announce(m) && self.announce_slowly(m) && before == 0 {
            self.wait_for_thief(m);
        }
        before
    }

    fn announce(&self, m: usize) -> bool {
        self.ms[m].in_rt.store(1, Relaxed);
        if self.is_asymmetric {
            fence(SeqCst); // EnterFence: free, for the kernel has the other half
        }
        self.ms[m].revoke.load(Acquire) != 0
    }

    fn announce_slowly(&self, m: usize) -> bool {
        if !self.is_asymmetric {
            fence(SeqCst); // EnterFence
        }
        self.has_thief(m)
    }

    fn has_thief(&self, m: usize) -> bool {
        self.ms[m].revoke.load(Acquire) & THIEF != 0
    }

    fn set_in_rt(&self, m: usize, value: u32) {
        self.ms[m].in_rt.store(value, Release);
    }

    fn leave(&self, m: usize) {
        self.set_in_rt(m, 0);
    }

    fn wait_for_thief(&self, m: usize) {
        loop {
            self.leave(m);
            while self.has_thief(m) {
                thread::yield_now();
            }
            if !self.announce(m) || !self.announce_slowly(m) {
                return;
            }
        }
    }

    fn lock_out(&self, m: usize, patience: usize, f: impl FnOnce()) -> bool {
        let M { in_rt, revoke, .. } = &self.ms[m];
        if patience == ONE_LOOK && in_rt.load(Relaxed) != 0
            || revoke.fetch_or(THIEF, Acquire) & THIEF != 0
        {
            return false;
        }
        fence(SeqCst); // RevokeFence
        let outside = (0..patience).any(|_| {
            thread::yield_now();
            in_rt.load(Acquire) == 0
        }) && self.owner.load(Acquire) == m + 1;
        if outside {
            f();
        }
        revoke.fetch_and(!THIEF, Release);
        outside
    }

    fn acquirep(&self, m: usize) {
        assert!(!self.ms[m].p.load(Relaxed), "an M holds one P at most");
        self.ms[m].p.store(true, Relaxed);
        self.owner.store(m + 1, Release);
    }

    fn releasep(&self, m: usize) {
        if self.ms[m].p.load(Relaxed) {
            self.ms[m].p.store(false, Relaxed);
            self.owner.store(0, Release);
        }
    }

    fn touch(&self) {
        // SAFETY: loom checks it: the caller holds the P, or has its owner locked out.
        self.local.with_mut(|local| unsafe { *local += 1 });
    }

    /// M `m`, inside the core, uses its P if it has one.
    fn work(&self, m: usize) {
        if self.ms[m].p.load(Relaxed) {
            self.touch();
            assert_eq!(self.owner.load(Relaxed), m + 1, "the P is somebody else's");
        }
    }

    /// A thief robs whoever holds the P.
    fn rob(&self) {
        if let Some(m) = self.owner.load(Acquire).checked_sub(1) {
            self.lock_out(m, ONE_LOOK, || self.touch());
        }
    }

    /// sysmon takes the P.
    fn retake(&self) -> bool {
        let Some(m) = self.owner.load(Acquire).checked_sub(1) else { return false };
        self.lock_out(m, PATIENCE, || {
            self.touch();
            self.releasep(m);
            self.ms[m].detached.set(true);
            self.detached.fetch_add(1, Relaxed);
        })
    }

    fn attach(&self, m: usize) {
        if self.ms[m].detached.get() {
            self.ms[m].detached.set(false);
            self.detached.fetch_sub(1, Relaxed);
        }
    }

    // Who gives a P up, and who gets it.

    fn enlist_p(&self, lists: &mut Lists) {
        lists.idle = true;
        self.counts.fetch_add(PROC, SeqCst);
    }

    fn take_p(&self, lists: &mut Lists) -> bool {
        let idle = std::mem::take(&mut lists.idle);
        if idle {
            self.counts.fetch_sub(PROC, SeqCst);
        }
        idle
    }

    fn next_wanting(&self, lists: &mut Lists) -> Option<usize> {
        let mut found = None;
        while found.is_none() && !lists.wanting.is_empty() {
            let m = lists.wanting.remove(0);
            found = lists.ms.contains(&m).then_some(m);
            if lists.wanting.is_empty() {
                self.counts.fetch_and(!WANTED, Relaxed);
            }
        }
        found
    }

    fn want_p(&self, lists: &mut Lists, m: usize) {
        if !lists.wanting.contains(&m) {
            lists.wanting.push(m);
            self.counts.fetch_or(WANTED, Relaxed);
        }
    }

    /// An empty P, which nobody holds.
    fn put_p(&self) {
        let mut lists = self.lists();
        match self.next_wanting(&mut lists) {
            Some(m) => self.wake_with(lists, m),
            None => self.enlist_p(&mut lists),
        }
    }

    fn wake_home(&self, m: usize) {
        let mut lists = self.lists();
        if !lists.ms.contains(&m) {
            return; // it has been woken meanwhile
        }
        if self.take_p(&mut lists) {
            self.wake_with(lists, m);
        } else {
            self.want_p(&mut lists, m);
        }
    }

    fn wake_with(&self, mut lists: MutexGuard<'_, Lists>, m: usize) {
        self.counts.fetch_add(SPINNING, SeqCst);
        self.ms[m].nextp.store(true, Release);
        lists.ms.retain(|other| *other != m);
        drop(lists);
        self.ms[m].note.store(true, Release);
    }

    /// A producer's wake-up, which does not care who comes.
    fn startm(&self) {
        let mut lists = self.lists();
        if !self.take_p(&mut lists) {
            return;
        }
        self.counts.fetch_add(SPINNING, SeqCst);
        let m = lists.ms.pop().unwrap_or(2); // a new thread
        self.ms[m].nextp.store(true, Release);
        drop(lists);
        self.ms[m].note.store(true, Release);
    }

    /// Back from a call: an idle P will do.
    fn reacquirep(&self, m: usize) {
        if self.ms[m].p.load(Relaxed) || self.counts.load(Relaxed) & MASK == 0 {
            return;
        }
        let taken = self.take_p(&mut self.lists());
        if taken {
            self.acquirep(m);
            self.attach(m);
        }
    }

    // Residents.

    fn push_resident(&self, m: usize) {
        let M { inbox, resting, .. } = &self.ms[m];
        inbox.fetch_add(1, Release);
        fence(SeqCst); // PushFence
        if resting.load(Relaxed) {
            self.wake_home(m);
        }
    }

    fn rest(&self, m: usize) {
        {
            let mut lists = self.lists();
            let mut wanted = None;
            if self.ms[m].p.load(Relaxed) {
                self.releasep(m);
                wanted = self.next_wanting(&mut lists);
                if wanted.is_none() {
                    self.enlist_p(&mut lists);
                }
            }
            self.ms[m].resting.store(true, Relaxed);
            self.counts.fetch_add(0, SeqCst);
            lists.ms.push(m);
            if let Some(m) = wanted {
                self.wake_with(lists, m);
            }
        }
        fence(SeqCst); // SleepFence
        if self.ms[m].inbox.load(Relaxed) > 0 {
            self.wake_home(m);
        }
    }

    /// Whether `m` has been given the P; it then runs what lives on it.
    fn wakes(&self, m: usize) -> bool {
        let M { nextp, resting, inbox, .. } = &self.ms[m];
        if !nextp.swap(false, Acquire) {
            return false;
        }
        resting.store(false, Relaxed);
        self.acquirep(m);
        self.touch();
        inbox.store(0, Relaxed);
        self.counts.fetch_sub(SPINNING, SeqCst);
        self.rest(m);
        true
    }

    /// Runs who is to wake, until all sleep, and checks that no resident was forgotten.
    fn settle(&self) {
        while (0..self.ms.len()).any(|m| self.wakes(m)) {}
        for m in &self.ms {
            assert_eq!(m.inbox.load(Relaxed), 0, "a resident is runnable and its home sleeps");
        }
        let lists = self.lists();
        assert!(lists.idle && self.owner.load(Relaxed) == 0, "the P is lost");
        assert!(lists.wanting.is_empty(), "somebody wants the idle P");
        assert_eq!(self.counts.load(Relaxed), PROC, "a count or a bit is left");
    }

    // The end of an idle thread.

    fn set_nextg(&self, m: usize) {
        self.ms[m].serves.set(true);
        self.ms[m].nextg.store(true, Release);
    }

    /// Starts a G beside the P; true if it got somebody.
    fn start_beside(&self) -> bool {
        let mut lists = self.lists();
        if lists.closed {
            return false; // it is cancelled
        }
        let vacant = lists.ms.iter().rposition(|m| self.ms[*m].residents.load(Relaxed) == 0);
        let m = vacant.map_or(2, |i| lists.ms.remove(i)); // or a new thread
        self.set_nextg(m);
        drop(lists);
        self.ms[m].note.store(true, Release);
        true
    }

    /// A spare M, whose sleeps all end by the clock. True: its thread ends.
    fn sleep_on_note(&self, m: usize) -> bool {
        let it = &self.ms[m];
        while !it.nextp.load(Acquire) && !it.nextg.load(Relaxed) {
            if it.ends.get() {
                return true;
            }
            if self.counts.load(Relaxed) & CLOSING != 0 {
                self.lists().ms.retain(|other| *other != m);
                return !self.is_forsaken(m);
            }
            if !it.note.swap(false, Acquire) {
                self.end_if_idle(m);
            }
            thread::yield_now();
        }
        if it.nextg.swap(false, Acquire) {
            assert!(it.serves.replace(false), "it sees what it was woken for");
        }
        false
    }

    fn end_if_idle(&self, m: usize) {
        let mut lists = self.lists();
        let before = lists.ms.len();
        if self.ms[m].residents.load(Relaxed) == 0 {
            lists.ms.retain(|other| *other != m);
        }
        self.ms[m].ends.set(lists.ms.len() < before);
    }

    fn start_closing(&self) {
        self.counts.fetch_or(CLOSING, SeqCst);
        let mut lists = self.lists();
        lists.closed = true;
        let ms = std::mem::take(&mut lists.ms);
        drop(lists);
        ms.into_iter().for_each(|m| self.ms[m].note.store(true, Release));
    }

    /// Whether `m` was given something that it will not see any more.
    fn is_forsaken(&self, m: usize) -> bool {
        self.ms[m].nextp.load(Acquire) || self.ms[m].nextg.load(Acquire)
    }
}

fn run<T: 'static>(
    world: &Arc<World>,
    f: impl FnOnce(&World) -> T + 'static,
) -> thread::JoinHandle<T> {
    let world = world.clone();
    thread::spawn(move || f(&world))
}

/// With and without the kernel's help.
fn in_both_brackets(f: impl Fn(Arc<World>) + Copy + Send + Sync + 'static) {
    for is_asymmetric in [true, false] {
        loom::model(move || f(World::with(is_asymmetric)));
    }
}

/// sysmon takes the P and gives it to M1, while M0 comes back, with an entry inside the other, and
/// goes on with or without it.
#[test]
fn a_taken_p_has_one_user() {
    in_both_brackets(|world| {
        let sysmon = run(&world, |world| {
            if world.retake() {
                world.acquirep(1);
                world.enter(1);
                world.work(1);
                world.leave(1);
            }
        });
        world.work(0);
        world.leave(0);
        let outside = world.enter(0);
        world.work(0);
        let held = world.ms[0].p.load(Relaxed);
        let inside = world.enter(0);
        world.work(0);
        world.set_in_rt(0, inside);
        assert_eq!(world.ms[0].p.load(Relaxed), held, "the P goes while its owner is inside");
        world.work(0);
        world.set_in_rt(0, outside);
        world.enter(0);
        world.work(0);
        sysmon.join().unwrap();
        world.attach(0);
        assert_eq!(world.detached.load(Relaxed), 0);
    });
}

/// A thief is at work too: at M0, or at M1 when that has got the P.
#[test]
fn a_thief_beside_sysmon() {
    in_both_brackets(|world| {
        let thief = run(&world, World::rob);
        let sysmon = run(&world, |world| {
            if world.retake() {
                world.enter(1);
                world.acquirep(1);
                world.work(1);
                world.leave(1);
                world.enter(1);
                world.work(1);
            }
        });
        world.leave(0);
        world.enter(0);
        world.work(0);
        thief.join().unwrap();
        sysmon.join().unwrap();
    });
}

/// The P is taken, listed as idle, and taken again by the very M that lost it, which a thief may
/// have found before.
#[test]
fn a_p_that_comes_back() {
    in_both_brackets(|world| {
        let thief = run(&world, World::rob);
        let sysmon = run(&world, |world| {
            if world.retake() {
                world.put_p();
            }
        });
        world.leave(0);
        world.enter(0);
        world.work(0);
        world.reacquirep(0);
        world.work(0);
        world.leave(0);
        thief.join().unwrap();
        sysmon.join().unwrap();
        world.enter(0);
        world.reacquirep(0);
        world.work(0);
        assert!(world.ms[0].p.load(Relaxed));
        assert_eq!(world.detached.load(Relaxed), 0, "back at work, and counted as detached");
    });
}

/// M0 gives its P away itself, while sysmon is about to take it.
#[test]
fn sysmon_leaves_the_next_owner_alone() {
    in_both_brackets(|world| {
        let sysmon = run(&world, World::retake);
        world.leave(0);
        world.enter(0);
        if world.ms[0].p.load(Relaxed) {
            world.touch();
            world.releasep(0);
            let next = run(&world, |world| {
                world.enter(1);
                world.acquirep(1);
                world.work(1);
            });
            world.leave(0);
            next.join().unwrap();
        }
        sysmon.join().unwrap();
    });
}

/// A G that lives on M0 is woken while M0, which has no P, goes to sleep, and the P, which was
/// taken from somebody else, is on its way into the list.
#[test]
fn a_resident_gets_its_home_a_p() {
    loom::model(|| {
        let world = World::new();
        world.releasep(0);
        let pusher = run(&world, |world| world.push_resident(0));
        let sysmon = run(&world, World::put_p);
        world.rest(0);
        pusher.join().unwrap();
        sysmon.join().unwrap();
        world.settle();
    });
}

/// The same, and the P comes from an M that retires, or goes to one that a producer wakes.
#[test]
fn a_resident_beside_one_who_retires() {
    for produces in [false, true] {
        loom::model(move || {
            let world = World::new();
            world.releasep(0);
            world.acquirep(1);
            let pusher = run(&world, |world| world.push_resident(0));
            let other = run(&world, move |world| {
                world.rest(1);
                if produces {
                    world.startm();
                }
            });
            world.rest(0);
            pusher.join().unwrap();
            other.join().unwrap();
            world.settle();
        });
    }
}

/// M0 retires with its P: it lists it, and takes it again for its resident.
#[test]
fn a_resident_of_one_who_retires() {
    loom::model(|| {
        let world = World::new();
        let pushers = [(); 2].map(|()| run(&world, |world| world.push_resident(0)));
        world.rest(0);
        pushers.into_iter().for_each(|p| p.join().unwrap());
        world.settle();
    });
}

/// Two Ms want the P: both get it, in turn.
#[test]
fn two_homes_want_one_p() {
    loom::model(|| {
        let world = World::new();
        world.releasep(0);
        let other = run(&world, |world| {
            world.push_resident(0);
            world.rest(1);
        });
        world.push_resident(1);
        world.rest(0);
        world.put_p();
        other.join().unwrap();
        world.settle();
    });
}

/// A spare M ends while somebody has work for it: it gets that, or another does.
#[test]
fn an_end_against_who_wakes() {
    for beside in [false, true] {
        loom::model(move || {
            let world = World::idle();
            world.lists().ms.push(0);
            let waker = run(&world, move |world| {
                if beside {
                    world.start_beside();
                } else {
                    world.startm();
                }
            });
            let ended = world.sleep_on_note(0);
            waker.join().unwrap();
            assert!(!ended || !world.is_forsaken(0), "an M that has ended is given something");
            let new = world.is_forsaken(2);
            assert_eq!(ended, new, "nobody, or two, were woken");
        });
    }
}

/// Somebody lives on it: it does not end, and is woken for that.
#[test]
fn an_m_with_residents_does_not_end() {
    loom::model(|| {
        let world = World::idle();
        world.ms[0].residents.store(1, Relaxed);
        world.ms[0].resting.store(true, Relaxed);
        world.lists().ms.push(0);
        let pusher = run(&world, |world| world.push_resident(0));
        assert!(!world.sleep_on_note(0));
        pusher.join().unwrap();
        world.settle();
    });
}

/// The runtime ends: the G is cancelled, or it runs.
#[test]
fn the_end_against_who_starts_a_g() {
    loom::model(|| {
        let world = World::idle();
        world.lists().ms.push(0);
        let starter = run(&world, World::start_beside);
        let closer = run(&world, World::start_closing);
        let ended = world.sleep_on_note(0);
        closer.join().unwrap();
        starter.join().unwrap();
        assert!(!ended || !world.is_forsaken(0), "a G is never run, and never cancelled");
    });
}
