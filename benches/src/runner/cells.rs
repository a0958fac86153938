//! Cells: one workload at one number of processors.

use crate::co::{GortGo, May};
use crate::rt::Gort;
use crate::runner::options::Options;
use crate::runner::process::Programs;
use crate::workload::{self, goroutines, select};
use crate::{Co, Rt};

/// Connections and bytes per message of the echo cells.
const ECHO: [(usize, usize); 4] = [(50, 64), (50, 4096), (1000, 64), (1000, 4096)];

/// The HTTP cells, their servers and how many connections or streams ask.
const HTTP: [(&str, Http, usize); 3] =
    [("http_64", Http::One, 64), ("http2_1000", Http::Two, 1000), ("http_nap", Http::Nap, 1000)];

/// The numbers of processors that are measured.
const PROCS: [usize; 2] = [1, 2];

/// How the names of the workloads in blocking style begin.
pub const GOROUTINES: &str = "go_";

/// Whether `runtime` is known not to survive `workload`, at any size that is measured. may maps each stack twice, and the
/// kernel's 65,530 mappings end that near 32,000; then it panics or hangs.
pub fn fails(workload: &str, runtime: &str) -> bool {
    let many = ["go_skynet", "go_parked_100k", "go_parked_1M"];
    runtime == May::NAME && many.contains(&workload)
}

/// One workload at one number of processors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The workload's name in tables.
    pub name: String,
    /// What the cell runs.
    pub kind: Kind,
    /// Threads that run tasks.
    pub procs: usize,
}

/// What a cell runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A workload inside one process.
    Workload,
    /// An echo server and the load generator.
    Echo {
        /// Connections at once.
        connections: usize,
        /// Bytes per message.
        bytes: usize,
    },
    /// An HTTP server, asked over so many connections, streams or by so many requests.
    Http(Http, usize),
}

/// What an HTTP server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.
    One,
    /// HTTP/2.
    Two,
    /// HTTP/1, beside a handler that sleeps on its thread.
    Nap,
}

impl Http {
    /// Its name on the command line of the servers.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "http1",
            Self::Two => "http2",
            Self::Nap => "nap",
        }
    }
}

impl Cell {
    /// Rounds this cell gets. An idle runtime and a parked task hardly scatter, but take long to measure.
    pub fn rounds(&self, options: &Options) -> usize {
        let most = match (self.kind, options.quick) {
            (Kind::Workload, quick) if self.is_steady() => 2 - usize::from(quick),
            (Kind::Echo { .. } | Kind::Http(..), true) => 2,
            _ => options.rounds,
        };
        most.min(options.rounds)
    }

    fn is_steady(&self) -> bool {
        self.name == "idle" || self.name.contains("parked_")
    }

    /// The runtimes of this cell, gort first. The raw loop has one thread.
    pub fn runtimes(&self, programs: &Programs) -> Vec<&'static str> {
        let mut runtimes = Vec::new();
        if let Kind::Http(http, _) = self.kind {
            runtimes.extend([Gort::NAME, "tokio"]);
            runtimes.extend((http != Http::Nap).then_some(GortGo::NAME));
            runtimes.extend(programs.has_go().then_some("go"));
            return runtimes;
        }
        if select::NAMES.contains(&self.name.as_str()) {
            runtimes.extend([Gort::NAME, GortGo::NAME, "crossbeam"]);
        } else if !self.name.starts_with(GOROUTINES) {
            runtimes.extend([Gort::NAME, "tokio", "smol"]);
        }
        if self.name.starts_with(GOROUTINES) || self.kind != Kind::Workload {
            runtimes.extend([GortGo::NAME, May::NAME]);
            runtimes.retain(|runtime| !fails(&self.name, runtime));
        }
        if programs.has_go() {
            runtimes.push("go");
        }
        if self.kind != Kind::Workload && self.procs == 1 {
            runtimes.push("raw");
        }
        runtimes
    }
}

/// The cells that `options` asks for.
pub fn selected(options: &Options) -> Vec<Cell> {
    let workloads = workload::all::<Gort>().into_iter().chain(goroutines::all::<GortGo>());
    let names = workloads.map(|(name, _)| name).chain(select::NAMES);
    let workloads = names.map(|name| (name.to_owned(), Kind::Workload));
    let echo = ECHO.map(|(connections, bytes)| {
        let kind = Kind::Echo { connections, bytes };
        (format!("echo_{connections}x{bytes}"), kind)
    });
    let http = HTTP.map(|(name, http, n)| (name.to_owned(), Kind::Http(http, n)));
    workloads
        .chain(echo)
        .chain(http)
        .filter(|(name, kind)| is_wanted(name, *kind, options))
        .flat_map(|(name, kind)| PROCS.map(|procs| Cell { name: name.clone(), kind, procs }))
        .collect()
}

fn is_wanted(name: &str, kind: Kind, options: &Options) -> bool {
    let named = options.only.is_empty() || options.only.iter().any(|word| name.contains(word));
    named && (kind == Kind::Workload || options.echo)
}
