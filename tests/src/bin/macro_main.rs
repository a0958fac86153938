//! Two programs under `#[gort::main]` for `tests/macros.rs`, which looks at how they end.
//!
//! The first argument says which one, and how it ends: `ok`, `err`, `panic` (in a body that is a
//! task) or `local_panic` (in a body that is not `Send`) for the `async fn`; `go_ok`, `go_err`,
//! `go_panic`, or `go_too_large` (asks for stacks that cannot be had) for the plain one.

use std::process::{ExitCode, Termination};

/// Prints when dropped: the body's destructors have run.
struct Farewell;

impl Drop for Farewell {
    fn drop(&mut self) {
        eprintln!("farewell");
    }
}

/// What the standard library does with either.
fn main() -> ExitCode {
    match how().starts_with("go_") {
        true => goroutine::main().report(),
        false => future::main().report(),
    }
}

fn how() -> String {
    std::env::args().nth(1).unwrap_or_default()
}

mod future {
    use super::{Farewell, how};
    use std::rc::Rc;

    #[gort::main(procs = 2)]
    pub(super) async fn main() -> Result<(), String> {
        let _farewell = Farewell;
        gort::yield_now().await;
        match how().as_str() {
            "ok" => Ok(()),
            "panic" => panic!("payload of the task"),
            "local_panic" => {
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
}

mod goroutine {
    use super::{Farewell, how};
    use gort::prelude::*;
    use std::error::Error;

    #[gort::main(procs = 2)]
    pub(super) fn main() -> Result<(), Box<dyn Error>> {
        let _farewell = Farewell;
        gort::yield_now().wait();
        match how().as_str() {
            "go_ok" => Ok(()),
            "go_panic" => panic!("payload of the goroutine"),
            "go_too_large" => {
                too_large();
                Ok(())
            }
            _ => Err("the error of main".into()),
        }
    }

    #[gort::main(stack_size = 1_048_577)]
    fn too_large() {}
}
