//! Small tools that know nothing of the scheduler.

pub(crate) mod clock;
pub(crate) mod fence;
#[cfg(not(loom))]
pub(crate) mod note;
pub(crate) mod rng;
pub(crate) mod sync;
