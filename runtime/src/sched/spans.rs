//! The hooks of the feature `tracing`: a span for each G, under the names that tokio's spans have
//! and tokio-console reads.
//!
//! | what | target | when |
//! |---|---|---|
//! | span `runtime.spawn` | `tokio::task`, or `tokio::task::blocking` | made at the spawn, without a parent, for the G may outlive its spawner; it ends with the body |
//! | entered and left | | around each dispatch |
//! | events with `op` and `task.id`, the id of the span | `tokio::task::waker` | when a waker is cloned, wakes, or is dropped, and when the G yields |
//!
//! A subscriber is user code, so it is called outside of the core only: a G with a span is never woken
//! by the core itself, but through its waker, as a foreign one is (`waker::into_g`). It is entered
//! and left on the M's own stack, where no G is the current one: subscribers note per thread what
//! is entered, and a goroutine may go on elsewhere.
//!
//! What it costs: without the feature nothing (`no_spans.rs`). With it, while nobody subscribes to
//! such spans, a look at tracing's maximum level at the spawn, and one at the header else.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, Location, RefUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Span, span, trace, trace_span};

use super::Sched;
use super::g::{GRef, Stopped};
use super::m::M;

/// What the console calls a G.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Task,
    Local,
    Goroutine,
    /// With the name of its function.
    Blocking(&'static str),
}

/// What is done with a waker.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Clone,
    Wake,
    WakeByRef,
    Drop,
}

/// The span of a G that is about to be made.
pub(crate) struct Fresh {
    /// The G's id, if there is a span.
    id: Option<u64>,
    slot: Cell<Slot>,
}

/// The span of a G, in its header.
#[derive(Default)]
pub(super) struct Slot {
    /// The span's id, for wakers; 0: there is no span.
    id: u64,
    /// The span itself, until the body has ended. The owner's.
    span: Cell<Option<Box<Span>>>,
}

// The owner alone looks into the cell, and no panic gets past it (`quietly`); a runtime's handle is
// as safe to unwind with the feature as without.
impl RefUnwindSafe for Slot {}

/// The span of a G that is about to be made, whose future or closure has so many bytes. Called outside
/// of the core.
#[inline]
pub(crate) fn fresh(
    sched: &Sched,
    kind: Kind,
    size: usize,
    at: &'static Location<'static>,
    name: Option<&str>,
) -> Fresh {
    let wanted = LevelFilter::current() == LevelFilter::TRACE;
    if wanted { Fresh::make(sched, kind, size, at, name) } else { Fresh::none() }
}

impl Fresh {
    fn none() -> Fresh {
        Fresh { id: None, slot: Cell::default() }
    }

    #[cold]
    fn make(
        sched: &Sched,
        kind: Kind,
        size: usize,
        at: &'static Location<'static>,
        name: Option<&str>,
    ) -> Fresh {
        let id = sched.ids.fetch_add(1, Ordering::Relaxed); // Relaxed: only uniqueness matters
        let span = match kind {
            Kind::Task => task_span("task", id, size, at, name),
            Kind::Local => task_span("local", id, size, at, name),
            Kind::Goroutine => task_span("goroutine", id, size, at, name),
            Kind::Blocking(function) => blocking_span(function, id, size, at, name),
        };
        let Some(span_id) = span.id() else { return Fresh::none() };
        let slot = Slot { id: span_id.into_u64(), span: Cell::new(Some(Box::new(span))) };
        Fresh { id: Some(id), slot: Cell::new(slot) }
    }

    /// The id that the G must have, for the span says so.
    #[inline]
    pub(super) fn id(&self) -> Option<u64> {
        self.id
    }

    /// For the G's header.
    #[inline]
    pub(super) fn take(&self) -> Slot {
        self.slot.take()
    }
}

/// The fields are tokio's.
fn task_span(
    kind: &str,
    id: u64,
    size: usize,
    at: &'static Location<'static>,
    name: Option<&str>,
) -> Span {
    trace_span!(
        target: "tokio::task",
        parent: None,
        "runtime.spawn",
        %kind,
        task.name = %name.unwrap_or_default(),
        task.id = id,
        size.bytes = size,
        loc.file = at.file(),
        loc.line = at.line(),
        loc.col = at.column(),
    )
}

/// The fields are tokio's.
fn blocking_span(
    function: &str,
    id: u64,
    size: usize,
    at: &'static Location<'static>,
    name: Option<&str>,
) -> Span {
    trace_span!(
        target: "tokio::task::blocking",
        parent: None,
        "runtime.spawn",
        kind = %"blocking",
        task.name = %name.unwrap_or_default(),
        task.id = id,
        "fn" = %function,
        size.bytes = size,
        loc.file = at.file(),
        loc.line = at.line(),
        loc.col = at.column(),
    )
}

/// Whether `g` has, or had, a span.
#[inline(always)]
pub(crate) fn is_seen(g: GRef) -> bool {
    g.span().id != 0
}

/// `m`, outside of the core, is about to go on with `g`, which it owns.
#[inline(always)]
pub(super) fn enter(m: &M, g: GRef) {
    if is_seen(g) {
        call(m, g, Dispatch::enter);
        m.set_curg(Some(g));
    }
}

/// `g` has stopped on `m`, which is outside of the core yet and still owns it.
#[inline(always)]
pub(super) fn exit(m: &M, g: GRef, stopped: Stopped) {
    if is_seen(g) {
        call(m, g, Dispatch::exit);
        if stopped == Stopped::Done {
            quietly(|| drop(g.span().span.take()));
        }
    }
}

/// Somebody does something with a waker of `g`, or it yields. Outside of the core.
#[inline(always)]
pub(crate) fn note(g: GRef, op: Op) {
    if is_seen(g) {
        note_slow(g.span().id, op);
    }
}

#[cold]
fn note_slow(id: u64, op: Op) {
    let op = match op {
        Op::Clone => "waker.clone",
        Op::Wake => "waker.wake",
        Op::WakeByRef => "waker.wake_by_ref",
        Op::Drop => "waker.drop",
    };
    trace!(target: "tokio::task::waker", op, task.id = id);
}

/// Calls the subscriber, as no G.
#[cold]
fn call(m: &M, g: GRef, f: fn(&Dispatch, &span::Id)) {
    m.set_curg(None);
    let slot = &g.span().span;
    let span = slot.take();
    quietly(|| {
        span.as_ref().and_then(|span| span.with_subscriber(|(id, dispatch)| f(dispatch, id)));
    });
    slot.set(span);
}

/// A subscriber's panic must not unwind into the core. Its payload is leaked, for the drop of that
/// may panic, too.
fn quietly(f: impl FnOnce()) {
    std::mem::forget(catch_unwind(AssertUnwindSafe(f)));
}
