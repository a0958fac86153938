//! `spawn`, `spawn_local`, `yield_now`.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::task::{LocalFutureObj, LocalSpawn, SpawnError};

use crate::join::JoinHandle;
use crate::rt;
use crate::sched::Sched;
use crate::sched::m::{self, M};
use crate::sched::outside::NewG;
use crate::sched::spans::{self, Kind};
use crate::stack::StackSlot;
use crate::task::future::Ops;
use crate::task::goroutine;
use crate::task::waker;

/// Starts a task: `future` runs on the workers of the current runtime, beside whatever goes on.
///
/// The current runtime is the one whose task calls, or the one that the thread has
/// [entered](crate::Handle::enter), or else the default one, which is started on first use.
///
/// The call returns at once. Tasks that one task spawns without a wait in between start in that
/// order (on one P), and before older ones. When the runtime has ended already, the future is
/// dropped and the handle says [cancelled](crate::JoinError::is_cancelled).
///
/// # Examples
/// ```
/// # gort::block_on(async {
/// let handles: Vec<_> = (0..10).map(|i| gort::spawn(async move { i * i })).collect();
/// let mut sum = 0;
/// for handle in handles {
///     sum += handle.await.unwrap();
/// }
/// assert_eq!(sum, 285);
/// # });
/// ```
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let at = Location::caller();
    match m::current() {
        Some(m) => spawn_from(Some(m), m.sched(), at, None, future),
        None => rt::with_current(|sched| spawn_from(None, sched, at, None, future)),
    }
}

/// Starts a task on `sched`. The place is passed along, for closures lose `track_caller`.
#[inline]
pub(crate) fn spawn_on<F>(
    sched: &Sched,
    spawned_at: &'static Location<'static>,
    name: Option<&str>,
    future: F,
) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    spawn_from(m::current().filter(|m| m.is_of(sched)), sched, spawned_at, name, future)
}

/// The same, where the calling thread is known to be `m`, of `sched`, or none of its Ms.
#[inline]
fn spawn_from<F>(
    m: Option<&M>,
    sched: &Sched,
    spawned_at: &'static Location<'static>,
    name: Option<&str>,
    future: F,
) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    if sched.is_closing() {
        return JoinHandle::refused();
    }
    let span = spans::fresh(sched, Kind::Task, size_of::<F>(), spawned_at, name);
    let new = new_g::<F>(spawned_at, name, span);
    // SAFETY: `Ops<F>` writes the body that its VTABLE is for, into a cell of its CLASS; it is Send.
    unsafe {
        match m {
            Some(m) => {
                let m = m.enter();
                let g = m.newproc(&new);
                Ops::<F>::write(g, future);
                m.submit(g);
                JoinHandle::new(g)
            }
            None => {
                let g = sched.newproc(&new);
                Ops::<F>::write(g, future);
                sched.submit(g);
                JoinHandle::new(g)
            }
        }
    }
}

#[inline]
fn new_g<'a, F: Future>(
    spawned_at: &'static Location<'static>,
    name: Option<&'a str>,
    span: spans::Fresh,
) -> NewG<'a> {
    NewG {
        vtable: Ops::<F>::VTABLE,
        class: Ops::<F>::CLASS,
        layout: Ops::<F>::LAYOUT,
        spawned_at,
        name,
        span,
    }
}

/// Starts a goroutine: `f` runs on a stack of its own, beside whatever goes on, and may wait
/// anywhere, in any call depth: with [`.wait()`](crate::Wait) for any future, in
/// [`std::io::Read`] and `Write` of gort's sockets. Only the goroutine waits then, no thread.
///
/// It may start on any thread; from then on it stays on that one, so thread-locals, `Rc`s and
/// guards in it are what they are on a plain thread. The stack is 256 KiB of address space, of
/// which only what is touched takes memory: one page at first.
///
/// The call returns at once. It runs on the [current](spawn) runtime. When that has ended
/// already, `f` is dropped and the handle says [cancelled](crate::JoinError::is_cancelled).
///
/// # Examples
/// ```
/// use gort::prelude::*;
/// use gort::time::{Duration, sleep};
///
/// let answer = gort::go(|| {
///     sleep(Duration::from_millis(1)).wait();
///     6 * 7
/// });
/// assert_eq!(answer.wait().unwrap(), 42);
/// ```
#[track_caller]
pub fn go<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let at = Location::caller();
    match m::current() {
        Some(m) => go_from(Some(m), m.sched(), at, None, None, f),
        None => rt::with_current(|sched| go_from(None, sched, at, None, None, f)),
    }
}

