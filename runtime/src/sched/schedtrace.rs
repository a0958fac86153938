//! `GORT_DEBUG=schedtrace=1000,scheddetail=1`: a line about the scheduler every so many milliseconds,
//! in the form of Go's, from sysmon. Go: schedtrace.
//!
//! ```text
//! SCHED 1009ms: gomaxprocs=2 idleprocs=1 threads=4 spinningthreads=0 needspinning=0 idlethreads=1 runqueue=0 [ 3 0 ] schedticks=[ 5120 77 ]
//! ```
//!
//! With `scheddetail=1` there follow the Ps, the Ms and the Gs, each with a line. What has no
//! counterpart here (the collector, malloc) is left out. `threads` counts the workers and sysmon.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use super::Sched;
use super::dump::{SeenM, State};
use super::idle::Counts;
use crate::util::{fatal, soon};

/// What `GORT_DEBUG` asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Debug {
    /// Time between two lines.
    pub(crate) schedtrace: Option<Duration>,
    /// Everybody gets a line.
    pub(crate) scheddetail: bool,
}

impl Debug {
    /// Reads `name=value,name=value`, as Go does: what it does not know is for others. The error
    /// is what is not a number.
    pub(crate) fn parse(text: &str) -> Result<Debug, String> {
        let mut debug = Debug::default();
        for part in text.split(',') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let number = || value.trim().parse::<u32>().map_err(|_| part.to_owned());
            match name.trim() {
                "schedtrace" => {
                    let every = number()?;
                    let every = Duration::from_millis(every.into());
                    debug.schedtrace = (!every.is_zero()).then_some(every);
                }
                "scheddetail" => debug.scheddetail = number()? > 0,
                _ => {}
            }
        }
        Ok(debug)
    }
}

/// When the next line is due.
#[derive(Debug)]
pub(super) struct Schedtrace {
    start: u64,
    due: u64,
}

impl Schedtrace {
    pub(super) fn new(now: u64) -> Schedtrace {
        Schedtrace { start: now, due: now }
    }
}

impl Sched {
    /// Prints, if it is time to. By sysmon.
    pub(super) fn schedtrace_if_due(&self, trace: &mut Schedtrace, now: u64) {
        let Debug { schedtrace: Some(every), scheddetail } = self.config.debug else { return };
        if now < trace.due {
            return;
        }
        trace.due = now + every.as_nanos() as u64;
        let text = self.schedtrace((now - trace.start) / 1_000_000, scheddetail);
        let _ = fatal::Stderr.write_all(text.as_bytes()); // nobody reads it
    }

    fn schedtrace(&self, ms: u64, detail: bool) -> String {
        let mut text = String::new();
        self.write_summary(&mut text, ms);
        match detail {
            false => self.write_ps(&mut text),
            true => {
                self.write_detail(&mut text);
            }
        }
        text
    }

    fn write_summary(&self, text: &mut String, ms: u64) {
        let Counts { procs, spinning, .. } = self.idle.counts();
        let (idle, locked, threads) = match soon::lock(self.idle.lists()) {
            Some(l) => (l.ms.len() + usize::from(l.poller.is_some()), l.locked.len(), l.threads),
            None => (0, 0, 0),
        };
        let _ = write!(
            text,
            "SCHED {ms}ms: gomaxprocs={} idleprocs={procs} threads={threads} \
             spinningthreads={spinning} needspinning={} idlethreads={} runqueue={}",
            self.ps.procs(),
            u32::from(self.idle.counts().wants_fair_turn()),
            idle + locked,
            self.global.len(),
        );
    }

    fn write_ps(&self, text: &mut String) {
        let ps = self.proc_metrics();
        text.push_str(" [ ");
        for p in &ps {
            let _ = write!(text, "{} ", p.queue);
        }
        text.push_str("] schedticks=[ ");
        for p in &ps {
            let _ = write!(text, "{} ", p.dispatches);
        }
        text.push_str("]\n");
    }

    fn write_detail(&self, text: &mut String) {
        text.push('\n');
        let mut gs = String::new();
        let mut running = Vec::new();
        self.visit_all(false, |seen| {
            let (status, reason) = match seen.state {
                State::Runnable => (1, ""),
                State::Running => (2, ""),
                State::Syscall => (3, ""),
                State::Waiting(reason) => (4, reason.as_str()),
            };
            let (id, m) = (seen.id(), Id(seen.m));
            running.extend(seen.m.map(|m| (m, id)));
            let _ = writeln!(gs, "  G{id}: status={status}({reason}) m={m}");
        });
        let ms = self.visit_ms();
        for (p, counters) in self.ps.iter().zip(self.proc_metrics()) {
            let m = ms.iter().find(|m| m.p == Some(p.id)).map(|m| m.id);
            let _ = writeln!(
                text,
                "  P{}: status={} schedtick={} m={} runqsize={}",
                p.id,
                u32::from(m.is_some()),
                counters.dispatches,
                Id(m),
                counters.queue,
            );
        }
        for m in ms {
            let g = running.iter().find(|(on, _)| *on == m.id).map(|(_, g)| *g);
            let SeenM { id, p, idle, locked, .. } = m;
            let (p, g) = (Id(p), Id(g));
            let _ = writeln!(text, "  M{id}: p={p} curg={g} blocked={idle} locked={locked}");
        }
        text.push_str(&gs);
    }
}

/// A number, or Go's nil.
pub(crate) struct Id<T>(pub(crate) Option<T>);

impl<T: std::fmt::Display> std::fmt::Display for Id<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(id) => id.fmt(f),
            None => f.write_str("nil"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Debug;
    use std::time::Duration;

    #[test]
    fn words() {
        let debug = Debug::parse("gctrace=1, schedtrace=1000,scheddetail=1").unwrap();
        assert_eq!(debug.schedtrace, Some(Duration::from_secs(1)));
        assert!(debug.scheddetail);
        let debug = Debug::parse("schedtrace=0").unwrap();
        assert!(debug.schedtrace.is_none() && !debug.scheddetail);
        assert!(Debug::parse("").unwrap().schedtrace.is_none());
        assert_eq!(Debug::parse("schedtrace=often").unwrap_err(), "schedtrace=often");
    }
}
