//! What the tour prints: an opening, a line that lives while it runs, a summary.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use gort::Metrics;

use super::client::Load;
use super::options::Options;

/// Standard output: on a terminal the line is written over, elsewhere one follows the other.
pub struct Screen {
    is_terminal: bool,
}

/// What there is to say at the end.
pub struct Summary<'a> {
    pub answers: super::histogram::Snapshot,
    pub elapsed: Duration,
    /// Taken while the load was on.
    pub metrics: Metrics,
    pub failures: &'a [String],
}

impl Screen {
    pub fn new() -> Screen {
        Screen { is_terminal: io::stdout().is_terminal() }
    }

    pub fn opening(&self, options: &Options, procs: usize, connecting: Duration) {
        println!(
            "gort: an echo server ({}) and {} clients, {} bytes a message, {} s, {procs} procs",
            options.mode.name(),
            grouped(options.connections),
            grouped(options.size),
            options.seconds,
        );
        println!("connected in {}\n", short(connecting));
    }

    /// Shows how the load goes, for `duration`.
    pub async fn watch(&self, load: &Load, duration: Duration) {
        let period = Duration::from_millis(if self.is_terminal { 250 } else { 1000 });
        let start = Instant::now();
        let mut ticks = gort::time::interval(period);
        let (mut then, mut before) = (start, load.latencies().snapshot());
        while start.elapsed() < duration {
            ticks.tick().await;
            let (now, counted) = (Instant::now(), load.latencies().snapshot());
            let answers = counted.since(&before);
            let rate = per_second(answers.total(), now - then);
            self.live(format_args!(
                "{:>5.1} s {:>10} req/s   p50 {:>8}   p99 {:>8}",
                (now - start).as_secs_f64(),
                grouped(rate),
                short(answers.quantile(0.5)),
                short(answers.quantile(0.99)),
            ));
            (then, before) = (now, counted);
        }
        println!();
    }

    fn live(&self, line: impl Display) {
        if self.is_terminal {
            print!("\r{line}\x1b[K");
            let _ = io::stdout().flush(); // nobody may be looking any more
        } else {
            println!("{line}");
        }
    }

    pub fn closing(&self, summary: &Summary<'_>) {
        let Summary { answers, elapsed, metrics, failures } = summary;
        if self.is_terminal {
            println!();
        }
        let requests = answers.total();
        fact("requests", grouped(requests), "each answer compared with its message");
        fact("rate", grouped(per_second(requests, *elapsed)), "requests a second");
        for (name, q) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            fact(name, short(answers.quantile(q)), "");
        }
        let tasks = grouped(metrics.tasks + metrics.goroutines);
        fact("tasks", tasks, "two a connection, the listener, the tour");
        fact("threads", grouped(metrics.threads), &format!("for {} procs", metrics.procs));
        fact("errors", grouped(failures.len()), "connections that failed");
        if let Some(failure) = failures.first() {
            println!("the first one: {failure}");
        }
    }
}

fn fact(name: &str, value: String, note: &str) {
    println!("{}", format!("{name:<8} {value:>12}   {note}").trim_end());
}

fn per_second(count: u64, elapsed: Duration) -> u64 {
    (count as f64 / elapsed.as_secs_f64()).round() as u64
}

/// A duration in three digits: `6.53 ms`.
fn short(duration: Duration) -> String {
    let us = duration.as_secs_f64() * 1e6;
    let (value, unit) = match us {
        ..1e3 => (us, "us"),
        ..1e6 => (us / 1e3, "ms"),
        _ => (us / 1e6, "s"),
    };
    let digits = match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// A number with its thousands apart: `1,234,567`.
fn grouped(n: impl Display) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let us = [0, 7, 12, 345, 6_530, 12_000_000].map(Duration::from_micros);
        let text = ["0.00 us", "7.00 us", "12.0 us", "345 us", "6.53 ms", "12.0 s"];
        assert_eq!(us.map(short), text);
    }
}
