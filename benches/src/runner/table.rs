//! The page with the results, in markdown.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::runner::bars::{Row, rows};
use crate::runner::cells::{Cell, fails};
use crate::runner::results::{COLUMNS, Results, Verdict};

/// The whole page: what it was measured on, the table of medians, the scatter.
pub(super) fn page(results: &Results, cells: &[Cell], machine: &str) -> String {
    let mut page = String::from("# gort and its peers\n\n");
    let lines = measured(results, cells);
    let verdicts: Vec<Verdict> =
        lines.iter().flat_map(|(row, p)| results.verdicts(row, *p)).collect();
    let met = verdicts.iter().filter(|v| v.met == Some(true)).count();
    let missed = verdicts.iter().filter(|v| v.met == Some(false)).count();
    page += machine;
    let _ = writeln!(page, "\nBars met: {met}, missed: {missed}.\n");
    page += "Medians over the rounds. `gort / best` compares with the best of tokio, smol and Go, in rows `go_*`\n";
    page += "`gort-go` (goroutines) with the best of may and Go; `raw` is a single-threaded epoll loop, the limit of the machine.\n";
    page += "FAIL: known not to survive it, not run. What each row means: `README.md`.\n\n";
    page += "| workload | P | metric | gort | gort-go | tokio | smol | may | Go | crossbeam | raw | gort / best | bars |\n";
    page += "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n";
    for (row, procs) in &lines {
        page += &line(results, row, *procs);
    }
    page += "\n## Scatter\n\nLeast and greatest value of the rounds.\n\n";
    page +=
        "| workload | P | metric | gort | gort-go | tokio | smol | may | Go | crossbeam | raw |\n";
    page += "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";
    for (row, procs) in &lines {
        page += &scatter(results, row, *procs);
    }
    page
}

/// Writes the page to `RESULTS.md` of this crate.
///
/// # Errors
/// A message, if the file cannot be written.
pub(super) fn write(page: &str) -> Result<(), String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("RESULTS.md");
    fs::write(&file, page).map_err(|error| format!("cannot write RESULTS.md: {error}"))
}

fn measured(results: &Results, cells: &[Cell]) -> Vec<(Row, usize)> {
    let both = rows().into_iter().flat_map(|row| [(row, 1), (row, 2)]);
    both.filter(|(row, procs)| {
        cells.iter().any(|cell| cell.name == row.workload && cell.procs == *procs)
            && COLUMNS.iter().any(|runtime| results.median(row, *procs, runtime).is_some())
    })
    .collect()
}

fn line(results: &Results, row: &Row, procs: usize) -> String {
    let medians = COLUMNS.map(|runtime| {
        if fails(row.workload, runtime) {
            return "FAIL".to_owned();
        }
        number(results.median(row, procs, runtime))
    });
    let ratio = match results.ratio(row, procs) {
        Some(ratio) => format!("{ratio:.2}"),
        None => "-".to_owned(),
    };
    let bars: Vec<String> = results.verdicts(row, procs).iter().map(describe).collect();
    format!(
        "| {} | {procs} | {} | {} | {ratio} | {} |\n",
        row.workload,
        row.metric,
        medians.join(" | "),
        bars.join("; ")
    )
}

fn describe(verdict: &Verdict) -> String {
    let met = match verdict.met {
        Some(true) => "met",
        Some(false) => "**missed**",
        None => "not measured",
    };
    format!("{}: {met}", verdict.bar)
}

fn scatter(results: &Results, row: &Row, procs: usize) -> String {
    let spans = COLUMNS.map(|runtime| {
        let sorted = results.sorted(row, procs, runtime);
        match (sorted.first(), sorted.last()) {
            (Some(&least), Some(&most)) => {
                format!("{} .. {}", number(Some(least)), number(Some(most)))
            }
            _ => "-".to_owned(),
        }
    });
    format!("| {} | {procs} | {} | {} |\n", row.workload, row.metric, spans.join(" | "))
}

/// Three significant digits.
fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(v) if v >= 99.95 => format!("{v:.0}"),
        Some(v) if v >= 9.995 => format!("{v:.1}"),
        Some(v) => format!("{v:.2}"),
    }
}
