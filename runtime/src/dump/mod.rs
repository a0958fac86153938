//! What everybody is doing: dumps of all tasks and goroutines, in the form that Go prints.
//!
//! ```text
//! goroutine 18 [chan receive, 2 minutes, locked to thread] {request: 17}: worker
//! shop::orders::next_order
//!         src/orders.rs:41
//! shop::worker
//!         src/main.rs:12
//! created at src/main.rs:9:10
//!
//! task 7 [IO wait]:
//! shop::serve::{{closure}}
//! created at src/main.rs:30:5
//! ```
//!
//! A dump may be taken at any time and from anywhere, also when every thread is busy or stuck, and
//! holds nobody up: those that run are listed without their stack, and a goroutine that waits is
//! looked at for some 20 microseconds, in which a wake for it is kept. See `sched/dump.rs`.
//!
//! Its memory depends on how many *different* stacks there are. A million goroutines that wait in
//! one place are one entry with a count: 64 of them are kept one by one, the rest is counted. From
//! the 16th on they are not even followed frame by frame, if they wait in the same function at
//! the same depth.
//!
//! The backtraces need the feature `backtrace` (on by default), Linux, and x86-64 or AArch64.

mod death;
mod print;
mod stuck;
mod symbols;

use std::collections::HashMap;
use std::panic::Location;
use std::ptr;
use std::time::Duration;

pub use crate::sched::dump::{BlockOn, State};
pub use crate::sched::wait::WaitReason;
pub use death::dump_on_sigquit;
pub use symbols::Frame;

pub(crate) use death::install;
#[cfg(feature = "signal")]
pub(crate) use death::leave_sigquit;

use crate::coro;
use crate::sched::Sched;
use crate::sched::dump::{Seen, SeenM};
use crate::sched::stuck::StuckReport;
use crate::sched::tags::{Labels, Tags};
use crate::stack::switch::{self, Ctx};
use crate::stack::{arena, unwind};
use crate::task::Id;

/// So many of a group are kept one by one (a guess: more is hardly read).
const KEPT: usize = 64;
/// So many goroutines that seem to wait in the same place are followed frame by frame.
const FOLLOWED: usize = 16;

/// A snapshot of everything that lives in a runtime. See [`Handle::dump`](crate::Handle::dump).
///
/// `{}` prints it as Go does; `{:#}` adds the threads and the Ps, and gort's own frames.
///
/// # Examples
/// ```
/// use gort::prelude::*;
///
/// let runtime = gort::Runtime::new()?;
/// let (tx, rx) = gort::chan::unbounded::<u32>();
/// let goroutine = runtime.go(move || rx.recv().wait());
/// let dump = runtime.handle().dump();
/// assert_eq!(dump.len(), 1);
/// assert!(dump.to_string().starts_with("goroutine 1 ["), "{dump}");
/// drop(tx);
/// goroutine.wait().unwrap().unwrap_err();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Dump {
    groups: Vec<Group>,
    threads: Vec<SeenM>,
    procs: Vec<Proc>,
    stuck: Vec<StuckReport>,
    is_complete: bool,
}

/// Tasks or goroutines that were started at one place and are now in the same place.
#[derive(Debug)]
pub struct Group {
    stack: Stack,
    count: usize,
    kept: Vec<Goroutine>,
}

/// One goroutine or task of a [`Dump`].
#[derive(Debug, Clone)]
pub struct Goroutine {
    id: u64,
    tags: Tags,
    waiting_ms: u32,
    /// The M that ran it.
    m: Option<u32>,
    is_caller: bool,
    common: Common,
}

/// What the members of a group have in common, but for their frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Common {
    is_goroutine: bool,
    state: State,
    is_locked: bool,
    spawned_at: &'static Location<'static>,
    type_name: &'static str,
}

/// Return addresses, innermost first.
type Stack = Box<[usize]>;

/// What can be seen of a G without following its stack. Addresses instead of texts: cheap to hash,
/// and whether two texts are one does not matter here.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Glance {
    state: State,
    is_locked: bool,
    spawned_at: usize,
    type_name: usize,
    /// Where its innermost frame goes on.
    pc: usize,
    depth: usize,
}

impl Glance {
    fn new(common: &Common, ctx: Option<&Ctx>) -> Glance {
        let (pc, depth) = ctx.map_or((0, 0), |ctx| (switch::goes_on_at(ctx), depth(ctx)));
        Glance {
            state: common.state,
            is_locked: common.is_locked,
            spawned_at: ptr::from_ref(common.spawned_at).addr(),
            type_name: common.type_name.as_ptr().addr(),
            pc,
            depth,
        }
    }
}

#[derive(Debug)]
struct Proc {
    id: u32,
    held: bool,
    dispatches: u64,
    queue: usize,
}

impl Dump {
    /// Takes a dump. `dying`: see `Sched::visit_all`.
    pub(crate) fn of(sched: &Sched, dying: bool) -> Dump {
        let mut groups = Groups::default();
        let is_complete = sched.visit_all(dying, |seen| groups.add(seen));
        let mut groups = groups.groups;
        groups.iter_mut().for_each(|group| group.kept.sort_by_key(|g| g.id));
        // Who asked comes first, as in Go.
        groups.sort_by_key(|group| (!group.kept[0].is_caller, group.kept[0].id));
        let (threads, procs, stuck) = (sched.visit_ms(), procs(sched), sched.stuck_lately());
        Dump { groups, threads, procs, stuck, is_complete }
    }

