//! `AsyncFd`: anything with a descriptor that the kernel can poll.
//!
//! The kernel tells each change once, and readiness is remembered until an attempt finds nothing
//! (see `gort_netpoll`). Here the attempts are the user's; hence the guard, which takes back the
//! readiness that it was made for, and no later one.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::task::{Context, Poll};

use gort_netpoll::{Direction, Readiness};

use super::fd::{self, Fd};
use super::source::Source;

/// A file that the runtime's netpoller watches: an eventfd, a timerfd, a tty, a device, a socket of
/// another library.
///
/// The file must be in non-blocking mode: a read or write that blocks would block the thread.
/// Regular files are not for this, as they are always ready.
///
/// While the `AsyncFd` lives, `T` must keep the same descriptor open. If it does not, readiness may
/// be missed; no other file is touched.
///
/// # Examples
/// ```
/// use gort::net::{AsyncFd, Direction};
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream; // stands for something that gort does not know
/// # fn main() -> std::io::Result<()> { gort::block_on(async {
/// let (ours, mut theirs) = UnixStream::pair()?;
/// ours.set_nonblocking(true)?;
/// let ours = AsyncFd::new(ours)?;
/// let read = async || ours.async_io(Direction::Read, |mut io| io.read(&mut [0; 8])).await;
/// theirs.write_all(b"hello")?;
/// assert_eq!(read().await?, 5);
/// drop(theirs);
/// assert_eq!(read().await?, 0);
/// # Ok(()) }) }
/// ```
pub struct AsyncFd<T: AsFd> {
    source: Source<Fd<T>>,
}

impl<T: AsFd> AsyncFd<T> {
    /// Registers `inner` with the current runtime's netpoller, for both directions.
    ///
    /// # Errors
    /// `Unsupported` for a file that cannot be polled, such as a regular one; `AlreadyExists` if this
    /// descriptor is registered there already; and if the runtime has ended. `inner` is then dropped.
    pub fn new(inner: T) -> io::Result<AsyncFd<T>> {
        Ok(AsyncFd { source: fd::register(inner)? })
    }

    /// Waits until it may be readable: an attempt may still find nothing. Cancel-safe.
    ///
    /// # Errors
    /// If the runtime has ended.
    pub async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, T>> {
        self.ready(Direction::Read).await
    }

    /// Waits until it may be writable: an attempt may still find no room. Cancel-safe.
    ///
    /// # Errors
    /// If the runtime has ended.
    pub async fn writable(&self) -> io::Result<AsyncFdReadyGuard<'_, T>> {
        self.ready(Direction::Write).await
    }

    /// Waits until `direction` may be ready: an attempt may still find nothing. Cancel-safe.
    ///
    /// # Errors
    /// If the runtime has ended.
    pub async fn ready(&self, direction: Direction) -> io::Result<AsyncFdReadyGuard<'_, T>> {
        poll_fn(|cx| self.poll_guard(direction, cx)).await
    }

    /// [`readable`](AsyncFd::readable) for a future of one's own. Any number of tasks may wait.
    ///
    /// # Errors
    /// If the runtime has ended.
    pub fn poll_read_ready(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<AsyncFdReadyGuard<'_, T>>> {
        self.poll_guard(Direction::Read, cx)
    }

    /// [`writable`](AsyncFd::writable) for a future of one's own. Any number of tasks may wait.
    ///
    /// # Errors
    /// If the runtime has ended.
    pub fn poll_write_ready(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<AsyncFdReadyGuard<'_, T>>> {
        self.poll_guard(Direction::Write, cx)
    }

    fn poll_guard(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<AsyncFdReadyGuard<'_, T>>> {
        let seen = self.source.poll_seen(direction, cx);
        seen.map_ok(|seen| AsyncFdReadyGuard { fd: self, direction, seen })
    }

    /// Runs `op` when `direction` is ready, again and again until it does not say `WouldBlock`.
    /// Cancel-safe if `op` is: it is not waited for in the middle.
    ///
    /// # Errors
    /// Those of `op`, and if the runtime has ended.
    pub async fn async_io<R>(
        &self,
        direction: Direction,
        mut op: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        poll_fn(|cx| self.source.poll_io(direction, cx, |fd| op(fd.get()))).await
    }

    /// `async_io` for a future of one's own.
    #[cfg(any(feature = "process", feature = "signal"))]
    pub(crate) fn poll_io<R>(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
        mut op: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.source.poll_io(direction, cx, |fd| op(fd.get()))
    }

    /// As `poll_io`, for transfers of at most `room` bytes through a pipe: see the `Source`.
    #[cfg(feature = "process")]
    pub(crate) fn poll_transfer(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
        room: usize,
        mut op: impl FnMut(&T) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.source.poll_transfer(direction, cx, room, |fd| op(fd.get()))
    }

    /// Runs `op` once (or again after `Interrupted`), and remembers if it says `WouldBlock`, so that
    /// the next wait is for an event to come. Waits for nothing.
    ///
    /// # Errors
    /// Those of `op`.
    pub fn try_io<R>(
        &self,
        direction: Direction,
        mut op: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.source.try_io(direction, |fd| op(fd.get()))
    }

    /// The file.
    pub fn get_ref(&self) -> &T {
        self.source.io().get()
    }

    /// The file. Another one put in its place is not watched.
    pub fn get_mut(&mut self) -> &mut T {
        self.source.io_mut().get_mut()
    }

    /// Takes the file out of the netpoller.
    pub fn into_inner(self) -> T {
        fd::into_file(self.source)
    }
}

