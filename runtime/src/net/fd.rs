//! A descriptor whose type mio does not know, as an event source.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::source;

/// A file, and the number under which it is registered.
///
/// The number is read once. Whoever gets `&mut T` may put another file in its place, and a foreign
/// `AsFd` may say something else each time: the registration must not reach into that of a third
/// file, whose number it may be by then. So it ends only while `inner` still has the number; a file
/// that is closed has left the poller by itself.
#[derive(Debug)]
pub(super) struct Fd<T> {
    /// `None` on the way out of [`into_file`].
    inner: Option<T>,
    raw: RawFd,
}

impl<T: AsFd> Fd<T> {
    pub(super) fn new(inner: T) -> Fd<T> {
        let raw = inner.as_fd().as_raw_fd();
        Fd { inner: Some(inner), raw }
    }

    pub(super) fn get(&self) -> &T {
        self.inner.as_ref().expect("only `into_file` takes it out, and consumes the source")
    }

    pub(super) fn get_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect("only `into_file` takes it out, and consumes the source")
    }
}

/// Registers `inner`, which must not block.
///
/// # Errors
/// `Unsupported` for files that the kernel does not poll, since they never block.
pub(super) fn register<T: AsFd>(inner: T) -> io::Result<source::Source<Fd<T>>> {
    source::Source::new(Fd::new(inner)).map_err(|e| match e.raw_os_error() {
        Some(libc::EPERM) => {
            let text = "this kind of file cannot be polled (a regular file or a directory)";
            io::Error::new(io::ErrorKind::Unsupported, text)
        }
        _ => e,
    })
}

/// Takes the file out of the netpoller.
pub(super) fn into_file<T: AsFd>(mut source: source::Source<Fd<T>>) -> T {
    let fd = source.io_mut();
    let replaced = fd.get().as_fd().as_raw_fd() != fd.raw;
    let inner = fd.inner.take().expect("nobody else takes it out");
    if replaced {
        fd.raw = -1; // which the kernel knows nothing of
    }
    drop(source); // while the file is open
    inner
}

impl<T: AsFd> Source for Fd<T> {
    fn register(&mut self, registry: &Registry, token: Token, what: Interest) -> io::Result<()> {
        SourceFd(&self.raw).register(registry, token, what)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, what: Interest) -> io::Result<()> {
        SourceFd(&self.raw).reregister(registry, token, what)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match &self.inner {
            Some(inner) if inner.as_fd().as_raw_fd() != self.raw => Ok(()),
            _ => SourceFd(&self.raw).deregister(registry),
        }
    }
}

impl<T: AsFd> Deref for Fd<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.get()
    }
}

impl<T: AsFd> AsFd for Fd<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get().as_fd()
    }
}

impl<T: AsFd> AsRawFd for Fd<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
