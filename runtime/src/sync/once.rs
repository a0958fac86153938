//! `OnceCell` and `Once`: the first one does it, the others wait for it. Go: sync.Once, OnceValue.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::sync::OnceLock;

use super::mutex::Mutex;
use crate::util::sync::const_fn;

/// A value that is written once, by whoever comes first; the writing may wait.
///
/// [`get`](OnceCell::get) costs a load. Where making the value waits for nothing,
/// [`std::sync::OnceLock`] and [`LazyLock`](std::sync::LazyLock) do.
///
/// There is no poisoning: when an initialiser panics, fails or is dropped half-way, the cell stays
/// empty and the next one that waits runs its own. (Go's `sync.Once` counts a panic as done.)
///
/// # Examples
/// ```
/// use gort::prelude::*;
/// use gort::sync::OnceCell;
/// use gort::time::{Duration, sleep};
///
/// static CONFIG: OnceCell<String> = OnceCell::new();
///
/// async fn config() -> &'static str {
///     CONFIG.get_or_init(async || {
///         sleep(Duration::from_millis(1)).await;
///         "loaded".to_owned()
///     }).await
/// }
/// assert_eq!(config().wait(), "loaded");
/// assert_eq!(CONFIG.get().map(String::as_str), Some("loaded"));
/// ```
pub struct OnceCell<T> {
    value: OnceLock<T>,
    /// Held by the initialiser.
    turn: Mutex<()>,
}

impl<T> OnceCell<T> {
    const_fn! {
        /// An empty cell.
        #[must_use]
        pub const fn new() -> OnceCell<T> {
            OnceCell { value: OnceLock::new(), turn: Mutex::new(()) }
        }
    }

    /// The value, if there is one. Blocks nothing.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The value, if there is one.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut()
    }

    /// Writes the value. Blocks nothing.
    ///
    /// # Errors
    /// Gives `value` back if there is one already, or somebody is making one.
    pub fn set(&self, value: T) -> Result<(), T> {
        match self.turn.try_lock() {
            Ok(_turn) => self.value.set(value),
            Err(_) => Err(value),
        }
    }

    /// The value; if there is none, runs `init` for it, one at a time. The others wait.
    ///
    /// Dropping the future that runs `init` drops that too, and the next one runs its own.
    ///
    /// # Deadlocks
    /// If `init` waits for the same cell.
    pub async fn get_or_init<F: Future<Output = T>>(&self, init: impl FnOnce() -> F) -> &T {
        let init = async || Ok::<T, Infallible>(init().await);
        match self.get_or_try_init(init).await {
            Ok(value) => value,
        }
    }

    /// As [`get_or_init`](OnceCell::get_or_init), for what may fail.
    ///
    /// # Errors
    /// Those of `init`; the cell stays empty.
    pub async fn get_or_try_init<E, F: Future<Output = Result<T, E>>>(
        &self,
        init: impl FnOnce() -> F,
    ) -> Result<&T, E> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let _turn = self.turn.lock().await;
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let value = init().await?;
        Ok(self.value.get_or_init(|| value))
    }

    /// The value.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    /// The value; the cell is empty then.
    pub fn take(&mut self) -> Option<T> {
        self.value.take()
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> OnceCell<T> {
        OnceCell::new()
    }
}

impl<T> From<T> for OnceCell<T> {
    fn from(value: T) -> OnceCell<T> {
        OnceCell { value: OnceLock::from(value), turn: Mutex::new(()) }
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceCell").field(&self.get()).finish()
    }
}

/// Something that is done once, by whoever comes first; it may wait.
///
/// As [`OnceCell`] without a value, with its rules. Where it waits for nothing,
/// [`std::sync::Once`] does. Go: sync.Once.
///
/// # Examples
/// ```
/// use gort::prelude::*;
/// use gort::sync::Once;
///
/// static START: Once = Once::new();
///
/// START.call_once(|| println!("only once")).wait();
/// START.call_once(|| unreachable!()).wait();
/// assert!(START.is_completed());
/// ```
#[derive(Debug, Default)]
pub struct Once {
    cell: OnceCell<()>,
}

impl Once {
    const_fn! {
        /// Not yet done.
        #[must_use]
        pub const fn new() -> Once {
            Once { cell: OnceCell::new() }
        }
    }

    /// Runs `f` if nobody has; waits if somebody does. When it is ready, it is done.
    ///
    /// `f` runs inside the poll: in a goroutine it may [`wait`](crate::Wait), in async code use
    /// [`call_once_async`](Once::call_once_async). If it panics, it is not done.
    pub async fn call_once(&self, f: impl FnOnce()) {
        let init = || {
            f();
            std::future::ready(())
        };
        self.cell.get_or_init(init).await;
    }

    /// As [`call_once`](Once::call_once), for what awaits.
    pub async fn call_once_async<F: Future<Output = ()>>(&self, f: impl FnOnce() -> F) {
        self.cell.get_or_init(f).await;
    }

    /// Whether it is done.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.cell.get().is_some()
    }
}
