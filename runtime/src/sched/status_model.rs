//! loom models of the status word: the real `Status`, in a cell with a small body.
//!
//! What is checked, beside the assertions: loom's `UnsafeCell` fails a run in which two accesses
//! to the body, or a holder's access to the cell and its end, are not ordered.

use std::sync::atomic::{AtomicUsize as Count, Ordering::Relaxed};

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicUsize};
use loom::sync::{Arc, Mutex};
use loom::thread;

use super::status::{Complete, DropJoin, DropRef, Join, Park, Start, Status, Wake};

/// The joiners' wakers are numbers; 0 is none.
const WAKERS: usize = 4;

#[derive(Debug, PartialEq, Clone, Copy)]
enum Body {
    Running,
    Output,
    Gone,
}

/// One cell, with the queue that it would stand in.
struct Cell {
    status: Status,
    /// Read by whoever holds a reference, written when the cell is freed.
    header: UnsafeCell<bool>,
    body: UnsafeCell<Body>,
    /// The join waker: two words, as in `g.rs`.
    field: [AtomicUsize; 2],
    queue: Mutex<usize>,
    /// The body ends in the first poll that sees all of them.
    events: [AtomicBool; 2],
    needs: usize,
    /// std's: no part of what is checked.
    cancelled: Count,
    outputs_dropped: Count,
    outputs_taken: Count,
    frees: Count,
    woken: [Count; WAKERS],
    dropped: [Count; WAKERS],
}

impl Cell {
    /// A spawned G whose body ends when `needs` events have come.
    fn spawn(needs: usize) -> Arc<Cell> {
        let cell = Arc::new(Cell {
            status: Status::new(0),
            header: UnsafeCell::new(true),
            body: UnsafeCell::new(Body::Running),
            field: [AtomicUsize::new(0), AtomicUsize::new(0)],
            queue: Mutex::new(1),
            events: [AtomicBool::new(false), AtomicBool::new(false)],
            needs,
            cancelled: Count::new(0),
            outputs_dropped: Count::new(0),
            outputs_taken: Count::new(0),
            frees: Count::new(0),
            woken: Default::default(),
            dropped: Default::default(),
        });
        cell.status.publish(Status::spawned());
        cell
    }

    fn held(&self) {
        // SAFETY: loom checks it: the caller's reference keeps the cell.
        self.header.with(|live| assert!(unsafe { *live }, "a dead cell is used"));
    }

    fn swap_body(&self, to: Body) -> Body {
        // SAFETY: loom checks it: the caller owns the body, or its output.
        self.body.with_mut(|body| unsafe { std::mem::replace(&mut *body, to) })
    }

    fn free(&self) {
        // SAFETY: loom checks it: nobody else is left.
        self.header.with_mut(|live| unsafe { *live = false });
        self.frees.fetch_add(1, Relaxed);
        self.status.kill();
    }

    fn push(&self) {
        let mut queue = self.queue.lock().unwrap();
        assert_eq!(*queue, 0, "queued twice");
        *queue = 1;
    }

    /// An M: runs the G while it finds it in the queue.
    fn dispatch(&self) {
        while std::mem::take(&mut *self.queue.lock().unwrap()) > 0 {
            self.execute();
        }
    }

    fn execute(&self) {
        self.held();
        if self.status.start() == Start::Cancel {
            return self.cancel();
        }
        assert_eq!(self.swap_body(Body::Running), Body::Running);
        if self.events[..self.needs].iter().all(|e| e.load(Relaxed)) {
            self.swap_body(Body::Output);
            return self.finish(true);
        }
        match self.status.park() {
            Park::Parked => {}
            Park::Notified => self.push(),
            Park::Orphan => self.cancel(),
        }
    }

    fn cancel(&self) {
        assert_eq!(self.swap_body(Body::Output), Body::Running);
        self.cancelled.fetch_add(1, Relaxed);
        self.finish(true);
    }

    fn finish(&self, output: bool) {
        let mut copied = [0; 2];
        match self.status.complete(output, || copied = self.copy()) {
            Complete::Nothing => {}
            Complete::Wake => self.wake_joiner(copied),
            Complete::WakeSlow => {
                self.wake_joiner(self.copy());
                self.drop_ref();
            }
            Complete::DropOutput => {
                self.drop_output();
                self.finish(false);
            }
            Complete::Free => self.free(),
        }
    }

    fn drop_output(&self) {
        if self.swap_body(Body::Gone) == Body::Output {
            self.outputs_dropped.fetch_add(1, Relaxed);
        }
    }

    fn copy(&self) -> [usize; 2] {
        [self.field[0].load(Relaxed), self.field[1].load(Relaxed)]
    }

    fn whole([data, vtable]: [usize; 2]) -> usize {
        assert!(data == vtable && data != 0, "a torn waker is used");
        data
    }

    fn wake_joiner(&self, words: [usize; 2]) {
        self.woken[Cell::whole(words)].fetch_add(1, Relaxed);
    }

