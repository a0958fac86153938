//! loom models of the lists and tokens: the real `Core`, `Token` and `Waiter`, with waits driven by
//! hand. The lock is loom's mutex, for a lock that spins has no end of interleavings.
//!
//! What can go wrong lies between the sections: a waiter served twice or after it has gone, a value
//! lost between the hand-over and a drop, a wake that goes to a waker that has been replaced.

use loom::sync::{Arc, Mutex};
use loom::thread;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::core::{Core, Received, Returned, Sent};
use super::ring::Ring;
use super::wait::{Outcome, Token, Waiter};

struct Chan(Mutex<Core<Box<u64>>>);

// SAFETY: the lists name waits that outlive them, and are used under the lock.
unsafe impl Sync for Chan {}
// SAFETY: as above.
unsafe impl Send for Chan {}

impl Chan {
    fn new(capacity: usize) -> Arc<Chan> {
        let core = Core::new(capacity, Ring::new(capacity));
        Arc::new(Chan(Mutex::new(core)))
    }

    fn with<R>(&self, f: impl FnOnce(&mut Core<Box<u64>>) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }

    /// True: sent. The waker is woken after the unlock.
    fn try_send(&self, value: u64) -> bool {
        let value = std::mem::ManuallyDrop::new(Box::new(value));
        // SAFETY: there is a value; unless it is sent, it is dropped below.
        let sent = self.with(|core| unsafe { core.send(&raw const *value) });
        match sent {
            Sent::Done(waker) => {
                waker.into_iter().for_each(Waker::wake);
                true
            }
            _ => {
                drop(std::mem::ManuallyDrop::into_inner(value));
                false
            }
        }
    }

    fn try_recv(&self) -> Option<u64> {
        let mut value = std::mem::MaybeUninit::<Box<u64>>::uninit();
        // SAFETY: the place may be written, and is read only if it was.
        match self.with(|core| unsafe { core.recv(value.as_mut_ptr(), false) }) {
            Received::Done(waker) => {
                waker.into_iter().for_each(Waker::wake);
                // SAFETY: as above.
                Some(*unsafe { value.assume_init() })
            }
            Received::Returned(node) => {
                drop(node);
                // SAFETY: as above.
                Some(*unsafe { value.assume_init() })
            }
            _ => None,
        }
    }

