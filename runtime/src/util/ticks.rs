//! A clock for those who record much: ticks, cheap to read, which a reader turns into nanoseconds.
//!
//! The system's clock costs 25 to 40 ns. On x86-64 it is made from the processor's time stamp counter,
//! where Linux trusts that one: then it ticks evenly, and in step on all cores. Reading the counter
//! itself costs a third of that. What a tick is worth follows from two points in time at which both
//! clocks were read; between them the times are interpolated, so that later ones are never earlier.
//! Elsewhere ticks are nanoseconds.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::clock;

/// Two readings of both clocks are this far apart at least, in nanoseconds: they are exact to some
/// 50, so a time is wrong by 0.005 % of its distance from them at most.
const APART: u64 = 1_000_000;

/// Whether ticks are those of the processor. Written once, before anybody counts ticks.
static IS_COUNTER: AtomicBool = AtomicBool::new(false);

/// Finds out what ticks are here.
fn init() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        let is_counter = cfg!(all(target_arch = "x86_64", target_os = "linux", not(miri)))
            && std::fs::read_to_string(source).is_ok_and(|source| source.trim() == "tsc");
        IS_COUNTER.store(is_counter, Ordering::Relaxed); // Relaxed: nobody reads it before
    });
}

/// Ticks, now.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // Relaxed: written before the first record.
    if IS_COUNTER.load(Ordering::Relaxed) { counter() } else { slow() }
}

#[cold]
fn slow() -> u64 {
    clock::now()
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn counter() -> u64 {
    // SAFETY: every x86-64 processor has it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn counter() -> u64 {
    clock::now()
}

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
struct Both {
    ticks: u64,
    nanos: u64,
}

impl Both {
    /// The best of three: the thread may be interrupted in between.
    fn now() -> Both {
        let reading = || {
            let (before, nanos, after) = (now(), clock::now(), now());
            (after.wrapping_sub(before), Both { ticks: before + (after - before) / 2, nanos })
        };
        let best = [reading(), reading(), reading()].into_iter().min_by_key(|(width, _)| *width);
        best.map(|(_, both)| both).expect("three readings")
    }
}

/// Turns ticks into nanoseconds (`util::clock`).
#[derive(Debug)]
pub(crate) struct Scale {
    from: Both,
    /// Nanoseconds of a tick, times 2^32; 0 if not known yet.
    tick: u64,
}

impl Scale {
    /// For ticks from now on.
    pub(crate) fn new() -> Scale {
        init();
        Scale { from: Both::now(), tick: 0 }
    }

    /// Makes a function for the ticks since the last call, up to now. The first call may take a
    /// millisecond.
    pub(crate) fn until_now(&mut self) -> impl Fn(u64) -> u64 + use<> {
        let mut now = Both::now();
        while self.tick == 0 && now.nanos - self.from.nanos < APART {
            std::hint::spin_loop();
            now = Both::now();
        }
        let from = self.from;
        if now.nanos - from.nanos >= APART {
            let (nanos, ticks) = (now.nanos - from.nanos, now.ticks - from.ticks);
            self.tick = ((u128::from(nanos) << 32) / u128::from(ticks)) as u64;
            self.from = now;
        }
        let tick = i128::from(self.tick);
        move |ticks| {
            let since = (i128::from(ticks.wrapping_sub(from.ticks).cast_signed()) * tick) >> 32;
            from.nanos.saturating_add_signed(since as i64)
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_the_time_of_the_clock() {
        let mut scale = Scale::new();
        let mut last = 0;
        for _ in 0..20 {
            let (before, ticks, after) = (clock::now(), now(), clock::now());
            let begin = clock::now();
            while clock::now() - begin < APART / 4 {
                std::hint::spin_loop();
            }
            let nanos = scale.until_now()(ticks);
            assert!(nanos + 20_000 > before && nanos < after + 20_000, "{before} {nanos} {after}");
            assert!(nanos > last);
            last = nanos;
        }
    }
}
