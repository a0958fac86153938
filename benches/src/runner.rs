//! The program `peers`: all cells, interleaved, each in a fresh process; one table.
//!
//! The machine's clock wanders by half between runs, so numbers from different runs do not compare. Hence the order: a
//! *cell* is one workload at one number of processors; inside a cell all runtimes run back to back, the first one changing
//! from round to round; and all cells are repeated for several rounds. The table shows medians over the rounds, the ratio of
//! gort to the best peer, and beside it the bar that gort has set itself.

use std::process::ExitCode;

use crate::runner::cells::Cell;
use crate::runner::options::Options;
use crate::runner::process::Programs;
use crate::runner::results::Results;

pub mod bars;
pub mod cells;
mod go;
mod machine;
pub mod options;
mod process;
pub mod results;
mod table;

/// Runs `peers` with the given command line, without the program's own name.
pub fn main(args: &[String]) -> ExitCode {
    match Options::parse(args).and_then(|options| run(&options)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failures) => {
            eprintln!("{failures} runs failed");
            ExitCode::FAILURE
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Returns how many runs failed.
fn run(options: &Options) -> Result<usize, String> {
    let programs = Programs::build(options)?;
    let cells = cells::selected(options);
    if cells.is_empty() {
        return Err("no cell has that name".to_owned());
    }
    let mut results = Results::default();
    let mut failures = 0;
    for round in 0..options.rounds {
        for cell in cells.iter().filter(|cell| round < cell.rounds(options)) {
            eprintln!("round {} of {}: {} P={}", round + 1, options.rounds, cell.name, cell.procs);
            failures += run_cell(cell, round, &programs, options, &mut results);
        }
    }
    let page = table::page(&results, &cells, &machine::describe(&programs, options));
    println!("{page}");
    if options.write {
        table::write(&page, &options.only)?;
    }
    Ok(failures)
}

fn run_cell(
    cell: &Cell,
    round: usize,
    programs: &Programs,
    options: &Options,
    results: &mut Results,
) -> usize {
    let runtimes = cell.runtimes(programs);
    let mut failures = 0;
    for turn in 0..runtimes.len() {
        let runtime = runtimes[(turn + round) % runtimes.len()];
        match programs.run(cell, runtime, options) {
            Ok(report) => results.add(cell, runtime, &report),
            Err(reason) => {
                eprintln!("{} P={} {runtime}: {reason}", cell.name, cell.procs);
                failures += 1;
            }
        }
    }
    failures
}
