//! A tour of gort in one command: an echo server, a thousand clients, and what they see.
//!
//! ```text
//! cargo run --release -p gort-examples --example tour
//! ```
//!
//! Server and clients share one runtime in one process. Each connection is two tasks, one at each
//! end, so a thousand connections are two thousand tasks, on as many threads as there are CPUs.
//! One more task prints what the clients measure, on a timer of the same runtime. With
//! `--mode goroutine` the server's tasks are goroutines. `--help` tells what can be changed.
#![allow(unreachable_pub)] // in a program, `pub` is for its other modules

mod client;
mod files;
mod histogram;
mod options;
mod screen;
mod server;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use gort::net::{TcpListener, TcpStream};
use gort::{Builder, Handle};

use client::Load;
use options::{Command, Options};
use screen::{Screen, Summary};

fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Help) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("tour: {error}\nTry `--help`.");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tour: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the runtime and runs the tour on it. Gives the number of connections that failed.
fn run(mut options: Options) -> io::Result<u64> {
    options.connections = files::make_room_for(options.connections)?;
    let builder = match options.procs {
        Some(n) => Builder::new().procs(n),
        None => Builder::new(),
    };
    let runtime = builder.build()?;
    // As a task, the tour runs on the workers; `block_on(tour(..))` would run it on this thread.
    runtime.block_on(runtime.spawn(tour(options)))?
}

async fn tour(options: Options) -> io::Result<u64> {
    let screen = Screen::new();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let server = server::start(options.mode, listener);

    let start = Instant::now();
    let mut streams = Vec::with_capacity(options.connections);
    for _ in 0..options.connections {
        streams.push(TcpStream::connect(addr).await?);
    }
    screen.opening(&options, Handle::current().metrics().procs, start.elapsed());

    let load = Arc::new(Load::new(options.size));
    let start = Instant::now();
    let clients = streams.into_iter().map(|stream| gort::spawn(client::run(stream, load.clone())));
    let clients: Vec<_> = clients.collect();
    screen.watch(&load, Duration::from_secs(options.seconds)).await;
    let metrics = Handle::current().metrics();
    load.stop();
    let ends = join_all(clients).await;

    let failures = ends.iter().filter_map(|end| match end {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(panic) => Some(panic.to_string()),
    });
    let failures: Vec<_> = failures.collect();
    let answers = load.latencies().snapshot();
    screen.closing(&Summary { answers, elapsed: start.elapsed(), metrics, failures: &failures });
    server.abort();
    Ok(failures.len() as u64)
}
