//! `task::Builder`: tasks and goroutines with a name and a stack of some size.

use std::future::Future;
use std::io;
use std::panic::Location;

use super::goroutine;
use crate::join::JoinHandle;
use crate::labels;
use crate::rt;
use crate::spawn::{go_on, spawn_on};
use crate::stack::SizeClass;

/// Settings of one task or goroutine. Like [`std::thread::Builder`].
///
/// # Examples
/// ```
/// # fn main() -> std::io::Result<()> {
/// use gort::prelude::*;
/// let parser = gort::task::Builder::new().name("parser").stack_size(1 << 20);
/// let depth = parser.go(|| 100_000)?;
/// assert_eq!(depth.wait().unwrap(), 100_000);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
    labels: Vec<(String, String)>,
}

impl Builder {
    /// No name, and a stack of the runtime's default size.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// A name, for reports. It need not be unique.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// The size of a goroutine's stack in bytes, its guard page included; it is rounded up to
    /// 16 KiB, 64 KiB, 256 KiB or 1 MiB. Only what is touched takes memory. A panic that prints a
    /// backtrace takes more than 16 KiB. Tasks have no stack and ignore it.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// A label, in addition to those that it inherits. See [`gort::labels`](crate::labels).
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Builder {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// Starts a task. See [`spawn`](crate::spawn).
    ///
    /// # Errors
    /// None yet; the type leaves room.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> io::Result<JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let at = Location::caller();
        let name = self.name.as_deref();
        let start = || rt::with_current(|sched| spawn_on(sched, at, name, future));
        Ok(labelled(self.labels, start))
    }

    /// Starts a goroutine. See [`go`](crate::go). Its stack is taken here and not when it begins,
    /// so a failure is this call's.
    ///
    /// # Errors
    /// `InvalidInput` for a stack of more than 1 MiB, and what the system says when it gives no
    /// memory for the stack.
    #[track_caller]
    pub fn go<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let size = self.stack_size.map(|n| SizeClass::fit(n).ok_or_else(|| too_large(n)));
        let size = size.transpose()?;
        let at = Location::caller();
        rt::with_current(|sched| {
            let stack = goroutine::take_stack(size.unwrap_or(sched.config.stack_size))?;
            let start = || go_on(sched, at, Some(stack), self.name.as_deref(), f);
            Ok(labelled(self.labels, start))
        })
    }
}

/// Calls `start` with these labels, if there are any.
fn labelled<R>(labels: Vec<(String, String)>, start: impl FnOnce() -> R) -> R {
    if labels.is_empty() { start() } else { labels::with(labels, start) }
}

fn too_large(bytes: usize) -> io::Error {
    let text = format!("stack_size: {bytes} bytes are more than the largest stack, 1 MiB");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
