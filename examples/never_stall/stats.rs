//! What a phase comes to: quantiles, and the longest time without any answer.

use std::time::Duration;

use super::load::Sample;
use super::phase::Phase;

/// The figures of a phase.
#[derive(Debug, PartialEq)]
pub struct Stats {
    answers: usize,
    p50: Duration,
    pub p99: Duration,
    max: Duration,
    /// The longest time in which no light request was answered.
    gap: Duration,
}

impl Stats {
    pub const HEAD: &str =
        "                      answers        p50        p99        max   largest gap";

    pub fn of(samples: &[Sample]) -> Stats {
        let mut latencies: Vec<_> = samples.iter().map(|sample| sample.latency).collect();
        latencies.sort();
        let mut answered: Vec<_> = samples.iter().map(|s| s.due + s.latency).collect();
        answered.sort();
        let gap = answered.windows(2).map(|pair| pair[1] - pair[0]).max();
        Stats {
            answers: samples.len(),
            p50: quantile(&latencies, 0.5),
            p99: quantile(&latencies, 0.99),
            max: quantile(&latencies, 1.0),
            gap: gap.unwrap_or_default(),
        }
    }

    /// A line below [`Stats::HEAD`].
    pub fn line(&self, phase: Phase) -> String {
        let Stats { answers, p50, p99, max, gap } = self;
        let [p50, p99, max, gap] = [p50, p99, max, gap].map(|duration| short(*duration));
        let phase = phase.title();
        format!("  {phase:<18} {answers:>8} {p50:>10} {p99:>10} {max:>10} {gap:>13}")
    }
}

/// The least duration that a share `q` of all stays within; zero if there are none.
fn quantile(sorted: &[Duration], q: f64) -> Duration {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Milliseconds in three digits: `6.53 ms`.
pub fn short(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    let digits = match ms {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{ms:.digits$} ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_ramp() {
        let sample = |ms| Sample { due: Duration::ZERO, latency: Duration::from_millis(ms) };
        let samples: Vec<_> = (1..=100).rev().chain([150]).map(sample).collect();
        let stats = Stats::of(&samples);
        let ms = Duration::from_millis;
        let wanted = Stats { answers: 101, p50: ms(51), p99: ms(100), max: ms(150), gap: ms(50) };
        assert_eq!(stats, wanted);
        assert_eq!(Stats::of(&[]).max, Duration::ZERO);
    }

    #[test]
    fn durations_are_short() {
        let us = [70, 9_994, 9_999, 123_456].map(Duration::from_micros);
        assert_eq!(us.map(short), ["0.07 ms", "9.99 ms", "10.0 ms", "123 ms"]);
    }
}
