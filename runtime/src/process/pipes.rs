//! The pipes to and from a child.

use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use futures::io::{AsyncRead, AsyncWrite};

use crate::Wait;
use crate::net::{AsyncFd, Direction};

/// Makes a pipe of std's non-blocking, and registers it.
fn register<T: AsFd + From<OwnedFd>>(pipe: impl Into<OwnedFd>) -> io::Result<AsyncFd<T>> {
    let pipe = pipe.into();
    rustix::io::ioctl_fionbio(&pipe, true)?;
    AsyncFd::new(T::from(pipe))
}

/// The way back.
fn unregister(pipe: AsyncFd<impl Into<OwnedFd> + AsFd>) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&pipe, false)?;
    Ok(pipe.into_inner().into())
}

/// What a closed writing end says.
fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the pipe has been closed")
}

/// The writing end of a child's standard input. Dropping it, and `close` of the `futures` crate,
/// close the pipe: the child reads to the end.
///
/// Writing is by `std::io::Write` in goroutines and on plain threads, and by `AsyncWrite` of the
/// `futures` crate in tasks.
#[derive(Debug)]
pub struct ChildStdin {
    /// None: closed.
    pipe: Option<AsyncFd<PipeWriter>>,
}

impl ChildStdin {
    /// Takes over a pipe of std's, which is made non-blocking.
    ///
    /// # Errors
    /// Those of the system.
    pub fn from_std(pipe: std::process::ChildStdin) -> io::Result<ChildStdin> {
        Ok(ChildStdin { pipe: Some(register(pipe)?) })
    }

    /// The descriptor, in blocking mode.
    ///
    /// # Errors
    /// Those of the system, and `BrokenPipe` if it has been closed.
    pub fn into_owned_fd(self) -> io::Result<OwnedFd> {
        unregister(self.pipe.ok_or_else(closed)?)
    }

    fn poll_with(
        &self,
        cx: &mut Context<'_>,
        room: usize,
        write: impl FnMut(&PipeWriter) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        match &self.pipe {
            Some(pipe) => pipe.poll_transfer(Direction::Write, cx, room, write),
            None => Poll::Ready(Err(closed())),
        }
    }
}

impl AsyncWrite for ChildStdin {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(cx, buf.len(), |mut io| io.write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let room = bufs.iter().map(|b| b.len()).sum();
        self.poll_with(cx, room, |mut io| io.write_vectored(bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // the kernel has it
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe = None;
        Poll::Ready(Ok(()))
    }
}

/// Blocks the goroutine, or the plain thread, until something can be written.
impl Write for ChildStdin {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| Pin::new(&mut *self).poll_write(cx, buf)).wait()
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        poll_fn(|cx| Pin::new(&mut *self).poll_write_vectored(cx, bufs)).wait()
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TryFrom<ChildStdin> for Stdio {
    type Error = io::Error;

    fn try_from(pipe: ChildStdin) -> io::Result<Stdio> {
        pipe.into_owned_fd().map(Stdio::from)
    }
}

macro_rules! reading_end {
    ($name:ident $std:ty, $what:literal) => {
        #[doc = concat!("The reading end of a child's standard ", $what, ".")]
        ///
        /// Reading is by `std::io::Read` in goroutines and on plain threads, and by `AsyncRead` of
        /// the `futures` crate in tasks. As `Stdio` it becomes the input of the next child.
        #[derive(Debug)]
        pub struct $name {
            pipe: AsyncFd<PipeReader>,
        }

        impl $name {
            /// Takes over a pipe of std's, which is made non-blocking.
            ///
            /// # Errors
            /// Those of the system.
            pub fn from_std(pipe: $std) -> io::Result<$name> {
                Ok($name { pipe: register(pipe)? })
            }

            /// The descriptor, in blocking mode.
            ///
            /// # Errors
            /// Those of the system.
            pub fn into_owned_fd(self) -> io::Result<OwnedFd> {
                unregister(self.pipe)
            }
        }

        impl AsyncRead for $name {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                let room = buf.len();
                self.pipe.poll_transfer(Direction::Read, cx, room, |mut io| io.read(buf))
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                let room = bufs.iter().map(|b| b.len()).sum();
                let read = |mut io: &PipeReader| io.read_vectored(bufs);
                self.pipe.poll_transfer(Direction::Read, cx, room, read)
            }
        }

        /// Blocks the goroutine, or the plain thread, until something can be read.
        impl Read for $name {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                poll_fn(|cx| Pin::new(&mut *self).poll_read(cx, buf)).wait()
            }

            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                poll_fn(|cx| Pin::new(&mut *self).poll_read_vectored(cx, bufs)).wait()
            }
        }

        impl TryFrom<$name> for Stdio {
            type Error = io::Error;

            fn try_from(pipe: $name) -> io::Result<Stdio> {
                pipe.into_owned_fd().map(Stdio::from)
            }
        }

        impl AsFd for $name {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.pipe.as_fd()
            }
        }

        impl AsRawFd for $name {
            fn as_raw_fd(&self) -> RawFd {
                self.pipe.as_raw_fd()
            }
        }
    };
}

reading_end!(ChildStdout std::process::ChildStdout, "output");
reading_end!(ChildStderr std::process::ChildStderr, "error");
