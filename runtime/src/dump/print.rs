//! Dumps as text.

use std::fmt;

use super::symbols::{Symbols, trim};
use super::{Dump, Frame, Goroutine, Group, State};
use crate::sched::dump::SeenM;
use crate::sched::schedtrace::Id as Nil;

/// After so many of a large group there is only a number.
const IDS: usize = 10;

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Running => f.write_str("running"),
            State::Syscall => f.write_str("syscall"),
            State::Runnable => f.write_str("runnable"),
            State::Waiting(reason) => reason.fmt(f),
        }
    }
}

/// The first line, as Go writes it.
impl fmt::Display for Goroutine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_goroutine() { "goroutine" } else { "task" };
        write!(f, "{kind} {} [{}", self.id, self.state())?;
        let minutes = self.waiting_ms / 60_000;
        if minutes > 0 {
            write!(f, ", {minutes} minutes")?;
        }
        if self.is_locked() {
            f.write_str(", locked to thread")?;
        }
        f.write_str("]")?;
        if !self.labels().is_empty() {
            write!(f, " {}", self.labels())?;
        }
        f.write_str(":")?;
        match self.name() {
            Some(name) => write!(f, " {name}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut symbols = Symbols::default();
        let mut first = true;
        for group in &self.groups {
            let frames = symbols.of_all(&group.stack);
            let shown = if f.alternate() { &frames[..] } else { trim(&frames) };
            for g in group.shown() {
                if !std::mem::take(&mut first) {
                    f.write_str("\n")?;
                }
                print(f, g, shown)?;
            }
            group.print_rest(f)?;
        }
        for root in self.block_ons() {
            let nl = if std::mem::take(&mut first) { "" } else { "\n" };
            writeln!(f, "{nl}block_on [{}]:\ncalled at {}", root.state, root.called_at)?;
        }
        if !self.is_complete {
            f.write_str("(the list of tasks is locked by a thread that does not go on)\n")?;
        }
        if !self.stuck.is_empty() {
            f.write_str("\nstuck lately:\n")?;
        }
        for report in &self.stuck {
            report.print(f, &mut symbols)?;
            f.write_str("\n")?;
        }
        if f.alternate() { self.print_threads(f) } else { Ok(()) }
    }
}

impl Group {
    /// Those that are printed one by one.
    fn shown(&self) -> &[Goroutine] {
        let shown = if self.count > self.kept.len() { 1 } else { self.kept.len() };
        &self.kept[..shown]
    }

    fn print_rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = self.count - self.shown().len();
        if rest == 0 {
            return Ok(());
        }
        write!(f, "... and {rest} more like it:")?;
        for g in self.kept[1..].iter().take(IDS) {
            write!(f, " {}", g.id)?;
        }
        f.write_str(" ...\n")
    }
}

fn print(f: &mut fmt::Formatter<'_>, g: &Goroutine, frames: &[Frame]) -> fmt::Result {
    writeln!(f, "{g}")?;
    if !g.is_goroutine() {
        writeln!(f, "{}", g.type_name())?;
    } else if matches!(g.state(), State::Running | State::Syscall) && !g.is_caller {
        f.write_str("\tgoroutine running on other thread; stack unavailable\n")?;
    }
    for it in frames {
        frame(f, it)?;
        f.write_str("\n")?;
    }
    writeln!(f, "created at {}", g.spawned_at())
}

/// Without the end of its last line.
pub(super) fn frame(f: &mut fmt::Formatter<'_>, frame: &Frame) -> fmt::Result {
    match &frame.function {
        Some(function) => f.write_str(function)?,
        None => write!(f, "{:#x}", frame.address)?,
    }
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) => write!(f, "\n\t{file}:{line}"),
        _ => Ok(()),
    }
}

impl Dump {
    fn print_threads(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\n")?;
        for p in &self.procs {
            let status = if p.held { "running" } else { "idle" };
            writeln!(
                f,
                "P{}: status={status} schedtick={} runqsize={}",
                p.id, p.dispatches, p.queue
            )?;
        }
        for SeenM { id, p, idle, in_syscall, locked, .. } in &self.threads {
            let g = self.goroutines().find(|g| g.m == Some(*id)).map(|g| g.id);
            writeln!(
                f,
                "M{id}: p={} curg={} blocked={idle} syscall={in_syscall} locked={locked}",
                Nil(*p),
                Nil(g),
            )?;
        }
        Ok(())
    }
}
