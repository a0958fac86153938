//! What a workload may ask of a runtime, and nothing more.
//!
//! All methods are static: inside a task `spawn` finds its runtime by itself, as users write it. The rules that keep the
//! comparison fair:
//!
//! - the root of each workload is a **task on a worker** ([`Rt::run`]), because a root on a plain thread pays the injection
//!   queue and a wake-up for each spawn on every runtime;
//! - `procs` is the number of threads that run tasks, also at 1: tokio's `current_thread` and a lone `LocalExecutor` would be
//!   other programs, without the right to be called from elsewhere;
//! - adapters add a newtype, no box and no state.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

mod gort;
mod smol;
mod tokio;

pub use self::gort::Gort;
pub use self::smol::{EXECUTOR, Smol};
pub use self::tokio::Tokio;

/// A runtime under measurement.
pub trait Rt: Send + Sync + 'static {
    /// The runtime's name in commands and tables.
    const NAME: &'static str;

    /// The future of a task's result. To drop it unfinished may cancel the task (smol) or not: use [`Rt::detach`].
    type JoinHandle<T: Send + 'static>: Future<Output = T> + Send + Unpin + 'static;

    /// Spawns onto the runtime from any thread.
    type Handle: Clone + Send + Sync + 'static;

    /// The mutex that its users take, around a counter.
    type Mutex: Default + Send + Sync + 'static;

    /// The sending end of the channel for one value that its users take.
    type Sender<T: Send + 'static>: Send + 'static;

    /// The receiving end; it panics if the sender is gone.
    type Receiver<T: Send + 'static>: Future<Output = T> + Send + Unpin + 'static;

    /// Locks, adds one to the counter, unlocks.
    fn count(mutex: &Self::Mutex) -> impl Future<Output = ()> + Send;

    /// The counter.
    fn counted(mutex: &mut Self::Mutex) -> u64;

    /// A channel for one value.
    fn oneshot<T: Send + 'static>() -> (Self::Sender<T>, Self::Receiver<T>);

    /// Sends the value; the receiver is there.
    fn send<T: Send + 'static>(sender: Self::Sender<T>, value: T);

    /// Starts a runtime with `procs` workers, calls `f` on the present thread and stops the runtime.
    fn with<T>(procs: usize, f: impl FnOnce(&Self::Handle) -> T) -> T;

    /// Spawns a task from a thread that need not belong to the runtime.
    fn spawn_on<F>(handle: &Self::Handle, future: F) -> Self::JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static;

    /// Spawns a task from inside a task.
    fn spawn<F>(future: F) -> Self::JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static;

    /// Spawns a task whose result nobody wants, from inside a task.
    fn detach<F>(future: F)
    where
        F: Future<Output: Send + 'static> + Send + 'static;

    /// Gives the other runnable tasks their turn.
    fn yield_now() -> impl Future<Output = ()> + Send;

    /// Ready after `duration`.
    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send;

    /// `None` if `future` is not ready within `duration`.
    fn timeout<F>(duration: Duration, future: F) -> impl Future<Output = Option<F::Output>> + Send
    where
        F: Future<Output: Send> + Send;

    /// Listens on a free port of the loopback interface and waits for a connection.
    fn accept_one() -> impl Future<Output = ()> + Send;

    /// Listens on a free port of the loopback interface, tells `announce` which, and echoes one connection to its end.
    fn echo_one(
        announce: impl FnOnce(SocketAddr) + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static;

    /// Calls `tick` every millisecond until it gives `false`, in a coroutine beside the tasks, where the runtime has those.
    fn tick_in_coroutine(_: &Self::Handle, _tick: impl FnMut() -> bool + Send + 'static) {}

    /// Spawns a task from outside and blocks the present thread until it has ended.
    fn finish<F>(handle: &Self::Handle, future: F) -> F::Output
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        ::smol::future::block_on(Self::spawn_on(handle, future))
    }

    /// Runs `root` as a task on a fresh runtime with `procs` workers.
    fn run<F>(procs: usize, root: F) -> F::Output
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        Self::with(procs, |handle| Self::finish(handle, root))
    }
}
