//! loom models of the real mutex, semaphore and oneshot, and with them of the wait list.
//!
//! What a lock guards is a cell of loom's, which finds two at once. A lost wake-up is a deadlock,
//! which loom finds as well.

use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex as LoomMutex};
use loom::thread;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use super::raw_mutex::clock;
use super::{Mutex, Semaphore, oneshot};

/// Wakes a thread of the model.
#[derive(Default)]
struct Unpark {
    woken: LoomMutex<bool>,
    changed: Condvar,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

impl Unpark {
    fn park(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !std::mem::take(&mut *woken) {
            woken = self.changed.wait(woken).unwrap();
        }
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let unpark = Arc::new(Unpark::default());
    let waker = Waker::from(unpark.clone());
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        unpark.park();
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A value that loom watches, behind the mutex.
type Watched = Arc<Mutex<UnsafeCell<u32>>>;

fn watched() -> Watched {
    Arc::new(Mutex::new(UnsafeCell::new(0)))
}

async fn increment(mutex: &Mutex<UnsafeCell<u32>>) {
    let guard = mutex.lock().await;
    // SAFETY: the lock is this future's; loom checks it.
    guard.with_mut(|n| unsafe { *n += 1 });
}

fn count(mutex: &Mutex<UnsafeCell<u32>>) -> u32 {
    // SAFETY: as above.
    block_on(mutex.lock()).with(|n| unsafe { *n })
}

/// Starts a model whose clock goes on by `step` at each look.
fn model(step: u64, f: impl Fn() + Sync + Send + 'static) {
    loom::model(move || {
        clock::set(step);
        f();
    });
}

/// Longer than anyone has patience: every waiter that loses once starves.
const LONG: u64 = 1_000_000_000;

fn two_lock(step: u64) {
    model(step, || {
        let mutex = watched();
        let theirs = mutex.clone();
        let other = thread::spawn(move || {
            block_on(increment(&theirs));
            block_on(increment(&theirs));
        });
        block_on(increment(&mutex));
        block_on(increment(&mutex));
        other.join().unwrap();
        assert_eq!(count(&mutex), 4);
    });
}

#[test]
fn two_lock_in_turn() {
    two_lock(0);
}

#[test]
fn two_lock_and_starve() {
    two_lock(LONG);
}

fn three_lock(step: u64) {
    model(step, || {
        let mutex = watched();
        let others = [(); 2].map(|()| {
            let theirs = mutex.clone();
            thread::spawn(move || block_on(increment(&theirs)))
        });
        block_on(increment(&mutex));
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(count(&mutex), 3);
    });
}

#[test]
fn three_lock_in_turn() {
    three_lock(0);
}

#[test]
fn three_lock_and_starve() {
    three_lock(LONG);
}

fn a_waiter_gives_up(step: u64) {
    model(step, || {
        let mutex = watched();
        let held = mutex.try_lock().unwrap();
        let theirs = mutex.clone();
        let waits = thread::spawn(move || block_on(increment(&theirs)));
        let theirs = mutex.clone();
        let gives_up = thread::spawn(move || {
            let mut lock = pin!(theirs.lock());
            let _ = poll_once(lock.as_mut());
            // Dropped idle, queued, chosen, or with the lock.
        });
        drop(held);
        gives_up.join().unwrap();
        waits.join().unwrap();
        assert_eq!(count(&mutex), 1);
    });
}

#[test]
fn a_waiter_of_a_mutex_gives_up() {
    a_waiter_gives_up(0);
}

/// The waiter that was handed the lock is dropped instead of polled.
#[test]
fn a_starving_waiter_gives_up() {
    model(LONG, || {
        let mutex = watched();
        let held = mutex.try_lock().unwrap();
        // It is woken, loses, and starves: the next unlock hands the lock over.
        let mut starves = Box::pin(mutex.clone().lock_owned());
        assert!(poll_once(starves.as_mut()).is_pending());
        drop(held);
        let held = mutex.try_lock().unwrap();
        assert!(poll_once(starves.as_mut()).is_pending());
        assert!(mutex.try_lock().is_err());

        let theirs = mutex.clone();
        let waits = thread::spawn(move || block_on(increment(&theirs)));
        let drops = thread::spawn(move || drop(starves));
        drop(held);
        drops.join().unwrap();
        waits.join().unwrap();
        assert_eq!(count(&mutex), 1);
    });
}

#[test]
fn permits_come_back() {
    model(0, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let others = [1, 2].map(|permits| {
            let theirs = semaphore.clone();
            thread::spawn(move || drop(block_on(theirs.acquire_many(permits)).unwrap()))
        });
        semaphore.add_permits(1);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(semaphore.available_permits(), 2);
    });
}

#[test]
fn a_waiter_of_a_semaphore_gives_up() {
    model(0, || {
        let semaphore = Arc::new(Semaphore::new(0));
        let theirs = semaphore.clone();
        let waits = thread::spawn(move || drop(block_on(theirs.acquire()).unwrap()));
        let theirs = semaphore.clone();
        let gives_up = thread::spawn(move || {
            let mut acquire = pin!(theirs.acquire());
            let _ = poll_once(acquire.as_mut());
        });
        semaphore.add_permits(1);
        gives_up.join().unwrap();
        waits.join().unwrap();
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn closed_while_they_wait() {
    model(0, || {
        let semaphore = Arc::new(Semaphore::new(0));
        let others = [(); 2].map(|()| {
            let theirs = semaphore.clone();
            thread::spawn(move || block_on(theirs.acquire()).is_err())
        });
        semaphore.close();
        others.into_iter().for_each(|other| assert!(other.join().unwrap()));
    });
}

#[test]
fn a_value_arrives() {
    loom::model(|| {
        let value = Arc::new(());
        let (send, receive) = oneshot::channel();
        let theirs = value.clone();
        let sender = thread::spawn(move || send.send(theirs).is_ok());
        assert!(block_on(receive).is_ok());
        assert!(sender.join().unwrap());
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

/// Polled with one waker after the other: the last one is woken, and none is used twice.
#[test]
fn a_receiver_changes_its_waker() {
    loom::model(|| {
        let value = Arc::new(());
        let (send, mut receive) = oneshot::channel();
        let theirs = value.clone();
        let sender = thread::spawn(move || send.send(theirs).is_ok());
        let first = Arc::new(Unpark::default());
        let waker = Waker::from(first.clone());
        let early = Pin::new(&mut receive)
            .poll(&mut Context::from_waker(&waker))
            .map(|result| result.is_ok());
        drop(waker);
        match early {
            Poll::Ready(arrived) => assert!(arrived),
            Poll::Pending => assert!(block_on(&mut receive).is_ok()),
        }
        assert!(sender.join().unwrap());
        drop(receive);
        assert_eq!(Arc::strong_count(&first), 1);
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

#[test]
fn sent_or_given_back() {
    loom::model(|| {
        let value = Arc::new(());
        let (send, mut receive) = oneshot::channel();
        let theirs = value.clone();
        let sender = thread::spawn(move || drop(send.send(theirs)));
        let waker = Arc::new(Unpark::default());
        let early =
            Pin::new(&mut receive).poll(&mut Context::from_waker(&Waker::from(waker.clone())));
        drop(receive);
        sender.join().unwrap();
        drop(early);
        assert_eq!(Arc::strong_count(&value), 1);
        assert_eq!(Arc::strong_count(&waker), 1);
    });
}

#[test]
fn the_sender_goes_without_a_value() {
    loom::model(|| {
        let (send, receive) = oneshot::channel::<()>();
        let sender = thread::spawn(move || drop(send));
        assert!(block_on(receive).is_err());
        sender.join().unwrap();
    });
}
