//! The poller: who polls, and how a sleeper gets up. The only file that names `mio::Poll`.
//!
//! The poll lock decides who polls. Its holder owns mio's poll and the buffer of events. There are
//! two ways to hold it: for one `epoll_wait` that does not block ([`Netpoll::try_poll`]), and as the
//! [`Blocker`], who may publish a sleep in the [`Handshake`]. Everything else here takes no lock:
//! registering goes through a clone of mio's registry, waking through the handshake.
//!
//! Two events are the poller's own, and are dropped by whoever collects them:
//!
//! - The eventfd's. Its only purpose is that `epoll_wait` returns. It is written only for a sleep
//!   that is published, and while one is nobody else polls, so the sleeper gets it, unless it is up
//!   already: then the next poll finds it, and if that one is a sleep it ends early, once.
//! - The timer's. Whoever swallows it does so after the deadline, and no sleeper relies on a time
//!   that is past.

use std::{
    fmt, io,
    sync::{Mutex, MutexGuard, TryLockError},
    task::Waker,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Registry, Token, event::Event, event::Source};

use crate::{
    desc::Desc,
    handshake::{Handshake, NEVER},
    slab::Slab,
    slot::{Direction, Flags, Wakers, deregistered},
    timer::{Clock, Timer},
};

/// No slot has the index of these two.
const BREAK: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// What one poll collects at most; the kernel keeps the rest, in order, for the next one. A guess:
/// 12 KiB of buffer, and enough that the syscall is a small part of the cost of each event.
const EVENTS: usize = 1024;

/// The poller of one runtime.
///
/// Shared by reference among the threads of a scheduler; see the [crate's documentation](crate) for
/// who calls what. Dropping it is [closing](Netpoll::close) it.
pub struct Netpoll {
    /// The poll lock.
    driver: Mutex<Driver>,
    registry: Registry,
    waker: mio::Waker,
    handshake: Handshake,
    timer: Timer,
    clock: Clock,
    slab: Slab,
}

/// What it takes to poll.
struct Driver {
    poll: Poll,
    events: Events,
}

impl Driver {
    /// One `epoll_wait`. A signal is as good as an event: whoever waits, looks again.
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            done => done,
        }
    }
}

