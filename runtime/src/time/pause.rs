//! The test clock, as users see it. The mechanism is in `sched/paused.rs`.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use super::{Instant, sleep_until};
use crate::rt;
use crate::sched::Sched;
use crate::sched::paused::LAST;
use crate::sched::wait::{WaitReason, note_wait};

/// Stops the clock of the current runtime: from now on it moves by itself only when nothing else
/// can happen. For tests; see [the module](super#the-test-clock). Nothing if it stands already.
///
/// # Panics
/// Outside of any runtime; the default one does not count.
///
/// # Examples
/// ```
/// use gort::time::{Duration, Instant, pause, sleep};
///
/// let runtime = gort::Builder::new().build()?;
/// runtime.block_on(async {
///     pause();
///     let start = Instant::now();
///     sleep(Duration::from_secs(3600)).await;
///     assert_eq!(start.elapsed(), Duration::from_secs(3600));
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
#[track_caller]
pub fn pause() {
    current("pause").pause();
}

/// Lets the clock of the current runtime run on, from the time that it shows. Nothing if it runs.
///
/// # Panics
/// Outside of any runtime; the default one does not count.
#[track_caller]
pub fn resume() {
    current("resume").resume();
}

/// Moves a paused clock by `duration`, through the deadlines of all timers on the way: at each of
/// them it stops until what has become due has run and waits again. When `advance` returns the
/// clock shows the new time, and all that was due until then has been done.
///
/// As a [`sleep`](super::sleep), but it moves the clock also while the runtime has sockets open,
/// and also beside tasks that always have something to do: those are given about a thousand turns
/// before each step. It waits for a task that is in the middle of a poll. Cancelled, it leaves
/// the clock where it has come to. A paused clock goes no further than 146 years.
///
/// # Panics
/// Outside of any runtime, and when its clock is not paused.
///
/// # Examples
/// ```
/// use gort::time::{Duration, Instant, advance, sleep};
///
/// #[gort::test(start_paused = true)]
/// async fn remembers_for_a_minute() {
///     let start = Instant::now();
///     let task = gort::spawn(async {
///         sleep(Duration::from_secs(60)).await;
///         Instant::now()
///     });
///     advance(Duration::from_secs(90)).await;
///     assert!(task.is_finished());
///     assert_eq!(task.await.unwrap(), start + Duration::from_secs(60));
/// }
/// ```
pub async fn advance(duration: Duration) {
    let sched = paused("advance");
    let target = Instant::from_nanos(sched.now()) + duration;
    let target = target.nanos().min(LAST);
    let _advancing = sched.advancing(target);
    sleep_until(Instant::from_nanos(target)).await;
    settled(&sched, true).await;
}

/// Waits, on a paused clock, until every other task and goroutine of the runtime waits too: for a
/// timer, for each other, for a socket, for something from outside. Time does not move. What was
/// started has then done what it can do now. Go: `synctest.Wait`.
///
/// It waits for ever beside a task that always has something to do.
///
/// # Panics
/// Outside of any runtime, and when its clock is not paused.
///
/// # Examples
/// ```
/// use gort::prelude::*;
///
/// #[gort::test(start_paused = true)]
/// fn starts_at_once() {
///     let task = gort::go(|| 6 * 7);
///     gort::time::settle().wait();
///     assert!(task.is_finished());
/// }
/// ```
pub async fn settle() {
    let sched = paused("settle");
    settled(&sched, false).await;
}

async fn settled(sched: &Sched, advance: bool) {
    let mut round = None;
    let mut poll = |cx: &mut Context<'_>| sched.poll_settled(advance, &mut round, cx);
    poll_fn(|cx| note_wait(poll(cx), cx, WaitReason::Settle)).await;
}

#[track_caller]
fn current(function: &str) -> Arc<Sched> {
    match rt::try_current() {
        Some(sched) => sched,
        None => panic!("`gort::time::{function}` was called outside of any gort runtime"),
    }
}

#[track_caller]
fn paused(function: &str) -> Arc<Sched> {
    let sched = current(function);
    assert!(
        sched.is_paused(),
        "`gort::time::{function}` needs a paused clock: call `gort::time::pause` before, or start \
         the runtime with `start_paused`"
    );
    sched
}
