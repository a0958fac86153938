//! Labels: keys and values that tasks and goroutines carry, hand on to what they spawn, and show in
//! [dumps](crate::dump). Go: labels of `runtime/pprof`.
//!
//! ```text
//! goroutine 18 [chan receive] {request: 17}: worker
//! ```
//!
//! Labels belong to a task or a goroutine, wherever it goes on; outside of them (in the future of a
//! [`block_on`](crate::block_on), on a plain thread) to the thread. What is spawned has the labels
//! that its spawner has at that moment, in whatever runtime. Nobody else's labels can be changed. Inside of an
//! [`ffi::call`](crate::ffi::call) there are none.
//!
//! A program without labels does not pay for them. With labels a spawn that inherits some takes a
//! lock and an entry in a table.
//!
//! # Examples
//! ```
//! use gort::prelude::*;
//! use gort::labels;
//!
//! let runtime = gort::Runtime::new()?;
//! runtime.run(|| {
//!     let query = labels::with([("request", "17")], || gort::go(|| labels::current().to_string()));
//!     assert_eq!(query.wait().unwrap(), "{request: 17}");
//!     assert!(labels::current().is_empty());
//! });
//! # Ok::<(), std::io::Error>(())
//! ```

use crate::sched::tags;
pub use crate::sched::tags::Labels;

/// The labels of the caller.
#[must_use]
pub fn current() -> Labels {
    tags::current()
}

/// Gives the caller these labels, in addition to those that it has. One with a key that is there
/// already takes its place. Go: `pprof.SetGoroutineLabels`.
///
/// # Examples
/// ```
/// # gort::block_on(async {
/// let task = gort::spawn(async {
///     gort::labels::set([("user", "ada")]);
///     gort::yield_now().await;
///     gort::labels::current().get("user").map(str::to_owned)
/// });
/// assert_eq!(task.await.unwrap().as_deref(), Some("ada"));
/// # });
/// ```
pub fn set<K, V>(labels: impl IntoIterator<Item = (K, V)>)
where
    K: Into<String>,
    V: Into<String>,
{
    let labels = labels.into_iter().map(|(key, value)| (key.into(), value.into()));
    tags::replace(tags::current().and(labels));
}

/// Runs `f`, during which the caller has these labels, too; afterwards it has those from before. Go:
/// `pprof.Do`.
///
/// For goroutines, which may wait in `f`. In a task `f` cannot wait, but what it spawns inherits the
/// labels; a task that is to have some itself [`set`]s them, or gets them from
/// [`task::Builder::label`](crate::task::Builder::label).
pub fn with<K, V, R>(labels: impl IntoIterator<Item = (K, V)>, f: impl FnOnce() -> R) -> R
where
    K: Into<String>,
    V: Into<String>,
{
    struct Before(Labels);
    impl Drop for Before {
        fn drop(&mut self) {
            tags::replace(std::mem::take(&mut self.0));
        }
    }
    let labels = labels.into_iter().map(|(key, value)| (key.into(), value.into()));
    let _before = Before(tags::replace(tags::current().and(labels)));
    f()
}
