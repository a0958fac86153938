//! Runs one workload on one runtime in this process and prints its result lines.
//!
//! `bench_one WORKLOAD RUNTIME PROCS [SCALE]`, for instance `bench_one spawn_join gort 2`. Without arguments it lists the
//! workloads. A process of its own per measurement: no allocator, no idle worker and no warm cache is left from another.

use std::env;
use std::process::ExitCode;

use gort_benches::Report;
use gort_benches::co::{GortGo, May};
use gort_benches::rt::{Gort, Smol, Tokio};
use gort_benches::workload::{self, Setup, Workload, goroutines, select};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match run(&args) {
        Ok(report) => {
            print!("{report}");

            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<Report, String> {
    let [name, runtime, procs, scale @ ..] = args else {
        return Err(usage());
    };
    let procs = procs.parse().map_err(|_| format!("`{procs}` is not a number of procs"))?;
    let scale = match scale.first() {
        Some(scale) => scale.parse().map_err(|_| format!("`{scale}` is not a scale"))?,
        None => 1.0,
    };
    let workload = find(name, runtime)?;
    Ok(workload(&Setup { procs, scale }))
}

fn find(name: &str, runtime: &str) -> Result<Workload, String> {
    if let Some(found) = select::find(name, runtime) {
        return Ok(found);
    }
    let found = match runtime {
        "gort" => workload::find::<Gort>(name),
        "tokio" => workload::find::<Tokio>(name),
        "smol" => workload::find::<Smol>(name),
        "gort-go" => goroutines::find::<GortGo>(name),
        "may" => goroutines::find::<May>(name),
        _ => return Err(format!("no runtime `{runtime}`\n{}", usage())),
    };
    found.ok_or_else(|| format!("no workload `{name}`\n{}", usage()))
}

fn usage() -> String {
    let names = |all: Vec<(&'static str, Workload)>| -> String {
        all.into_iter().map(|(name, _)| format!(" {name}")).collect()
    };
    format!(
        "usage: bench_one WORKLOAD RUNTIME PROCS [SCALE]\non gort, tokio, smol:{}\non gort-go, may:{}\n\
         on gort, gort-go, crossbeam: {}",
        names(workload::all::<Gort>()),
        names(goroutines::all::<GortGo>()),
        select::NAMES.join(" "),
    )
}
