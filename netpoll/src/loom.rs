//! The switch between std's primitives and loom's.
//!
//! Only the models of this crate see loom: another crate built with `--cfg loom` gets the real
//! poller, which is opaque to its models.

#[cfg(all(test, loom))]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, AtomicU64, fence},
};
#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, AtomicU64, fence},
};