impl Netpoll {
    /// Makes a poller with nothing registered.
    ///
    /// # Errors
    ///
    /// What the kernel says when it cannot give the file descriptors this takes: an epoll and a
    /// duplicate of it, an eventfd, a timerfd.
    pub fn new() -> io::Result<Netpoll> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        Ok(Netpoll {
            waker: mio::Waker::new(&registry, BREAK)?,
            timer: Timer::new(&registry, TIMER)?,
            driver: Mutex::new(Driver { poll, events: Events::with_capacity(EVENTS) }),
            registry,
            handshake: Handshake::new(),
            clock: Clock::new(),
            slab: Slab::new(),
        })
    }

    /// Registers a listener, a datagram socket or a connected stream, for both directions.
    ///
    /// It starts out writable, since a new socket's send buffer is empty, and not readable: if there
    /// is something to read, the registration itself brings the event. That is the fewest syscalls
    /// for a server, whose connections wait for a request first. A socket that is not connected
    /// *yet* goes to [`register_connecting`](Netpoll::register_connecting).
    ///
    /// # Errors
    ///
    /// `Other` after [`close`](Netpoll::close); otherwise what the kernel says.
    pub fn register<S: Source + ?Sized>(&self, source: &mut S) -> io::Result<Desc> {
        self.register_with(source, Flags::NONE.ready(Direction::Write, true))
    }

    /// Registers a stream whose connection is being made: neither direction is ready before its
    /// first event, which says that the attempt is over.
    ///
    /// Call `connect` first: the kernel reports a socket that is neither connected nor connecting
    /// as closed, for good.
    ///
    /// # Errors
    ///
    /// As [`register`](Netpoll::register).
    pub fn register_connecting<S: Source + ?Sized>(&self, source: &mut S) -> io::Result<Desc> {
        self.register_with(source, Flags::NONE)
    }

    fn register_with<S: Source + ?Sized>(&self, source: &mut S, start: Flags) -> io::Result<Desc> {
        // The slot first: the event may come before the syscall returns.
        let desc = Desc::open(&self.slab, start)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let interest = interest | Interest::PRIORITY;
        let done = self.registry.register(source, Token(desc.token()), interest);
        done.or_else(|error| self.end(&desc, || Err(error)))?;
        Ok(desc)
    }

    /// Ends the registration `desc` of `source`, which must be the one it was made for. Whoever
    /// waits is woken and gets an error, as does whoever polls `desc` or a clone of it later.
    ///
    /// Call it before the file descriptor is closed: a duplicate of it, also one that a child
    /// process has inherited, would keep the kernel's registration alive. Works after
    /// [`close`](Netpoll::close), too.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `desc` belongs to another poller, `NotConnected` if it is deregistered
    /// already; then nothing has been done. Or what the kernel says; then the registration has
    /// ended as far as this poller is concerned.
    pub fn deregister<S: Source + ?Sized>(&self, source: &mut S, desc: &Desc) -> io::Result<()> {
        if !desc.belongs_to(&self.slab) {
            let text = "the socket is registered with another runtime";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.end(desc, || self.registry.deregister(source))
    }

    /// The generation ends before the kernel's registration does, so that an event collected
    /// meanwhile, or already in somebody's batch, is stale. The slot is free for others last.
    fn end(&self, desc: &Desc, deregister: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let Some(wakers) = desc.retire() else {
            return Err(deregistered());
        };
        let done = deregister();
        wakers.wake();
        self.slab.release(desc.index());
        done
    }

    /// Is anything registered, so that a poll might find something? One relaxed load.
    ///
    /// A thread that registered a socket sees it, and so does each thread that its tasks are handed
    /// to; that suffices if a thread that finds nothing to run looks here before it sleeps.
    pub fn waiters(&self) -> bool {
        self.slab.any()
    }

    /// Collects what is ready, without blocking, and hands each waker that it concerns to `ready`,
    /// oldest event first. Returns how many those were; `None` if another thread is polling.
    ///
    /// One syscall. `ready` runs under the poll lock: it should put the waker's task on a list and
    /// not run foreign code.
    pub fn try_poll(&self, ready: &mut dyn FnMut(Waker)) -> Option<usize> {
        let mut driver = self.try_lock()?;
        match driver.poll(Some(Duration::ZERO)) {
            Ok(()) => Some(self.deliver(&driver.events, ready)),
            // `Blocker::block` reports it; here there is nothing to run, as always.
            Err(_) => Some(0),
        }
    }

    /// Makes the caller the one who may block, if nobody else polls at the moment.
    pub fn blocker(&self) -> Option<Blocker<'_>> {
        Some(Blocker { driver: self.try_lock()?, netpoll: self })
    }

    /// Gets the sleeper up: [`Blocker::block`] returns, or returns at once if the sleep has been
    /// [prepared](Blocker::prepare) but not begun.
    ///
    /// Call it *after* making the work visible that it should find. One fence and one load if
    /// nobody sleeps: then the break is not remembered, and whoever is about to sleep finds the
    /// work by looking. At most one syscall per sleep, whoever calls.
    pub fn break_(&self) {
        if self.handshake.break_() {
            self.write_eventfd();
        }
    }

    /// A timer has been armed for `when`: a sleeper who meant to sleep longer does not.
    ///
    /// Call it *after* making the timer visible. One fence and one load if nobody sleeps, and no
    /// syscall unless `when` is earlier than the sleeper's deadline.
    pub fn wake_at(&self, when: Instant) {
        if self.handshake.bring_forward(self.clock.nanos(when))
            && !self.timer.bring_forward(&self.clock, &self.handshake)
        {
            self.break_();
        }
    }

    /// Ends all waiting: whoever waits is woken and gets an error, as does whoever waits or
    /// registers later. The sleeper gets up. Polling and deregistering still work.
    pub fn close(&self) {
        let waiting = self.slab.close();
        waiting.into_iter().for_each(Wakers::wake);
        self.break_();
    }

    fn write_eventfd(&self) {
        // A break that is lost is a runtime that hangs.
        self.waker.wake().expect("the poller's own eventfd takes a write");
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Driver>> {
        match self.driver.try_lock() {
            Ok(driver) => Some(driver),
            // A `ready` that panicked; the driver is as good as before.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn deliver(&self, events: &Events, ready: &mut dyn FnMut(Waker)) -> usize {
        let deliver_one = |event: &Event| match event.token() {
            BREAK | TIMER => 0,
            Token(token) => match Desc::find(&self.slab, token) {
                Some((slot, generation)) => slot.event(generation, flags_of(event), ready),
                None => 0,
            },
        };
        events.iter().map(deliver_one).sum()
    }
}

impl Drop for Netpoll {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Netpoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Netpoll")
            .field("waiters", &self.waiters())
            .field("handshake", &self.handshake)
            .field("timer", &self.timer)
            .finish_non_exhaustive()
    }
}

