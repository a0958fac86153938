//! `scope`: goroutines that borrow from outside of it.
//!
//! Sound because the scope does not return before all of them have ended and
//! what they leave behind has been dropped, also when its body panics or its
//! goroutine is aborted; and because a suspended stack is never freed.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

use crate::join::{Id, JoinError, JoinHandle};
use crate::rt;
use crate::sched::wait::{WaitReason, note_wait};
use crate::spawn::go_on;
use crate::task::goroutine;

/// Runs `f`, in which goroutines may be started that borrow from outside of it. Returns when all
/// of them have ended. Like [`std::thread::scope`].
///
/// In a goroutine only that one waits; on a plain thread, and in a task's poll, the thread does.
///
/// # Panics
/// With the panic of `f`; else if one of the goroutines panicked and nobody waited for it.
///
/// # Examples
/// ```
/// let mut numbers = vec![1, 2, 3, 4];
/// let (left, right) = numbers.split_at_mut(2);
/// gort::scope(|s| {
///     s.go(|| left.iter_mut().for_each(|n| *n *= 10));
///     s.go(|| right.iter_mut().for_each(|n| *n += 1));
/// });
/// assert_eq!(numbers, [10, 20, 4, 5]);
/// ```
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope { count: Arc::default(), scope: PhantomData, env: PhantomData };
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    let bomb = AbortOnUnwind;
    scope.count.wait();
    std::mem::forget(bomb);
    match result {
        Err(payload) => resume_unwind(payload),
        // Relaxed: ordered by `wait`.
        Ok(_) if scope.count.panicked.load(Ordering::Relaxed) => {
            panic!("a goroutine of the scope panicked")
        }
        Ok(result) => result,
    }
}

/// The frame that the goroutines borrow from must not go while they run, whatever happens.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        eprintln!("fatal error: gort: a scope could not wait for its goroutines");
        std::process::abort();
    }
}

/// Where scoped goroutines are started. See [`scope`].
#[derive(Debug)]
pub struct Scope<'scope, 'env: 'scope> {
    count: Arc<Count>,
    /// Invariant: neither lifetime may shrink or grow.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

#[derive(Debug, Default)]
struct Count {
    running: AtomicUsize,
    /// Some goroutine panicked and nobody took that from its packet.
    panicked: AtomicBool,
    waiter: AtomicWaker,
}

impl Count {
    fn wait(&self) {
        // Also if this goroutine is aborted: the others borrow from its stack.
        rt::block_on_to_the_end(poll_fn(|cx| {
            self.waiter.register(cx.waker());
            // Acquire: pairs with the Release in `Running::drop`.
            let polled = match self.running.load(Ordering::Acquire) {
                0 => Poll::Ready(()),
                _ => Poll::Pending,
            };
            note_wait(polled, cx, WaitReason::Scope)
        }));
    }
}

/// Counts a goroutine until its closure and what it left behind are gone.
struct Running(Arc<Count>);

impl Drop for Running {
    fn drop(&mut self) {
        // Release: what the goroutine did comes before the scope's end.
        if self.0.running.fetch_sub(1, Ordering::Release) == 1 {
            self.0.waiter.wake();
        }
    }
}

/// Where a goroutine leaves its result for its handle.
struct Packet<T> {
    result: Mutex<Option<Result<T, Box<dyn Any + Send>>>>,
    count: Arc<Count>,
}

impl<T> Packet<T> {
    fn replace(
        &self,
        result: Option<Result<T, Box<dyn Any + Send>>>,
    ) -> Option<Result<T, Box<dyn Any + Send>>> {
        let mut place = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *place, result)
    }
}

impl<T> Drop for Packet<T> {
    fn drop(&mut self) {
        if let Some(Err(payload)) = self.replace(None)
            && !goroutine::is_abort(&*payload)
        {
            // Relaxed: ordered by the end of the goroutine.
            self.count.panicked.store(true, Ordering::Relaxed);
        }
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a goroutine that may borrow from outside the scope. See [`go`](crate::go).
    #[track_caller]
    pub fn go<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let packet = Arc::new(Packet { result: Mutex::new(None), count: self.count.clone() });
        // Relaxed: ordered by the start of the goroutine.
        self.count.running.fetch_add(1, Ordering::Relaxed);
        // Dropped in this order, also if the body never runs: the count comes last.
        let parts = (f, packet.clone(), Running(self.count.clone()));
        let body: Box<dyn FnOnce() + Send + 'scope> = Box::new(move || {
            let (f, packet, running) = { parts };
            packet.replace(Some(catch_unwind(AssertUnwindSafe(f))));
            drop(packet);
            drop(running);
        });
        // SAFETY: `scope` does not return before `running` has been dropped. By then `f` and its
        // result are gone, but for a result in the hands of the handle, which 'scope bounds.
        let body: Box<dyn FnOnce() + Send + 'static> = unsafe { std::mem::transmute(body) };
        let at = Location::caller();
        let handle = rt::with_current(|sched| go_on(sched, at, None, None, body));
        ScopedJoinHandle { handle, packet, scope: PhantomData }
    }
}

/// The claim on a scoped goroutine's result. A future, like [`JoinHandle`]; dropping it detaches
/// the goroutine from its handle, but not from its scope.
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<()>,
    packet: Arc<Packet<T>>,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Asks the goroutine to end. See [`JoinHandle::abort`].
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Whether the goroutine has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> Id {
        self.handle.id()
    }
}

impl<T> Unpin for ScopedJoinHandle<'_, T> {}

impl<T> Future for ScopedJoinHandle<'_, T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = std::task::ready!(Pin::new(&mut self.handle).poll(cx));
        let id = self.id().0;
        Poll::Ready(match (ended, self.packet.replace(None)) {
            (_, Some(Ok(output))) => Ok(output),
            (_, Some(Err(payload))) if goroutine::is_abort(&*payload) => {
                Err(JoinError::cancelled(id))
            }
            (_, Some(Err(payload))) => Err(JoinError::panicked(id, payload)),
            (Err(error), None) => Err(error),
            (Ok(()), None) => unreachable!("the body leaves a result"),
        })
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScopedJoinHandle").field(&self.handle).finish()
    }
}
