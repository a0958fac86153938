//! Tasks and goroutines: their [ids](Id), and a [`Builder`] for those with a name or a stack of
//! their own size.

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
