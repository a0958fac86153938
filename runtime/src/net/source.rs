//! A descriptor and its place in the netpoller.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use gort_netpoll::{Desc, Direction, Netpoll};
use mio::event;

use crate::rt;
use crate::sched::paused::is_tested;
use crate::sched::preempt::poll_slice;

/// Owns `io`, which is registered while this lives.
pub(super) struct Source<S: event::Source> {
    io: S,
    desc: Desc,
    netpoll: Arc<Netpoll>,
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
        let netpoll = rt::with_current(|sched| sched.netpoll.clone());
        let desc = register(&netpoll, &mut io)?;
        Ok(Source { io, desc, netpoll })
    }

    pub(super) fn io(&self) -> &S {
        &self.io
    }

    /// Waits until `direction` may be ready.
    pub(super) fn poll_ready(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.desc.poll_ready(direction, cx).map_ok(drop)
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
            let seen = ready!(self.desc.poll_ready(direction, cx))?;
            match op(&self.io) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.desc.clear(direction, seen),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// As `poll_io`, for transfers of at most `room` bytes on a stream. A short one has emptied
    /// (or filled) the kernel's buffer, so the next one must wait for an event: that spares the
    /// system call that would only say WouldBlock.
    #[inline]
    pub(super) fn poll_transfer(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
        room: usize,
        mut op: impl FnMut(&S) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        ready!(poll_slice(cx));
        loop {
            let seen = ready!(self.desc.poll_ready(direction, cx))?;
            match op(&self.io) {
                Ok(n) => {
                    if 0 < n && n < room && cfg!(target_os = "linux") {
                        self.desc.clear(direction, seen);
                    }
                    return Poll::Ready(Ok(n));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.desc.clear(direction, seen),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    /// Takes the socket out of the netpoller. The std type owns a descriptor of its own.
    pub(super) fn into_std<T: From<std::os::fd::OwnedFd>>(self) -> io::Result<T>
    where
        S: std::os::fd::AsFd,
    {
        Ok(T::from(self.io.as_fd().try_clone_to_owned()?))
    }
}

impl<S: event::Source> Drop for Source<S> {
    fn drop(&mut self) {
        // An error means that the netpoller has gone; then there is nothing to leave.
        let _ = self.netpoll.deregister(&mut self.io, &self.desc);
        if is_tested() {
            self.netpoll.break_(); // an open socket keeps a paused clock from moving
        }
    }
}

impl<S: event::Source + fmt::Debug> fmt::Debug for Source<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.io.fmt(f)
    }
}
