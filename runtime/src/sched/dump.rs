//! A look at everything, while it goes on. The protocol is in `README.md`, "Looking at a G".
//!
//! A dump walks over all cells, takes a reference to each G that lives, and reads its header. To
//! read the stack of a goroutine that waits it takes the body, as a wake would, looks, and parks
//! it again, as an M would. So nothing else in the core knows of dumps.

use std::panic::Location;
use std::sync::atomic::Ordering;

use super::Sched;
use super::g::{GRef, Runnable};
use super::idle::Lists;
use super::m::{self, M};
use super::ready;
use super::status::Park;
use super::tags::Tags;
use super::wait::WaitReason;
use crate::stack::switch::Ctx;
use crate::task::goroutine;
use crate::util::soon;

/// What a G is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// It runs on a thread.
    Running,
    /// It is in a [`syscall`](crate::syscall).
    Syscall,
    /// It wants to run, and stands in a queue.
    Runnable,
    /// It waits.
    Waiting(WaitReason),
}

/// A G, as a dump finds it; and the right to look at its body, if it waits.
pub(crate) struct Seen<'a> {
    g: GRef,
    sched: &'a Sched,
    pub(crate) state: State,
    /// It is the caller.
    pub(crate) is_caller: bool,
    /// For how long it has been waiting, in milliseconds.
    pub(crate) waiting_ms: u32,
    pub(crate) is_locked: bool,
    /// The M that runs it.
    pub(crate) m: Option<u32>,
    /// Where it goes on, if it is a goroutine that waits.
    pub(crate) ctx: Option<&'a Ctx>,
}

/// A thread that is in a [`block_on`](crate::block_on), for as long as that takes. One inside a task of
/// the same runtime, or inside another `block_on` of it, is not listed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockOn {
    /// Where `block_on` was called, or `wait`, or what of gort's has called it.
    pub called_at: &'static Location<'static>,
    /// Whether it runs, or waits. What for is not known: a future that is not a task's has no place
    /// to note it.
    pub state: State,
}

/// A thread that runs, or could run, Gs; for dumps.
#[derive(Debug, Clone)]
pub(crate) struct SeenM {
    pub(crate) id: u32,
    pub(crate) p: Option<u32>,
    pub(crate) idle: bool,
    pub(crate) in_syscall: bool,
    pub(crate) locked: bool,
    /// The `block_on` that it is in.
    pub(crate) block_on: Option<BlockOn>,
    /// The G, as an address that is never followed.
    curg: usize,
}

impl Seen<'_> {
    pub(crate) fn id(&self) -> u64 {
        self.g.id()
    }

    pub(crate) fn is_goroutine(&self) -> bool {
        self.g.vtable().is_goroutine
    }

    pub(crate) fn type_name(&self) -> &'static str {
        (self.g.vtable().type_name)()
    }

    pub(crate) fn spawned_at(&self) -> &'static Location<'static> {
        self.g.spawned_at()
    }

    pub(crate) fn tags(&self) -> Tags {
        self.sched.tags_soon(self.g)
    }
}

/// While it lives somebody may hold the body of a G that has been woken, and no queue shows that.
struct Looking<'a>(&'a Sched);

impl<'a> Looking<'a> {
    fn new(sched: &'a Sched) -> Looking<'a> {
        // Relaxed: `Status::look` publishes it to whoever wakes the G meanwhile.
        sched.looks.fetch_add(1, Ordering::Relaxed);
        Looking(sched)
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        // SeqCst: before the look at the clock, as DozeFence.
        self.0.looks.fetch_sub(1, Ordering::SeqCst);
        self.0.watch_quiet();
    }
}

impl Sched {
    /// Whether a dump is under way, whose walk may hide that a G is runnable.
    pub(super) fn is_looked_at(&self) -> bool {
        self.looks.load(Ordering::SeqCst) > 0 // SeqCst: see `Looking`
    }

    /// Calls `visit` for each G that lives. With `dying` the process is about to end, perhaps with
    /// locks of the core held: nothing is queued and nothing freed any more. False: there is
    /// something that nobody lets go of, and the Gs cannot be found.
    ///
    /// `visit` must not wait for anybody: a wake of the G that it looks at takes effect after it.
    pub(crate) fn visit_all(&self, dying: bool, mut visit: impl FnMut(&Seen<'_>)) -> bool {
        let ms = self.visit_ms();
        let caller = m::current().filter(|m| m.is_of(self)).and_then(M::curg);
        let _looking = Looking::new(self);
        let now = self.coarse_now();
        self.heap.try_for_each_live(|g| {
            let m = ms.iter().find(|m| m.curg == g.as_raw().addr());
            let mut seen = Seen {
                g,
                sched: self,
                state: m.map_or(State::Runnable, SeenM::state),
                m: m.map(|m| m.id),
                is_caller: caller == Some(g),
                waiting_ms: 0,
                is_locked: g.vtable().is_goroutine && goroutine::locks(g).any(),
                ctx: None,
            };
            let waits = g.status().look();
            if waits {
                seen.m = None;
                seen.state = State::Waiting(g.reason());
                seen.waiting_ms = now.wrapping_sub(g.since()).cast_signed().max(0).cast_unsigned();
                if seen.is_goroutine() {
                    // The body is this thread's now, until `park`.
                    seen.ctx = goroutine::suspended_at(g);
                }
            }
            visit(&seen);
            give_back(g, waits, dying);
        })
    }

    /// All threads that run or could run Gs; none if their list is held by somebody for good.
    pub(crate) fn visit_ms(&self) -> Vec<SeenM> {
        let Some(lists) = soon::lock(self.idle.lists()) else { return Vec::new() };
        lists.all.iter().map(|m| m.seen(&lists)).collect()
    }
}

impl M {
    fn seen(&self, lists: &Lists) -> SeenM {
        let curg = self.curg();
        SeenM {
            id: self.id,
            p: self.p().map(|p| p.id),
            idle: lists.is_idle(self),
            in_syscall: self.syscall().is_some(),
            locked: lists.locked.iter().any(|m| std::ptr::eq(*m, self)),
            block_on: self
                .called_at()
                .map(|called_at| BlockOn { called_at, state: self.root_state() }),
            curg: curg.map_or(0, |g| g.as_raw().addr()),
        }
    }
}

impl M {
    fn root_state(&self) -> State {
        // Relaxed: for dumps. Beside it, the thread runs its residents.
        let dozes = self.dozes.load(Ordering::Relaxed) % 2 == 1;
        let waits = dozes || self.curg().is_some();
        if waits { State::Waiting(WaitReason::Other) } else { State::Running }
    }
}

impl SeenM {
    /// What its G is doing.
    fn state(&self) -> State {
        if self.in_syscall { State::Syscall } else { State::Running }
    }
}

/// Ends the look at `g`, and the walk's hold on it.
fn give_back(g: GRef, waits: bool, dying: bool) {
    let woken = waits
        && match g.status().park() {
            Park::Parked => false,
            Park::Notified => true,
            Park::Orphan => unreachable!("the walk holds a reference"),
        };
    if dying {
        return;
    }
    if woken {
        // SAFETY: `look` gave the G to this thread, and `park` has left it there.
        ready::ready(unsafe { Runnable::claim(g) });
    }
    ready::drop_ref(g);
}
