//! may: `set_workers(P)`, stacks of 32 KiB, which is its default.

use std::net::SocketAddr;
use std::time::Duration;

use may::coroutine;
use may::sync::SyncFlag;

use super::Co;
use crate::echo;

/// may's coroutines.
#[derive(Debug)]
pub enum May {}

impl Co for May {
    const NAME: &'static str = "may";
    type JoinHandle<T: Send + 'static> = coroutine::JoinHandle<T>;
    type Gate = SyncFlag;
    type Mutex = may::sync::Mutex<u64>;

    fn count(mutex: &Self::Mutex) {
        *mutex.lock().expect("no benchmark panics") += 1;
    }

    fn counted(mutex: &mut Self::Mutex) -> u64 {
        *mutex.get_mut().expect("no benchmark panics")
    }

    fn run<T: Send + 'static>(procs: usize, root: impl FnOnce() -> T + Send + 'static) -> T {
        may::config().set_workers(procs);
        Self::join(Self::go(root))
    }

    fn with<T>(procs: usize, f: impl FnOnce() -> T) -> T {
        may::config().set_workers(procs);
        f()
    }

    fn go<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> coroutine::JoinHandle<T> {
        // SAFETY: may asks that the coroutine use no thread-locals across a wait and fit its stack; the workloads hold
        // nothing of a thread while they wait, and are a few calls deep.
        unsafe { coroutine::spawn(f) }
    }

    fn join<T: Send + 'static>(handle: coroutine::JoinHandle<T>) -> T {
        handle.join().expect("a benchmark's coroutine panicked")
    }

    fn yield_now() {
        coroutine::yield_now();
    }

    fn sleep(duration: Duration) {
        coroutine::sleep(duration);
    }

    fn echo_one(announce: impl FnOnce(SocketAddr)) {
        echo::goroutines::serve_one_may(announce);
    }

    fn pass(gate: &SyncFlag) {
        gate.wait();
    }

    fn open(gate: &SyncFlag) {
        gate.fire();
    }
}
