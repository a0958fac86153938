//! hyper's traits of reading and writing, for the sockets: feature `hyper`.

use std::io;
use std::task::{Context, Poll, ready};

use gort_netpoll::Direction;
use hyper::rt::ReadBufCursor;
use socket2::SockRef;

use super::io_traits::{Stream, room_to_read};

/// Reads into memory that nobody has written yet, which std cannot do on stable Rust, but `recv` of
/// socket2 can. It spares clearing hyper's buffer before each read.
#[inline]
pub(super) fn poll_read<S: Stream>(
    stream: &S,
    cx: &mut Context<'_>,
    mut buf: ReadBufCursor<'_>,
) -> Poll<io::Result<()>>
where
    for<'a> SockRef<'a>: From<&'a S::Io>,
{
    // SAFETY: `recv` writes what it returns as read, at the front, and nothing else.
    let free = unsafe { buf.as_mut() };
    let room = room_to_read::<S>(free.len());
    let recv = |io: &S::Io| SockRef::from(io).recv(free);
    let n = ready!(stream.source().poll_transfer(Direction::Read, cx, room, recv))?;
    // SAFETY: it has written that many bytes.
    unsafe { buf.advance(n) };
    Poll::Ready(Ok(()))
}

/// hyper's `Read` and `Write` for `$stream`.
macro_rules! stream {
    ($stream:ty) => {
        const _: () = {
            use std::io::{IoSlice, Result};
            use std::pin::Pin;
            use std::task::{Context, Poll};

            use hyper::rt::{Read, ReadBufCursor, Write};

            use crate::net::hyper_io::poll_read;
            use crate::net::io_traits::{Stream, poll_write, poll_write_vectored};

            impl Read for $stream {
                fn poll_read(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    buf: ReadBufCursor<'_>,
                ) -> Poll<Result<()>> {
                    poll_read(&*self, cx, buf)
                }
            }

            impl Write for $stream {
                fn poll_write(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    buf: &[u8],
                ) -> Poll<Result<usize>> {
                    poll_write(&*self, cx, buf)
                }

                fn is_write_vectored(&self) -> bool {
                    true
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

                fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
                    Poll::Ready(Stream::end(&*self))
                }
            }
        };
    };
}

pub(super) use stream;
