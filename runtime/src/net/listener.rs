//! `TcpListener`.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use futures::future::BoxFuture;
use gort_netpoll::Direction;
use socket2::{Domain, Protocol, Socket, Type};

use super::addr::{ToSocketAddrs, resolve, try_each};
use super::source::Source;
use super::stream::TcpStream;
use crate::time::{Instant, sleep};

/// The wait after the first failure for want of descriptors or memory, and the longest one.
/// Go's net/http waits the same.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Connections that may wait to be accepted; the system may cut it down (on Linux to
/// `net.core.somaxconn`, 4096).
const BACKLOG: i32 = 1024;

/// A TCP socket that accepts connections.
///
/// # Examples
/// ```
/// use futures::{AsyncReadExt, AsyncWriteExt};
/// use gort::net::{TcpListener, TcpStream};
/// # fn main() -> std::io::Result<()> { gort::block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let addr = listener.local_addr()?;
/// let server = gort::spawn(async move {
///     let (stream, _peer) = listener.accept().await?;
///     futures::io::copy(&stream, &mut &stream).await
/// });
/// let mut client = TcpStream::connect(addr).await?;
/// client.write_all(b"hello").await?;
/// client.close().await?; // half-close: the server sees the end
/// let mut answer = String::new();
/// client.read_to_string(&mut answer).await?;
/// assert_eq!(answer, "hello");
/// assert_eq!(server.await??, 5);
/// # Ok(()) }) }
/// ```
#[derive(Debug)]
pub struct TcpListener {
    source: Source<mio::net::TcpListener>,
}

impl TcpListener {
    /// Binds to the first of the addresses that can be had, with `SO_REUSEADDR` on Unix and a
    /// backlog of 1024.
    ///
    /// # Errors
    /// Those of the lookup, and of bind and listen for the last address, for example `AddrInUse`.
    pub async fn bind(addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
        let addrs = resolve(addr).await?;
        try_each(addrs, async |addr| TcpListener::bind_to(addr)).await
    }

    /// By hand, because mio's own `bind` listens with a backlog of 128: of a thousand clients that
    /// come at once, those beyond it would be turned away, and try again a second later.
    fn bind_to(addr: SocketAddr) -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        #[cfg(unix)] // elsewhere it means that others may take the port over
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    }

    fn new(listener: mio::net::TcpListener) -> io::Result<TcpListener> {
        Ok(TcpListener { source: Source::new(listener)? })
    }

    /// Takes over a listener of std's, which is made non-blocking.
    ///
    /// # Errors
    /// Those of the system.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        TcpListener::new(mio::net::TcpListener::from_std(listener))
    }

    /// Waits for a connection. Several tasks may wait at the same listener. Cancel-safe: no
    /// connection is lost.
    ///
    /// When the process or the system is out of descriptors or memory (`EMFILE`, `ENFILE`,
    /// `ENOBUFS`, `ENOMEM`), connections stay in the backlog, and this waits, 5 ms first, doubling
    /// to 1 s, and tries again, rather than fail: the server recovers when others close. Connections
    /// that were reset while they waited are passed over.
    ///
    /// # Errors
    /// What else the system says, and an error if the runtime has ended.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let mut wait = BACKOFF.0;
        loop {
            match poll_fn(|cx| self.poll_accept(cx)).await {
                Err(e) if is_exhausted(&e) => {
                    sleep(wait).await;
                    wait = (2 * wait).min(BACKOFF.1);
                }
                done => return done,
            }
        }
    }

    /// One attempt, with all its errors but for reset connections.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let accept = |l: &mio::net::TcpListener| loop {
            match l.accept() {
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                done => return done,
            }
        };
        let accepted = std::task::ready!(self.source.poll_io(Direction::Read, cx, accept));
        Poll::Ready(accepted.and_then(|(io, peer)| Ok((TcpStream::new(io)?, peer))))
    }

    /// The connections as a stream that never ends. Errors are those of [`accept`].
    ///
    /// [`accept`]: TcpListener::accept
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self, next: None }
    }

    /// Sets the time from which on accepting fails with `TimedOut`, as
    /// [`TcpStream::set_deadline`] does for a stream. Go: `SetDeadline`.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        self.source.set_read_deadline(deadline);
    }

    /// Closes the listener now, whoever else holds it: who accepts gets `NotConnected` ("use of
    /// closed network connection"), connections in the backlog are reset, and the port is free. See
    /// [`TcpStream::close_now`]. Go: `Close`.
    ///
    /// # Errors
    /// As those of [`TcpStream::close_now`]; the port is then free after the drop.
    pub fn close(&self) -> io::Result<()> {
        self.source.close()
    }

    /// The address that it listens at.
    ///
    /// # Errors
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.io().local_addr()
    }

    /// Sets the time-to-live of its packets.
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.source.io().set_ttl(ttl)
    }

    /// The time-to-live of its packets.
    ///
    /// # Errors
    /// Those of the system.
    pub fn ttl(&self) -> io::Result<u32> {
        self.source.io().ttl()
    }

    /// Gives the socket back as std's type; it stays non-blocking.
    ///
    /// # Errors
    /// If it cannot be taken out of the netpoller.
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        self.source.into_std()
    }
}

/// Out of something that others may give back.
fn is_exhausted(e: &io::Error) -> bool {
    #[cfg(unix)]
    let codes = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    #[cfg(not(unix))]
    let codes = [10024, 10055]; // WSAEMFILE, WSAENOBUFS
    e.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// See [`TcpListener::incoming`].
#[must_use = "streams do nothing unless polled"]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
    next: Option<BoxFuture<'a, io::Result<(TcpStream, SocketAddr)>>>,
}

impl Stream for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let listener = self.listener;
        let next = self.next.get_or_insert_with(|| Box::pin(listener.accept()));
        let accepted = std::task::ready!(next.as_mut().poll(cx));
        self.next = None;
        Poll::Ready(Some(accepted.map(|(stream, _)| stream)))
    }
}

impl std::fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Incoming").field(self.listener).finish()
    }
}
