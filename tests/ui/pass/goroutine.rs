use std::error::Error;
use std::process::{ExitCode, Termination};
use std::rc::Rc;

use gort::prelude::*;

#[gort::main]
fn main() -> Result<(), Box<dyn Error>> {
    let n = gort::go(|| "42".parse::<u32>()).wait()??;
    assert_eq!(n, 42);
    assert_eq!(value(), "a value");
    let _ = (opaque(), unit(), exits::main());
    Ok(())
}

#[gort::main(procs = 2)]
fn value() -> String {
    let shared = Rc::new("a value");
    gort::yield_now().wait();
    shared.to_string()
}

#[gort::main]
fn opaque() -> impl Termination {
    ExitCode::FAILURE
}

#[gort::main]
fn unit() -> () {}

mod exits {
    #[gort::main]
    pub(crate) fn main() -> std::process::ExitCode {
        std::process::ExitCode::FAILURE
    }
}
