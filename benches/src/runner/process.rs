//! The programs of a run: building them, starting them, ending those that hang.

use std::env;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Report;
use crate::runner::cells::{Cell, Http, Kind};
use crate::runner::go::Go;
use crate::runner::options::Options;

/// A run that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// The programs that measure, built.
#[derive(Debug)]
pub struct Programs {
    folder: PathBuf,
    go: Option<Go>,
}

impl Programs {
    /// Builds the programs beside the running one, and Go's where Go is found.
    pub(super) fn build(options: &Options) -> Result<Self, String> {
        let here = env::current_exe().map_err(|error| error.to_string())?;
        let folder = here.parent().ok_or("this program lies in no folder")?.to_owned();
        build_rust(&folder)?;
        let go = options.go.then(|| Go::build(&folder));
        let go = match go {
            Some(Ok(go)) => Some(go),
            Some(Err(reason)) => {
                eprintln!("Go is skipped: {}", reason.trim());
                None
            }
            None => None,
        };
        Ok(Self { folder, go })
    }

    /// Whether Go takes part.
    pub fn has_go(&self) -> bool {
        self.go.is_some()
    }

    pub(super) fn go_version(&self) -> &str {
        self.go.as_ref().map_or("not measured", |go| &go.version)
    }

    /// Runs one cell on one runtime.
    pub(super) fn run(
        &self,
        cell: &Cell,
        runtime: &str,
        options: &Options,
    ) -> Result<Report, String> {
        match cell.kind {
            Kind::Workload => self.run_workload(cell, runtime, options),
            Kind::Echo { connections, bytes } => {
                let server = Server::start(self.server("echo", runtime, cell.procs))?;
                finish(&mut self.echo_load(connections, &bytes.to_string(), &server, options))
            }
            Kind::Http(http, n) => {
                let server = Server::start(self.server(http.name(), runtime, cell.procs))?;
                match http {
                    Http::One => finish(&mut self.echo_load(n, "http", &server, options)),
                    Http::Two => {
                        let mut load = self.http_load(http, &server);
                        load.arg(n.to_string()).arg(options.echo_seconds().to_string());
                        finish(load.arg(server.child.id().to_string()))
                    }
                    Http::Nap => finish(&mut self.http_load(http, &server)),
                }
            }
        }
    }

    fn run_workload(
        &self,
        cell: &Cell,
        runtime: &str,
        options: &Options,
    ) -> Result<Report, String> {
        let mut command = match (runtime, &self.go) {
            ("go", Some(go)) => {
                let mut command = Command::new(&go.program);
                // A Go twin serves both rows: all its tasks are goroutines.
                command.arg(cell.name.strip_prefix("go_").unwrap_or(&cell.name));
                command
            }
            _ => {
                let mut command = Command::new(self.folder.join("bench_one"));
                command.args([&cell.name, runtime]);
                command
            }
        };
        command.arg(cell.procs.to_string()).arg(options.scale().to_string());
        finish(&mut command)
    }

    fn server(&self, what: &str, runtime: &str, procs: usize) -> Command {
        let mut command = match (runtime, &self.go, what) {
            ("go", Some(go), _) => {
                let mut command = Command::new(&go.program);
                command.arg(what);
                command
            }
            (_, _, "echo") => {
                let mut command = Command::new(self.folder.join("echo_server"));
                command.arg(runtime);
                command
            }
            _ => {
                let mut command = Command::new(self.folder.join("http_server"));
                command.args([what, runtime]);
                command
            }
        };
        command.arg(procs.to_string());
        command
    }

    fn echo_load(
        &self,
        connections: usize,
        message: &str,
        server: &Server,
        options: &Options,
    ) -> Command {
        let mut load = Command::new(self.folder.join("echo_load"));
        load.arg(&server.address)
            .args([&connections.to_string(), message])
            .arg(options.echo_seconds().to_string())
            .arg(server.child.id().to_string());
        load
    }

    fn http_load(&self, http: Http, server: &Server) -> Command {
        let mut load = Command::new(self.folder.join("http_load"));
        load.args([http.name(), &server.address]);
        load
    }
}

/// Builds the other programs of this crate into the folder where `peers` lies.
fn build_rust(folder: &Path) -> Result<(), String> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut build = Command::new(cargo);
    build
        .args(["build", "--package", "gort-benches", "--quiet"])
        .args(["--bin", "bench_one", "--bin", "echo_server", "--bin", "echo_load"])
        .args(["--bin", "http_server", "--bin", "http_load"])
        .arg("--target-dir")
        .arg(folder.parent().unwrap_or(folder))
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if folder.ends_with("release") {
        build.arg("--release");
    }
    let status = build.status().map_err(|error| format!("cannot run cargo: {error}"))?;
    status.success().then_some(()).ok_or_else(|| "the programs do not build".to_owned())
}

/// Runs `command` to its end and reads its result lines.
fn finish(command: &mut Command) -> Result<Report, String> {
    let child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn();
    let mut child = child.map_err(|error| format!("cannot start: {error}"))?;
    let start = Instant::now();
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => return read_report(&mut child),
            Some(status) => return Err(status.to_string()),
            None if start.elapsed() > DEADLINE => {
                end(&mut child);
                return Err(format!("no end after {} s", DEADLINE.as_secs()));
            }
            None => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// A report fits into the pipe, so it may be read after the end.
fn read_report(child: &mut Child) -> Result<Report, String> {
    let mut text = String::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.read_to_string(&mut text).map_err(|error| error.to_string())?;
    }
    let report = Report::parse(&text);
    let found = report.iter().next().is_some();
    found.then_some(report).ok_or_else(|| "no result line".to_owned())
}

fn end(child: &mut Child) {
    // Both fail only if the child has ended already.
    let _ended = child.kill();
    let _status = child.wait();
}

/// A server in its own process; dropping this ends it.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(mut command: Command) -> Result<Self, String> {
        let child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn();
        let child = child.map_err(|error| format!("cannot start: {error}"))?;
        let mut server = Self { child, address: String::new() };
        let stdout = server.child.stdout.take().ok_or("the server has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
        let address = line.trim().strip_prefix("LISTENING ").ok_or("the server does not listen")?;
        server.address = address.to_owned();
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}
