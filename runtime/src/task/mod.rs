//! Tasks: their [ids](Id).

#[allow(unsafe_code)] // see the ledger in lib.rs
pub(crate) mod future;
#[allow(unsafe_code)] // see the ledger in lib.rs
pub(crate) mod waker;

pub use crate::join::Id;
