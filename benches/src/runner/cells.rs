//! Cells: one workload at one number of processors.

use crate::Rt;
use crate::rt::Gort;
use crate::runner::options::Options;
use crate::runner::process::Programs;
use crate::workload;

/// Connections and bytes per message of the echo cells.
const ECHO: [(usize, usize); 4] = [(50, 64), (50, 4096), (1000, 64), (1000, 4096)];

/// The numbers of processors that are measured.
const PROCS: [usize; 2] = [1, 2];

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
}

impl Cell {
    /// Rounds this cell gets. An idle runtime and a parked task hardly scatter, but take long to measure.
    pub fn rounds(&self, options: &Options) -> usize {
        let most = match (self.kind, options.quick) {
            (Kind::Workload, quick) if self.is_steady() => 2 - usize::from(quick),
            (Kind::Echo { .. }, true) => 2,
            _ => options.rounds,
        };
        most.min(options.rounds)
    }

    fn is_steady(&self) -> bool {
        ["idle", "parked_100k", "parked_1M"].contains(&self.name.as_str())
    }

    /// The runtimes of this cell, gort first. The raw loop has one thread.
    pub fn runtimes(&self, programs: &Programs) -> Vec<&'static str> {
        let mut runtimes = vec![Gort::NAME, "tokio", "smol"];
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
    let workloads =
        workload::all::<Gort>().into_iter().map(|(name, _)| (name.to_owned(), Kind::Workload));
    let echo = ECHO.map(|(connections, bytes)| {
        let kind = Kind::Echo { connections, bytes };
        (format!("echo_{connections}x{bytes}"), kind)
    });
    workloads
        .chain(echo)
        .filter(|(name, kind)| is_wanted(name, *kind, options))
        .flat_map(|(name, kind)| PROCS.map(|procs| Cell { name: name.clone(), kind, procs }))
        .collect()
}

fn is_wanted(name: &str, kind: Kind, options: &Options) -> bool {
    let named = options.only.is_empty() || options.only.iter().any(|word| name.contains(word));
    named && (kind == Kind::Workload || options.echo)
}
