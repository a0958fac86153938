//! A ring of fixed-size records: one writer that never waits, any number of readers that look over
//! its shoulder.
//!
//! The writer overwrites the oldest records and knows of no reader; a reader remembers how far it
//! has got and finds out what it has missed. So a reader that is slow, stuck, or one of several
//! costs the writer nothing: a push is its words, a fence that is free on x86-64, and a store.
//!
//! 1. *A record that is read is whole.* The writer's fence stands between `head = k` and the words
//!    of record k. A reader that has seen one of these words therefore sees `head >= k` after its
//!    own fence. It drops what lies a lap behind that: record k - LEN and all before it.
//! 2. *What is lost is counted*, by the reader: the records between where it was and the first
//!    that was whole.
//!
//! Memory comes in chunks as the first lap gets to them: a thread that records little takes little.

use std::ops::Range;
use std::sync::OnceLock;

use crossbeam_utils::CachePadded;

use super::sync::atomic::{AtomicU64, Ordering};
use super::sync::fence;

/// Words of a record.
pub(crate) const WORDS: usize = 4;

/// Records of a chunk, and chunks of a ring: 16 KiB, 64 of them.
#[cfg(not(loom))]
const CHUNK: usize = 512;
#[cfg(not(loom))]
const CHUNKS: usize = 64;
#[cfg(loom)]
const CHUNK: usize = 2;
#[cfg(loom)]
const CHUNKS: usize = 1;

/// How many records a ring holds.
pub(crate) const LEN: usize = CHUNK * CHUNKS;

/// One record.
pub(crate) type Record = [u64; WORDS];

type Slot = [AtomicU64; WORDS];

/// See the module.
pub(crate) struct Ring {
    /// Records pushed so far.
    head: CachePadded<AtomicU64>,
    chunks: [OnceLock<Box<[Slot]>>; CHUNKS],
}

/// How far a reader has got, and what it has missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read {
    /// Where to go on.
    pub(crate) next: u64,
    /// Records that were overwritten before they were read.
    pub(crate) lost: u64,
}

impl Ring {
    pub(crate) fn new() -> Ring {
        Ring {
            head: CachePadded::new(AtomicU64::new(0)),
            chunks: [const { OnceLock::new() }; CHUNKS],
        }
    }

    /// Adds a record. One thread at a time, each ordered after the one before.
    #[inline]
    pub(crate) fn push(&self, record: Record) {
        // Relaxed: this thread's own.
        let head = self.head.load(Ordering::Relaxed);
        let (chunk, slot) = place(head);
        let chunk: &[Slot] = match self.chunks[chunk].get() {
            Some(chunk) => chunk,
            None => self.grow(chunk),
        };
        // Pairs with the fence in `read`: who sees a word of this record sees `head`, too.
        fence(Ordering::Release);
        for (word, value) in chunk[slot].iter().zip(record) {
            word.store(value, Ordering::Relaxed); // Relaxed: the fences order it
        }
        // Release: pairs with the Acquire in `read`.
        self.head.store(head + 1, Ordering::Release);
    }

    /// How many records have been pushed.
    pub(crate) fn pushed(&self) -> u64 {
        self.head.load(Ordering::Acquire) // Acquire: as in `read`
    }

    /// Appends to `to` what has been pushed since `from` and is still there.
    pub(crate) fn read(&self, from: u64, to: &mut Vec<Record>) -> Read {
        // Acquire: pairs with the Release in `push`.
        let head = self.head.load(Ordering::Acquire);
        let first = from.max(head.saturating_sub(LEN as u64));
        let begin = to.len();
        self.copy(first..head, to);
        // Pairs with the fence in `push`.
        fence(Ordering::Acquire);
        let now = self.head.load(Ordering::Relaxed); // Relaxed: the fences order it
        // Record `now` may be half there, in the place of `now - LEN`.
        let whole = (now + 1).saturating_sub(LEN as u64).clamp(first, head);
        to.drain(begin..begin + (whole - first) as usize);
        Read { next: head, lost: whole - from }
    }

