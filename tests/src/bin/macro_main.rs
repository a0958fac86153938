//! A program under `#[gort::main]` for `tests/macros.rs`, which looks at how it ends.
//!
//! The first argument says how: `ok`, `err`, `panic` (in a body that is a task), or
//! `local_panic` (in a body that is not `Send`).

use std::rc::Rc;

/// Prints when dropped: the body's destructors have run.
struct Farewell;

impl Drop for Farewell {
    fn drop(&mut self) {
        eprintln!("farewell");
    }
}

#[gort::main(procs = 2)]
async fn main() -> Result<(), String> {
    let _farewell = Farewell;
    gort::yield_now().await;
    match std::env::args().nth(1).as_deref() {
        Some("ok") => Ok(()),
        Some("panic") => panic!("payload of the task"),
        Some("local_panic") => {
            local_panic();
            Ok(())
        }
        _ => Err("the error of main".to_owned()),
    }
}

#[gort::main]
async fn local_panic() {
    let shared = Rc::new("local body");
    gort::yield_now().await;
    panic!("payload of the {shared}");
}
