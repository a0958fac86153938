//! What a workload may ask of stackful coroutines: [`Rt`](crate::Rt) for code that blocks.
//!
//! The rules are those of `Rt`: the root is a coroutine on a worker, `procs` is the number of threads that run coroutines,
//! stacks have each peer's default size, and adapters add a newtype and no state. Go's goroutines are measured by the same
//! twins as in the other rows (`go/`): they have no other kind of task.

use std::net::SocketAddr;
use std::time::Duration;

mod gort;
mod may;

pub use self::gort::GortGo;
pub use self::may::May;

/// A runtime whose tasks are stackful.
pub trait Co: 'static {
    /// The runtime's name in commands and tables.
    const NAME: &'static str;

    /// The claim on a coroutine's result.
    type JoinHandle<T: Send + 'static>: Send + 'static;

    /// Where any number of coroutines wait until it is opened, as on a channel that Go closes.
    type Gate: Default + Send + Sync + 'static;

    /// The mutex that its users take, around a counter.
    type Mutex: Default + Send + Sync + 'static;

    /// Locks, adds one to the counter, unlocks.
    fn count(mutex: &Self::Mutex);

    /// The counter.
    fn counted(mutex: &mut Self::Mutex) -> u64;

    /// Runs `root` as a coroutine on a fresh runtime with `procs` workers.
    fn run<T: Send + 'static>(procs: usize, root: impl FnOnce() -> T + Send + 'static) -> T;

    /// Starts a runtime with `procs` workers and calls `f` on the present thread, which may [`go`](Co::go) and
    /// [`join`](Co::join) as if it were a coroutine.
    fn with<T>(procs: usize, f: impl FnOnce() -> T) -> T;

    /// Starts a coroutine from inside another.
    fn go<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Self::JoinHandle<T>;

    /// Waits for a coroutine's result.
    fn join<T: Send + 'static>(handle: Self::JoinHandle<T>) -> T;

    /// Gives the other runnable coroutines their turn.
    fn yield_now();

    /// Waits for `duration`.
    fn sleep(duration: Duration);

    /// Listens on a free port of the loopback interface, tells `announce` which, and echoes one connection to its end.
    fn echo_one(announce: impl FnOnce(SocketAddr));

    /// Calls `tick` every millisecond until it gives `false`, in a task beside the coroutines, where the runtime has those.
    fn tick_in_task(_tick: impl FnMut() -> bool + Send + 'static) {}

    /// Waits until the gate is open.
    fn pass(gate: &Self::Gate);

    /// Opens the gate for all, also for those to come.
    fn open(gate: &Self::Gate);
}
