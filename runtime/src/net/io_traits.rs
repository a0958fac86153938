//! The traits of reading and writing, for every stream: one text.
//!
//! A [`Stream`] says where its [`Source`] is; [`reads`] and [`writes`] make of it the traits of std
//! (which block the goroutine or the plain thread), of the `futures` crate, and of tokio (feature
//! `tokio-io`), each for the stream and for `&` of it. Flushing is nothing: the kernel sends by itself.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::task::{Context, Poll};

use gort_netpoll::Direction;
use mio::event;

use super::source::{Source, room};

/// What the macros need to know.
pub(super) trait Stream {
    /// What does the reading and writing.
    type Io: event::Source;

    /// A read that fills less than its buffer has left nothing behind.
    const SHORT_IS_EMPTY: bool = true;

    fn source(&self) -> &Source<Self::Io>;

    /// Ends the writing direction: the peer reads to the end.
    ///
    /// # Errors
    /// Those of the system.
    fn end(&self) -> io::Result<()>;
}

/// The room to tell `poll_transfer`: none, if nothing is asked for; so little that no read is a short
/// one, if that says nothing.
pub(super) fn room_to_read<S: Stream>(len: usize) -> usize {
    if S::SHORT_IS_EMPTY { len } else { len.min(1) }
}

#[inline]
pub(super) fn poll_read<S: Stream>(
    stream: &S,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>>
where
    for<'a> &'a S::Io: Read,
{
    let room = room_to_read::<S>(buf.len());
    stream.source().poll_transfer(Direction::Read, cx, room, |mut io| io.read(buf))
}

#[inline]
pub(super) fn poll_read_vectored<S: Stream>(
    stream: &S,
    cx: &mut Context<'_>,
    bufs: &mut [IoSliceMut<'_>],
) -> Poll<io::Result<usize>>
where
    for<'a> &'a S::Io: Read,
{
    let room = room_to_read::<S>(room(bufs));
    stream.source().poll_transfer(Direction::Read, cx, room, |mut io| io.read_vectored(bufs))
}

#[inline]
pub(super) fn poll_write<S: Stream>(
    stream: &S,
    cx: &mut Context<'_>,
    buf: &[u8],
) -> Poll<io::Result<usize>>
where
    for<'a> &'a S::Io: Write,
{
    stream.source().poll_transfer(Direction::Write, cx, buf.len(), |mut io| io.write(buf))
}

#[inline]
pub(super) fn poll_write_vectored<S: Stream>(
    stream: &S,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>>
where
    for<'a> &'a S::Io: Write,
{
    let room = room(bufs);
    stream.source().poll_transfer(Direction::Write, cx, room, |mut io| io.write_vectored(bufs))
}

/// `Read` and `AsyncRead` for `$stream` and `&$stream`.
macro_rules! reads {
    ($stream:ty) => {
        const _: () = {
            use std::future::poll_fn;
            use std::io::{IoSliceMut, Read, Result};
            use std::pin::Pin;
            use std::task::{Context, Poll};

            use futures::io::AsyncRead;

            use crate::Wait;
            use crate::net::io_traits::{poll_read, poll_read_vectored};

            impl AsyncRead for &$stream {
                fn poll_read(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    buf: &mut [u8],
                ) -> Poll<Result<usize>> {
                    poll_read(*self, cx, buf)
                }

                fn poll_read_vectored(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    bufs: &mut [IoSliceMut<'_>],
                ) -> Poll<Result<usize>> {
                    poll_read_vectored(*self, cx, bufs)
                }
            }

            impl AsyncRead for $stream {
                fn poll_read(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    buf: &mut [u8],
                ) -> Poll<Result<usize>> {
                    poll_read(&*self, cx, buf)
                }

                fn poll_read_vectored(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    bufs: &mut [IoSliceMut<'_>],
                ) -> Poll<Result<usize>> {
                    poll_read_vectored(&*self, cx, bufs)
                }
            }

            /// Blocks the goroutine, or the plain thread, until something can be read.
            impl Read for &$stream {
                fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
                    poll_fn(|cx| poll_read(*self, cx, buf)).wait()
                }

                fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> Result<usize> {
                    poll_fn(|cx| poll_read_vectored(*self, cx, bufs)).wait()
                }
            }

            /// Blocks the goroutine, or the plain thread, until something can be read.
            impl Read for $stream {
                fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
                    (&*self).read(buf)
                }

                fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> Result<usize> {
                    (&*self).read_vectored(bufs)
                }
            }
        };

        #[cfg(feature = "tokio-io")]
        crate::net::tokio_io::reads!($stream);
    };
}

/// `Write` and `AsyncWrite` for `$stream` and `&$stream`.
macro_rules! writes {
    ($stream:ty) => {
        const _: () = {
            use std::future::poll_fn;
            use std::io::{IoSlice, Result, Write};
            use std::pin::Pin;
            use std::task::{Context, Poll};

            use futures::io::AsyncWrite;

            use crate::Wait;
            use crate::net::io_traits::{Stream, poll_write, poll_write_vectored};

            impl AsyncWrite for &$stream {
                fn poll_write(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    buf: &[u8],
                ) -> Poll<Result<usize>> {
                    poll_write(*self, cx, buf)
                }

                fn poll_write_vectored(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    bufs: &[IoSlice<'_>],
                ) -> Poll<Result<usize>> {
                    poll_write_vectored(*self, cx, bufs)
                }

                fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
                    Poll::Ready(Ok(()))
                }

                fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
                    Poll::Ready(Stream::end(*self))
                }
            }

            impl AsyncWrite for $stream {
                fn poll_write(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    buf: &[u8],
                ) -> Poll<Result<usize>> {
                    poll_write(&*self, cx, buf)
                }

                fn poll_write_vectored(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    bufs: &[IoSlice<'_>],
                ) -> Poll<Result<usize>> {
                    poll_write_vectored(&*self, cx, bufs)
                }

                fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
                    Poll::Ready(Ok(()))
                }

                fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
                    Poll::Ready(Stream::end(&*self))
                }
            }

            /// Blocks the goroutine, or the plain thread, until something can be written.
            impl Write for &$stream {
                fn write(&mut self, buf: &[u8]) -> Result<usize> {
                    poll_fn(|cx| poll_write(*self, cx, buf)).wait()
                }

                fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> Result<usize> {
                    poll_fn(|cx| poll_write_vectored(*self, cx, bufs)).wait()
                }

                fn flush(&mut self) -> Result<()> {
                    Ok(())
                }
            }

            /// Blocks the goroutine, or the plain thread, until something can be written.
            impl Write for $stream {
                fn write(&mut self, buf: &[u8]) -> Result<usize> {
                    (&*self).write(buf)
                }

                fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> Result<usize> {
                    (&*self).write_vectored(bufs)
                }

                fn flush(&mut self) -> Result<()> {
                    Ok(())
                }
            }
        };

        #[cfg(feature = "tokio-io")]
        crate::net::tokio_io::writes!($stream);
    };
}

pub(super) use {reads, writes};
