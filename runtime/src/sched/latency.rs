//! How long runnable Gs wait for their dispatch: a histogram from samples. Go: `/sched/latencies`.
//!
//! A wake or a spawn that comes when its P is so many dispatches before its next fair turn is a
//! sample, about one in 61 (one in 8 where dispatches take microseconds): so nothing is counted for
//! it, the fair turn's count is at hand. The G gets the time, in the word that says since when it
//! waits, which means nothing while it is runnable, and a mark in its status, among those that make
//! a dispatch unusual: who dispatches it looks for all of them at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Sched;
use super::g::GRef;
use super::m::M;
use super::p::Local;
use super::stats::bump;
use crate::util::clock;

/// See the module. A fair turn comes 8 dispatches after the last one at the earliest.
const SAMPLE_AT: u32 = 4;
/// Of the Gs that come from outside every so-manieth is a sample, by its id. Go: 8.
const OUTSIDE: u64 = 8;
/// Log2 of the unit of a stamp, in nanoseconds: 64. A stamp wraps after 4 minutes.
const UNIT: u32 = 6;
/// Powers of two of that unit.
const BUCKETS: usize = 32;

/// The samples of one P: one writer, as `Counters`.
#[derive(Debug, Default)]
pub(super) struct Latencies([AtomicU64; BUCKETS]);

/// How long tasks and goroutines were runnable before they ran, from about every 61st wake and
/// spawn (every 8th where dispatches take microseconds, and of those from outside the runtime's
/// threads).
///
/// # Examples
/// ```
/// let runtime = gort::Runtime::new()?;
/// runtime.block_on(async {
///     for _ in 0..1000 {
///         gort::spawn(async {}).await.unwrap();
///     }
/// });
/// let latency = runtime.handle().metrics().latency;
/// assert!(latency.count() > 0);
/// assert!(latency.quantile(0.5) <= latency.quantile(0.99));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LatencyHistogram([u64; BUCKETS]);

impl LatencyHistogram {
    /// The buckets: how many samples were shorter than this and not in a bucket before. The last
    /// one has all that are longer, too.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.0.iter().zip(0_u32..).map(|(count, i)| (end_of(i), *count))
    }

    /// How many samples there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The time that the share `q` of the samples did not reach, as the end of its bucket: at most
    /// twice the true value, from 128 ns up. Zero if there are no samples.
    ///
    /// # Panics
    /// If `q` is not between 0 and 1.
    #[must_use]
    #[track_caller]
    pub fn quantile(&self, q: f64) -> Duration {
        assert!((0.0..=1.0).contains(&q), "`LatencyHistogram::quantile`: {q} is no share");
        let rank = (self.count() as f64 * q).ceil() as u64;
        let mut sum = 0;
        let reached = self.buckets().find(|(_, count)| {
            sum += count;
            sum >= rank && sum > 0
        });
        reached.map_or(Duration::ZERO, |(end, _)| end)
    }

    pub(super) fn add(&mut self, samples: &Latencies) {
        for (sum, count) in self.0.iter_mut().zip(&samples.0) {
            *sum += count.load(Ordering::Relaxed); // Relaxed: statistics
        }
    }
}

/// Where bucket `i` ends.
fn end_of(i: u32) -> Duration {
    Duration::from_nanos(1 << (i + UNIT + 1))
}

fn bucket_of(units: u32) -> usize {
    units.checked_ilog2().unwrap_or(0) as usize
}

/// The time, as a stamp.
fn stamp() -> u32 {
    (clock::now() >> UNIT) as u32
}

impl Local {
    /// A G has just been made runnable here.
    #[inline(always)]
    pub(super) fn sample(&self, g: GRef) {
        if self.is_before_fair_turn(SAMPLE_AT) {
            mark(g);
        }
    }
}

#[cold]
fn mark(g: GRef) {
    g.set_since(stamp());
    g.status().sample();
}

/// A G from outside is about to be queued.
pub(super) fn sample_outside(g: GRef) {
    if g.id().is_multiple_of(OUTSIDE) {
        mark(g);
    }
}

impl M {
    /// A G has just been made runnable here.
    #[inline(always)]
    pub(super) fn sample(&self, g: GRef) {
        if let Some(p) = self.p() {
            // SAFETY: this M holds the P, inside the core.
            unsafe { p.local() }.sample(g);
        }
    }

    /// `g`, a sample, is dispatched.
    #[cold]
    pub(super) fn note_latency(&self, g: GRef) {
        let bucket = bucket_of(stamp().wrapping_sub(g.since()));
        match self.p() {
            Some(p) => bump(&p.counters.latencies.0[bucket]),
            // Relaxed: statistics.
            None => drop(self.sched().outside.latencies.0[bucket].fetch_add(1, Ordering::Relaxed)),
        }
    }
}

impl Sched {
    /// The samples of all Ps.
    pub(super) fn latency(&self) -> LatencyHistogram {
        let mut sum = LatencyHistogram::default();
        self.ps.iter().for_each(|p| sum.add(&p.counters.latencies));
        sum.add(&self.outside.latencies);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_powers_of_two() {
        assert_eq!([0, 1, 2, 3, 4, u32::MAX].map(bucket_of), [0, 0, 1, 1, 2, 31]);
        assert_eq!(end_of(0), Duration::from_nanos(128));
    }

    #[test]
    fn quantiles() {
        let mut histogram = LatencyHistogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        (histogram.0[0], histogram.0[4], histogram.0[9]) = (90, 9, 1);
        assert_eq!(histogram.count(), 100);
        assert_eq!([0.0, 0.9, 0.95, 0.99, 1.0].map(|q| histogram.quantile(q)), {
            [end_of(0), end_of(0), end_of(4), end_of(4), end_of(9)]
        });
    }
}
