//! A descriptor and its place in the netpoller.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use gort_netpoll::{Desc, Direction, Netpoll, Readiness};
use mio::event;
use mio::unix::SourceFd;
use socket2::SockRef;

use super::close::close_file;
use super::deadline::Deadlines;
use crate::rt;
use crate::sched::Sched;
use crate::sched::paused::is_tested;
use crate::sched::preempt::poll_slice;
use crate::sched::wait::{WaitReason, note_wait};
use crate::time::Instant;

/// A system call takes no more buffers than this; the rest of them is for the next one. (Linux's
/// `UIO_MAXIOV`; only there does a short transfer mean anything.)
const MAX_BUFS: usize = 1024;

/// And no more bytes than about twice this.
const MAX_BYTES: usize = 1 << 30;

/// The room for `poll_transfer` of a vectored transfer. Too much of it, and a transfer that left
/// something in the kernel would pass for a short one; too little costs a system call.
pub(super) fn room(bufs: &[impl Deref<Target = [u8]>]) -> usize {
    bufs.iter().take(MAX_BUFS).map(|buf| buf.len()).sum()
}

/// Owns `io`, which is registered while this lives, or until it is closed.
pub(super) struct Source<S: event::Source> {
    io: S,
    desc: Desc,
    sched: Arc<Sched>,
    /// From the first deadline on.
    deadlines: OnceLock<Arc<Deadlines>>,
}

impl<S: event::Source> Source<S> {
    /// Registers with the current runtime's netpoller.
    pub(super) fn new(io: S) -> io::Result<Source<S>> {
        Source::register(io, Netpoll::register)
    }

    /// As `new`, for a socket whose connection is being made: nothing is ready before its event.
    pub(super) fn connecting(io: S) -> io::Result<Source<S>> {
        Source::register(io, Netpoll::register_connecting)
    }

    fn register(
        mut io: S,
        register: impl FnOnce(&Netpoll, &mut S) -> io::Result<Desc>,
    ) -> io::Result<Source<S>> {
        let sched = rt::with_current(Arc::clone);
        let desc = register(&sched.netpoll, &mut io)?;
        Ok(Source { io, desc, sched, deadlines: OnceLock::new() })
    }

    pub(super) fn io(&self) -> &S {
        &self.io
    }

    pub(super) fn io_mut(&mut self) -> &mut S {
        &mut self.io
    }

    /// Waits until `direction` may be ready.
    pub(super) fn poll_ready(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        note_wait(self.desc.poll_ready(direction, cx), cx, WaitReason::Io).map_ok(drop)
    }

