//! `TcpListener`.

use std::io;
use std::net::SocketAddr;

use super::accept::{accept, incoming};
use super::addr::ToSocketAddrs;
use super::options::has_fd;
use super::socket::Socket;
use super::source::Source;
use super::stream::TcpStream;
use crate::time::Instant;

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
    /// backlog of 1024: what [`Socket::listen`] does by default.
    ///
    /// # Errors
    /// Those of the lookup, and of bind and listen for the last address, for example `AddrInUse`.
    pub async fn bind(addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
        Socket::new().listen(addr).await
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
        let make = |(io, peer)| Ok((TcpStream::new(io)?, peer));
        accept(&self.source, mio::net::TcpListener::accept, make).await
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

incoming!(Incoming, TcpListener, TcpStream, SocketAddr);
has_fd!(TcpListener);
