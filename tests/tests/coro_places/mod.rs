//! Where coroutines may run: the tests of them run in all these places.

#![allow(dead_code, reason = "each test file uses its part")]

use std::cell::Cell;
use std::rc::Rc;
use std::thread;

use gort_tests::{beside_others, returns};

use crate::go_modes::{MODES, check};

/// Runs `test` on a plain thread, in a poll of `block_on`, and in both modes with 1, 2 and 4 Ps in
/// a goroutine, a task and a local task.
#[track_caller]
pub(crate) fn everywhere(test: impl Fn() + Send + Copy + 'static) {
    let _machine = beside_others();
    everywhere_alone(test);
}

/// As [`everywhere`], for tests that hold the machine alone.
#[track_caller]
pub(crate) fn everywhere_alone(test: impl Fn() + Send + Copy + 'static) {
    eprintln!("a plain thread");
    returns("on a plain thread", test);
    eprintln!("block_on");
    returns("in a poll", move || gort::block_on(async move { test() }));
    for mode in MODES {
        for procs in [1, 2, 4] {
            check(mode, procs, |rt, _| {
                rt.run(test);
                rt.block_on(rt.spawn(async move { test() })).expect("the task");
                let local = async move { gort::spawn_local(async move { test() }).await };
                rt.block_on(local).expect("the local task");
            });
        }
    }
}

/// Counts the drops of its [`Counted`]s.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drops(Rc<Cell<usize>>);

/// See [`Drops`].
#[derive(Debug)]
pub(crate) struct Counted(Rc<Cell<usize>>);

impl Drops {
    pub(crate) fn guard(&self) -> Counted {
        Counted(self.0.clone())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.get()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// Whether the calling thread is panicking; a test wants to see that it is not.
#[track_caller]
pub(crate) fn assert_calm() {
    assert!(!thread::panicking());
}
