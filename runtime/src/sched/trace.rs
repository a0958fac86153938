//! The hooks of the tracer: what happened, when, on which P and M, to which G.
//!
//! A hook is one call. While nobody records it is a look at a bit of the word that a dispatch looks
//! at in any case (`Counts::is_traced`), and the two hooks of a dispatch itself share one such look
//! (`M::execute`). Else it reads a cheap clock (`util/ticks.rs`) and pushes a record to
//! the ring of its thread (`util/ring.rs`), which takes no lock and never waits. A thread gets its
//! ring with its first event, and leaves it to the next thread when it ends: rings live for ever,
//! and readers need not know when threads come and go. Ms remember their thread's.
//!
//! ```text
//! ticks (nanoseconds, once read) | runtime 16, P 16, kind 8, M 24 | G: id, two flags | argument
//! ```
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
use crate::util::opaque;
use crate::util::ring::{Record, Ring};
use crate::util::ticks::{self, Scale};

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
const NO_M: u32 = (1 << 24) - 1;
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

/// The second word of a record.
#[inline(always)]
fn place(kind: Kind, sched: &Sched, m: Option<&M>, p: Option<&P>) -> u64 {
    let p = p.map_or(NO_P, |p| p.id as u16);
    let m = m.map_or(NO_M, |m| m.id & NO_M);
    u64::from(sched.number) << 48 | u64::from(p) << 32 | (kind as u64) << 24 | u64::from(m)
}

impl Event {
    /// A record that was read.
    pub(crate) fn unpack([when, place, g, arg]: Record) -> Event {
        let (p, m) = ((place >> 32) as u16, place as u32 & NO_M);
        Event {
            when,
            kind: KINDS[(place >> 24) as usize & 0xff],
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
    #[inline(always)]
    fn pack(g: GRef) -> u64 {
        let goroutine = if g.vtable().is_goroutine { GOROUTINE } else { 0 };
        g.id() | goroutine | if g.is_tagged() { NAMED } else { 0 }
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
        record_on(kind, m, None, arg);
    }
}

/// `m` loses `p`, or has just lost it.
#[inline(always)]
pub(super) fn event_of(kind: Kind, m: &M, p: &P) {
    if is_on(m.sched()) {
        record(place(kind, m.sched(), Some(m), Some(p)), m.curg(), 0);
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
    let (sched, at) = (g.sched(), address(g.spawned_at()));
    match m::current().filter(|m| m.is_of(sched)) {
        Some(m) => record_on(Kind::Create, m, Some(g), at),
        None => record(place(Kind::Create, sched, None, None), Some(g), at),
    }
}

/// A G has been made runnable by a wake, on the thread of `m`, if it is an M.
#[inline(always)]
pub(super) fn woken(m: Option<&M>, g: GRef) {
    if is_on(g.sched()) {
        woken_slow(m, g);
    }
}

#[cold]
fn woken_slow(m: Option<&M>, g: GRef) {
    match m.filter(|m| m.is_of(g.sched())) {
        Some(m) => record_on(Kind::Wake, m, Some(g), 0),
        None => record(place(Kind::Wake, g.sched(), None, None), Some(g), 0),
    }
}

/// `m` goes on with `g`.
#[inline(always)]
pub(super) fn starts(m: &M, g: GRef) {
    if is_on(m.sched()) {
        record_on(Kind::Start, m, Some(g), address(g.spawned_at()));
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
    record_on(Kind::Stop, m, Some(g), arg);
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

/// What happens on the thread of `m`.
#[cold]
#[inline(never)]
fn record_on(kind: Kind, m: &M, g: Option<GRef>, arg: u64) {
    let place = place(kind, m.sched(), Some(m), m.p());
    match m.ring.get() {
        Some(ring) => ring.push([ticks::now(), place, g.map_or(0, Subject::pack), arg]),
        None => record_first(m, place, g, arg),
    }
}

/// The first event of a thread as `m`.
#[cold]
fn record_first(m: &M, place: u64, g: Option<GRef>, arg: u64) {
    m.ring.set(my_ring());
    record(place, g, arg);
}

/// What happens on whatever thread this is.
#[cold]
#[inline(never)]
fn record(place: u64, g: Option<GRef>, arg: u64) {
    match my_ring() {
        Some(ring) => ring.push([ticks::now(), place, g.map_or(0, Subject::pack), arg]),
        None => {
            UNRECORDED.fetch_add(1, Ordering::Relaxed); // Relaxed: a count
        }
    }
}

/// The ring of the calling thread, unless that is so far torn down that it has none any more. Not
/// inlined, and opaque, for it finds a thread-local (`util::opaque`).
#[inline(never)]
fn my_ring() -> Option<&'static Ring> {
    opaque();
    thread_local!(static MINE: Mine = const { Mine(Cell::new(None)) });
    MINE.try_with(Mine::ring).ok()
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
    scale: Scale,
    unrecorded: u64,
    /// See `until`.
    until: u64,
}

impl Reader {
    /// Turns the hooks on.
    pub(crate) fn new() -> Reader {
        let at = lock(&RINGS).all.iter().map(|ring| ring.pushed()).collect();
        let unrecorded = UNRECORDED.load(Ordering::Relaxed); // Relaxed: statistics
        let scale = Scale::new();
        count_recorders(|n| n + 1);
        Reader { at, scale, unrecorded, until: 0 }
    }

    /// What was recorded up to then has been read, in nanoseconds (`util::clock`). Of what came
    /// later, some may have been read without that which has led to it: the rings are read one after
    /// the other.
    pub(crate) fn until(&self) -> u64 {
        self.until
    }

    /// Appends what is new, and adds to `lost` what was overwritten before. Returns how full the
    /// fullest ring was, in records.
    pub(crate) fn read(&mut self, to: &mut Vec<Record>, lost: &mut u64) -> usize {
        let until = ticks::now();
        let rings = lock(&RINGS).all.clone();
        self.at.resize(rings.len(), 0);
        let mut fullest = 0;
        let begin = to.len();
        for (ring, at) in rings.into_iter().zip(&mut self.at) {
            let read = ring.read(*at, to);
            fullest = fullest.max(read.next - *at);
            *at = read.next;
            *lost += read.lost;
        }
        let nanos = self.scale.until_now();
        self.until = nanos(until);
        to[begin..].iter_mut().for_each(|record| record[0] = nanos(record[0]));
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
