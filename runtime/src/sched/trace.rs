//! The hooks of the tracer: what happened, when, on which P and M, to which G.
//!
//! A hook is one call. While nobody records it is a look at a bit of the word that a dispatch looks
//! at in any case (`Counts::is_traced`), and the two hooks of a dispatch itself share one such look
//! (`M::execute`). Else it reads the clock and pushes a record to
//! the ring of its thread (`util/ring.rs`), which takes no lock and never waits. A thread gets its
//! ring with its first event, and leaves it to the next thread when it ends: rings live for ever,
//! and readers need not know when threads come and go.
//!
//! Time is the machine's, also where a test clock stands still.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::Location;
use std::ptr;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Sched;
use super::g::{GRef, Stopped};
use super::idle::TRACED;
use super::m::{self, M};
use super::p::P;
use super::wait::WaitReason;
use crate::util::clock;
use crate::util::opaque;
use crate::util::ring::{Record, Ring};

/// How many record. Under its lock the schedulers are told whether anybody does.
static RECORDERS: Mutex<usize> = Mutex::new(0);
/// Events of threads that were so far torn down that they had no ring any more.
static UNRECORDED: AtomicU64 = AtomicU64::new(0);
static RINGS: Mutex<Rings> = Mutex::new(Rings { all: Vec::new(), free: Vec::new() });
/// The names of Gs that have ended lately.
static NAMES: Mutex<VecDeque<(Whose, String)>> = Mutex::new(VecDeque::new());
/// So many of them are kept (a guess).
const NAMES_KEPT: usize = 16_384;

struct Rings {
    all: Vec<&'static Ring>,
    /// Those that no thread has.
    free: Vec<&'static Ring>,
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A G was made.
    Create,
    /// A G goes on; the argument is where it was spawned.
    Start,
    /// It has stopped; the argument is an [`End`], and above it a [`WaitReason`].
    Stop,
    /// A G was made runnable.
    Wake,
    /// An M holds a P.
    Acquire,
    /// It does not any more.
    Release,
    /// A P has run dry.
    Park,
    /// Gs were stolen from the P in the argument.
    Steal,
    /// sysmon has taken a P.
    Retake,
    /// An M has given its P up although it had not run dry.
    HandOff,
    /// A look at the network; the argument is how much was ready.
    Netpoll,
    /// Timers have fired, so many.
    Timers,
}

/// How a G stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum End {
    Done,
    Yielded,
    Parked,
    Returned,
}

/// A G, as a record names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) id: u64,
    pub(crate) is_goroutine: bool,
    pub(crate) is_named: bool,
}

/// The runtime and the id of a G.
pub(crate) type Whose = (u16, u64);

/// A record in a readable form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    /// Nanoseconds (`util::clock`).
    pub(crate) when: u64,
    pub(crate) kind: Kind,
    /// The number of the runtime.
    pub(crate) runtime: u16,
    pub(crate) p: Option<u16>,
    pub(crate) m: Option<u32>,
    pub(crate) g: Option<Subject>,
    pub(crate) arg: u64,
}

const NO_P: u16 = u16::MAX;
const NO_M: u32 = u32::MAX;
const GOROUTINE: u64 = 1 << 63;
const NAMED: u64 = 1 << 62;

const KINDS: [Kind; 12] = [
    Kind::Create,
    Kind::Start,
    Kind::Stop,
    Kind::Wake,
    Kind::Acquire,
    Kind::Release,
    Kind::Park,
    Kind::Steal,
    Kind::Retake,
    Kind::HandOff,
    Kind::Netpoll,
    Kind::Timers,
];

impl Event {
    fn pack(self) -> Record {
        let p = self.p.unwrap_or(NO_P);
        let m = self.m.unwrap_or(NO_M);
        [
            self.when << 8 | self.kind as u64,
            u64::from(self.runtime) << 48 | u64::from(p) << 32 | u64::from(m),
            self.g.map_or(0, Subject::pack),
            self.arg,
        ]
    }

    /// What `pack` has packed.
    pub(crate) fn unpack([head, place, g, arg]: Record) -> Event {
        let (p, m) = ((place >> 32) as u16, place as u32);
        Event {
            when: head >> 8,
            kind: KINDS[head as usize & 0xff],
            runtime: (place >> 48) as u16,
            p: (p != NO_P).then_some(p),
            m: (m != NO_M).then_some(m),
            g: (g != 0).then(|| Subject::unpack(g)),
            arg,
        }
    }

