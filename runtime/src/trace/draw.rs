//! From events to the JSON of the [trace event format].
//!
//! The events of all threads are put in the order of their times, and followed: which M holds which
//! P, and what it runs. A slice ends when the G stops, and is cut in two where its M loses its P or
//! gets one. What is missing (a ring that overflowed, a beginning before the trace) makes slices
//! shorter or leaves them out; those of one track never overlap, nor do those of one G.
//!
//! [trace event format]: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::panic::Location;

use super::Summary;
use super::spool::Recorded;
use crate::sched::trace::{End, Event, Kind, Subject, Whose, name_of};
use crate::util::ring::Record;

/// Threads without a P come below the Ps, which are numbered from 0 to 4,095.
const FIRST_M: u32 = 10_000;
/// What is no M at all.
const OUTSIDE: u32 = 9_999;

/// An M: its runtime, its number.
type Who = (u16, u32);
/// A track: the runtime, and a number.
type Track = (u16, u32);

/// What every M holds and runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    ms: HashMap<Who, Place>,
    /// Which M has a P.
    holders: HashMap<Track, u32>,
    /// Which M runs a G.
    runners: HashMap<Whose, u32>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    p: Option<u16>,
    running: Option<Running>,
}

/// A G, or the root of a `block_on`, on some track since then.
#[derive(Debug, Clone, Copy)]
struct Running {
    g: Option<Subject>,
    spawned_at: Option<&'static Location<'static>>,
    since: u64,
}

/// A slice that has ended.
pub(super) struct Slice {
    track: Track,
    running: Running,
    until: u64,
    end: &'static str,
}

impl Places {
    /// Goes on to the time after `event`. What has ended by it: at most three slices.
    pub(super) fn follow(&mut self, event: &Event) -> [Option<Slice>; 3] {
        let Some(m) = event.m else { return [const { None }; 3] };
        let who = (event.runtime, m);
        match event.kind {
            Kind::Acquire | Kind::Start => {
                let robbed = event.p.and_then(|p| self.take_from(event, p, m));
                let moved = self.moves(who, event.p, event.when);
                if event.kind == Kind::Start {
                    let left = event.g.and_then(|g| self.take_g_from(event, g, m));
                    let running =
                        Running { g: event.g, spawned_at: event.spawned_at(), since: event.when };
                    let before = self.ms.entry(who).or_default().running.replace(running);
                    let unended = before.filter(|b| b.since < event.when);
                    let track = track_of(who, event.p);
                    let until = event.when;
                    let slice = |running| Slice { track, running, until, end: "unknown" };
                    return [robbed, left, moved.or(unended.map(slice))];
                }
                [robbed, None, moved]
            }
            Kind::Release => [self.moves(who, None, event.when), None, None],
            Kind::Stop => [self.stops(who, event), None, None],
            _ => [const { None }; 3],
        }
    }

    /// Goes on to the time after `records`, of which only the last ones of each M matter.
    pub(super) fn skip(&mut self, records: &[Record]) {
        let mut last: Vec<(Who, [Option<Event>; 2])> = Vec::new();
        let mut at = 0; // most often a record is of the same M as the one before
        for event in records.iter().copied().map(Event::unpack) {
            let (moves, runs) = match event.kind {
                Kind::Acquire | Kind::Release => (true, false),
                Kind::Start => (true, true),
                Kind::Stop => (false, true),
                _ => continue,
            };
            let Some(m) = event.m else { continue };
            let who = (event.runtime, m);
            if last.get(at).is_none_or(|(other, _)| *other != who) {
                at = last.iter().position(|(other, _)| *other == who).unwrap_or_else(|| {
                    last.push((who, [None; 2]));
                    last.len() - 1
                });
            }
            for (wanted, place) in [moves, runs].into_iter().zip(&mut last[at].1) {
                if wanted && place.is_none_or(|before| before.when <= event.when) {
                    *place = Some(event);
                }
            }
        }
        let mut events: Vec<Event> =
            last.into_iter().flat_map(|(_, events)| events).flatten().collect();
        events.sort_by_key(|event| event.when);
        for event in &events {
            self.follow(event);
        }
    }

    /// Another M still counted as the holder: what it did with the P has been lost.
    fn take_from(&mut self, event: &Event, p: u16, m: u32) -> Option<Slice> {
        let before = self.holders.insert((event.runtime, p.into()), m)?;
        let other = self.ms.get(&(event.runtime, before))?;
        if before == m || other.p != Some(p) {
            return None;
        }
        self.moves((event.runtime, before), None, event.when)
    }

    /// Another M still counted as the one that runs `g`: that it stopped there has been lost.
    fn take_g_from(&mut self, event: &Event, g: Subject, m: u32) -> Option<Slice> {
        let before = self.runners.insert((event.runtime, g.id), m)?;
        let who = (event.runtime, before);
        let place = self.ms.get_mut(&who)?;
        let running = place.running.filter(|r| before != m && r.g.is_some_and(|r| r.id == g.id))?;
        place.running = None;
        Some(Slice { track: track_of(who, place.p), running, until: event.when, end: "unknown" })
    }

