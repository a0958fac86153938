//! [hyper] 1 on gort: what its `rt` module asks for.
//!
//! [`TcpStream`](crate::net::TcpStream) and `UnixStream` are hyper's `Read` and `Write` themselves; [`GortIo`] makes them of anything else
//! that has the traits of `futures`, such as a TLS stream.
//!
//! A hyper connection is a future. Spawn it as a task, or [`.wait()`](crate::Wait) for it in a
//! goroutine: both work.
//!
//! ```
//! use std::convert::Infallible;
//! use futures::{AsyncReadExt, AsyncWriteExt};
//! use gort::compat::hyper::GortTimer;
//! use gort::net::{TcpListener, TcpStream};
//! use hyper::body::Incoming;
//! use hyper::server::conn::http1;
//! use hyper::service::service_fn;
//! use hyper::{Request, Response};
//!
//! async fn hello(_: Request<Incoming>) -> Result<Response<String>, Infallible> {
//!     Ok(Response::new("hello".to_owned()))
//! }
//!
//! #[gort::main]
//! async fn main() -> std::io::Result<()> {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let addr = listener.local_addr()?;
//!     gort::spawn(async move {
//!         while let Ok((stream, _)) = listener.accept().await {
//!             let mut http = http1::Builder::new();
//!             gort::spawn(http.timer(GortTimer).serve_connection(stream, service_fn(hello)));
//!         }
//!     });
//!
//!     let mut client = TcpStream::connect(addr).await?;
//!     client.write_all(b"GET / HTTP/1.1\r\nhost: me\r\nconnection: close\r\n\r\n").await?;
//!     let mut answer = String::new();
//!     client.read_to_string(&mut answer).await?;
//!     assert!(answer.ends_with("\r\n\r\nhello"));
//!     Ok(())
//! }
//! ```

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ::hyper::rt::{Executor, Read, ReadBufCursor, Sleep, Timer, Write};
use futures::{AsyncRead, AsyncWrite};

use crate::time;

/// Runs hyper's futures as tasks, by [`spawn`](crate::spawn): HTTP/2 has one per stream.
#[derive(Debug, Clone, Copy, Default)]
pub struct GortExecutor;

impl<F> Executor<F> for GortExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(crate::spawn(future));
    }
}

/// Runs hyper's futures on the thread that asks for them, by [`spawn_local`](crate::spawn_local):
/// for services whose futures are not `Send`.
///
/// # Panics
/// Where `spawn_local` does: hyper must be polled in a `block_on`, a goroutine or a local task.
#[derive(Debug, Clone, Copy, Default)]
pub struct GortLocalExecutor;

impl<F> Executor<F> for GortLocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        drop(crate::spawn_local(future));
    }
}

/// Gives hyper gort's timers and the runtime's clock, also a paused one: `header_read_timeout`,
/// keep-alive pings.
#[derive(Debug, Clone, Copy, Default)]
pub struct GortTimer;

impl Timer for GortTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(time::sleep(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(time::sleep_until(deadline))
    }

    fn now(&self) -> Instant {
        time::Instant::now().into_std()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, new_deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<time::Sleep>() {
            Some(ours) => ours.get_mut().reset(new_deadline),
            None => *sleep = self.sleep_until(new_deadline),
        }
    }
}

impl Sleep for time::Sleep {}

/// Gives a stream with the traits of `futures` those of hyper.
///
/// Reads clear hyper's buffer first, as those traits want it. gort's own streams need no wrapper,
/// and do without that.
#[derive(Debug)]
pub struct GortIo<T> {
    stream: T,
}

impl<T> GortIo<T> {
    /// Wraps `stream`.
    pub fn new(stream: T) -> GortIo<T> {
        GortIo { stream }
    }

    /// The stream.
    pub fn get_ref(&self) -> &T {
        &self.stream
    }

    /// The stream.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.stream
    }

    /// The stream back, for example after an upgrade's `downcast`.
    pub fn into_inner(self) -> T {
        self.stream
    }

    fn pinned(self: Pin<&mut Self>) -> Pin<&mut T>
    where
        T: Unpin,
    {
        Pin::new(&mut self.get_mut().stream)
    }
}

impl<T: AsyncRead + Unpin> Read for GortIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.initialize_unfilled();
        let n = ready!(self.pinned().poll_read(cx, room))?;
        assert!(n <= room.len(), "an AsyncRead says that it read more than it was asked for");
        // SAFETY: there are that many bytes of room, and all of it has been initialised.
        unsafe { buf.advance(n) };
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> Write for GortIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.pinned().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_close(cx)
    }

    /// No: the traits of `futures` do not say it, and their default for vectored writes sends the
    /// first part only. hyper then puts the parts together itself.
    fn is_write_vectored(&self) -> bool {
        false
    }
}
