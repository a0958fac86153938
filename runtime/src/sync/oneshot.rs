//! A channel for one value.
//!
//! One allocation, one compare-exchange each side and one more for a receiver that waits. The word:
//!
//! ```text
//! EMPTY   -> WAITING // the receiver has stored its waker
//! WAITING -> EMPTY   // the receiver takes it back, to store another
//! EMPTY   -> SENT    // the sender has written the value, or is gone without
//! WAITING -> SENT    // the same; the waker is the sender's, which wakes it
//! EMPTY   -> CLOSED  // the receiver is gone
//! WAITING -> CLOSED  // the same; the waker is the receiver's
//! ```
//!
//! Whoever comes second to its end, and so finds SENT or CLOSED, frees the channel: the first one
//! does not touch it after its transition. That is why the sender copies the waker *before*, while
//! the receiver may be changing it. Each WAITING has a number of its own, so a compare-exchange that
//! succeeds says that the copy is of that waker, and whole.

use std::fmt;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, RawWakerVTable, Waker};

use crate::sched::wait::{WaitReason, note_wait};
use crate::util::sync::UnsafeCell;
use crate::util::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

const EMPTY: usize = 0;
const WAITING: usize = 1;
const SENT: usize = 2;
const CLOSED: usize = 3;
const STATE: usize = 3;
/// Counts the registrations of wakers, above the state.
const ONE_MORE: usize = 4;

/// Makes a channel for one value.
///
/// The sender never waits; the receiver is a future. There is nothing like it in `std`.
///
/// # Examples
/// ```
/// use gort::prelude::*;
/// use gort::sync::oneshot;
///
/// let (send, receive) = oneshot::channel();
/// gort::spawn(async move { send.send(42).unwrap() });
/// assert_eq!(receive.wait(), Ok(42));
/// ```
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let channel = Box::new(Channel {
        word: AtomicUsize::new(EMPTY),
        waker: WakerWords::default(),
        value: UnsafeCell::new(None),
    });
    let channel = NonNull::from(Box::leak(channel));
    (Sender(channel), Receiver(channel))
}

struct Channel<T> {
    word: AtomicUsize,
    /// The receiver's to write while the word is not WAITING.
    waker: WakerWords,
    /// The sender's until SENT, then the receiver's.
    value: UnsafeCell<Option<T>>,
}

impl<T> Channel<T> {
    /// The sender's end: EMPTY or WAITING becomes SENT. False: CLOSED, the channel is the caller's.
    fn send(&self) -> bool {
        // Acquire: pairs with the Release in `register`, for the waker's words.
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let waker = (word & STATE == WAITING).then(|| self.waker.copy());
            if word == CLOSED {
                return false;
            }
            // Release: pairs with the Acquire of the receiver, for the value. Acquire: as above;
            // and after CLOSED the receiver's accesses are over.
            let sent = self.word.compare_exchange(word, SENT, Ordering::Release, Ordering::Acquire);
            match sent {
                // The channel may be gone from here on.
                Ok(_) => {
                    if let Some(waker) = waker {
                        // SAFETY: the compare-exchange says that it is whole and the sender's.
                        unsafe { waker.take() }.wake();
                    }
                    return true;
                }
                Err(now) => word = now,
            }
        }
    }

    /// Stores `waker`, unless the value is there: false.
    fn register(&self, waker: &Waker) -> bool {
        // Acquire: pairs with the Release in `send`, for the value.
        let mut word = self.word.load(Ordering::Acquire);
        if word & STATE == WAITING {
            if self.waker.copy().will_wake(waker) {
                return true;
            }
            let old = self.waker.copy();
            let empty = word & !STATE;
            // Acquire: as above. Relaxed success: the sender reads nothing after EMPTY.
            match self.word.compare_exchange(word, empty, Ordering::Relaxed, Ordering::Acquire) {
                Ok(_) => word = empty,
                Err(_) => return false,
            }
            // SAFETY: the receiver stored it, and has it back.
            drop(unsafe { old.take() });
        }
        if word & STATE == SENT {
            return false;
        }
        self.waker.store(waker.clone());
        let waiting = (word + ONE_MORE) | WAITING;
        // Release: pairs with the Acquire in `send`, for the waker. Acquire: for the value.
        if self.word.compare_exchange(word, waiting, Ordering::Release, Ordering::Acquire).is_ok() {
            return true;
        }
        // SAFETY: nobody has seen it.
        drop(unsafe { self.waker.copy().take() });
        false
    }

    /// Takes the value, if there is one.
    ///
    /// # Safety
    /// The word gives the value to the caller.
    unsafe fn take(&self) -> Option<T> {
        // SAFETY: by contract.
        self.value.with_mut(|value| unsafe { (*value).take() })
    }
}

/// Frees a channel, with what is in it. A value whose destructor panics is freed all the same.
///
/// # Safety
/// The other end is gone, and the caller does not use the channel any more.
unsafe fn free<T>(channel: NonNull<Channel<T>>) {
    // SAFETY: it came from a box, and by contract nobody else has it.
    drop(unsafe { Box::from_raw(channel.as_ptr()) });
}

/// The end that sends. Dropping it unused tells the receiver.
pub struct Sender<T>(NonNull<Channel<T>>);

// SAFETY: it moves a T to another thread; what the ends share is behind the word.
unsafe impl<T: Send> Send for Sender<T> {}
// SAFETY: `&Sender` looks at the word only.
unsafe impl<T: Send> Sync for Sender<T> {}

