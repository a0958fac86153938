//! Latencies, counted in buckets that grow by powers of two, each cut in 64: quantiles within 1.6 percent.

use std::time::Duration;

const CUTS: u32 = 64;
const CUT_BITS: u32 = CUTS.ilog2();

/// A histogram of durations.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = bucket_of(u64::MAX) + 1;
        Self { counts: vec![0; buckets], total: 0 }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn add(&mut self, duration: Duration) {
        self.counts[bucket_of(duration.as_nanos() as u64)] += 1;
        self.total += 1;
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The duration at quantile `q` (0 to 1); zero if nothing was counted.
    pub fn quantile(&self, q: f64) -> Duration {
        let wanted = (self.total as f64 * q).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(floor_of(bucket));
            }
        }
        Duration::ZERO
    }
}

/// Values below `CUTS` have a bucket each; above, the top `CUT_BITS + 1` bits of the value name its bucket.
fn bucket_of(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(CUT_BITS + 1);
    ((shift * CUTS) as u64 + (nanos >> shift)) as usize
}

/// The least value of a bucket.
fn floor_of(bucket: usize) -> u64 {
    let cuts = CUTS as usize;
    if bucket < 2 * cuts {
        return bucket as u64;
    }
    let shift = bucket / cuts - 1;
    ((bucket % cuts + cuts) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_ordered_and_narrow() {
        for nanos in (0..5_000).chain([1 << 20, (1 << 40) + 12345, u64::MAX]) {
            let floor = floor_of(bucket_of(nanos));
            assert!(floor <= nanos && nanos - floor <= nanos / 60, "{nanos} in {floor}");
            assert_eq!(bucket_of(floor), bucket_of(nanos));
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|us| histogram.add(Duration::from_micros(us)));
        let p99 = histogram.quantile(0.99).as_micros();
        assert!((970..=990).contains(&p99), "{p99}");
        assert_eq!(histogram.total(), 1000);
    }
}
