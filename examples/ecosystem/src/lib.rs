//! What the examples of this crate share. Each example is a well-known library on gort, used as
//! its own documentation shows: `cargo run -p gort-ecosystem --example NAME`. Its code is tested in
//! `tests/NAME.rs`.

pub mod http;
pub mod tls;
pub mod transport;

use std::env;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Whether the example was started with `--once`: it then talks to itself, and ends.
#[must_use]
pub fn once() -> bool {
    env::args().skip(1).any(|arg| arg == "--once")
}

/// Lets the process have as many descriptors open as it may ever have, and returns that number.
#[must_use]
pub fn raise_fd_limit() -> usize {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Where the system refuses, what counts is what there is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX))
}
