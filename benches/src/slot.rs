//! A channel for one value, the same for all runtimes.
//!
//! The ping-pong of two tasks over one-value channels measures parking and waking. Each runtime's own channel would measure
//! that channel as well, so all of them use this one, and it is as cheap as it can be: a byte for a lock, taken with one swap
//! and given back with a plain store, around sections of a few instructions that wake nobody. (A `std` mutex costs a second
//! locked instruction at each unlock, which at 100 ns per round trip is half the result.)

use std::cell::UnsafeCell;
use std::future::poll_fn;
use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

/// Looks at a taken lock before the thread gives way: its holder may have lost its processor.
const SPINS: u32 = 100;

/// One end of the channel; both ends can send and receive. One task may wait on each side.
#[derive(Debug)]
pub struct Slot<T>(Arc<Locked<T>>);

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    sender: Option<Waker>,
    receiver: Option<Waker>,
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        let state = State { value: None, sender: None, receiver: None };
        Self(Arc::new(Locked { taken: AtomicBool::new(false), state: UnsafeCell::new(state) }))
    }
}

impl<T> Slot<T> {
    /// Waits until the slot is empty and fills it.
    pub async fn send(&self, value: T) {
        let mut value = Some(value);
        poll_fn(|cx| self.poll_send(cx, &mut value)).await;
    }

    /// Waits until the slot is full and empties it.
    pub async fn recv(&self) -> T {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_send(&self, cx: &mut Context<'_>, value: &mut Option<T>) -> Poll<()> {
        let receiver = self.0.with(|state| {
            if state.value.is_some() {
                return wait(&mut state.sender, cx);
            }
            state.value = value.take();
            Poll::Ready(state.receiver.take())
        });
        receiver.map(wake)
    }

    fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<T> {
        let taken = self.0.with(|state| match state.value.take() {
            Some(value) => Poll::Ready((value, state.sender.take())),
            None => wait(&mut state.receiver, cx),
        });
        taken.map(|(value, sender)| {
            wake(sender);
            value
        })
    }
}

fn wait<T>(place: &mut Option<Waker>, cx: &Context<'_>) -> Poll<T> {
    match place {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *place = Some(cx.waker().clone()),
    }
    Poll::Pending
}

fn wake(waiting: Option<Waker>) {
    if let Some(waker) = waiting {
        waker.wake();
    }
}

/// A state behind a lock of one byte.
#[derive(Debug)]
struct Locked<T> {
    taken: AtomicBool,
    state: UnsafeCell<State<T>>,
}

// SAFETY: `with` is the only way to the state and lets one thread in at a time; the value and the wakers move between threads,
// hence `T: Send`.
unsafe impl<T: Send> Sync for Locked<T> {}

impl<T> Locked<T> {
    fn with<R>(&self, f: impl FnOnce(&mut State<T>) -> R) -> R {
        let mut looks = 0;
        // Acquire: pairs with the Release below, so that this section sees all that the last one did.
        while self.taken.swap(true, Ordering::Acquire) {
            looks += 1;
            if looks % SPINS == 0 {
                thread::yield_now();
            }
            spin_loop();
        }
        // SAFETY: the swap returned false, so no other thread is between its swap and its store, and `f` cannot come back
        // here: the sections are in this file and call no other code than a waker's clone.
        let result = f(unsafe { &mut *self.state.get() });
        // Release: pairs with the Acquire above.
        self.taken.store(false, Ordering::Release);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smol::future::{block_on, zip};

    #[test]
    fn values_arrive_in_order_from_another_thread() {
        let slot = Slot::default();
        let sender = slot.clone();
        let thread = thread::spawn(move || {
            block_on(async {
                for i in 0..10_000 {
                    sender.send(i).await;
                }
            });
        });
        block_on(async {
            for i in 0..10_000 {
                assert_eq!(slot.recv().await, i);
            }
        });
        thread.join().unwrap();
    }

    #[test]
    fn a_full_slot_makes_the_sender_wait() {
        let slot = Slot::default();
        let send = async {
            slot.send(1).await;
            slot.send(2).await;
        };
        let recv = async { (slot.recv().await, slot.recv().await) };
        assert_eq!(block_on(zip(send, recv)).1, (1, 2));
    }
}
