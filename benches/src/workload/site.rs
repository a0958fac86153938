//! A server whose handlers block for 20 ms each without a word to the runtime, and a ticker of 1 ms beside it.
//!
//! All handlers are started at one line of code, a fixed number a second. Where coroutines stay on the thread on which they
//! began, a handler holds up its neighbours: the ticker, if they share a thread, and the server itself. A runtime can only
//! help by learning from the first ones to start the later ones elsewhere.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Setup;
use crate::measure::{quantile, threads};
use crate::work::TICK;
use crate::{Co, Report};

/// How long a handler blocks its thread.
const BLOCK: Duration = Duration::from_millis(20);
/// How long the ticker runs before and after the load.
const MARGIN: Duration = Duration::from_millis(50);

/// `PER_SECOND` handlers a second for two seconds, or one in a quick run. Reports the ticker's gaps, how late handlers start,
/// and the threads at the end.
pub fn site<C: Co, const PER_SECOND: u32>(setup: &Setup) -> Report {
    let seconds = if setup.scale < 0.5 { 1 } else { 2 };
    C::with(setup.procs, || {
        let over = Arc::new(AtomicBool::new(false));
        let ticker = {
            let over = Arc::clone(&over);
            C::go(move || ticks::<C>(&over))
        };
        thread::sleep(MARGIN);
        let server = C::go(move || serve::<C>(seconds * PER_SECOND, PER_SECOND));
        let late = C::join(server);
        thread::sleep(MARGIN);
        // Relaxed: nothing else is passed on by it.
        over.store(true, Ordering::Relaxed);
        let gaps = C::join(ticker);
        Report::new()
            .with("gap_p50_ms", quantile(&gaps, 0.5))
            .with("gap_p99_ms", quantile(&gaps, 0.99))
            .with("gap_max_ms", quantile(&gaps, 1.0))
            .with("start_p50_ms", quantile(&late, 0.5))
            .with("start_p99_ms", quantile(&late, 0.99))
            .with("threads", threads() as f64)
    })
}

/// Ticks until it is over; the times between, in milliseconds, sorted.
fn ticks<C: Co>(over: &AtomicBool) -> Vec<f64> {
    let mut turns = vec![Instant::now()];
    // Relaxed: pairs with the store in `site`; a tick too many does no harm.
    while !over.load(Ordering::Relaxed) {
        C::sleep(TICK);
        turns.push(Instant::now());
    }
    sorted_ms(turns.windows(2).map(|pair| pair[1] - pair[0]))
}

/// Starts `handlers` and waits for them; how long after they were due they began, in milliseconds, sorted.
///
/// What is due is due by the clock: a server that is held up itself starts the missed ones at once, and they are late.
fn serve<C: Co>(handlers: u32, per_second: u32) -> Vec<f64> {
    let period = Duration::from_secs(1) / per_second;
    let began = Instant::now();
    let late = Arc::new(Mutex::new(Vec::with_capacity(handlers as usize)));
    let mut started = Vec::with_capacity(handlers as usize);
    for i in 1..=handlers {
        let due = began + period * i;
        C::sleep(due.saturating_duration_since(Instant::now()));
        let late = Arc::clone(&late);
        started.push(C::go(move || {
            late.lock().unwrap_or_else(PoisonError::into_inner).push(due.elapsed());
            thread::sleep(BLOCK);
        }));
    }
    started.into_iter().for_each(C::join);
    let late = late.lock().unwrap_or_else(PoisonError::into_inner);
    sorted_ms(late.iter().copied())
}

fn sorted_ms(durations: impl Iterator<Item = Duration>) -> Vec<f64> {
    let mut ms: Vec<f64> = durations.map(|duration| duration.as_secs_f64() * 1e3).collect();
    ms.sort_by(f64::total_cmp);
    ms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::co::{GortGo, May};

    const SETUP: Setup = Setup { procs: 2, scale: 0.1 };

    #[test]
    fn all_handlers_run() {
        assert!(site::<GortGo, 25>(&SETUP).get("gap_max_ms") > Some(0.5));
        assert!(site::<May, 25>(&SETUP).get("gap_max_ms") > Some(0.5));
    }
}
