//! What stuck reports say of the code that somebody is in.

use std::fmt;

use super::symbols::{Symbols, trim};
use super::{Frame, print};
use crate::sched::stuck::StuckReport;

impl StuckReport {
    /// Where it was, innermost first, with gort's own frames: a sample, taken without stopping it or
    /// sending it a signal. Finding the names takes milliseconds, the first time.
    ///
    /// If it [was asleep](StuckReport::was_asleep) these are all its frames. Else it ran, and these are
    /// the functions that it was in at two looks, a millisecond apart; the innermost of them may have
    /// just returned, and what it does without calling anybody does not show.
    ///
    /// Empty if it stopped just then, and where there is no way to look: samples need Linux on x86-64
    /// and the feature `backtrace`.
    #[must_use]
    pub fn frames(&self) -> Vec<Frame> {
        Symbols::default().of_all(&self.sample.frames)
    }

    /// Whether its thread slept in the kernel all the while that [`frames`](StuckReport::frames) were
    /// read: it blocks, and does not compute.
    #[must_use]
    pub fn was_asleep(&self) -> bool {
        self.sample.exact
    }

    /// Prints it with the names that are known already, or soon will be.
    pub(super) fn print(&self, f: &mut fmt::Formatter<'_>, symbols: &mut Symbols) -> fmt::Result {
        let kind = if self.is_goroutine { "goroutine" } else { "task" };
        write!(f, "{kind} {} ", self.id)?;
        if let Some(name) = &self.name {
            write!(f, "`{name}` ")?;
        }
        let asleep = if self.was_asleep() { ", asleep in the kernel" } else { "" };
        write!(
            f,
            "kept P {} for {:?}{asleep}: created at {}",
            self.p, self.running_for, self.spawned_at
        )?;
        let frames = symbols.of_all(&self.sample.frames);
        let shown = if f.alternate() { &frames[..] } else { trim(&frames) };
        for frame in shown {
            f.write_str("\n")?;
            print::frame(f, frame)?;
        }
        Ok(())
    }
}

/// A line, and one or two for each frame; `{:#}` shows gort's own, too.
impl fmt::Display for StuckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.print(f, &mut Symbols::default())
    }
}