    /// `who` has this P, or none, from now on; what it runs goes on there.
    fn moves(&mut self, who: Who, p: Option<u16>, now: u64) -> Option<Slice> {
        let place = self.ms.entry(who).or_default();
        if place.p == p {
            return None;
        }
        let track = track_of(who, place.p);
        place.p = p;
        let running = place.running?;
        place.running = Some(Running { since: now, ..running });
        let end = if p.is_some() { "has a P" } else { "lost its P" };
        Some(Slice { track, running, until: now, end })
    }

    fn stops(&mut self, who: Who, event: &Event) -> Option<Slice> {
        let place = self.ms.get_mut(&who)?;
        let track = track_of(who, place.p);
        let running = place.running.take()?;
        let same = running.g.map(|g| g.id) == event.g.map(|g| g.id);
        if let Some(g) = running.g {
            self.runners.remove(&(event.runtime, g.id));
        }
        let end = if same { end_of(event) } else { "unknown" };
        Some(Slice { track, running, until: event.when, end })
    }

    /// What still runs.
    fn unended(&self, now: u64) -> Vec<Slice> {
        let unended = self.ms.iter().filter_map(|(who, place)| {
            let track = track_of(*who, place.p);
            let slice = |running| Slice { track, running, until: now, end: "runs" };
            place.running.map(slice)
        });
        unended.collect()
    }

    /// Where something happened, and whether that is inside a slice.
    fn locate(&self, event: &Event) -> (Track, bool) {
        let Some(m) = event.m else { return ((event.runtime, OUTSIDE), false) };
        let who = (event.runtime, m);
        let place = self.ms.get(&who).copied().unwrap_or_default();
        let p = if place.running.is_some() { place.p } else { event.p.or(place.p) };
        (track_of(who, p), place.running.is_some())
    }
}

fn track_of(who: Who, p: Option<u16>) -> Track {
    (who.0, p.map_or(FIRST_M + who.1, u32::from))
}

fn end_of(event: &Event) -> &'static str {
    match event.end() {
        End::Done => "end",
        End::Yielded => "yield",
        End::Parked if event.g.is_some() => event.reason().as_str(),
        End::Parked => "waiting",
        End::Returned => "return to C",
    }
}

/// Writes everything.
pub(super) fn draw(recorded: Recorded, out: &mut impl Write) -> io::Result<Summary> {
    let Recorded { batches, before: mut places, lost, until } = recorded;
    let records = batches.iter().flat_map(|batch| &batch.records);
    let known = records.copied().map(Event::unpack).filter(|event| event.when <= until);
    let mut events: Vec<Event> = known.collect();
    drop(batches);
    events.sort_by_key(|event| event.when); // stable: those of one thread keep their order
    let summary = Summary { events: events.len() as u64, lost };
    let mut pen = Pen::new(out);
    pen.out.write_all(b"{\"traceEvents\":[")?;
    for event in &events {
        let (track, inside) = places.locate(event);
        for slice in places.follow(event).into_iter().flatten() {
            pen.slice(&slice)?;
        }
        pen.mark(
            event,
            if event.kind == Kind::Start { places.locate(event).0 } else { track },
            inside,
        )?;
    }
    for slice in places.unended(until) {
        pen.slice(&slice)?;
    }
    writeln!(
        pen.out,
        "\n],\"displayTimeUnit\":\"ns\",\"otherData\":{{\"events\":\"{}\",\"lost\":\"{lost}\"}}}}",
        summary.events
    )?;
    Ok(summary)
}

struct Pen<'a, W> {
    out: &'a mut W,
    is_first: bool,
    /// Those that have been introduced.
    tracks: HashSet<Track>,
    runtimes: HashSet<u16>,
    names: HashMap<Whose, Option<String>>,
    /// The end of the last slice.
    ends: HashMap<Track, u64>,
    /// The last arrow that leads to a G, until that starts.
    arrows: HashMap<Whose, u64>,
    arrow: u64,
}

