//! `spans.rs` without the feature `tracing`: hooks that do nothing.

use std::panic::Location;

use super::Sched;
use super::g::{GRef, Stopped};
use super::m::M;

/// See `spans.rs`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Task,
    Local,
    Goroutine,
    Blocking(#[expect(dead_code, reason = "nobody asks")] &'static str),
}

/// See `spans.rs`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Clone,
    Wake,
    WakeByRef,
    Drop,
}

/// No span.
pub(crate) struct Fresh;

/// No span; it has no size.
pub(super) struct Slot;

#[inline(always)]
pub(crate) fn fresh(
    _: &Sched,
    _: Kind,
    _: usize,
    _: &'static Location<'static>,
    _: Option<&str>,
) -> Fresh {
    Fresh
}

impl Fresh {
    #[inline(always)]
    pub(super) fn id(&self) -> Option<u64> {
        None
    }

    #[inline(always)]
    pub(super) fn take(&self) -> Slot {
        Slot
    }
}

#[inline(always)]
pub(crate) fn is_seen(_: GRef) -> bool {
    false
}

#[inline(always)]
pub(super) fn enter(_: &M, _: GRef) {}

#[inline(always)]
pub(super) fn exit(_: &M, _: GRef, _: Stopped) {}

#[inline(always)]
pub(crate) fn note(_: GRef, _: Op) {}
