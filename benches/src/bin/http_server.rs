//! An HTTP server: `http_server http1|http2|nap gort|gort-go|tokio PROCS`. Prints `LISTENING address` and serves until it is
//! ended.

use std::env;
use std::process::ExitCode;

use gort_benches::http::{Kind, gort, tokio};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match serve(&args) {
        Some(()) => ExitCode::SUCCESS,
        None => {
            eprintln!("usage: http_server http1|http2|nap gort|gort-go|tokio PROCS");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &[String]) -> Option<()> {
    let [kind, runtime, procs] = args else {
        return None;
    };
    let (kind, procs) = (Kind::parse(kind)?, procs.parse().ok()?);
    match runtime.as_str() {
        "gort" => gort::serve(kind, procs),
        "gort-go" if kind != Kind::Nap => gort::serve_goroutines(kind, procs),
        "tokio" => tokio::serve(kind, procs),
        _ => return None,
    }
    Some(())
}
