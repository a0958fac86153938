//! A small server watched by the tracer.
//!
//! ```text
//! cargo run --release -p gort-examples --example trace -- trace.json
//! cargo run --release -p gort-examples --example trace -- --svg runtime/docs/trace.svg
//! cargo run --release -p gort-examples --example trace -- --cost
//! ```
//! The first writes a file for <https://ui.perfetto.dev>, the second draws a piece of it, the third
//! tells what recording costs.

mod cost;
mod picture;
mod server;

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs, process};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() {
    if let Err(error) = run() {
        eprintln!("trace: {error}");
        process::exit(1);
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => record(&env::temp_dir().join("gort-trace.json")).map(drop),
        ["--cost"] => cost::measure(),
        ["--svg", path] => {
            let file = env::temp_dir().join(format!("gort-trace-{}.json", process::id()));
            let json = record(&file)?;
            fs::remove_file(file)?;
            Ok(fs::write(path, picture::draw(&json)?)?)
        }
        [path] if !path.starts_with('-') => record(&PathBuf::from(path)).map(drop),
        _ => Err("usage: trace [FILE | --svg FILE | --cost]".into()),
    }
}

/// Runs the server under the tracer, and returns what that has written.
fn record(path: &PathBuf) -> Result<String> {
    let trace = gort::trace::start(path)?;
    server::run()?;
    let summary = trace.stop()?;
    println!("{}: {} events, {} lost", path.display(), summary.events, summary.lost);
    Ok(fs::read_to_string(path)?)
}
