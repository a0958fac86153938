//! What was measured, and the medians of it.

use std::collections::BTreeMap;

use crate::Report;
use crate::measure::quantile;
use crate::runner::bars::{Bar, GOROUTINE_PEERS, Row};
use crate::runner::cells::Cell;

/// All values of a run.
#[derive(Debug, Default)]
pub struct Results {
    /// workload, procs, runtime, metric: one value per round
    values: BTreeMap<(String, usize, &'static str, String), Vec<f64>>,
}

/// Whether gort keeps one of its bars.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The bar in words.
    pub bar: String,
    /// Whether it is met; `None` if something it needs was not measured.
    pub met: Option<bool>,
}

impl Results {
    /// Adds the report of one run.
    pub fn add(&mut self, cell: &Cell, runtime: &'static str, report: &Report) {
        for (metric, value) in report.iter() {
            let key = (cell.name.clone(), cell.procs, runtime, metric.to_owned());
            self.values.entry(key).or_default().push(value);
        }
    }

    /// All values of one cell and runtime, sorted; empty if there are none.
    pub fn sorted(&self, row: &Row, procs: usize, runtime: &'static str) -> Vec<f64> {
        let key = (row.workload.to_owned(), procs, runtime, row.metric.to_owned());
        let mut values = self.values.get(&key).cloned().unwrap_or_default();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The median over the rounds.
    pub fn median(&self, row: &Row, procs: usize, runtime: &'static str) -> Option<f64> {
        let sorted = self.sorted(row, procs, runtime);
        (!sorted.is_empty()).then(|| quantile(&sorted, 0.5))
    }

    /// The best median of `peers`.
    fn best(&self, row: &Row, procs: usize, peers: &[&'static str]) -> Option<f64> {
        let medians = peers.iter().filter_map(|peer| self.median(row, procs, peer));
        let better = if row.more_is_better() { f64::max } else { f64::min };
        medians.reduce(better)
    }

    /// gort's median divided by the best peer's.
    pub fn ratio(&self, row: &Row, procs: usize) -> Option<f64> {
        self.ratio_to(row, procs, row.subject(), row.peers())
    }

    /// The median of `runtime` divided by the best one of `others`.
    fn ratio_to(
        &self,
        row: &Row,
        procs: usize,
        runtime: &'static str,
        others: &[&'static str],
    ) -> Option<f64> {
        let best = self.best(row, procs, others).filter(|&best| best > 0.0)?;
        Some(self.median(row, procs, runtime)? / best)
    }

    /// Judges gort by the bars of `row`.
    pub fn verdicts(&self, row: &Row, procs: usize) -> Vec<Verdict> {
        row.bars(procs).iter().map(|&bar| self.judge(row, procs, bar)).collect()
    }

    fn judge(&self, row: &Row, procs: usize, bar: Bar) -> Verdict {
        let own = self.median(row, procs, row.subject());
        let ratio = self.ratio(row, procs);
        let goroutines = |others| self.ratio_to(row, procs, "gort-go", others);
        let (bar, met) = match bar {
            Bar::OfBestPeer(x) => (format!("<= {x} of best"), ratio.map(|r| r <= x)),
            Bar::AtLeastOfBestPeer(x) => (format!(">= {x} of best"), ratio.map(|r| r >= x)),
            Bar::Of(peer, x) => {
                let ratio = self.ratio_to(row, procs, row.subject(), &[peer]);
                (format!("<= {x} of {peer}"), ratio.map(|r| r <= x))
            }
            Bar::GoroutinesOfTasks(x) => {
                (format!("gort-go <= {x} of gort"), goroutines(&["gort"]).map(|r| r <= x))
            }
            Bar::GoroutinesAtLeastOfTasks(x) => {
                (format!("gort-go >= {x} of gort"), goroutines(&["gort"]).map(|r| r >= x))
            }
            Bar::GoroutinesOfBestPeer(x) => {
                let met = goroutines(GOROUTINE_PEERS).map(|r| r <= x);
                (format!("gort-go <= {x} of go, may"), met)
            }
            Bar::AtMost(x) => (format!("<= {x}"), own.map(|v| v <= x)),
            Bar::OfOneProc(x) => {
                let alone = self.median(row, 1, row.subject());
                let met = own.zip(alone).map(|(own, alone)| own <= x * alone);
                (format!("<= {x:.2} of P=1"), met)
            }
        };
        Verdict { bar, met }
    }
}

/// The order of the columns.
pub const COLUMNS: [&str; 8] =
    ["gort", "gort-go", "tokio", "smol", "may", "go", "crossbeam", "raw"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::cells::Kind;

    const ROW: Row = Row {
        workload: "w",
        metric: "wall_ns",
        one: &[Bar::OfBestPeer(0.5), Bar::AtMost(30.0)],
        two: &[Bar::OfOneProc(1.1)],
    };

    fn results(values: &[(&'static str, usize, f64)]) -> Results {
        let mut results = Results::default();
        for &(runtime, procs, value) in values {
            let cell = Cell { name: "w".to_owned(), kind: Kind::Workload, procs };
            results.add(&cell, runtime, &Report::new().with("wall_ns", value));
        }
        results
    }

    #[test]
    fn medians_and_ratios() {
        let rounds = [("gort", 1, 40.0), ("gort", 1, 20.0), ("gort", 1, 21.0)];
        let peers = [("tokio", 1, 84.0), ("smol", 1, 100.0), ("raw", 1, 1.0)];
        let results = results(&[rounds, peers].concat());
        assert_eq!(results.median(&ROW, 1, "gort"), Some(21.0));
        assert_eq!(results.ratio(&ROW, 1), Some(0.25));
        assert!(results.verdicts(&ROW, 1).iter().all(|v| v.met == Some(true)));
    }

    #[test]
    fn what_is_not_measured_is_not_judged() {
        let results = results(&[("gort", 2, 40.0)]);
        assert_eq!(results.ratio(&ROW, 2), None);
        assert_eq!(results.verdicts(&ROW, 2)[0].met, None);
    }
}
