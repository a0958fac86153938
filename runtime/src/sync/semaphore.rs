//! `Semaphore`: a number of permits. Go: golang.org/x/sync/semaphore, runtime/sema.go.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use super::poll_slice;
use super::wait_list::{Node, Queue, WaitList};
use crate::sched::wait::{WaitReason, note_wait};
use crate::util::sync::const_fn;

/// A number of permits that are taken and given back.
///
/// Waiters are served strictly in the order of their arrival, so many small requests never starve
/// a large one. There is nothing like it in `std`.
///
/// # Examples
/// ```
/// use gort::prelude::*;
/// use gort::sync::Semaphore;
///
/// static FILES: Semaphore = Semaphore::new(2);
///
/// let one = FILES.acquire().wait().unwrap();
/// let two = FILES.acquire().wait().unwrap();
/// assert!(FILES.try_acquire().is_err());
/// drop(one);
/// assert_eq!(FILES.available_permits(), 1);
/// # drop(two);
/// ```
pub struct Semaphore {
    list: WaitList<State, Request>,
}

struct State {
    permits: usize,
    closed: bool,
}

/// What a waiter asks for; after it was chosen, whether it has it.
#[derive(Clone, Copy)]
struct Request {
    permits: usize,
    granted: bool,
}

impl Semaphore {
    /// More permits than this are an error.
    pub const MAX_PERMITS: usize = usize::MAX >> 3;

    const_fn! {
        /// A semaphore with so many permits to give.
        ///
        /// # Panics
        /// If there are more than [`MAX_PERMITS`](Semaphore::MAX_PERMITS).
        #[must_use]
        pub const fn new(permits: usize) -> Semaphore {
            assert!(permits <= Semaphore::MAX_PERMITS, "too many permits for a semaphore");
            Semaphore { list: WaitList::new(State { permits, closed: false }) }
        }
    }

    /// Permits that nobody has.
    #[must_use]
    pub fn available_permits(&self) -> usize {
        self.list.with(|state, _| state.permits)
    }

    /// Waits for one permit. The guard gives it back when it is dropped.
    ///
    /// Dropping the future gives up the place in the queue, and the permit if it was given already.
    ///
    /// # Errors
    /// [`AcquireError::Closed`] if the semaphore is or becomes [closed](Semaphore::close).
    pub fn acquire(&self) -> Acquire<'_> {
        self.acquire_many(1)
    }

    /// Waits for so many permits at once. Those behind in the queue wait until they are there.
    ///
    /// # Errors
    /// As [`acquire`](Semaphore::acquire).
    pub fn acquire_many(&self, permits: usize) -> Acquire<'_> {
        Acquire { semaphore: self, request: Wait::new(permits) }
    }

    /// As [`acquire`](Semaphore::acquire), with a permit that keeps the semaphore alive.
    ///
    /// # Errors
    /// As `acquire`.
    pub fn acquire_owned(self: Arc<Self>) -> AcquireOwned {
        self.acquire_many_owned(1)
    }

    /// As [`acquire_many`](Semaphore::acquire_many), with permits that keep the semaphore alive.
    ///
    /// # Errors
    /// As `acquire`.
    pub fn acquire_many_owned(self: Arc<Self>, permits: usize) -> AcquireOwned {
        AcquireOwned { semaphore: self, request: Wait::new(permits) }
    }

    /// Takes a permit if there is one and nobody waits. Blocks nothing.
    ///
    /// # Errors
    /// [`AcquireError::NoPermits`] if there is none to have now, [`AcquireError::Closed`] if there
    /// never will be.
    pub fn try_acquire(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.try_acquire_many(1)
    }

    /// As [`try_acquire`](Semaphore::try_acquire), so many at once.
    ///
    /// # Errors
    /// As `try_acquire`.
    pub fn try_acquire_many(&self, permits: usize) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.try_take(permits).map(|()| SemaphorePermit { semaphore: self, permits })
    }

    fn try_take(&self, permits: usize) -> Result<(), AcquireError> {
        self.list.with(|state, queue| state.take(permits, queue))
    }

    /// Adds permits.
    ///
    /// # Panics
    /// If there are more than [`MAX_PERMITS`](Semaphore::MAX_PERMITS) then. Nothing is added.
    #[track_caller]
    pub fn add_permits(&self, permits: usize) {
        assert!(self.put(permits), "too many permits for a semaphore");
    }

    /// Takes permits that nobody has out of the world, as many as there are, and says how many.
    pub fn forget_permits(&self, permits: usize) -> usize {
        self.list.with(|state, _| {
            let gone = state.permits.min(permits);
            state.permits -= gone;
            gone
        })
    }

    /// Closes it: who waits, and who will, gets an error. Permits that are out stay good.
    pub fn close(&self) {
        self.list.wake_each(|state, queue| {
            state.closed = true;
            queue.pop(|_| {})
        });
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.list.with(|state, _| state.closed)
    }

    /// False: too many.
    fn put(&self, permits: usize) -> bool {
        let waiting = self.list.with(|state, queue| {
            let sum = state.permits.checked_add(permits).filter(|n| *n <= Self::MAX_PERMITS)?;
            state.permits = sum;
            Some(!queue.is_empty())
        });
        if waiting == Some(true) {
            self.list.wake_each(State::serve);
        }
        waiting.is_some()
    }
}