/// What an event says about its socket.
///
/// An error is a reason to try in both directions, and no end: a datagram socket has one for each
/// unreachable peer, and goes on. On a stream the kernel reports a hang-up together with it, and
/// that is the end of both directions. mio counts "writable with an error" as closed for writing
/// (it is for a pipe), hence the last line.
fn flags_of(event: &Event) -> Flags {
    let (read, write) = (Direction::Read, Direction::Write);
    let hung_up = event.is_write_closed() && (event.is_read_closed() || !event.is_error());
    Flags::NONE
        .ready(read, event.is_readable() || event.is_error())
        .ready(write, event.is_writable() || event.is_error())
        .closed(read, event.is_read_closed())
        .closed(write, hung_up)
        .urgent(event.is_priority())
}

/// The thread that may block in the poll. While it exists nobody else polls.
///
/// 1. [`prepare`](Blocker::prepare) announces the sleep.
/// 2. The caller looks once more for work and for timers. If there is some, it drops the blocker.
/// 3. [`block`](Blocker::block) sleeps.
#[must_use = "dropping the blocker lets others poll"]
pub struct Blocker<'a> {
    driver: MutexGuard<'a, Driver>,
    netpoll: &'a Netpoll,
}

impl Blocker<'_> {
    /// Announces a sleep until `until`, or without a deadline. From here on a
    /// [`break_`](Netpoll::break_) or a [`wake_at`](Netpoll::wake_at) is not lost.
    ///
    /// The caller now looks again at everything that those announce; what was made visible before
    /// they were called is found by that look, or they find the announcement. If it finds a timer
    /// earlier than `until` it may prepare again and look again; the deadline can only come forward.
    pub fn prepare(&mut self, until: Option<Instant>) {
        let until = until.map_or(NEVER, |until| self.netpoll.clock.nanos(until));
        self.netpoll.handshake.publish(until);
    }

    /// Sleeps until the deadline given to [`prepare`](Blocker::prepare), a break, or an event, and
    /// hands each waker concerned to `ready`, as [`Netpoll::try_poll`] does. Returns how many those
    /// were.
    ///
    /// May return early for no visible reason (a signal, a stale break or timer), never late. The
    /// announcement ends with it: without a new `prepare` the next call does not sleep.
    ///
    /// # Errors
    ///
    /// Only if the poller itself is broken, never because of a socket or a signal.
    pub fn block(&mut self, ready: &mut dyn FnMut(Waker)) -> io::Result<usize> {
        let Netpoll { handshake, timer, clock, .. } = self.netpoll;
        let timeout = if handshake.is_blocking() {
            timer.timeout(clock, handshake)
        } else {
            Ok(Some(Duration::ZERO))
        };
        let polled = timeout.and_then(|timeout| self.driver.poll(timeout));
        // Before the wakers: nobody need break a thread that is up.
        handshake.retract();
        polled?;
        Ok(self.netpoll.deliver(&self.driver.events, ready))
    }
}

impl Drop for Blocker<'_> {
    fn drop(&mut self) {
        // Before the lock is released: only its holder may be announced.
        self.netpoll.handshake.retract();
    }
}

impl fmt::Debug for Blocker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocker").field("netpoll", self.netpoll).finish_non_exhaustive()
    }
}
