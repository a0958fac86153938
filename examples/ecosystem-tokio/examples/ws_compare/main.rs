//! WebSocket echo with 5,000 connections: goroutines in plain blocking style, and tokio-tungstenite.
//!
//! ```text
//! cargo run --release -p gort-ecosystem-tokio --example ws_compare
//! ```
//!
//! Each server is a process of its own; another one asks, with a goroutine per connection that has
//! one message of 64 bytes under way. The rounds take turns, and the table shows the medians. The two
//! share the machine with the asker, so look at the CPU time per message first.

mod load;
mod serve;

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::{env, process};

use tungstenite::protocol::WebSocketConfig;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const SERVERS: [&str; 2] = ["gort", "tokio"];

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(5000, 5, 3000),
        ["--once"] => compare(50, 1, 100),
        ["serve", "gort", procs] => procs.parse().map_err(Into::into).and_then(serve::on_gort),
        ["serve", "tokio", procs] => procs.parse().map_err(Into::into).and_then(serve::on_tokio),
        ["load", addr, connections, millis, server] => load::run(addr, connections, millis, server),
        _ => Err("usage: ws_compare [--once]".into()),
    };
    if let Err(error) = done {
        eprintln!("ws_compare: {error}");
        process::exit(1);
    }
}

/// tungstenite's default, 128 KiB per connection, would be a comparison of page faults.
fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(4096)
}

/// A server, which ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended by itself
        let _ = self.0.wait();
    }
}

fn compare(connections: usize, rounds: usize, millis: u64) -> Result<()> {
    println!("procs  server  messages/s  CPU us a message  threads  MiB");
    for procs in [1, 2] {
        let mut runs = [const { Vec::new() }; SERVERS.len()];
        for _ in 0..rounds {
            for (name, runs) in SERVERS.iter().zip(&mut runs) {
                runs.push(run(name, procs, connections, millis)?);
            }
        }
        for (name, runs) in SERVERS.iter().zip(&runs) {
            let [rate, cpu, threads, memory] = medians(runs);
            println!("{procs:5}  {name:6}  {rate:10.0}  {cpu:16.2}  {threads:7}  {memory:3.0}");
        }
    }
    Ok(())
}

/// One server, asked for so long: messages a second, CPU us each, threads, MiB.
fn run(name: &str, procs: usize, connections: usize, millis: u64) -> Result<[f64; 4]> {
    let program = env::current_exe()?;
    let mut server = Command::new(&program);
    server.args(["serve", name, &procs.to_string()]).stdout(Stdio::piped());
    let mut server = Server(server.spawn()?);
    let mut addr = String::new();
    BufReader::new(server.0.stdout.take().ok_or("no output")?).read_line(&mut addr)?;
    let (connections, millis) = (connections.to_string(), millis.to_string());
    let mut load = Command::new(program);
    load.args(["load", addr.trim(), &connections, &millis, &server.0.id().to_string()]);
    let said = String::from_utf8(load.stderr(Stdio::inherit()).output()?.stdout)?;
    let figures: Vec<f64> =
        said.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
    figures.try_into().map_err(|_| format!("{name} was not asked to the end").into())
}

fn medians(runs: &[[f64; 4]]) -> [f64; 4] {
    std::array::from_fn(|i| {
        let mut column: Vec<f64> = runs.iter().map(|run| run[i]).collect();
        column.sort_by(f64::total_cmp);
        column[column.len() / 2]
    })
}