    /// Runs `op` when `direction` is ready, until it does not say WouldBlock.
    #[inline]
    pub(super) fn poll_io<T>(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
        mut op: impl FnMut(&S) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        ready!(poll_slice(cx));
        loop {
            let seen = ready!(note_wait(self.desc.poll_ready(direction, cx), cx, WaitReason::Io))?;
            match op(&self.io) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.desc.clear(direction, seen),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(self.reason(e))),
                done => return Poll::Ready(done),
            }
        }
    }

    /// As `poll_io`, for transfers of at most `room` bytes on a stream. A short one has emptied
    /// (or filled) the kernel's buffer, so the next one must wait for an event: that spares the
    /// system call that would only say WouldBlock. One of nothing is done at once (N35).
    #[inline]
    pub(super) fn poll_transfer(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
        room: usize,
        mut op: impl FnMut(&S) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if room == 0 {
            return Poll::Ready(self.desc.ended().map_or(Ok(0), Err));
        }
        ready!(poll_slice(cx));
        loop {
            let seen = ready!(note_wait(self.desc.poll_ready(direction, cx), cx, WaitReason::Io))?;
            match op(&self.io) {
                Ok(n) => {
                    let short = 0 < n && n < room.min(MAX_BYTES) && !seen.is_urgent();
                    if short && cfg!(target_os = "linux") {
                        self.desc.clear(direction, seen);
                    }
                    return Poll::Ready(Ok(n));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.desc.clear(direction, seen),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(self.reason(e))),
            }
        }
    }

    /// Waits until `direction` may be ready, and says what [`clear`](Source::clear) takes back.
    pub(super) fn poll_seen(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Readiness>> {
        ready!(poll_slice(cx));
        note_wait(self.desc.poll_ready(direction, cx), cx, WaitReason::Io)
    }

    /// An attempt after `seen` has found nothing: wait for the next event.
    pub(super) fn clear(&self, direction: Direction, seen: Readiness) {
        self.desc.clear(direction, seen);
    }

    /// Runs `op` at once, ready or not, and remembers a WouldBlock. Not knowing of an event yet is
    /// no reason to say that there is nothing.
    pub(super) fn try_io<T>(
        &self,
        direction: Direction,
        mut op: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        let seen = match self.desc.look(direction) {
            Poll::Ready(seen) => Some(seen?), // before the attempt, as an event may come after it
            Poll::Pending => None,
        };
        loop {
            match op(&self.io) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    seen.inspect(|&seen| self.desc.clear(direction, seen));
                    return Err(e);
                }
                Err(e) => return Err(self.reason(e)),
                done => return done,
            }
        }
    }

    /// Why an operation failed: if the socket has been closed meanwhile, that is why.
    #[cold]
    fn reason(&self, error: io::Error) -> io::Error {
        self.desc.ended().unwrap_or(error)
    }

    /// From `deadline` on operations fail with `TimedOut`, also those that wait now and those that
    /// could be done at once. None: they may take for ever. A later one revives the socket.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        self.set_deadlines(&[Direction::Read, Direction::Write], deadline);
    }

    /// As `set_deadline`, for reading, receiving and accepting.
    pub(super) fn set_read_deadline(&self, deadline: Option<Instant>) {
        self.set_deadlines(&[Direction::Read], deadline);
    }

    /// As `set_deadline`, for writing and sending.
    pub(super) fn set_write_deadline(&self, deadline: Option<Instant>) {
        self.set_deadlines(&[Direction::Write], deadline);
    }

    fn set_deadlines(&self, directions: &[Direction], deadline: Option<Instant>) {
        if deadline.is_some() || self.deadlines.get().is_some() {
            let new = || Deadlines::new(self.sched.clone(), self.desc.clone());
            self.deadlines.get_or_init(new).set(directions, deadline);
        }
    }

    /// The deadline for reading.
    pub(super) fn read_deadline(&self) -> Option<Instant> {
        self.deadlines.get()?.get(Direction::Read)
    }

    /// The deadline for writing.
    pub(super) fn write_deadline(&self) -> Option<Instant> {
        self.deadlines.get()?.get(Direction::Write)
    }

    /// Closes the socket for everybody: operations that wait and all later ones fail with
    /// `NotConnected`, and the kernel closes the file. The number of the descriptor stays this
    /// socket's until the drop. Nothing if it is closed already.
    ///
    /// # Errors
    /// Those of `close_file`. Then the operations fail all the same, a connection is shut down, and the
    /// file is closed by the drop.
    pub(super) fn close(&self) -> io::Result<()>
    where
        S: AsFd,
    {
        let fd = self.io.as_fd();
        // An error: there is nothing (any more) to leave.
        let _ = self.sched.netpoll.deregister(&mut SourceFd(&fd.as_raw_fd()), &self.desc);
        self.left_netpoll();
        close_file(fd).inspect_err(|_| {
            let _ = SockRef::from(&fd).shutdown(Shutdown::Both); // if it is a socket
        })
    }

    /// The registration has ended.
    fn left_netpoll(&self) {
        if let Some(deadlines) = self.deadlines.get() {
            deadlines.end();
        }
        if is_tested() {
            self.sched.netpoll.break_(); // an open socket keeps a paused clock from moving
        }
    }

    /// Takes the socket out of the netpoller. The std type owns a descriptor of its own.
    pub(super) fn into_std<T: From<OwnedFd>>(self) -> io::Result<T>
    where
        S: AsFd,
    {
        self.to_std()
    }

    /// What `into_std` gives.
    pub(super) fn to_std<T: From<OwnedFd>>(&self) -> io::Result<T>
    where
        S: AsFd,
    {
        match self.desc.ended() {
            Some(closed) => Err(closed),
            None => Ok(T::from(self.io.as_fd().try_clone_to_owned()?)),
        }
    }
}

impl<S: event::Source> Drop for Source<S> {
    fn drop(&mut self) {
        // An error means that it has been closed.
        let _ = self.sched.netpoll.deregister(&mut self.io, &self.desc);
        self.left_netpoll();
    }
}

impl<S: event::Source + fmt::Debug> fmt::Debug for Source<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.io.fmt(f)
    }
}
