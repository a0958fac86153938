//! What the tests of sockets share: one body for tasks, goroutines and plain threads.

#![allow(dead_code, unused_imports, reason = "each test file uses its part")]

#[path = "../go_modes/mod.rs"]
mod go_modes;

pub(crate) use go_modes::{MODES, Mode, check, for_modes};

/// Runs `test` as a task, in a goroutine that waits for it, and on a plain thread; in both modes with
/// 1, 2 and 4 Ps.
#[track_caller]
pub(crate) fn everywhere<F>(test: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    use gort::prelude::*;
    for_modes(|rt, mode| {
        if mode == Mode::Home {
            eprintln!("in a task");
            match rt.block_on(rt.spawn(test())) {
                Ok(()) => {}
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(error) => panic!("{error}"),
            }
            eprintln!("on a plain thread");
            let _entered = rt.enter();
            test().wait();
        }
        eprintln!("in a goroutine");
        let body = test();
        rt.run(move || body.wait());
    });
}