/// Starts a goroutine on `sched`. Without `stack` it gets one when it begins.
#[inline]
pub(crate) fn go_on<F, T>(
    sched: &Sched,
    spawned_at: &'static Location<'static>,
    stack: Option<StackSlot>,
    name: Option<&str>,
    f: F,
) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    go_from(m::current().filter(|m| m.is_of(sched)), sched, spawned_at, stack, name, f)
}

/// The same, where the calling thread is known to be `m`, of `sched`, or none of its Ms.
#[inline]
fn go_from<F, T>(
    m: Option<&M>,
    sched: &Sched,
    spawned_at: &'static Location<'static>,
    stack: Option<StackSlot>,
    name: Option<&str>,
    f: F,
) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if sched.is_closing() {
        stack.into_iter().for_each(goroutine::put_stack);
        return JoinHandle::refused();
    }
    let (vtable, class) = (goroutine::Ops::<F, T>::VTABLE, goroutine::Ops::<F, T>::CLASS);
    let layout = goroutine::Ops::<F, T>::LAYOUT;
    let span = spans::fresh(sched, Kind::Goroutine, size_of::<F>(), spawned_at, name);
    let new = NewG { vtable, class, layout, spawned_at, name, span };
    // SAFETY: as in `spawn_from`.
    unsafe {
        match m {
            Some(m) => {
                let m = m.enter();
                let g = m.newproc(&new);
                goroutine::Ops::<F, T>::write(g, stack, f);
                m.submit(g);
                JoinHandle::new(g)
            }
            None => {
                let g = sched.newproc(&new);
                goroutine::Ops::<F, T>::write(g, stack, f);
                sched.submit(g);
                JoinHandle::new(g)
            }
        }
    }
}

/// Runs `f`, which may block its thread for as long as it likes, as a task of its own: on a thread
/// beside the Ps, so it delays nobody. For blocking calls in async code, and for computations.
///
/// The call returns at once. At most 512 of them run at a time and the others wait in line; so they
/// should not wait for each other. An [abort](JoinHandle::abort) takes effect only before it has
/// begun. When the runtime has ended already, `f` is dropped and the handle says
/// [cancelled](crate::JoinError::is_cancelled); when it ends, `f` is waited for as a task in the
/// middle of a poll is.
///
/// # Examples
/// ```
/// # gort::block_on(async {
/// let text = gort::spawn_blocking(|| std::fs::read_to_string("Cargo.toml")).await??;
/// assert!(text.contains("gort"));
/// # Ok::<(), std::io::Error>(()) }).unwrap();
/// ```
#[track_caller]
pub fn spawn_blocking<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let at = Location::caller();
    match m::current() {
        Some(m) => blocking_on(m.sched(), at, true, f),
        None => rt::with_current(|sched| blocking_on(sched, at, true, f)),
    }
}

/// Starts a blocking task on `sched`, at once or, with `line`, when it is its turn.
pub(crate) fn blocking_on<F, T>(
    sched: &Sched,
    spawned_at: &'static Location<'static>,
    line: bool,
    f: F,
) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if sched.is_closing() {
        return JoinHandle::refused();
    }
    let kind = Kind::Blocking(std::any::type_name::<F>());
    let span = spans::fresh(sched, kind, size_of::<F>(), spawned_at, None);
    start_blocking(sched, spawned_at, line, span, async move { f() })
}

fn start_blocking<F>(
    sched: &Sched,
    spawned_at: &'static Location<'static>,
    line: bool,
    span: spans::Fresh,
    future: F,
) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let g = sched.newproc(&new_g::<F>(spawned_at, None, span));
    // SAFETY: `Ops<F>` writes the body that its VTABLE is for, into a cell of its CLASS; it is Send.
    unsafe {
        Ops::<F>::write(g, future);
        let handle = JoinHandle::new(g);
        sched.submit_blocking(g, line);
        handle
    }
}

