//! The macros of [gort]: `#[gort::main]`, `#[gort::test]`, and what `gort::select!` and
//! `gort::select_async!` hand their arms to.
//!
//! Use them through the `gort` crate, which re-exports them; the code they expand to names
//! `::gort` and fits the release of `gort` that depends on this crate.
//!
//! [gort]: https://docs.rs/gort

mod args;
mod entry;
mod select;

use entry::Entry;
use proc_macro::TokenStream;
use select::Mode;

/// Runs the body of a `fn` or an `async fn` on a new gort runtime.
///
/// The function becomes one that starts a runtime, runs the body on it, blocks the calling
/// thread until the body ends, and drops the runtime. Goroutines and tasks that are still running
/// at that point are not waited for: what has to end before the process does is joined by the
/// body.
///
/// The body of a plain `fn` is the first goroutine. It may wait anywhere, in any call depth.
///
/// The body of an `async fn` is a future. If rustc can prove it to be `Send`, with a `Send`
/// output, it is an ordinary task on the runtime's workers, and the calling thread sleeps
/// meanwhile. Any other is run by the calling thread, as `Runtime::block_on` does it; nothing has
/// to be written for that, but it is the slower of the two, because each wake-up of the body has
/// to cross threads.
///
/// Attributes and visibility of the function are kept. It may not have arguments or generic
/// parameters.
///
/// # What it returns
///
/// `main` may return `Result`, `ExitCode`, or anything else that implements [`Termination`]. Here
/// and in [`test`](macro@test) the value of a plain `fn` need not be `Send`, so
/// `Result<(), Box<dyn Error>>` will do: the goroutine itself prints the error, and only the exit
/// code leaves it. (A `fn main() -> R` therefore gives an [`ExitCode`] to one who calls it.)
///
/// The function may have another name than `main`. Then its value goes to whoever calls it, and
/// may be of any type; that of a plain `fn` has to be `Send`.
///
/// # Arguments
///
/// | argument | value | meaning |
/// | --- | --- | --- |
/// | `procs` | integer literal, at least 1 | how many tasks run at the same time; without it, the default of `gort::Builder` |
/// | `worker_threads` | the same | another name of `procs`, as in tokio |
/// | `stack_size` | integer literal, bytes | the size of goroutine stacks, that of the body included, as `gort::Builder::stack_size` takes it; on a plain `fn` only |
/// | `start_paused` | `true` or `false` | whether the clock of the runtime stands still at first, as `gort::Builder::start_paused` says. For tests |
/// | `unsafe(migrate)` | | goroutines may move between threads, under the contract of `gort::Builder::migrate_goroutines`. The lint `unsafe_code` counts it as an `unsafe` block |
/// | `crate` | path, bare or in quotes | where to find `gort`; without it `::gort`. For crates that rename or re-export it |
///
/// # Examples
///
/// ```ignore
/// #[gort::main]
/// async fn main() {
///     let n = gort::spawn(async { 41 + 1 }).await.unwrap();
///     assert_eq!(n, 42);
/// }
/// ```
///
/// A goroutine, and a `main` that can fail in many ways:
///
/// ```ignore
/// use gort::prelude::*;
///
/// #[gort::main]
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let n = gort::go(|| "42".parse::<u32>()).wait()??;
///     assert_eq!(n, 42);
///     Ok(())
/// }
/// ```
///
/// Two processors, stacks of 64 KiB, and Go's rule for where goroutines go on:
///
/// ```ignore
/// // SAFETY: neither this program nor a library of it keeps hold of a thread-local over a wait.
/// #[gort::main(procs = 2, stack_size = 65536, unsafe(migrate))]
/// fn main() {}
/// ```
///
/// A crate that re-exports gort as `base::gort`:
///
/// ```ignore
/// #[base::gort::main(crate = base::gort)]
/// async fn main() {}
/// ```
///
/// # Failure to start
///
/// When the operating system refuses what the runtime needs (threads, file descriptors), or an
/// argument is out of the range that `gort::Builder` takes, a line on stderr says so and the
/// process exits with status 1.
///
/// # Panics
///
/// A panic of the body is continued on the calling thread, with its payload, once the runtime
/// is dropped; the process ends as it does for any `main` that panics.
///
/// [`Termination`]: std::process::Termination
/// [`ExitCode`]: std::process::ExitCode
#[proc_macro_attribute]
pub fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    entry::expand(Entry::Main, args.into(), item.into()).into()
}

/// Makes a `fn` or an `async fn` a unit test with a gort runtime of its own.
///
/// The function becomes a `#[test]` function that starts a runtime, runs the body on it as
/// [`main`](macro@main) does, as a goroutine or as a future, and drops the runtime. Tests share
/// nothing, so they run in parallel as other tests do.
///
/// `#[should_panic]`, `#[ignore]` and a `Result` as the return type mean what they mean under
/// `#[test]`. A second `#[test]` on the function is an error.
///
/// # Arguments
///
/// `procs`, `worker_threads`, `stack_size`, `start_paused`, `unsafe(migrate)` and `crate`, as for
/// [`main`](macro@main#arguments).
///
/// # Examples
///
/// ```ignore
/// #[gort::test]
/// fn adds() {
///     let n = gort::go(|| 41 + 1).wait().unwrap();
///     assert_eq!(n, 42);
/// }
///
/// #[gort::test(procs = 2)]
/// async fn adds_elsewhere() {
///     let n = gort::spawn(async { 41 + 1 }).await.unwrap();
///     assert_eq!(n, 42);
/// }
/// ```
///
/// # Panics
///
/// The test panics, and so fails, where the body panics (with the same payload) and when the
/// runtime cannot be started.
#[proc_macro_attribute]
pub fn test(args: TokenStream, item: TokenStream) -> TokenStream {
    entry::expand(Entry::Test, args.into(), item.into()).into()
}

/// The arms of `gort::select!`, which documents them, after the path of the crate.
#[doc(hidden)]
#[proc_macro]
pub fn select_wait(input: TokenStream) -> TokenStream {
    select::expand(Mode::Block, input.into()).into()
}

/// The arms of `gort::select_async!`, which documents them, after the path of the crate.
#[doc(hidden)]
#[proc_macro]
pub fn select_await(input: TokenStream) -> TokenStream {
    select::expand(Mode::Await, input.into()).into()
}
