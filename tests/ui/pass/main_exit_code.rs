use std::process::{ExitCode, Termination};

#[gort::main]
async fn main() -> ExitCode {
    let _ = opaque();
    ExitCode::SUCCESS
}

#[gort::main]
async fn opaque() -> impl Termination {
    ExitCode::FAILURE
}
