//! What the examples of this crate share. Each example is a well-known library on gort, used as
//! its own documentation shows: `cargo run -p gort-ecosystem --example NAME`. Its code is tested in
//! `tests/NAME.rs`.

pub mod tls;

use std::env;

/// Whether the example was started with `--once`: it then talks to itself, and ends.
#[must_use]
pub fn once() -> bool {
    env::args().skip(1).any(|arg| arg == "--once")
}
