//! tokio's traits of reading and writing, which need no tokio runtime: feature `tokio-io`.

/// tokio's `AsyncRead` for `$stream` and `&$stream`.
macro_rules! reads {
    ($stream:ty) => {
        const _: () = {
            use std::io::Result;
            use std::pin::Pin;
            use std::task::{Context, Poll, ready};

            use tokio::io::{AsyncRead, ReadBuf};

            use crate::net::io_traits::poll_read;

            impl AsyncRead for &$stream {
                fn poll_read(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    buf: &mut ReadBuf<'_>,
                ) -> Poll<Result<()>> {
                    let n = ready!(poll_read(*self, cx, buf.initialize_unfilled()))?;
                    buf.advance(n);
                    Poll::Ready(Ok(()))
                }
            }

            impl AsyncRead for $stream {
                fn poll_read(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    buf: &mut ReadBuf<'_>,
                ) -> Poll<Result<()>> {
                    AsyncRead::poll_read(Pin::new(&mut &*self), cx, buf)
                }
            }
        };
    };
}

/// tokio's `AsyncWrite` for `$stream` and `&$stream`.
macro_rules! writes {
    ($stream:ty) => {
        const _: () = {
            use std::io::{IoSlice, Result};
            use std::pin::Pin;
            use std::task::{Context, Poll};

            use tokio::io::AsyncWrite;

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

                fn is_write_vectored(&self) -> bool {
                    true
                }

                fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
                    Poll::Ready(Ok(()))
                }

                fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
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

                fn is_write_vectored(&self) -> bool {
                    true
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

pub(super) use {reads, writes};
