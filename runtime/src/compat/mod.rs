//! Adapters: libraries that leave the runtime to their users, on gort. Each is a feature.
//!
//! Many need none: whatever is written against the I/O traits of `futures`, or, in goroutines,
//! against those of `std`.

#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "hyper")]
#[allow(unsafe_code)] // see the ledger in lib.rs
pub mod hyper;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "quinn")]
pub mod quinn;
