//! Chance that can be repeated.

use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// Seeded by the environment variable `GORT_TEST_SEED`, or else by the clock. Prints the seed,
    /// which the test harness shows when the test fails.
    ///
    /// # Panics
    /// If `GORT_TEST_SEED` is not a number.
    #[must_use]
    pub fn from_env() -> Rng {
        let seed = match std::env::var("GORT_TEST_SEED") {
            Ok(text) => text.parse().expect("GORT_TEST_SEED is a number"),
            Err(_) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                now.map_or(0, |d| d.as_nanos() as u64)
            }
        };
        eprintln!("GORT_TEST_SEED={seed}");
        Rng(seed)
    }

    /// An independent generator, for another thread.
    #[must_use]
    pub fn split(&mut self) -> Rng {
        Rng(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is at least 1.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
