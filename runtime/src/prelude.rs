//! What most programs want: `use gort::prelude::*;`. Neither std's `Read` nor `AsyncRead` is in it,
//! so that their methods never clash.

pub use crate::rt::Wait;
#[cfg(feature = "macros")]
pub use crate::{select, select_async};