    fn drop_joiner(&self, words: [usize; 2]) {
        self.dropped[Cell::whole(words)].fetch_add(1, Relaxed);
    }

    fn drop_ref(&self) {
        self.held();
        match self.status.drop_ref() {
            DropRef::Nothing => {}
            DropRef::Free => self.free(),
            DropRef::Queue => self.push(),
        }
    }

    fn wake_by_val(&self) {
        self.held();
        match self.status.wake_by_val() {
            Wake::Nothing => {}
            Wake::Queue => self.push(),
            Wake::Free => self.free(),
        }
    }

    fn wake_by_ref(&self) {
        self.held();
        if self.status.wake_by_ref() == Wake::Queue {
            self.push();
        }
    }

    fn abort(&self) {
        self.held();
        if self.status.abort() == Wake::Queue {
            self.push();
        }
    }

    /// A poll of the handle, as in `join.rs`. True: the G has ended.
    fn poll_join(&self, waker: usize) -> bool {
        self.held();
        loop {
            match self.status.join() {
                Join::Done => return true,
                Join::Empty => {
                    self.field[0].store(waker, Relaxed);
                    self.field[1].store(waker, Relaxed);
                    if self.status.join_publish() {
                        return false;
                    }
                    self.drop_joiner(self.copy());
                }
                Join::Registered if self.copy() == [waker, waker] => return false,
                Join::Registered => {
                    let old = self.copy();
                    if self.status.join_unpublish() {
                        self.drop_joiner(old);
                    }
                }
            }
        }
    }

    fn take_output(&self) {
        assert_eq!(self.swap_body(Body::Gone), Body::Output);
        self.outputs_taken.fetch_add(1, Relaxed);
        self.drop_ref();
    }

    fn drop_handle(&self) {
        self.held();
        let mut copied = [0; 2];
        loop {
            let had_waker = match self.status.drop_join(|| copied = self.copy()) {
                DropJoin::Retry => {
                    thread::yield_now();
                    continue;
                }
                DropJoin::Output => {
                    self.drop_output();
                    return self.drop_ref();
                }
                DropJoin::Detached { had_waker } => had_waker,
                DropJoin::Queue { had_waker } => {
                    self.push();
                    had_waker
                }
            };
            if had_waker {
                self.drop_joiner(copied);
            }
            return;
        }
    }

    /// A dump, which may come at any time: it reads the body of a G that waits.
    fn look(&self) {
        if !self.status.try_ref() {
            return;
        }
        self.held();
        if self.status.look() {
            // SAFETY: loom checks it: a body that is looked at is nobody else's.
            self.body.with(|body| assert_eq!(unsafe { *body }, Body::Running));
            match self.status.park() {
                Park::Parked => {}
                Park::Notified => self.push(),
                Park::Orphan => unreachable!("the walk holds a reference"),
            }
        }
        self.drop_ref();
    }

    /// A walk over all cells, which may come at any time.
    fn walk(&self) {
        if self.status.try_ref() {
            self.drop_ref();
        }
    }

    /// Waker `i` has been used up, in one of the two ways.
    fn assert_used_once(&self, i: usize) {
        assert_eq!(self.woken[i].load(Relaxed) + self.dropped[i].load(Relaxed), 1, "waker {i}");
    }

    fn assert_freed(&self) {
        assert_eq!(self.frees.load(Relaxed), 1, "the cell is freed once");
        let used = self.outputs_dropped.load(Relaxed) + self.outputs_taken.load(Relaxed);
        assert_eq!(used, 1, "the output is dropped or taken, once");
    }
}

fn run(cell: &Arc<Cell>, f: impl FnOnce(&Cell) + 'static) -> thread::JoinHandle<()> {
    let cell = cell.clone();
    thread::spawn(move || f(&cell))
}

/// Two wakers, each with an event before it, against the poll and against each other: the last
/// poll sees both events.
#[test]
fn a_wake_is_seen_by_a_poll() {
    loom::model(|| {
        let cell = Cell::spawn(2);
        cell.status.add_ref();
        cell.status.add_ref();
        let one = run(&cell, |cell| {
            cell.events[0].store(true, Relaxed);
            cell.wake_by_val();
            cell.dispatch();
        });
        let two = run(&cell, |cell| {
            cell.events[1].store(true, Relaxed);
            cell.wake_by_ref();
            cell.drop_ref();
        });
        cell.dispatch();
        one.join().unwrap();
        two.join().unwrap();
        cell.dispatch();
        assert!(cell.poll_join(1), "a wake is lost");
        cell.take_output();
        cell.assert_freed();
        assert_eq!(cell.cancelled.load(Relaxed), 0);
    });
}

/// Wakers that come while the body ends, and the handle's drop.
#[test]
fn wakes_race_with_completion() {
    loom::model(|| {
        let cell = Cell::spawn(0);
        cell.status.add_ref();
        cell.status.add_ref();
        let one = run(&cell, Cell::wake_by_val);
        let two = run(&cell, |cell| {
            cell.wake_by_ref();
            cell.drop_ref();
        });
        cell.dispatch();
        cell.drop_handle();
        one.join().unwrap();
        two.join().unwrap();
        cell.dispatch();
        cell.assert_freed();
    });
}

