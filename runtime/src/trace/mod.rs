//! What the scheduler does, event by event: traces for [Perfetto](https://ui.perfetto.dev) and
//! `chrome://tracing`.
//!
//! Each P is a track, and each stretch in which a task or goroutine ran is a slice on it, called by
//! its [name](crate::task::Builder::name) or by where it was spawned. One that ran without a P, in
//! [`spawn_blocking`](crate::spawn_blocking) or because sysmon had taken it, is on the track of its
//! thread. Arrows lead from a spawn or a wake to the slice that followed from it; steals, retakes,
//! hand-offs, parks, looks at the network and fired timers are marks. A runtime is a process there;
//! all runtimes of this process are recorded together.
//!
//! [`start`] records to a file until it is stopped. A [`FlightRecorder`] remembers the last moments
//! and writes them when asked, for instance when a request took too long, or from a plain thread
//! while everything else is stuck.
//!
//! A busy server on two Ps (`examples/trace`). A worker computes for 16 ms. After 10 ms sysmon takes its
//! P, and the worker goes on beside the Ps, on its thread alone, until it waits for its channel; another
//! thread takes the P and goes on with what was queued there. Below, the moment of the retake:
//!
#![doc = include_str!("../../docs/trace.svg")]
//!
//! # What it costs
//! While nobody records, a look at a bit of a word that is read anyway. Else an event is a read of the
//! processor's time stamp counter (of the clock, where that is no counter) and 32 bytes in a ring of its
//! thread: some 50 ns of CPU time, with what the thread that empties the ring does for it; a dispatch has
//! two or three. The rings hold 32,768 events, in memory that a thread takes as it fills them (1 MiB at
//! most) and leaves to later threads. A thread `gort-trace` empties them a hundred times a second, more
//! often when they fill quickly. What it misses all the same is counted, in the file and in the
//! [`Summary`]: nothing is lost silently.
//!
//! Times are the machine's, also where a test clock stands still.
//!
//! # Examples
//! ```
//! use gort::prelude::*;
//!
//! # fn main() -> std::io::Result<()> {
//! # let path = std::env::temp_dir().join(format!("gort-doc-{}.json", std::process::id()));
//! let runtime = gort::Runtime::new()?;
//! let trace = gort::trace::start(&path)?;
//! runtime.run(|| {
//!     let worker = gort::task::Builder::new().name("worker");
//!     worker.go(|| gort::yield_now().wait()).unwrap().wait().unwrap();
//! });
//! let summary = trace.stop()?;
//! assert_eq!(summary.lost, 0);
//! assert!(std::fs::read_to_string(&path)?.contains("worker"));
//! # std::fs::remove_file(path)
//! # }
//! ```

mod draw;
mod spool;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use spool::{Keep, Recorder};

/// A trace to a file holds so many events, 512 MiB; later ones count as lost.
const TRACE_MAX: usize = 1 << 24;

/// What a trace holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Events in it.
    pub events: u64,
    /// Events that came too fast to be kept, or after the trace was full.
    pub lost: u64,
}

/// Records what all runtimes of the process do, to the file `path`, which is made anew. See the
/// [module](self). It holds 16 million events, in memory, and is written by [`Trace::stop`].
///
/// # Errors
/// If the file cannot be made, or the thread that empties the rings cannot be started.
pub fn start(path: impl AsRef<Path>) -> io::Result<Trace> {
    let file = File::create(path)?;
    let recorder = Recorder::start(Keep::First { records: TRACE_MAX })?;
    Ok(Trace { running: Some((recorder, file)) })
}

/// A trace that is being recorded. A drop stops it, too, and ignores errors.
#[derive(Debug)]
#[must_use = "a trace ends when it is dropped"]
pub struct Trace {
    running: Option<(Recorder, File)>,
}

impl Trace {
    /// Stops recording and writes the file. Blocks the thread: it takes about a second for two
    /// million events.
    ///
    /// # Errors
    /// What the system says when it cannot be written.
    pub fn stop(mut self) -> io::Result<Summary> {
        self.finish()
    }

    fn finish(&mut self) -> io::Result<Summary> {
        let Some((recorder, file)) = self.running.take() else {
            return Ok(Summary { events: 0, lost: 0 });
        };
        write(recorder.stop(), file)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.finish(); // as a `BufWriter` does
    }
}

/// Remembers the last moments of all runtimes of the process. Go: `trace.FlightRecorder`.
///
/// # Examples
/// ```
/// use gort::trace::FlightRecorder;
/// use std::time::Duration;
///
/// let recorder = FlightRecorder::start(Duration::from_secs(5), 64 << 20)?;
/// assert_eq!(gort::block_on(async { gort::spawn(async { 42 }).await.unwrap() }), 42);
/// let mut trace = Vec::new();
/// recorder.write_to(&mut trace)?;
/// assert!(trace.starts_with(b"{\"traceEvents\":["));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "it forgets everything when it is dropped"]
pub struct FlightRecorder {
    recorder: Recorder,
}

impl FlightRecorder {
    /// Remembers what has happened in the last `age`, in `max_bytes` of memory (32 for each event):
    /// what is older, or more, is forgotten.
    ///
    /// # Errors
    /// If the thread that empties the rings cannot be started.
    pub fn start(age: Duration, max_bytes: usize) -> io::Result<FlightRecorder> {
        let recorder = Recorder::start(Keep::Last { records: max_bytes / spool::BYTES, age })?;
        Ok(FlightRecorder { recorder })
    }

    /// Writes what it remembers, in the format of [`start`]. It goes on recording meanwhile. May be
    /// called at any time and by several threads; blocks the calling one.
    ///
    /// # Errors
    /// As `out` fails.
    pub fn write_to(&self, out: impl Write) -> io::Result<Summary> {
        write(self.recorder.snapshot(), out)
    }
}

fn write(recorded: spool::Recorded, out: impl Write) -> io::Result<Summary> {
    let mut out = BufWriter::new(out);
    let summary = draw::draw(recorded, &mut out)?;
    out.flush()?;
    Ok(summary)
}
