//! Nobody stalls the others: a web server whose handlers compute, sleep, hold a lock or read a big
//! file without a word to the runtime, and what the other requests see of it.
//!
//! ```text
//! cargo run --release -p gort-examples --example never_stall
//! cargo run --release -p gort-examples --example never_stall -- --svg runtime/docs/never_stall.svg
//! ```
//! The second command draws the picture in the README.
//!
//! The server echoes over HTTP, on goroutines, on tasks, and for contrast on tokio; it has a process
//! of its own. The load stays the same, a thousand light requests a second; what changes from phase
//! to phase is the hogs among them, four a second, in pairs, so that on two procs nobody is left to
//! serve the others unless the runtime sees to it.
//!
//! A stall must be seen by all the requests that it holds up. So requests are due at fixed times,
//! whether or not the ones before them are answered, and a latency counts from when a request was
//! due, not from when its connection was free to send it. (The opposite mistake, asking again only
//! after the answer, is known as coordinated omission: a stall then counts once.)
#![allow(unreachable_pub)] // in a program, `pub` is for its other modules

mod handlers;
mod http;
mod load;
mod options;
mod phase;
mod plot;
mod servers;
mod stats;

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ExitCode, Stdio};

use handlers::BigFile;
use load::Load;
use options::{Command, Options};
use phase::Phase;
use plot::Panel;
use servers::Runtime;
use stats::Stats;

fn main() -> ExitCode {
    let result = match options::parse(std::env::args().skip(1)) {
        Ok(Command::Run(options)) => run(&options),
        Ok(Command::Serve { runtime, procs, file }) => servers::serve(runtime, procs, &file),
        Ok(Command::Help) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("never_stall: {error}\nTry `--help`.");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("never_stall: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Puts each server through all phases. Fails if a request is not answered, or not rightly.
fn run(options: &Options) -> io::Result<()> {
    let file = BigFile::create()?;
    println!(
        "{} light requests a second, with {} hogs a second among them; {} procs\n",
        load::LIGHT_PER_SECOND,
        load::HOGS_PER_SECOND,
        options.procs
    );
    println!("{}", Stats::HEAD);
    let mut panels = Vec::new();
    for &runtime in &options.runtimes {
        let server = Server::start(runtime, options.procs, file.path())?;
        let mut load = Load::connect(server.address)?;
        load.warm_up()?;
        println!("{}", runtime.title());
        let mut phases = Vec::new();
        for phase in Phase::ALL {
            let samples = load.run(phase, options.phase)?;
            println!("{}", Stats::of(&samples).line(phase));
            phases.push((phase, samples));
        }
        panels.push(Panel { runtime, phases });
    }
    if let Some(path) = &options.svg {
        std::fs::write(path, plot::draw(&panels, options))?;
    }
    Ok(())
}

/// A server in a process of its own; dropping this ends it.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(runtime: Runtime, procs: usize, file: &Path) -> io::Result<Server> {
        let mut process = std::process::Command::new(std::env::current_exe()?)
            .args(["--serve", runtime.name(), "--procs", &procs.to_string(), "--file"])
            .arg(file)
            .stdin(Stdio::piped()) // the server ends when this does
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take();
        let mut server = Server { process, address: SocketAddr::from(([0, 0, 0, 0], 0)) };
        let mut line = String::new();
        BufReader::new(stdout.ok_or(io::ErrorKind::BrokenPipe)?).read_line(&mut line)?;
        server.address = line.trim().parse().map_err(io::Error::other)?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
