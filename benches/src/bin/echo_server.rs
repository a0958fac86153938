//! An echo server: `echo_server gort|gort-go|tokio|smol|may|raw PROCS`. Prints `LISTENING address` and serves until it is ended.

use std::env;
use std::process::ExitCode;

use gort_benches::echo;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let [runtime, procs] = args.as_slice() else {
        return usage();
    };
    let Ok(procs) = procs.parse() else {
        return usage();
    };
    match runtime.as_str() {
        "gort" => echo::gort::serve(procs),
        "gort-go" => echo::goroutines::serve_gort(procs),
        "may" => echo::goroutines::serve_may(procs),
        "tokio" => echo::tokio::serve(procs),
        "smol" => echo::smol::serve(procs),
        "raw" => {
            if let Err(error) = echo::raw::serve() {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: echo_server gort|gort-go|tokio|smol|may|raw PROCS");
    ExitCode::FAILURE
}
