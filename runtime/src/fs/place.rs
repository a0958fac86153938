//! Where a call runs: see the module `fs`.

use std::io;

use crate::sched::m;
use crate::{blocking, syscall};

/// A transfer of more than this takes as long to copy as the way to another thread and back (20 us
/// at some 5 GB/s, and a guess).
pub(super) const IN_PLACE: usize = 64 << 10;

/// Whether anything lives on this thread that a call made on it would delay.
pub(super) fn has_neighbours() -> bool {
    m::current().is_some_and(|m| !m.may_block_here())
}

/// Runs a call that takes microseconds unless it has to wait.
pub(super) fn short<R: Send>(call: impl FnOnce() -> R + Send) -> R {
    if has_neighbours() { blocking(call) } else { syscall(call) }
}

/// A transfer again, as long as signals interrupt it. The traits of `futures` may not say so.
pub(super) fn uninterrupted<T>(mut transfer: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match transfer() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