impl<T: AsFd> AsFd for AsyncFd<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.io().as_fd()
    }
}

impl<T: AsFd> AsRawFd for AsyncFd<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.source.io().as_raw_fd()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for AsyncFd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncFd").field(self.get_ref()).finish()
    }
}

/// A reason to try: [`AsyncFd::readable`] or [`AsyncFd::writable`] has seen an event.
///
/// An attempt that finds nothing must be told, by [`try_io`](Self::try_io) or
/// [`clear_ready`](Self::clear_ready): otherwise the next wait returns at once, and the task spins.
#[must_use = "an attempt must follow"]
pub struct AsyncFdReadyGuard<'a, T: AsFd> {
    fd: &'a AsyncFd<T>,
    direction: Direction,
    seen: Readiness,
}

impl<'a, T: AsFd> AsyncFdReadyGuard<'a, T> {
    /// Runs `op`, and clears the readiness if it says `WouldBlock`.
    ///
    /// # Errors
    /// [`TryIoError`] if it does; wait again. What else `op` says is inside the `Ok`.
    pub fn try_io<R>(
        &mut self,
        op: impl FnOnce(&'a AsyncFd<T>) -> io::Result<R>,
    ) -> Result<io::Result<R>, TryIoError> {
        match op(self.fd) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.clear_ready();
                Err(TryIoError(()))
            }
            done => Ok(done),
        }
    }

    /// An attempt has found nothing: the next wait is for an event that has come since the guard was
    /// made. Call it only then, since the kernel does not tell again of what is there already.
    pub fn clear_ready(&mut self) {
        self.fd.source.clear(self.direction, self.seen);
    }

    /// The readiness stays; dropping the guard does the same.
    pub fn retain_ready(&mut self) {}

    /// Has the kernel reported the end of this direction? What came before can still be read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.seen.is_closed()
    }

    /// What it was made from.
    #[must_use]
    pub fn get_ref(&self) -> &'a AsyncFd<T> {
        self.fd
    }

    /// The file.
    #[must_use]
    pub fn get_inner(&self) -> &'a T {
        self.fd.get_ref()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for AsyncFdReadyGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncFdReadyGuard")
            .field("fd", self.fd)
            .field("direction", &self.direction)
            .finish_non_exhaustive()
    }
}

/// It was not ready after all. See [`AsyncFdReadyGuard::try_io`].
#[derive(Debug)]
pub struct TryIoError(());