    /// Where the G was spawned that starts.
    pub(crate) fn spawned_at(&self) -> Option<&'static Location<'static>> {
        let location = ptr::with_exposed_provenance::<Location<'static>>(self.arg as usize);
        let known = matches!(self.kind, Kind::Create | Kind::Start) && self.g.is_some();
        // SAFETY: `created` and `starts` have put the address of a `'static` location there.
        if known { unsafe { location.as_ref() } } else { None }
    }

    /// How the G stopped.
    pub(crate) fn end(&self) -> End {
        match self.arg & 0xff {
            0 => End::Done,
            1 => End::Yielded,
            2 => End::Parked,
            _ => End::Returned,
        }
    }

    /// What the G waits for that has parked.
    pub(crate) fn reason(&self) -> WaitReason {
        WaitReason::from_u8((self.arg >> 8) as u8)
    }
}

impl Subject {
    fn of(g: GRef) -> Subject {
        Subject { id: g.id(), is_goroutine: g.vtable().is_goroutine, is_named: g.is_tagged() }
    }

    fn pack(self) -> u64 {
        self.id
            | if self.is_goroutine { GOROUTINE } else { 0 }
            | if self.is_named { NAMED } else { 0 }
    }

    fn unpack(g: u64) -> Subject {
        Subject {
            id: g & !(GOROUTINE | NAMED),
            is_goroutine: g & GOROUTINE != 0,
            is_named: g & NAMED != 0,
        }
    }
}

/// Whether anybody records what `sched` does.
#[inline(always)]
fn is_on(sched: &Sched) -> bool {
    sched.idle.counts().is_traced()
}

/// A scheduler that has just been enlisted learns whether anybody records.
pub(super) fn introduce(sched: &Sched) {
    sched.idle.set_bit(TRACED, *lock(&RECORDERS) > 0);
}

/// So many more record, and so many fewer: tells all schedulers if that makes a difference.
fn count_recorders(change: impl FnOnce(usize) -> usize) {
    let mut recorders = lock(&RECORDERS);
    *recorders = change(*recorders);
    let any = *recorders > 0;
    Sched::for_all(|sched| sched.idle.set_bit(TRACED, any));
}

/// Something that concerns an M and the P that it holds.
#[inline(always)]
pub(super) fn event(kind: Kind, m: &M, arg: u64) {
    if is_on(m.sched()) {
        record(kind, m.sched(), Some(m), m.p(), None, arg);
    }
}

/// `m` loses `p`, or has just lost it.
#[inline(always)]
pub(super) fn event_of(kind: Kind, m: &M, p: &P) {
    if is_on(m.sched()) {
        record(kind, m.sched(), Some(m), Some(p), m.curg(), 0);
    }
}

/// A G has been made, somewhere.
#[inline(always)]
pub(super) fn created(g: GRef) {
    if is_on(g.sched()) {
        created_here(g);
    }
}

#[cold]
pub(super) fn created_here(g: GRef) {
    record_here(Kind::Create, g, address(g.spawned_at()));
}

/// A G has been made runnable by a wake.
#[inline(always)]
pub(super) fn woken(g: GRef) {
    if is_on(g.sched()) {
        record_here(Kind::Wake, g, 0);
    }
}

/// `m` goes on with `g`.
#[inline(always)]
pub(super) fn starts(m: &M, g: GRef) {
    if is_on(m.sched()) {
        record(Kind::Start, m.sched(), Some(m), m.p(), Some(g), address(g.spawned_at()));
    }
}

/// `g` has stopped here; `m` still owns it.
#[inline(always)]
pub(super) fn stops(m: &M, g: GRef, stopped: Stopped) {
    if is_on(m.sched()) {
        stops_slow(m, g, stopped);
    }
}

/// The root of a `block_on` has been polled here.
#[inline(always)]
pub(super) fn root_stops(m: &M, is_pending: bool) {
    event(Kind::Stop, m, if is_pending { End::Parked } else { End::Done } as u64);
}

#[cold]
fn stops_slow(m: &M, g: GRef, stopped: Stopped) {
    let end = match stopped {
        Stopped::Done => End::Done,
        Stopped::Returned => End::Returned,
        Stopped::Parked if m.has_yielded() => End::Yielded,
        Stopped::Parked => End::Parked,
    };
    let arg = end as u64 | (g.reason() as u64) << 8;
    record(Kind::Stop, m.sched(), Some(m), m.p(), Some(g), arg);
}