    fn give_back(&self, value: Box<u64>, turn: u64) {
        let node = Returned::new(value, turn);
        let given = self.with(|core| core.give_back(node));
        given.waker.into_iter().for_each(Waker::wake);
    }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    fn pair() -> (std::sync::Arc<Count>, Waker) {
        let count = std::sync::Arc::<Count>::default();
        (count.clone(), Waker::from(count))
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A receive over one or two channels, in a box.
struct Wait {
    token: Token,
    waiters: [Waiter<Box<u64>>; 2],
}

// SAFETY: it stays with the thread that made it; peers use the token and the locks.
unsafe impl Send for Wait {}
// SAFETY: as above.
unsafe impl Sync for Wait {}

impl Wait {
    fn new(single: bool) -> Pin<Box<Wait>> {
        let waiters = [Waiter::empty(), Waiter::empty()];
        Box::pin(Wait { token: Token::new(single), waiters })
    }

    fn enlist(&self, channels: &[&Chan], waker: Waker) {
        let mut cores: Vec<_> = channels.iter().map(|chan| chan.0.lock().unwrap()).collect();
        // SAFETY: the locks are held, and this wait is unlinked before it goes.
        unsafe {
            self.token.arm(waker);
            for (case, core) in cores.iter_mut().enumerate() {
                core.receivers.push(&self.waiters[case], &self.token, case);
            }
        }
    }

    /// Ends the wait; the value, if one has come.
    fn withdraw(&self, channels: &[&Chan]) -> Option<(usize, Box<u64>, u64)> {
        for (case, chan) in channels.iter().enumerate() {
            chan.with(|core| core.unlink_receiver(&self.waiters[case]));
        }
        let case = self.token.served()?;
        if self.waiters[case].outcome() != Outcome::Moved {
            return None;
        }
        // SAFETY: a peer has moved it here; it is taken once.
        let value = unsafe { self.waiters[case].value().read() };
        Some((case, value, self.waiters[case].turn()))
    }
}

/// A receive is dropped while it is handed a value: that is there for the next.
#[test]
fn handed_over_or_dropped() {
    loom::model(|| {
        let chan = Chan::new(0);
        let wait = Wait::new(true);
        let (_, waker) = Count::pair();
        wait.enlist(&[&chan], waker);
        let theirs = chan.clone();
        let sending = thread::spawn(move || theirs.try_send(7));
        if let Some((_, value, turn)) = wait.withdraw(&[&chan]) {
            chan.give_back(value, turn);
        }
        drop(wait);
        let sent = sending.join().unwrap();
        assert_eq!(chan.try_recv(), sent.then_some(7));
    });
}

/// Two senders, and a select over both channels: one serves it, the other's value stays.
#[test]
fn one_case_is_served() {
    loom::model(|| {
        let channels = [Chan::new(1), Chan::new(1)];
        let wait = Wait::new(false);
        let (count, waker) = Count::pair();
        let both = [&*channels[0], &*channels[1]];
        wait.enlist(&both, waker);
        let senders = [0, 1].map(|i| {
            let chan = channels[i].clone();
            thread::spawn(move || assert!(chan.try_send(i as u64)))
        });
        let early = wait.withdraw(&both);
        senders.into_iter().for_each(|s| s.join().unwrap());
        let inside = [0, 1].map(|i| channels[i].try_recv().is_some());
        match early {
            Some((case, value, _)) => {
                assert_eq!(*value, case as u64);
                assert_eq!(inside, [case != 0, case != 1]);
                assert_eq!(count.get(), 1);
            }
            None => assert_eq!(inside, [true, true]),
        }
    });
}

/// The waker of a select is replaced while a peer claims it: the one that stands there is woken.
#[test]
fn the_newest_waker() {
    loom::model(|| {
        let chan = Chan::new(1);
        let wait = Wait::new(false);
        let ((old, first), (new, second)) = (Count::pair(), Count::pair());
        wait.enlist(&[&chan], first);
        let theirs = chan.clone();
        let sending = thread::spawn(move || assert!(theirs.try_send(7)));
        // SAFETY: the token is this wait's.
        let renewed = unsafe { wait.token.renew(second) }.is_ok();
        sending.join().unwrap();
        assert_eq!((old.get(), new.get()), if renewed { (0, 1) } else { (1, 0) });
        assert_eq!(wait.withdraw(&[&chan]).map(|(_, value, _)| *value), Some(7));
    });
}

/// A promise is kept while its receiver is dropped.
#[test]
fn promised_or_dropped() {
    loom::model(|| {
        let chan = Chan::new(0);
        let wait = Wait::new(false);
        let (count, waker) = Count::pair();
        wait.enlist(&[&chan], waker);
        assert!(matches!(chan.with(|core| core.reserve()), Sent::Done(None)));
        assert!(!chan.try_send(1), "the receiver has been spoken for");
        let theirs = chan.clone();
        let keeping = thread::spawn(move || {
            let value = std::mem::ManuallyDrop::new(Box::new(7));
            // SAFETY: there is a value; it is sent, or given back below.
            let kept = theirs
                .with(|core| unsafe { core.keep_promise(&raw const *value, Outcome::Promised) });
            match kept {
                Sent::Done(waker) => waker.into_iter().for_each(Waker::wake),
                _ => theirs.give_back(std::mem::ManuallyDrop::into_inner(value), u64::MAX),
            }
        });
        let early = wait.withdraw(&[&chan]);
        drop(wait);
        keeping.join().unwrap();
        match early {
            Some((_, value, _)) => assert_eq!((*value, count.get()), (7, 1)),
            None => assert_eq!(chan.try_recv(), Some(7)),
        }
    });
}

/// A close against one who waits and one who is about to leave.
#[test]
fn closed_or_dropped() {
    loom::model(|| {
        let chan = Chan::new(0);
        let waits = [Wait::new(true), Wait::new(false)];
        let wakers = [Count::pair(), Count::pair()];
        for (wait, (_, waker)) in waits.iter().zip(&wakers) {
            wait.enlist(&[&chan], waker.clone());
        }
        let theirs = chan.clone();
        let closing = thread::spawn(move || {
            assert!(theirs.with(Core::close));
            while let Some(waker) = theirs.with(Core::dismiss) {
                waker.into_iter().for_each(Waker::wake);
            }
        });
        assert!(waits[1].withdraw(&[&chan]).is_none());
        closing.join().unwrap();
        assert_eq!(waits[0].token.served(), Some(0));
        assert_eq!(waits[0].waiters[0].outcome(), Outcome::Closed);
        assert_eq!(wakers[0].0.get(), 1);
        assert!(!chan.try_send(1));
    });
}
