//! gort's goroutines as users get them: `Builder::procs(P)`, stacks and their homes at the default.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use gort::Wait as _;

use super::Co;
use crate::echo;
use crate::work::TICK;

/// gort's goroutines.
#[derive(Debug)]
pub enum GortGo {}

/// The wakers of those who wait.
#[derive(Debug, Default)]
pub struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    open: bool,
    waiting: Vec<Waker>,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Co for GortGo {
    const NAME: &'static str = "gort-go";
    type JoinHandle<T: Send + 'static> = gort::JoinHandle<T>;
    type Gate = Gate;
    type Mutex = gort::sync::Mutex<u64>;

    fn count(mutex: &Self::Mutex) {
        *mutex.lock().wait() += 1;
    }

    fn counted(mutex: &mut Self::Mutex) -> u64 {
        *mutex.get_mut()
    }

    fn run<T: Send + 'static>(procs: usize, root: impl FnOnce() -> T + Send + 'static) -> T {
        gort::Builder::new().procs(procs).build().expect("gort starts").run(root)
    }

    fn with<T>(procs: usize, f: impl FnOnce() -> T) -> T {
        let runtime = gort::Builder::new().procs(procs).build().expect("gort starts");
        let _inside = runtime.enter();
        f()
    }

    fn go<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> gort::JoinHandle<T> {
        gort::go(f)
    }

    fn join<T: Send + 'static>(handle: gort::JoinHandle<T>) -> T {
        handle.wait().expect("a benchmark's goroutine panicked")
    }

    fn yield_now() {
        gort::yield_now().wait();
    }

    fn sleep(duration: Duration) {
        gort::time::sleep(duration).wait();
    }

    fn echo_one(announce: impl FnOnce(SocketAddr)) {
        echo::goroutines::serve_one_gort(announce);
    }

    fn tick_in_task(mut tick: impl FnMut() -> bool + Send + 'static) {
        drop(gort::spawn(async move {
            while tick() {
                gort::time::sleep(TICK).await;
            }
        }));
    }

    fn pass(gate: &Gate) {
        let wait = poll_fn(|cx| {
            let mut state = gate.state();
            if state.open {
                return Poll::Ready(());
            }
            state.waiting.push(cx.waker().clone());
            Poll::Pending
        });
        wait.wait();
    }

    fn open(gate: &Gate) {
        let waiting = {
            let mut state = gate.state();
            state.open = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}