/// A G with a name has ended.
pub(super) fn keep_name(sched: &Sched, id: u64, name: String) {
    if is_on(sched) {
        let mut names = lock(&NAMES);
        if names.len() == NAMES_KEPT {
            names.pop_front();
        }
        names.push_back(((sched.number, id), name));
    }
}

/// The location's address, for the argument of an event.
fn address(at: &'static Location<'static>) -> u64 {
    ptr::from_ref(at).expose_provenance() as u64
}

/// On whatever thread this is.
#[cold]
fn record_here(kind: Kind, g: GRef, arg: u64) {
    let m = m::current().filter(|m| m.is_of(g.sched()));
    record(kind, g.sched(), m, m.and_then(M::p), Some(g), arg);
}

/// Not inlined, and opaque, for it finds a thread-local (`util::opaque`).
#[cold]
#[inline(never)]
fn record(kind: Kind, sched: &Sched, m: Option<&M>, p: Option<&P>, g: Option<GRef>, arg: u64) {
    opaque();
    let event = Event {
        when: clock::now(),
        kind,
        runtime: sched.number,
        p: p.map(|p| p.id as u16),
        m: m.map(|m| m.id),
        g: g.map(Subject::of),
        arg,
    };
    thread_local!(static MINE: Mine = const { Mine(Cell::new(None)) });
    if MINE.try_with(|mine| mine.ring().push(event.pack())).is_err() {
        UNRECORDED.fetch_add(1, Ordering::Relaxed); // Relaxed: a count
    }
}

/// The ring of a thread.
struct Mine(Cell<Option<&'static Ring>>);

impl Mine {
    fn ring(&self) -> &'static Ring {
        self.0.get().unwrap_or_else(|| self.take())
    }

    #[cold]
    fn take(&self) -> &'static Ring {
        let mut rings = lock(&RINGS);
        let ring = rings.free.pop().unwrap_or_else(|| {
            let ring: &'static Ring = Box::leak(Box::new(Ring::new()));
            rings.all.push(ring);
            ring
        });
        self.0.set(Some(ring));
        ring
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        // The lock hands the writer's part on to the next thread.
        self.0.get().into_iter().for_each(|ring| lock(&RINGS).free.push(ring));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a runtime is called in traces. They wrap after 65,536 runtimes.
pub(super) fn next_number() -> u16 {
    static NUMBERS: AtomicU16 = AtomicU16::new(1);
    NUMBERS.fetch_add(1, Ordering::Relaxed) // Relaxed: only uniqueness matters
}

/// Reads what all threads record from now on.
#[derive(Debug)]
pub(crate) struct Reader {
    /// How far each ring has been read.
    at: Vec<u64>,
    unrecorded: u64,
}

impl Reader {
    /// Turns the hooks on.
    pub(crate) fn new() -> Reader {
        let at = lock(&RINGS).all.iter().map(|ring| ring.pushed()).collect();
        let unrecorded = UNRECORDED.load(Ordering::Relaxed); // Relaxed: statistics
        count_recorders(|n| n + 1);
        Reader { at, unrecorded }
    }

    /// Appends what is new, and adds to `lost` what was overwritten before. Returns how full the
    /// fullest ring was, in records.
    pub(crate) fn read(&mut self, to: &mut Vec<Record>, lost: &mut u64) -> usize {
        let rings = lock(&RINGS).all.clone();
        self.at.resize(rings.len(), 0);
        let mut fullest = 0;
        for (ring, at) in rings.into_iter().zip(&mut self.at) {
            let read = ring.read(*at, to);
            fullest = fullest.max(read.next - *at);
            *at = read.next;
            *lost += read.lost;
        }
        let unrecorded = UNRECORDED.load(Ordering::Relaxed); // Relaxed: statistics
        *lost += unrecorded - std::mem::replace(&mut self.unrecorded, unrecorded);
        fullest as usize
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        count_recorders(|n| n - 1);
    }
}

/// The name of a G, if it is alive or has ended lately.
pub(crate) fn name_of(whose: Whose) -> Option<String> {
    let living = || {
        let sched = Sched::all().into_iter().find(|sched| sched.number == whose.0)?;
        sched.name_by_id(whose.1)
    };
    let names = lock(&NAMES);
    let ended = names.iter().rev().find(|(known, _)| *known == whose);
    let ended = ended.map(|(_, name)| name.clone());
    drop(names);
    ended.or_else(living)
}