impl<T> Sender<T> {
    /// Sends `value`. Blocks nothing.
    ///
    /// # Errors
    /// Gives it back if the receiver is gone. Ok is no promise that it will be looked at.
    pub fn send(self, value: T) -> Result<(), T> {
        let this = ManuallyDrop::new(self);
        // SAFETY: the channel lives until this end comes to its end, below.
        let channel = unsafe { this.0.as_ref() };
        // SAFETY: before SENT the value is the sender's.
        channel.value.with_mut(|slot| unsafe { *slot = Some(value) });
        if channel.send() {
            return Ok(());
        }
        // SAFETY: CLOSED: the receiver is gone and this end is the last.
        unsafe {
            let value = channel.take();
            free(this.0);
            value.map_or(Ok(()), Err)
        }
    }

    /// Whether the receiver is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        // SAFETY: the channel lives as long as this end. Relaxed: a hint.
        unsafe { self.0.as_ref() }.word.load(Ordering::Relaxed) == CLOSED
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // SAFETY: as in `send`.
        if !unsafe { self.0.as_ref() }.send() {
            // SAFETY: CLOSED: this end is the last.
            unsafe { free(self.0) };
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("is_closed", &self.is_closed()).finish()
    }
}

/// The end that receives: a future of the value. Dropping it, the sender gets its value back.
///
/// # Errors
/// [`RecvError`] if the sender was dropped, or the value was taken before.
#[must_use = "futures do nothing unless awaited"]
pub struct Receiver<T>(NonNull<Channel<T>>);

// SAFETY: as for `Sender`.
unsafe impl<T: Send> Send for Receiver<T> {}
// SAFETY: `&Receiver` gives nothing.
unsafe impl<T: Send> Sync for Receiver<T> {}
impl<T> Unpin for Receiver<T> {}

impl<T> Receiver<T> {
    /// Takes the value if it is there. Blocks nothing.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] if it is not there yet, [`TryRecvError::Closed`] if it never will be.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        // Acquire: pairs with the Release in `send`.
        if self.channel().word.load(Ordering::Acquire) != SENT {
            return Err(TryRecvError::Empty);
        }
        // SAFETY: SENT: the value is the receiver's.
        unsafe { self.channel().take() }.ok_or(TryRecvError::Closed)
    }

    fn channel(&self) -> &Channel<T> {
        // SAFETY: it lives until this end comes to its end.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, RecvError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.channel().register(cx.waker()) {
            return note_wait(Poll::Pending, cx, WaitReason::Oneshot);
        }
        // SAFETY: SENT: the value is the receiver's.
        Poll::Ready(unsafe { self.channel().take() }.ok_or(RecvError(())))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let channel = self.channel();
        // Acquire: pairs with the Release in `send`, for the value.
        let mut word = channel.word.load(Ordering::Acquire);
        while word != SENT {
            let waker = (word & STATE == WAITING).then(|| channel.waker.copy());
            // Release: this end's accesses come before the sender frees the channel.
            let closed =
                channel.word.compare_exchange(word, CLOSED, Ordering::Release, Ordering::Acquire);
            match closed {
                // SAFETY: the receiver stored it, and the sender has not taken it.
                Ok(_) => return drop(waker.map(|waker| unsafe { waker.take() })),
                Err(now) => word = now,
            }
        }
        // SAFETY: SENT: this end is the last.
        unsafe { free(self.0) };
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Relaxed: for people to look at.
        let sent = self.channel().word.load(Ordering::Relaxed) == SENT;
        f.debug_struct("Receiver").field("is_sent", &sent).finish()
    }
}

/// The sender was dropped without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecvError(());

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sender was dropped without a value")
    }
}

impl std::error::Error for RecvError {}

/// Why [`Receiver::try_recv`] has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryRecvError {
    /// It may still come.
    Empty,
    /// The sender was dropped without one, or it was taken before.
    Closed,
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryRecvError::Empty => "there is no value yet",
            TryRecvError::Closed => "there will be no value",
        })
    }
}

impl std::error::Error for TryRecvError {}

/// A waker as two words that may be copied while they change.
#[derive(Default)]
struct WakerWords {
    data: AtomicPtr<()>,
    vtable: AtomicPtr<RawWakerVTable>,
}

/// A copy of them, which may be torn until the channel's word says otherwise.
struct WakerCopy(*mut (), *mut RawWakerVTable);

impl WakerWords {
    fn store(&self, waker: Waker) {
        let waker = ManuallyDrop::new(waker);
        // Relaxed: published by the word.
        self.data.store(waker.data().cast_mut(), Ordering::Relaxed);
        self.vtable.store(std::ptr::from_ref(waker.vtable()).cast_mut(), Ordering::Relaxed);
    }

    fn copy(&self) -> WakerCopy {
        // Relaxed: the word says afterwards whether the copy counts.
        WakerCopy(self.data.load(Ordering::Relaxed), self.vtable.load(Ordering::Relaxed))
    }
}

impl WakerCopy {
    fn will_wake(&self, waker: &Waker) -> bool {
        std::ptr::eq(self.0, waker.data()) && std::ptr::eq(self.1, waker.vtable())
    }

    /// # Safety
    /// The copy is whole, and the word has given the waker to the caller, once.
    unsafe fn take(self) -> Waker {
        // SAFETY: by contract they are the words of one waker.
        unsafe { Waker::new(self.0, &*self.1) }
    }
}