impl<'a, W: Write> Pen<'a, W> {
    fn new(out: &'a mut W) -> Pen<'a, W> {
        Pen {
            out,
            is_first: true,
            tracks: HashSet::new(),
            runtimes: HashSet::new(),
            names: HashMap::new(),
            ends: HashMap::new(),
            arrows: HashMap::new(),
            arrow: 0,
        }
    }

    fn slice(&mut self, slice: &Slice) -> io::Result<()> {
        let Slice { track, running, until, end } = *slice;
        let last = self.ends.entry(track).or_default();
        let since = running.since.max(*last);
        let until = until.max(since);
        *last = until;
        self.begin('X', track, since)?;
        write!(self.out, ",\"dur\":{},\"cat\":\"{}\"", Micros(until - since), kind_of(running.g))?;
        let Some(g) = running.g else {
            return write!(self.out, ",\"name\":\"block_on\",\"args\":{{\"end\":\"{end}\"}}}}");
        };
        let at = running.spawned_at.map_or_else(|| "?".to_owned(), ToString::to_string);
        let name = self.name(track.0, g).unwrap_or_else(|| at.clone());
        write!(
            self.out,
            ",\"name\":{},\"args\":{{\"id\":{},\"spawned\":{},\"end\":\"{end}\"}}}}",
            Quoted(&name),
            g.id,
            Quoted(&at)
        )
    }

    /// What is no slice.
    fn mark(&mut self, event: &Event, track: Track, inside: bool) -> io::Result<()> {
        let what = match event.kind {
            Kind::Acquire | Kind::Release | Kind::Stop => return Ok(()),
            Kind::Start => return self.arrow_ends(event, track),
            Kind::Create => return self.arrow_begins("spawn", event, track, inside),
            Kind::Wake => return self.arrow_begins("wake", event, track, inside),
            Kind::Park => ("park", ""),
            Kind::Steal => ("steal", "from"),
            Kind::Retake => ("retake", ""),
            Kind::HandOff => ("hand-off", ""),
            Kind::Netpoll => ("netpoll", "ready"),
            Kind::Timers => ("timers", "fired"),
        };
        self.instant(what.0, event, track)?;
        match what.1 {
            "" => write!(self.out, "}}}}"),
            arg => write!(self.out, "\"{arg}\":{}}}}}", event.arg),
        }
    }

    /// All but the end of the arguments.
    fn instant(&mut self, name: &str, event: &Event, track: Track) -> io::Result<()> {
        self.begin('i', track, event.when)?;
        write!(self.out, ",\"s\":\"t\",\"name\":\"{name}\",\"args\":{{")
    }

    /// Where the current slice makes a G runnable an arrow begins; elsewhere there is a mark.
    fn arrow_begins(
        &mut self,
        name: &'static str,
        event: &Event,
        track: Track,
        inside: bool,
    ) -> io::Result<()> {
        let Some(g) = event.g else { return Ok(()) };
        if !inside {
            self.instant(name, event, track)?;
            return write!(self.out, "\"id\":{}}}}}", g.id);
        }
        self.arrow += 1;
        self.arrows.insert((event.runtime, g.id), self.arrow);
        self.begin('s', track, event.when)?;
        let (id, to) = (self.arrow, g.id);
        write!(
            self.out,
            ",\"name\":\"{name}\",\"cat\":\"wake\",\"id\":{id},\"args\":{{\"id\":{to}}}}}"
        )
    }

    fn arrow_ends(&mut self, event: &Event, track: Track) -> io::Result<()> {
        let whose = event.g.map(|g| (event.runtime, g.id));
        let Some(id) = whose.and_then(|whose| self.arrows.remove(&whose)) else { return Ok(()) };
        self.begin('f', track, event.when)?;
        write!(self.out, ",\"bp\":\"e\",\"name\":\"wake\",\"cat\":\"wake\",\"id\":{id}}}")
    }

    /// The beginning of an event on a track, which is introduced if it is a new one.
    fn begin(&mut self, phase: char, track: Track, when: u64) -> io::Result<()> {
        if self.runtimes.insert(track.0) {
            self.introduce("process_name", track, &format!("runtime {}", track.0))?;
        }
        if self.tracks.insert(track) {
            let name = match track.1 {
                OUTSIDE => "other threads".to_owned(),
                n if n < FIRST_M => format!("P {n}"),
                n => format!("M {} without a P", n - FIRST_M),
            };
            self.introduce("thread_name", track, &name)?;
        }
        self.separate()?;
        let (pid, tid) = track;
        write!(self.out, "{{\"ph\":\"{phase}\",\"pid\":{pid},\"tid\":{tid},\"ts\":{}", Micros(when))
    }

    fn introduce(&mut self, what: &str, (pid, tid): Track, name: &str) -> io::Result<()> {
        self.separate()?;
        write!(
            self.out,
            "{{\"ph\":\"M\",\"pid\":{pid},\"tid\":{tid},\"name\":\"{what}\",\"args\":{{\"name\":\"{name}\"}}}}"
        )
    }

    fn separate(&mut self) -> io::Result<()> {
        let comma = if std::mem::take(&mut self.is_first) { "\n" } else { ",\n" };
        self.out.write_all(comma.as_bytes())
    }

    fn name(&mut self, runtime: u16, g: Subject) -> Option<String> {
        if !g.is_named {
            return None;
        }
        let whose = (runtime, g.id);
        self.names.entry(whose).or_insert_with(|| name_of(whose)).clone()
    }
}

fn kind_of(g: Option<Subject>) -> &'static str {
    match g {
        None => "root",
        Some(g) if g.is_goroutine => "goroutine",
        Some(_) => "task",
    }
}

/// Nanoseconds, as the format wants them.
struct Micros(u64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// A string of JSON.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}