/// An abort against the poll, the park and a wake: the body ends, once.
#[test]
fn an_abort_is_not_lost() {
    loom::model(|| {
        let cell = Cell::spawn(1);
        cell.status.add_ref();
        let waker = run(&cell, |cell| {
            cell.events[0].store(true, Relaxed);
            cell.wake_by_val();
            cell.dispatch();
        });
        let aborter = run(&cell, |cell| {
            cell.abort();
            cell.dispatch();
            cell.drop_handle();
        });
        cell.dispatch();
        waker.join().unwrap();
        aborter.join().unwrap();
        cell.dispatch();
        cell.assert_freed();
    });
}

/// An abort alone: the body never ends by itself, so it must be cancelled.
#[test]
fn an_abort_cancels_a_waiting_body() {
    loom::model(|| {
        let cell = Cell::spawn(1);
        cell.status.add_ref();
        let aborter = run(&cell, Cell::abort);
        cell.dispatch();
        aborter.join().unwrap();
        cell.dispatch();
        assert_eq!(cell.cancelled.load(Relaxed), 1);
        assert!(cell.poll_join(1));
        cell.take_output();
        cell.drop_ref(); // the waker that nobody used
        cell.assert_freed();
    });
}

/// The handle registers a waker, then another one, while the body ends.
#[test]
fn a_joiner_is_woken_or_sees_the_end() {
    loom::model(|| {
        let cell = Cell::spawn(0);
        let runner = run(&cell, Cell::dispatch);
        let mut last = 0;
        let seen = (1..WAKERS).any(|waker| {
            let done = cell.poll_join(waker);
            if !done {
                last = waker;
            }
            done
        });
        runner.join().unwrap();
        assert!(cell.poll_join(WAKERS - 1));
        if !seen {
            assert_eq!(cell.woken[last].load(Relaxed), 1, "the joiner is not woken");
        }
        (1..=last).for_each(|i| cell.assert_used_once(i));
        cell.take_output();
        cell.assert_freed();
    });
}

/// The handle is dropped, with a waker or without, while the body ends.
#[test]
fn a_dropped_handle_leaves_nothing() {
    for registrations in 0..3 {
        loom::model(move || {
            let cell = Cell::spawn(0);
            let runner = run(&cell, Cell::dispatch);
            let last = (1..=registrations).take_while(|i| !cell.poll_join(*i)).count();
            cell.drop_handle();
            runner.join().unwrap();
            (1..=last).for_each(|i| cell.assert_used_once(i));
            cell.assert_freed();
        });
    }
}

/// The handle goes, then the last waker, while the body is polled or waits: nobody could wake
/// it any more, so a dispatcher drops it.
#[test]
fn an_orphan_is_dropped() {
    loom::model(|| {
        let cell = Cell::spawn(1);
        cell.status.add_ref();
        let handle = run(&cell, Cell::drop_handle);
        let waker = run(&cell, Cell::drop_ref);
        cell.dispatch();
        handle.join().unwrap();
        waker.join().unwrap();
        cell.dispatch();
        assert_eq!(cell.cancelled.load(Relaxed), 1);
        cell.assert_freed();
    });
}

/// A dump looks at the body while a wake comes: the wake is not lost, and the body runs once.
#[test]
fn a_look_keeps_the_wake() {
    loom::model(|| {
        let cell = Cell::spawn(1);
        cell.status.add_ref();
        let waker = run(&cell, |cell| {
            cell.events[0].store(true, Relaxed);
            cell.wake_by_val();
            cell.dispatch();
        });
        let dumper = run(&cell, Cell::look);
        cell.dispatch();
        waker.join().unwrap();
        dumper.join().unwrap();
        cell.dispatch();
        assert!(cell.poll_join(1), "a wake is lost");
        cell.take_output();
        cell.assert_freed();
        assert_eq!(cell.cancelled.load(Relaxed), 0);
    });
}

/// A dump looks at a body while the handle goes, and the last waker: it is dropped all the same.
#[test]
fn a_look_hides_no_orphan() {
    loom::model(|| {
        let cell = Cell::spawn(1);
        cell.status.add_ref();
        let dumper = run(&cell, Cell::look);
        let handle = run(&cell, |cell| {
            cell.drop_handle();
            cell.drop_ref();
        });
        cell.dispatch();
        dumper.join().unwrap();
        handle.join().unwrap();
        cell.dispatch();
        assert_eq!(cell.cancelled.load(Relaxed), 1);
        cell.assert_freed();
    });
}

/// A walk over all cells against the end of a detached G, and against its park.
#[test]
fn a_walk_finds_no_dead_cell() {
    for needs in 0..2 {
        loom::model(move || {
            let cell = Cell::spawn(needs);
            cell.drop_handle();
            let walker = run(&cell, Cell::walk);
            cell.dispatch();
            walker.join().unwrap();
            cell.dispatch();
            cell.assert_freed();
        });
    }
}
