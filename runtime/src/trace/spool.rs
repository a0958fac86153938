//! The thread that empties the rings, and what it keeps.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::draw::Places;
use crate::sched::trace::Reader;
use crate::util::clock;
use crate::util::ring::{self, Record};

/// Bytes of an event.
pub(super) const BYTES: usize = size_of::<Record>();

/// The time between two looks at the rings. One that was a quarter full may be full the next time.
const PERIOD_MIN: Duration = Duration::from_millis(1);
const PERIOD_MAX: Duration = Duration::from_millis(16);
const MUCH: usize = ring::LEN / 4;

/// What is kept if there is too much.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keep {
    First { records: usize },
    Last { records: usize, age: Duration },
}

/// What was recorded.
#[derive(Debug)]
pub(super) struct Recorded {
    /// Not in the order of their times, and some may be later than `until`.
    pub(super) batches: Vec<Arc<Batch>>,
    /// What was where before.
    pub(super) before: Places,
    pub(super) lost: u64,
    /// All that was recorded up to then is here (`Reader::until`).
    pub(super) until: u64,
}

/// What one look has found.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    /// When that was.
    at: u64,
}

#[derive(Debug)]
struct Spool {
    reader: Reader,
    keep: Keep,
    batches: VecDeque<Arc<Batch>>,
    records: usize,
    before: Places,
    lost: u64,
}

#[derive(Debug)]
struct Shared {
    spool: Mutex<Spool>,
    stopped: Mutex<bool>,
    stop: Condvar,
}

/// Records until it is dropped.
#[derive(Debug)]
pub(super) struct Recorder {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    pub(super) fn start(keep: Keep) -> io::Result<Recorder> {
        let spool = Spool {
            reader: Reader::new(),
            keep,
            batches: VecDeque::new(),
            records: 0,
            before: Places::default(),
            lost: 0,
        };
        let shared = Arc::new(Shared {
            spool: Mutex::new(spool),
            stopped: Mutex::new(false),
            stop: Condvar::new(),
        });
        let body = {
            let shared = shared.clone();
            move || shared.run()
        };
        let thread = std::thread::Builder::new().name("gort-trace".to_owned()).spawn(body)?;
        Ok(Recorder { shared, thread: Some(thread) })
    }

    /// What is kept now.
    pub(super) fn snapshot(&self) -> Recorded {
        let mut spool = lock(&self.shared.spool);
        spool.drain();
        Recorded {
            batches: spool.batches.iter().cloned().collect(),
            before: spool.before.clone(),
            lost: spool.lost,
            until: spool.reader.until(),
        }
    }

    /// The last snapshot.
    pub(super) fn stop(self) -> Recorded {
        self.snapshot()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        *lock(&self.shared.stopped) = true;
        self.shared.stop.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // its panic has been reported
        }
    }
}

impl Shared {
    /// The thread's body.
    fn run(&self) {
        let mut period = PERIOD_MIN;
        let mut stopped = lock(&self.stopped);
        while !*stopped {
            drop(stopped);
            let fullest = lock(&self.spool).drain();
            period = if fullest > MUCH { period / 2 } else { period * 2 };
            period = period.clamp(PERIOD_MIN, PERIOD_MAX);
            stopped = lock(&self.stopped);
            if !*stopped {
                let waited = self.stop.wait_timeout(stopped, period);
                stopped = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

impl Spool {
    /// Takes over what the rings hold. Returns how full the fullest was.
    fn drain(&mut self) -> usize {
        let mut records = Vec::new();
        let fullest = self.reader.read(&mut records, &mut self.lost);
        if let Keep::First { records: most } = self.keep {
            let room = most - self.records;
            self.lost += records.len().saturating_sub(room) as u64;
            records.truncate(room);
        }
        let at = clock::now();
        if !records.is_empty() {
            self.records += records.len();
            self.batches.push_back(Arc::new(Batch { records, at }));
        }
        self.forget(at);
        fullest
    }

    /// Forgets what is too old or too much; only where everybody was then is kept.
    fn forget(&mut self, now: u64) {
        let Keep::Last { records, age } = self.keep else { return };
        let begin = now.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        while let Some(oldest) = self.batches.front()
            && (oldest.at < begin || self.records > records)
        {
            self.before.skip(&oldest.records);
            self.records -= oldest.records.len();
            self.batches.pop_front();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
