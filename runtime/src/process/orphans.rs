//! Children whose `Child` was dropped before they had ended. See "Who reaps" in the module.

use std::process::Child;
use std::sync::{Mutex, PoisonError};

static ORPHANS: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Takes over `child`, which has been dropped.
pub(super) fn adopt(child: Child) {
    change(|orphans| orphans.push(child));
}

/// Reaps those that have ended.
pub(super) fn reap() {
    change(|_| {});
}

fn change(change: impl FnOnce(&mut Vec<Child>)) {
    let mut orphans = ORPHANS.lock().unwrap_or_else(PoisonError::into_inner);
    change(&mut orphans);
    // An error means that somebody else has reaped it.
    orphans.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}
