//! Tasks and goroutines: their [ids](Id), and a [`Builder`] for those with a name or a stack of
//! their own size.
//!
//! # Spans
//! With the feature `tracing` each of them has a span of the [`tracing`] crate, with the names and
//! fields of tokio's, so that [tokio-console] shows gort's tasks and goroutines, how long they run and
//! wait, and who wakes them; and so that a subscriber knows in which of them something happens.
//!
//! * The span `runtime.spawn` has the target `tokio::task` (`tokio::task::blocking` for
//!   [`spawn_blocking`](crate::spawn_blocking)), the level `TRACE`, no parent, and the fields `kind`
//!   (`task`, `local`, `goroutine` or `blocking`), `task.name`, `task.id` (the [`Id`]), `size.bytes` (of
//!   the future or closure), `loc.file`, `loc.line` and `loc.col`.
//! * It is entered whenever the task or goroutine goes on, left when it stops, and ends with it.
//! * Events with the target `tokio::task::waker` and the fields `op` (`waker.clone`, `waker.wake`,
//!   `waker.wake_by_ref`, `waker.drop`) and `task.id`, here the id of the span, tell of its wakers.
//!
//! The feature costs a load and a branch at some places while nobody subscribes to spans of that level.
//! A subscriber is called where the events happen, in part on the stacks of goroutines, and must not
//! wait for what a task or goroutine does. A span that a goroutine enters by itself should be left
//! before it waits, for what else runs on its thread would be in it, too.
//!
//! What is alive when the subscriber is installed has no span. The example `console` shows all of it
//! in tokio-console.
//!
//! [`tracing`]: https://docs.rs/tracing
//! [tokio-console]: https://docs.rs/tokio-console

#[allow(unsafe_code)] // see the ledger in lib.rs
pub(crate) mod future;
#[allow(unsafe_code)] // see the ledger in lib.rs
pub(crate) mod goroutine;
#[allow(unsafe_code)] // see the ledger in lib.rs
pub(crate) mod system;
#[allow(unsafe_code)] // see the ledger in lib.rs
pub(crate) mod waker;

mod builder;

pub use crate::join::Id;
pub use builder::Builder;