    /// How many tasks and goroutines there were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.count).sum()
    }

    /// Whether there were none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// All of them, by what they do.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Who has kept a P for too long lately, oldest first: the last 16 reports to
    /// [`Builder::on_stuck`](crate::Builder::on_stuck).
    #[must_use]
    pub fn stuck(&self) -> &[StuckReport] {
        &self.stuck
    }

    /// The threads that are in a [`block_on`](crate::block_on) of this runtime.
    pub fn block_ons(&self) -> impl Iterator<Item = &BlockOn> {
        self.threads.iter().filter_map(|m| m.block_on.as_ref())
    }

    /// Those that were kept one by one: all, unless a group has more than 64.
    pub fn goroutines(&self) -> impl Iterator<Item = &Goroutine> {
        self.groups.iter().flat_map(Group::goroutines)
    }
}

impl Group {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Some of them, 64 at most.
    pub fn goroutines(&self) -> impl Iterator<Item = &Goroutine> {
        self.kept.iter()
    }

    /// Where they all are, innermost first, with gort's own frames. Empty for tasks, and for what
    /// runs elsewhere or waits for its turn. Finding the names takes milliseconds, the first time.
    #[must_use]
    pub fn frames(&self) -> Vec<Frame> {
        let mut symbols = symbols::Symbols::default();
        symbols.of_all(&self.stack)
    }
}

impl Goroutine {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> Id {
        Id(self.id)
    }

    /// Its name, if it was given one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.tags.name.as_deref()
    }

    /// Its [labels](crate::labels).
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.tags.labels
    }

    /// Whether it is a goroutine, and not a task.
    #[must_use]
    pub fn is_goroutine(&self) -> bool {
        self.common.is_goroutine
    }

    /// What it was doing.
    #[must_use]
    pub fn state(&self) -> State {
        self.common.state
    }

    /// For how long it had been waiting, some milliseconds more or less; zero if it was not.
    #[must_use]
    pub fn waiting(&self) -> Duration {
        Duration::from_millis(self.waiting_ms.into())
    }

    /// Whether it was [locked to its thread](crate::lock_os_thread).
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.common.is_locked
    }

    /// Where it was started.
    #[must_use]
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.common.spawned_at
    }

    /// The type of its future or closure.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.common.type_name
    }
}

#[derive(Default)]
struct Groups {
    groups: Vec<Group>,
    by_stack: HashMap<(Common, Stack), usize>,
    /// How many have been followed, and to which group they led in the end.
    by_glance: HashMap<Glance, (usize, usize)>,
    /// The stack that is followed at the moment.
    stack: Vec<usize>,
}

impl Groups {
    fn add(&mut self, seen: &Seen<'_>) {
        let common = Common {
            is_goroutine: seen.is_goroutine(),
            state: seen.state,
            is_locked: seen.is_locked,
            spawned_at: seen.spawned_at(),
            type_name: seen.type_name(),
        };
        let glance = Glance::new(&common, seen.ctx);
        let (followed, mut group) = self.by_glance.get(&glance).copied().unwrap_or_default();
        if followed < FOLLOWED || seen.is_caller {
            self.follow(seen);
            group = self.group_of(common);
            self.by_glance.insert(glance, (followed + 1, group));
        }
        let group = &mut self.groups[group];
        group.count += 1;
        if group.kept.len() < KEPT {
            let (id, tags, waiting_ms) = (seen.id(), seen.tags(), seen.waiting_ms);
            let (m, is_caller) = (seen.m, seen.is_caller);
            group.kept.push(Goroutine { id, tags, waiting_ms, m, is_caller, common });
        }
    }

    /// Puts the frames of `seen` into `self.stack`, as far as they can be had.
    fn follow(&mut self, seen: &Seen<'_>) {
        self.stack.clear();
        if seen.is_caller && seen.is_goroutine() {
            unwind::walk_here(&mut self.stack);
        }
        let mut ctx = seen.ctx;
        while let Some(here) = ctx {
            // SAFETY: `visit_all` keeps the goroutine from going on while it is visited.
            unsafe {
                unwind::walk(here, &mut self.stack);
                ctx = coro::resumer_of(here);
            }
        }
    }

    fn group_of(&mut self, common: Common) -> usize {
        let stack: Stack = self.stack.as_slice().into();
        let groups = &mut self.groups;
        *self.by_stack.entry((common, stack)).or_insert_with_key(|(_, stack)| {
            groups.push(Group { stack: stack.clone(), count: 0, kept: Vec::new() });
            groups.len() - 1
        })
    }
}

/// How much of its stack a suspended flow uses.
fn depth(ctx: &Ctx) -> usize {
    let at = switch::saved(ctx).addr();
    arena::slot_of(at).map_or(0, |slot| slot.top().addr() - at)
}

fn procs(sched: &Sched) -> Vec<Proc> {
    let metrics = sched.proc_metrics().into_iter().enumerate();
    metrics
        .map(|(id, m)| Proc {
            id: id as u32,
            held: m.running,
            dispatches: m.dispatches,
            queue: m.queue,
        })
        .collect()
}
