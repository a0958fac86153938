//! All slots of a poller.
//!
//! Slots live in pages, each twice the size of the one before, which are never moved and never
//! freed while the poller or a desc lives. So the poller finds a slot by its index without a lock,
//! and an event for a socket long gone still finds memory that says so. Only registering and
//! deregistering take the lock, for the list of free slots.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::slot::{Flags, Slot, Wakers, shut};

/// Slots in the first page: 4 KiB of them.
const FIRST_PAGE: u32 = 64;
/// Pages of 64, 128, ... slots: 2^30 in all, more than a process may have open files.
const PAGES: usize = 24;
const MAX_SLOTS: u32 = FIRST_PAGE * ((1 << PAGES) - 1);

pub(crate) type Page = Arc<[Slot]>;

#[derive(Debug)]
pub(crate) struct Slab {
    pages: [OnceLock<Page>; PAGES],
    free: Mutex<Free>,
    /// Slots that have an owner.
    live: AtomicUsize,
}

#[derive(Debug, Default)]
struct Free {
    /// Used before, the last one last: it is the warmest.
    used: Vec<u32>,
    /// The first index never used.
    fresh: u32,
    closed: bool,
}

/// The page and the place in it of slot `index`.
fn locate(index: u32) -> (usize, usize) {
    let nth = index / FIRST_PAGE + 1;
    let page = nth.ilog2();
    (page as usize, (index - FIRST_PAGE * ((1 << page) - 1)) as usize)
}

impl Slab {
    pub(crate) fn new() -> Slab {
        Slab {
            pages: [const { OnceLock::new() }; PAGES],
            free: Mutex::default(),
            live: AtomicUsize::new(0),
        }
    }

    /// Is there a slot with an owner?
    pub(crate) fn any(&self) -> bool {
        // Relaxed: a thread sees what it registered itself, and that suffices (`Netpoll::waiters`).
        self.live.load(Ordering::Relaxed) != 0
    }

    /// Takes a slot that starts with `flags`. Returns its index and generation, its page and place.
    ///
    /// # Errors
    ///
    /// The slab is closed, or full.
    pub(crate) fn open(&self, flags: Flags) -> io::Result<(u32, u32, Page, usize)> {
        let mut free = self.lock();
        if free.closed {
            return Err(shut());
        }
        let index = match free.used.pop() {
            Some(index) => index,
            None if free.fresh < MAX_SLOTS => {
                free.fresh += 1;
                free.fresh - 1
            }
            None => return Err(io::Error::other("too many sockets in one runtime")),
        };
        let (number, place) = locate(index);
        let page = self.pages[number]
            .get_or_init(|| (0..FIRST_PAGE << number).map(|_| Slot::new()).collect());
        let generation = page[place].open(flags);
        // Relaxed: a count.
        self.live.fetch_add(1, Ordering::Relaxed);
        Ok((index, generation, page.clone(), place))
    }

    /// Gives back a slot, after [`Slot::retire`].
    pub(crate) fn release(&self, index: u32) {
        self.lock().used.push(index);
        // Relaxed: a count.
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    /// The slot of a token. `None` for an index never given out.
    pub(crate) fn get(&self, index: u32) -> Option<&Slot> {
        let (number, place) = locate(index);
        self.pages.get(number)?.get()?.get(place)
    }

    /// No slot is opened from now on, and all that are open are shut. Returns all who waited.
    pub(crate) fn close(&self) -> Vec<Wakers> {
        let mut free = self.lock();
        free.closed = true;
        // Under the lock: whoever opened a slot before is among them, whoever comes later fails.
        (0..free.fresh).filter_map(|index| self.get(index)).map(Slot::shut).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_a_gap() {
        let mut expected = (0, 0);
        for index in 0..100_000 {
            assert_eq!(locate(index), expected);
            expected.1 += 1;
            if expected.1 == (FIRST_PAGE as usize) << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert_eq!(locate(MAX_SLOTS - 1).0, PAGES - 1);
        assert_eq!(locate(MAX_SLOTS).0, PAGES);
        assert_eq!(locate(u32::MAX).0, 26);
    }

    #[test]
    fn slots_are_used_again_with_a_new_generation() {
        let slab = Slab::new();
        let (index, old, page, place) = slab.open(Flags::NONE).unwrap();
        assert!(slab.any());
        let _ = page[place].retire(old).unwrap();
        slab.release(index);
        assert!(!slab.any());
        let (again, new, ..) = slab.open(Flags::NONE).unwrap();
        assert_eq!(again, index);
        assert_ne!(new, old);
    }

    #[test]
    fn a_closed_slab_opens_nothing() {
        let slab = Slab::new();
        let _ = slab.open(Flags::NONE).unwrap();
        assert_eq!(slab.close().len(), 1);
        assert!(slab.open(Flags::NONE).is_err());
    }
}