/// Starts a task that stays on the calling thread, so that its future need not be `Send`.
///
/// In [`block_on`](crate::block_on) it runs while the thread is in there, and is cancelled when
/// that call ends. In a goroutine, and in a local task of one, it runs on that worker beside the
/// goroutine, and is cancelled when the runtime ends.
///
/// # Panics
/// Elsewhere: there is nothing that would run the local task on this thread.
///
/// # Examples
/// ```
/// use std::rc::Rc;
/// gort::block_on(async {
///     let shared = Rc::new(5);
///     let theirs = shared.clone();
///     let task = gort::spawn_local(async move { *theirs + 1 });
///     assert_eq!(task.await.unwrap() + *shared, 11);
/// });
/// ```
#[track_caller]
pub fn spawn_local<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    match try_spawn_local(Location::caller(), future) {
        Some(handle) => handle,
        None => no_home("`gort::spawn_local`"),
    }
}

#[cold]
#[track_caller]
fn no_home(what: &str) -> ! {
    panic!(
        "{what} needs a thread that is inside `block_on`, a goroutine or a local task: a task \
         started by `spawn` moves between threads"
    )
}

/// None where nothing would run the local task on this thread.
fn try_spawn_local<F>(
    spawned_at: &'static Location<'static>,
    future: F,
) -> Option<JoinHandle<F::Output>>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let m = home()?;
    let span = spans::fresh(m.sched(), Kind::Local, size_of::<F>(), spawned_at, None);
    let m = m.enter();
    // SAFETY: `Ops<F>` writes the body that its VTABLE is for, into a cell of its CLASS; it stays
    // on this thread.
    unsafe {
        let g = m.newproc_local(&new_g::<F>(spawned_at, None, span));
        Ops::<F>::write(g, future);
        m.submit_local(g);
        Some(JoinHandle::new(g))
    }
}

/// The M of this thread, if local tasks may live there.
fn home<'a>() -> Option<&'a M> {
    m::current().filter(|m| m.is_home())
}

/// [`spawn_local`] as a [`LocalSpawn`], for the combinators of the `futures` crate and for
/// libraries that want an executor. For [`Spawn`](futures::task::Spawn) there is
/// [`Handle`](crate::Handle).
///
/// It stays on its thread, and spawns wherever `spawn_local` may be called; elsewhere, for example
/// after the `block_on` that it was made in, it refuses.
///
/// # Examples
/// ```
/// use futures::task::LocalSpawnExt;
/// use std::rc::Rc;
///
/// # fn main() -> Result<(), futures::task::SpawnError> {
/// gort::block_on(async {
///     let spawner = gort::LocalSpawner::current();
///     let shared = Rc::new(5);
///     let theirs = shared.clone();
///     let task = spawner.spawn_local_with_handle(async move { *theirs + 1 })?;
///     assert_eq!(task.await + *shared, 11);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LocalSpawner {
    /// Not `Send`: others have their own local tasks.
    _thread: PhantomData<*const ()>,
}

impl LocalSpawner {
    /// The spawner of the calling thread.
    ///
    /// # Panics
    /// Where [`spawn_local`] does.
    #[must_use]
    #[track_caller]
    pub fn current() -> LocalSpawner {
        if home().is_none() {
            no_home("`gort::LocalSpawner::current`");
        }
        LocalSpawner { _thread: PhantomData }
    }
}

impl LocalSpawn for LocalSpawner {
    #[track_caller]
    fn spawn_local_obj(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.status_local()?;
        let spawned = try_spawn_local(Location::caller(), future);
        spawned.map(drop).ok_or_else(SpawnError::shutdown)
    }

    fn status_local(&self) -> Result<(), SpawnError> {
        match home() {
            Some(m) if !m.sched().is_closing() => Ok(()),
            _ => Err(SpawnError::shutdown()),
        }
    }
}

/// Lets others run: the task goes to the tail of its P's queue. Returns a future; nothing happens
/// before it is awaited. Go: Gosched, but to the local queue, where another P can take it.
///
/// # Examples
/// ```
/// # gort::block_on(async {
/// gort::yield_now().await;
/// # });
/// ```
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`]. Dropping it has no effect.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.yielded, true) {
            return Poll::Ready(());
        }
        give_way(cx);
        Poll::Pending
    }
}

fn give_way(cx: &Context<'_>) {
    // A flag in the M instead of a wake spares two locked instructions. It stands for this
    // future's waker only where that is the task's own.
    match m::current().filter(|m| m.curg().is_some_and(|g| waker::is_of(cx.waker(), g))) {
        Some(m) => {
            waker::note_yield(cx.waker());
            m.set_yielded();
        }
        None => cx.waker().wake_by_ref(),
    }
}
