//! The page with the results, in markdown.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::runner::bars::{Row, rows};
use crate::runner::cells::{Cell, fails};
use crate::runner::results::{COLUMNS, Results, Verdict};

/// The whole page: what it was measured on, the table of medians, the scatter.
pub(super) fn page(results: &Results, cells: &[Cell], machine: &str) -> String {
    let mut page = format!("{TITLE}\n");
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

/// Writes the page of a complete run to `RESULTS.md` of this crate. That of a partial run takes the place of the last one with
/// the same `names`, or stands at the end.
///
/// # Errors
/// A message, if the file cannot be read or written.
pub(super) fn write(page: &str, names: &[String]) -> Result<(), String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("RESULTS.md");
    let text = if names.is_empty() {
        page.to_owned()
    } else {
        let old = fs::read_to_string(&file);
        let old = old.map_err(|error| format!("cannot read RESULTS.md: {error}"))?;
        with_part(&old, page, names)
    };
    fs::write(&file, text).map_err(|error| format!("cannot write RESULTS.md: {error}"))
}

const TITLE: &str = "# gort and its peers\n";

fn with_part(old: &str, page: &str, names: &[String]) -> String {
    let title = format!("{}: {}\n", TITLE.trim_end(), names.join(", "));
    let starts = old.match_indices(TITLE.trim_end()).map(|(at, _)| at).chain([old.len()]);
    let starts: Vec<usize> = starts.collect();
    let pages = starts.windows(2).map(|span| old[span[0]..span[1]].trim_end());
    let others = pages.filter(|page| !page.starts_with(title.trim_end()));
    let part = page.replacen(TITLE, &title, 1);
    others.chain([part.trim_end()]).collect::<Vec<_>>().join("\n\n") + "\n"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_takes_the_place_of_the_one_with_its_names() {
        let whole = format!("{TITLE}\nall\n");
        let page = |text: &str| format!("{TITLE}\n{text}\n");
        let name = |name: &str| [name.to_owned()];
        let first = with_part(&whole, &page("old"), &name("http"));
        let second = with_part(&first, &page("other"), &name("echo"));
        let third = with_part(&second, &page("new"), &name("http"));
        let title = TITLE.trim_end();
        let rest = format!("{title}: echo\n\nother\n\n{title}: http\n\nnew\n");
        assert_eq!(third, format!("{TITLE}\nall\n\n{rest}"));
    }
}
