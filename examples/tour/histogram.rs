//! Latencies, counted in buckets that are narrow where the values are small.
//!
//! Each power of two is cut into 64 equal buckets, so a bucket is at most 1/64 of its values wide
//! and quantiles are exact to 1.6 percent, whatever their size; two thousand counters reach from a
//! nanosecond to a minute. All tasks count into one histogram, with one relaxed add each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets per power of two, as a power of two.
const CUT_BITS: u32 = 6;
const CUTS: u64 = 1 << CUT_BITS;
/// What is longer counts as this long.
const MAX: u64 = (1 << 36) - 1;

/// Counts durations from many threads at once.
pub struct Histogram {
    counts: Box<[AtomicU64]>,
}

impl Histogram {
    pub fn new() -> Histogram {
        Histogram { counts: (0..=bucket_of(MAX)).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Counts one duration.
    pub fn add(&self, duration: Duration) {
        let nanos = duration.as_nanos().min(u128::from(MAX)) as u64;
        self.counts[bucket_of(nanos)].fetch_add(1, Ordering::Relaxed); // Relaxed: statistics
    }

    /// What has been counted so far.
    pub fn snapshot(&self) -> Snapshot {
        let counts = self.counts.iter().map(|c| c.load(Ordering::Relaxed)); // Relaxed: statistics
        Snapshot { counts: counts.collect() }
    }
}

/// A histogram that stands still.
pub struct Snapshot {
    counts: Vec<u64>,
}

impl Snapshot {
    /// What was counted after `earlier` was taken of the same histogram.
    pub fn since(&self, earlier: &Snapshot) -> Snapshot {
        let pairs = self.counts.iter().zip(&earlier.counts);
        Snapshot { counts: pairs.map(|(now, then)| now - then).collect() }
    }

    /// How many durations were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The duration that a share `q` (0 to 1) of all stays within; zero if there are none.
    pub fn quantile(&self, q: f64) -> Duration {
        let wanted = ((self.total() as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        bucket.map_or(Duration::ZERO, |bucket| Duration::from_nanos(floor_of(bucket)))
    }
}

/// Below 128, each value has its own bucket; above, its top seven bits name its bucket.
fn bucket_of(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(CUT_BITS + 1);
    (u64::from(shift) * CUTS + (nanos >> shift)) as usize
}

/// The least value of a bucket.
fn floor_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / CUTS).saturating_sub(1);
    (bucket - shift * CUTS) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_narrow_and_in_order() {
        for nanos in (0..10_000).chain([1 << 20, (1 << 30) + 12_345, MAX]) {
            let floor = floor_of(bucket_of(nanos));
            assert!(floor <= nanos && nanos - floor <= nanos / 64, "{nanos} is in {floor}");
            assert!(bucket_of(nanos) <= bucket_of(nanos + 1));
        }
    }

    #[test]
    fn quantiles_are_close() {
        let histogram = Histogram::new();
        let earlier = histogram.snapshot();
        assert_eq!(earlier.quantile(0.5), Duration::ZERO);
        (1..=1000).for_each(|us| histogram.add(Duration::from_micros(us)));
        histogram.add(Duration::MAX);
        let snapshot = histogram.snapshot().since(&earlier);
        assert_eq!(snapshot.total(), 1001);
        for (q, us) in [(0.0, 1), (0.5, 500), (0.99, 990)] {
            let got = snapshot.quantile(q).as_nanos();
            assert!(got <= us * 1000 && got >= us * 1000 - us * 1000 / 64, "{q}: {got} ns");
        }
        assert!(snapshot.quantile(1.0) > Duration::from_secs(60));
    }
}
