//! A channel: the lock, what it protects, and what may be seen without it. Go: hchan.

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::task::Waker;

use super::core::{CLOSED, Core, READABLE, Received, Returned, Sent, WRITABLE};
use super::lock::Lock;
use super::ring::Ring;
use super::timer::Timer;
use crate::sched::wait::WaitReason;
use crate::util::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

/// Wakers taken out of a closed channel at once, so that its lock is not held over their wake.
const BATCH: usize = 32;

/// The part of a channel that does not depend on the type of its values.
pub(super) struct Head {
    pub(super) lock: Lock,
    hint: AtomicU8,
    /// The channel is one of the clock.
    pub(super) timed: bool,
}

impl Head {
    /// What a look without the lock finds: `READABLE`, `WRITABLE`, `CLOSED`.
    #[inline(always)]
    pub(super) fn hint(&self) -> u8 {
        // Acquire: pairs with the Release in `publish`. Whoever has seen, by other means, that a
        // value was sent, sees here that one is there.
        self.hint.load(Ordering::Acquire)
    }

    fn publish(&self, hint: u8) {
        // Relaxed: the lock is held, and this is the only place that writes.
        if self.hint.load(Ordering::Relaxed) != hint {
            self.hint.store(hint, Ordering::Release); // Release: as in `hint`
        }
    }
}

/// See the module.
#[repr(C)]
pub(super) struct Hchan<T> {
    pub(super) head: Head,
    core: UnsafeCell<Core<T>>,
    /// Nobody sends; the values come from here, by the clock.
    pub(super) timer: Option<Timer<T>>,
    capacity: Option<usize>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    /// The last handle of one side has gone; the last of the other frees the channel.
    half_gone: AtomicBool,
}

// SAFETY: `core` is reached under the lock, or through methods whose callers hold it; values move
// from thread to thread, hence `T: Send`. The rest is atomic or never changes.
unsafe impl<T: Send> Sync for Hchan<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Hchan<T> {}

impl<T> Hchan<T> {
    /// A channel with a handle on each side. `None`: without a limit.
    pub(super) fn new(capacity: Option<usize>) -> NonNull<Hchan<T>> {
        Hchan::make(capacity, None, 1)
    }

    /// A channel without senders.
    pub(super) fn of_timer(timer: Timer<T>) -> NonNull<Hchan<T>> {
        Hchan::make(Some(0), Some(timer), 0)
    }

    fn make(capacity: Option<usize>, timer: Option<Timer<T>>, senders: usize) -> NonNull<Hchan<T>> {
        let ring = Ring::new(capacity.unwrap_or(0));
        let core = Core::new(capacity.unwrap_or(usize::MAX), ring);
        let head =
            Head { lock: Lock::new(), hint: AtomicU8::new(core.hint()), timed: timer.is_some() };
        let hchan = Hchan {
            head,
            core: UnsafeCell::new(core),
            timer,
            capacity,
            senders: AtomicUsize::new(senders),
            receivers: AtomicUsize::new(1),
            half_gone: AtomicBool::new(senders == 0),
        };
        NonNull::from(Box::leak(Box::new(hchan)))
    }

    /// What a receiver waits for, for dumps.
    pub(super) fn reason(&self) -> WaitReason {
        let never = self.timer.as_ref().is_some_and(Timer::is_never);
        if never { WaitReason::ChanReceiveNil } else { WaitReason::ChanReceive }
    }

