//! The attribute macros of [gort]: `#[gort::main]` and `#[gort::test]`.
//!
//! Use them through the `gort` crate, which re-exports both; the code they expand to names
//! `::gort` and fits the release of `gort` that depends on this crate.
//!
//! [gort]: https://docs.rs/gort

mod args;
mod entry;

use entry::Entry;
use proc_macro::TokenStream;

/// Runs the body of an `async fn` on a new gort runtime.
///
/// The function becomes a plain one. Called, it starts a runtime, runs the body on it, blocks
/// the calling thread until the body ends, drops the runtime, and returns what the body
/// returned. Tasks that are still running at that point are not waited for: what has to end
/// before the process does is joined by the body.
///
/// A body that rustc can prove to be `Send`, with a `Send` output, is an ordinary task on the
/// runtime's workers, and the calling thread sleeps meanwhile. Any other body is run by the
/// calling thread, as `Runtime::block_on` does it; nothing has to be written for that, but it is
/// the slower of the two, because each wake-up of the body has to cross threads.
///
/// Attributes, visibility and return type of the function are kept, so `main` may return
/// `Result`, `ExitCode`, or anything else that implements [`Termination`]. The function may
/// have another name than `main`; it may not have arguments or generic parameters.
///
/// # Arguments
///
/// | argument | value | meaning |
/// | --- | --- | --- |
/// | `procs` | integer literal, at least 1 | how many tasks run at the same time; without it, the default of `gort::Builder` |
/// | `worker_threads` | the same | another name of `procs`, as in tokio |
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
/// Two processors, and a `main` that can fail:
///
/// ```ignore
/// #[gort::main(procs = 2)]
/// async fn main() -> std::io::Result<()> {
///     let listener = gort::net::TcpListener::bind("127.0.0.1:0").await?;
///     println!("{}", listener.local_addr()?);
///     Ok(())
/// }
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
/// When the operating system refuses what the runtime needs (threads, file descriptors), a line
/// on stderr says so and the process exits with status 1.
///
/// # Panics
///
/// A panic of the body is continued on the calling thread, with its payload, once the runtime
/// is dropped; the process ends as it does for any `main` that panics.
///
/// [`Termination`]: std::process::Termination
#[proc_macro_attribute]
pub fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    entry::expand(Entry::Main, args.into(), item.into()).into()
}

/// Makes an `async fn` a unit test with a gort runtime of its own.
///
/// The function becomes a plain `#[test]` function that starts a runtime, runs the body on it
/// as [`main`](macro@main) does, and drops the runtime. Tests share nothing, so they run in
/// parallel as other tests do.
///
/// `#[should_panic]`, `#[ignore]` and a `Result` as the return type mean what they mean under
/// `#[test]`. A second `#[test]` on the function is an error.
///
/// # Arguments
///
/// | argument | value | meaning |
/// | --- | --- | --- |
/// | `procs` | integer literal, at least 1 | how many tasks run at the same time; without it, the default of `gort::Builder` |
/// | `worker_threads` | the same | another name of `procs`, as in tokio |
/// | `crate` | path, bare or in quotes | where to find `gort`; without it `::gort` |
///
/// # Examples
///
/// ```ignore
/// #[gort::test(procs = 2)]
/// async fn adds() {
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
