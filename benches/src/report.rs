//! Result lines: what a measured process prints and the runner reads.
//!
//! One metric per line, `RESULT name value`. The process knows only its own metrics; which
//! cell they belong to is known to the runner that started it. Go's programs print the same lines.

use std::fmt;

/// The metrics of one run, in the order they were added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    metrics: Vec<(String, f64)>,
}

impl Report {
    /// A report without metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// The report with one more metric. The name ends in its unit and has no blanks.
    #[must_use]
    pub fn with(mut self, name: &str, value: f64) -> Self {
        self.metrics.push((name.to_owned(), value));
        self
    }

    /// The value of metric `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(n, _)| n == name).map(|&(_, value)| value)
    }

    /// All metrics.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.metrics.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Reads the result lines in `text` and skips all others.
    pub fn parse(text: &str) -> Self {
        let metrics = text.lines().filter_map(parse_line).collect();
        Self { metrics }
    }
}

fn parse_line(line: &str) -> Option<(String, f64)> {
    let mut words = line.strip_prefix("RESULT ")?.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.iter() {
            writeln!(f, "RESULT {name} {value:.3}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints() {
        let report = Report::new().with("wall_ns", 42.125).with("units", 1e6);
        let text = format!("some noise\n{report}more noise\n");
        assert_eq!(Report::parse(&text), report);
        assert_eq!(report.get("units"), Some(1e6));
        assert_eq!(report.get("cpu_ns"), None);
    }
}