    /// Chunk by chunk. `read` checks afterwards which of the records are whole.
    fn copy(&self, range: Range<u64>, to: &mut Vec<Record>) {
        to.reserve((range.end - range.start) as usize);
        let mut next = range.start;
        while next < range.end {
            let (chunk, slot) = place(next);
            let n = (CHUNK - slot).min((range.end - next) as usize);
            let chunk = self.chunks[chunk].get().expect("`head` has been seen beyond it");
            // Relaxed: see above.
            let word = |word: &AtomicU64| word.load(Ordering::Relaxed);
            to.extend(chunk[slot..slot + n].iter().map(|[a, b, c, d]| [a, b, c, d].map(word)));
            next += n as u64;
        }
    }

    #[cold]
    fn grow(&self, chunk: usize) -> &[Slot] {
        self.chunks[chunk].get_or_init(new_chunk)
    }
}

fn place(i: u64) -> (usize, usize) {
    let i = i as usize % LEN;
    (i / CHUNK, i % CHUNK)
}

fn new_chunk() -> Box<[Slot]> {
    (0..CHUNK).map(|_| std::array::from_fn(|_| AtomicU64::new(0))).collect()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn record(i: u64) -> Record {
        [i, i + 1, i + 2, i + 3]
    }

    #[test]
    fn what_is_read_and_what_is_lost_make_the_whole() {
        let ring = Ring::new();
        let mut seen = Vec::new();
        assert_eq!(ring.read(0, &mut seen), Read { next: 0, lost: 0 });
        (0..10).for_each(|i| ring.push(record(i)));
        let read = ring.read(0, &mut seen);
        assert_eq!((read, seen.len()), (Read { next: 10, lost: 0 }, 10));
        let laps = 10 + 3 * LEN as u64;
        (10..laps).for_each(|i| ring.push(record(i)));
        seen.clear();
        let read = ring.read(10, &mut seen);
        assert_eq!(read.next, laps);
        assert_eq!(read.lost + seen.len() as u64, laps - 10);
        assert_eq!(seen.len(), LEN - 1, "but for the place that the next one may be getting");
        assert_eq!(seen.last(), Some(&record(laps - 1)));
    }

    #[test]
    fn records_are_whole_while_the_writer_laps_the_reader() {
        let (ring, done) = (Ring::new(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..2_000_000).for_each(|i| ring.push(record(i)));
                done.store(true, Ordering::Release);
            });
            let (mut next, mut sum, mut seen) = (0, 0, Vec::new());
            loop {
                let last = done.load(Ordering::Acquire);
                let read = ring.read(next, &mut seen);
                assert!(seen.iter().all(|r| *r == record(r[0])));
                assert!(seen.windows(2).all(|w| w[0][0] + 1 == w[1][0]));
                sum += read.lost + seen.len() as u64;
                (next, seen) = (read.next, Vec::new());
                if last {
                    break;
                }
            }
            assert_eq!((next, sum), (2_000_000, 2_000_000));
        });
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// A writer that laps the ring, a reader that looks twice.
    #[test]
    fn a_record_that_is_read_is_whole() {
        loom::model(|| {
            const PUSHED: u64 = LEN as u64 + 1;
            let ring = Arc::new(Ring::new());
            let writer = {
                let ring = ring.clone();
                thread::spawn(move || (1..=PUSHED).for_each(|i| ring.push([i; WORDS])))
            };
            let (next, sum) = look(&ring, 0, 0);
            writer.join().unwrap();
            assert_eq!(look(&ring, next, sum), (PUSHED, PUSHED));
        });
    }

    fn look(ring: &Ring, next: u64, sum: u64) -> (u64, u64) {
        let mut seen = Vec::new();
        let read = ring.read(next, &mut seen);
        for (record, i) in seen.iter().zip(next + read.lost + 1..) {
            assert_eq!(*record, [i; WORDS]);
        }
        (read.next, sum + read.lost + seen.len() as u64)
    }
}