impl State {
    /// For a newcomer.
    fn take(&mut self, permits: usize, queue: &Queue<Request>) -> Result<(), AcquireError> {
        if self.closed {
            return Err(AcquireError::Closed);
        }
        if self.permits < permits || !queue.is_empty() {
            return Err(AcquireError::NoPermits);
        }
        self.permits -= permits;
        Ok(())
    }

    /// Gives the first waiter what it asks for, if that is there.
    fn serve(&mut self, queue: &mut Queue<Request>) -> Option<Waker> {
        let Request { permits, .. } = queue.front()?;
        self.permits = self.permits.checked_sub(permits)?;
        queue.pop(|request| request.granted = true)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("permits", &self.available_permits()).finish()
    }
}

/// Why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcquireError {
    /// The semaphore is closed.
    Closed,
    /// There are too few at the moment; only the `try_` functions say so.
    NoPermits,
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AcquireError::Closed => "the semaphore is closed",
            AcquireError::NoPermits => "the semaphore has too few permits",
        })
    }
}

impl std::error::Error for AcquireError {}

/// The part of a future that waits for permits.
#[derive(Debug)]
struct Wait {
    permits: usize,
    node: Node<Request>,
}

impl Wait {
    fn new(permits: usize) -> Wait {
        Wait { permits, node: Node::new() }
    }

    fn poll(
        self: Pin<&Self>,
        semaphore: &Semaphore,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), AcquireError>> {
        // SAFETY: the field of a pinned struct; the futures cancel it in their `Drop`.
        let node = unsafe { self.map_unchecked(|wait| &wait.node) };
        let request = Request { permits: self.permits, granted: false };
        let take = |state: &mut State, queue: &mut Queue<Request>| {
            Some(state.take(self.permits, queue)).filter(|r| *r != Err(AcquireError::NoPermits))
        };
        let chosen = |r: Request| if r.granted { Ok(()) } else { Err(AcquireError::Closed) };
        let polled = semaphore.list.poll_take(node, cx, request, take, chosen);
        note_wait(polled, cx, WaitReason::Semaphore)
    }

    fn cancel(&self, semaphore: &Semaphore) {
        if self.node.is_idle() {
            return;
        }
        match semaphore.list.cancel(&self.node) {
            Some(Request { granted: true, permits }) => {
                semaphore.put(permits);
            }
            Some(_) => {}
            // Those behind may ask for less.
            None => semaphore.list.wake_each(State::serve),
        }
    }
}

/// The future of [`Semaphore::acquire`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Acquire<'a> {
    semaphore: &'a Semaphore,
    request: Wait,
}

impl<'a> Future for Acquire<'a> {
    type Output = Result<SemaphorePermit<'a>, AcquireError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(poll_slice(cx));
        let this = self.into_ref();
        let semaphore = this.semaphore;
        // SAFETY: the field of a pinned struct, which nobody moves.
        let request = unsafe { this.map_unchecked(|this| &this.request) };
        let permits = request.permits;
        request.poll(semaphore, cx).map_ok(|()| SemaphorePermit { semaphore, permits })
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        self.request.cancel(self.semaphore);
    }
}

/// The future of [`Semaphore::acquire_owned`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct AcquireOwned {
    semaphore: Arc<Semaphore>,
    request: Wait,
}

impl Future for AcquireOwned {
    type Output = Result<OwnedSemaphorePermit, AcquireError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(poll_slice(cx));
        let this = self.into_ref();
        // SAFETY: as in `Acquire`.
        let request = unsafe { this.map_unchecked(|this| &this.request) };
        let permits = request.permits;
        request.poll(&this.semaphore, cx).map_ok(|()| {
            let semaphore = this.semaphore.clone();
            OwnedSemaphorePermit { semaphore, permits }
        })
    }
}

impl Drop for AcquireOwned {
    fn drop(&mut self) {
        self.request.cancel(&self.semaphore);
    }
}

/// Permits of a [`Semaphore`]; dropping them gives them back.
#[derive(Debug)]
#[must_use = "the permits are given back when this is dropped"]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
    permits: usize,
}

/// As [`SemaphorePermit`], without a borrow of the semaphore.
#[derive(Debug)]
#[must_use = "the permits are given back when this is dropped"]
pub struct OwnedSemaphorePermit {
    semaphore: Arc<Semaphore>,
    permits: usize,
}

/// The methods of both.
macro_rules! permit {
    ($permit:ident $(<$life:lifetime>)?) => {
        impl $permit $(<$life>)? {
            /// Keeps the permits for ever: the semaphore has that many fewer.
            pub fn forget(mut self) {
                self.permits = 0;
            }

            /// How many they are.
            #[must_use]
            pub fn num_permits(&self) -> usize {
                self.permits
            }
        }

        impl Drop for $permit $(<$life>)? {
            fn drop(&mut self) {
                if self.permits > 0 {
                    // False: so many were added meanwhile that there is no room; these are gone.
                    self.semaphore.put(self.permits);
                }
            }
        }
    };
}

permit!(SemaphorePermit<'_>);
permit!(OwnedSemaphorePermit);
