//! Work that takes a known time and touches no memory.
//!
//! A loop that reads the clock until the time is over would shrink when its thread is preempted: the time passes without
//! work. So the work is a number of steps of a dependent multiplication, counted once per process against the clock, in the
//! fastest of many short trials.

use std::hint::black_box;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const TRIAL_STEPS: u64 = 20_000;
const TRIALS: usize = 50;

/// How often a ticker wants its turn.
pub const TICK: Duration = Duration::from_millis(1);

/// Steps between two looks at the clock in [`spin`].
const SPIN_STEPS: u64 = 5_000;

static STEPS_PER_US: LazyLock<u64> = LazyLock::new(calibrate);

/// Computes for about `duration`.
pub fn compute(duration: Duration) {
    let steps = duration.as_nanos() as u64 * *STEPS_PER_US / 1000;
    multiply(steps);
}

/// Computes until `duration` has passed on the wall, without a call that a runtime could see.
pub fn spin(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        multiply(SPIN_STEPS);
    }
}

/// Counts the steps of this machine; later calls of [`compute`] do not.
pub fn prepare() {
    LazyLock::force(&STEPS_PER_US);
}

fn calibrate() -> u64 {
    let fastest = (0..TRIALS).map(|_| time_trial()).min().unwrap_or_default();
    (TRIAL_STEPS * 1000 / fastest.as_nanos().max(1) as u64).max(1)
}

fn time_trial() -> Duration {
    let start = Instant::now();
    multiply(TRIAL_STEPS);
    start.elapsed()
}

fn multiply(steps: u64) {
    let mut x = black_box(1_u64);
    for _ in 0..steps {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    }
    black_box(x);
}