    /// Runs a section of a few instructions that calls no user code.
    #[inline(always)]
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Core<T>) -> R) -> R {
        self.head.lock.lock();
        // SAFETY: the lock is held.
        let result = unsafe { self.locked(f) };
        self.head.lock.unlock();
        result
    }

    /// As `with`, for one who holds the lock.
    ///
    /// # Safety
    /// The caller holds the lock, and is not inside another section of this channel.
    #[inline(always)]
    pub(super) unsafe fn locked<R>(&self, f: impl FnOnce(&mut Core<T>) -> R) -> R {
        // SAFETY: as the caller vouches.
        let core = unsafe { &mut *self.core.get() };
        let result = f(core);
        self.head.publish(core.hint());
        result
    }

    /// Sends without waiting. None: it is full.
    ///
    /// # Safety
    /// There is a value at `from`. After `Some(true)` it is not the caller's any more.
    pub(super) unsafe fn try_send(&self, from: *const T) -> Option<bool> {
        if self.head.hint() & WRITABLE == 0 {
            return None;
        }
        loop {
            // SAFETY: as the caller vouches.
            match self.with(|core| unsafe { core.send(from) }) {
                Sent::Done(waker) => {
                    wake(waker);
                    return Some(true);
                }
                Sent::Closed => return Some(false),
                Sent::Full => return None,
                Sent::Grow => self.grow(),
            }
        }
    }

    /// Makes the ring of an unbounded channel larger.
    #[cold]
    pub(super) fn grow(&self) {
        let size = self.with(|core| core.next_size());
        let slots = Box::new_uninit_slice(size);
        drop(self.with(|core| core.grow(slots)));
    }

    /// Receives without waiting; `Empty` has woken whom it had to.
    ///
    /// # Safety
    /// `to` may be written. After `Some(true)` there is a value.
    pub(super) unsafe fn try_recv(&self, to: *mut T) -> Option<bool> {
        if let Some(timer) = &self.timer {
            let (value, _) = timer.take_due()?;
            // SAFETY: as the caller vouches.
            unsafe { to.write(value) };
            return Some(true);
        }
        if self.head.hint() & READABLE == 0 {
            return None;
        }
        // SAFETY: as the caller vouches.
        match self.with(|core| unsafe { core.recv(to, true) }) {
            Received::Done(waker) => {
                wake(waker);
                Some(true)
            }
            Received::Returned(node) => {
                drop(node);
                Some(true)
            }
            Received::Closed => Some(false),
            Received::Empty(waker) => {
                wake(waker);
                None
            }
        }
    }

    /// Gives on a value that was handed to a receiver which has gone.
    #[cold]
    pub(super) fn give_back(&self, value: T, turn: u64) {
        let node = Returned::new(value, turn);
        let given = self.with(|core| core.give_back(node));
        drop(given.empty);
        wake(given.waker);
    }

    /// How many values it holds at most.
    pub(super) fn capacity(&self) -> Option<usize> {
        self.capacity
    }

    /// Whether it has been closed.
    pub(super) fn is_closed(&self) -> bool {
        self.head.hint() & CLOSED != 0
    }

    /// Closes the channel and wakes all who wait. False if it was closed.
    pub(super) fn close(&self) -> bool {
        if !self.with(Core::close) {
            return false;
        }
        loop {
            let mut wakers = WakeAll::default();
            self.with(|core| {
                while wakers.len < BATCH
                    && let Some(waker) = core.dismiss()
                {
                    wakers.push(waker);
                }
            });
            if wakers.len == 0 {
                return true;
            }
        }
    }

    pub(super) fn add_sender(&self) {
        add(&self.senders);
    }

    pub(super) fn add_receiver(&self) {
        add(&self.receivers);
    }

    /// A sender has gone.
    ///
    /// # Safety
    /// It does not use the channel again.
    pub(super) unsafe fn drop_sender(this: NonNull<Hchan<T>>) {
        // SAFETY: the handle that goes still counts.
        let hchan = unsafe { this.as_ref() };
        // AcqRel: what the other senders did comes before the close.
        if hchan.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _half = Half(this);
            hchan.close();
        }
    }

    /// A receiver has gone. With the last one go the values inside.
    ///
    /// # Safety
    /// It does not use the channel again.
    pub(super) unsafe fn drop_receiver(this: NonNull<Hchan<T>>) {
        // SAFETY: the handle that goes still counts.
        let hchan = unsafe { this.as_ref() };
        // AcqRel: as in `drop_sender`.
        if hchan.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _half = Half(this);
            hchan.close();
            drop(hchan.with(Core::discard));
        }
    }
}

fn add(count: &AtomicUsize) {
    // Relaxed: the handle is passed on by whatever passes it on.
    if count.fetch_add(1, Ordering::Relaxed) > usize::MAX / 2 {
        std::process::abort(); // that many leaked handles, as `Arc` does
    }
}

/// One side has gone when this is dropped, also by a panic of a waker or a value.
struct Half<T>(NonNull<Hchan<T>>);

impl<T> Drop for Half<T> {
    fn drop(&mut self) {
        // SAFETY: this side still counts.
        let half_gone = unsafe { &self.0.as_ref().half_gone };
        // AcqRel: the second one frees what the first one has left.
        if half_gone.swap(true, Ordering::AcqRel) {
            // SAFETY: made by `Box`; nobody is left.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}

/// Wakes, after the unlock.
#[inline(always)]
pub(super) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Wakers to wake, all of them, even if one panics.
#[derive(Default)]
struct WakeAll {
    wakers: [Option<Waker>; BATCH],
    len: usize,
}

impl WakeAll {
    fn push(&mut self, waker: Option<Waker>) {
        self.wakers[self.len] = waker;
        self.len += 1;
    }
}

impl Drop for WakeAll {
    fn drop(&mut self) {
        struct Rest<'a>(std::slice::IterMut<'a, Option<Waker>>);
        impl Drop for Rest<'_> {
            fn drop(&mut self) {
                self.0.by_ref().for_each(|waker| wake(waker.take()));
            }
        }
        let mut rest = Rest(self.wakers[..self.len].iter_mut());
        rest.0.by_ref().for_each(|waker| wake(waker.take()));
    }
}
