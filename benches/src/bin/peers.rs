//! All workloads on gort and its peers, interleaved, in one table: see `gort_benches::runner`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    gort_benches::runner::main(&args)
}
