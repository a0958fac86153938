//! `UnixDatagram`.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{self as std_net, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures::future::select;
use gort_netpoll::Direction;

use crate::net::fd::{self, Fd};
use crate::net::options::{ask_system, attempts, deadlines, has_fd, readiness};
use crate::net::source::Source;
use crate::time::sleep;

/// How long `send_to` waits before it looks again at a receiver whose queue is full, at first and at
/// most. A guess; see [`UnixDatagram::send_to_addr`].
const QUEUE_FULL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// A Unix socket for datagrams, which are neither lost nor mixed up: a send waits while the receiver's
/// queue is full.
///
/// What does not fit into the buffer of a receive is lost. Any number of tasks may send and receive by
/// the same socket, through `&`. All the futures are cancel-safe: a datagram is taken by a future that
/// is ready, or by none.
///
/// # Examples
/// ```
/// use gort::net::UnixDatagram;
/// # fn main() -> std::io::Result<()> { gort::block_on(async {
/// let (here, there) = UnixDatagram::pair()?;
/// here.send(b"hello").await?;
/// let mut buf = [0; 100];
/// assert_eq!(there.recv(&mut buf).await?, 5);
/// # Ok(()) }) }
/// ```
#[derive(Debug)]
pub struct UnixDatagram {
    source: Source<Fd<std_net::UnixDatagram>>,
}

impl UnixDatagram {
    /// Makes a socket at `path`. Nothing may be there, and the path stays when the socket has gone.
    ///
    /// # Errors
    /// `AddrInUse` if something is there, `InvalidInput` if the path is too long, and what else the
    /// system says.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(std_net::UnixDatagram::bind(path)?)
    }

    /// [`bind`](UnixDatagram::bind), to any kind of address.
    ///
    /// # Errors
    /// As there.
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(std_net::UnixDatagram::bind_addr(addr)?)
    }

    /// Makes a socket without an address: it can send, and nobody can answer.
    ///
    /// # Errors
    /// Those of the system.
    pub fn unbound() -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(std_net::UnixDatagram::unbound()?)
    }

    /// Two sockets that are connected with each other.
    ///
    /// # Errors
    /// Those of the system.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (a, b) = std_net::UnixDatagram::pair()?;
        Ok((UnixDatagram::from_std(a)?, UnixDatagram::from_std(b)?))
    }

    /// Takes over a socket of std's, which is made non-blocking.
    ///
    /// # Errors
    /// Those of the system.
    pub fn from_std(socket: std_net::UnixDatagram) -> io::Result<UnixDatagram> {
        socket.set_nonblocking(true)?;
        Ok(UnixDatagram { source: fd::register(socket)? })
    }

    /// Gives the socket back as std's type; it stays non-blocking.
    ///
    /// # Errors
    /// If it cannot be taken out of the netpoller.
    pub fn into_std(self) -> io::Result<std_net::UnixDatagram> {
        self.source.into_std()
    }

    /// Makes the socket at `path` the peer: [`send`](UnixDatagram::send) goes there.
    ///
    /// # Errors
    /// `NotFound` if nothing is there, `ConnectionRefused` if no socket is open there, and what else the
    /// system says.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.source.io().connect(path)
    }

    /// [`connect`](UnixDatagram::connect), to any kind of address.
    ///
    /// # Errors
    /// As there.
    pub fn connect_addr(&self, addr: &SocketAddr) -> io::Result<()> {
        self.source.io().connect_addr(addr)
    }

    /// Sends a datagram to the peer. Waits while its queue is full.
    ///
    /// # Errors
    /// Those of the system: among them `NotConnected`, `ConnectionRefused` if the peer has gone, and an
    /// error for a datagram that is too long, of which then nothing is sent.
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.source.poll_io(Direction::Write, cx, |io| io.send(buf))).await
    }

    /// Sends a datagram to the socket at `path`. Waits while its queue is full.
    ///
    /// # Errors
    /// `NotFound` if nothing is there, and those of [`send`](UnixDatagram::send).
    pub async fn send_to(&self, buf: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        self.send_to_addr(buf, &SocketAddr::from_pathname(path)?).await
    }

    /// [`send_to`](UnixDatagram::send_to), to any kind of address.
    ///
    /// A queue that is full of others' datagrams says nothing to this socket when there is room again:
    /// the kernel tells only those who are connected to it. So this looks again every 1 to 100 ms.
    ///
    /// # Errors
    /// As there.
    pub async fn send_to_addr(&self, buf: &[u8], target: &SocketAddr) -> io::Result<usize> {
        let mut wait = QUEUE_FULL.0;
        loop {
            match self.try_send_to_addr(buf, target) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    select(pin!(self.writable()), pin!(sleep(wait))).await;
                    wait = (2 * wait).min(QUEUE_FULL.1);
                }
                done => return done,
            }
        }
    }

    /// Receives a datagram. Zero bytes are an empty datagram, or the end of a pair after
    /// [`shutdown`](UnixDatagram::shutdown).
    ///
    /// # Errors
    /// Those of the system.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.source.poll_io(Direction::Read, cx, |io| io.recv(buf))).await
    }

    /// Receives a datagram, and says who has sent it.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        poll_fn(|cx| self.source.poll_io(Direction::Read, cx, |io| io.recv_from(buf))).await
    }

    /// [`send_to_addr`](UnixDatagram::send_to_addr), at once or not at all.
    ///
    /// # Errors
    /// `WouldBlock`, and those of `send_to_addr`.
    pub fn try_send_to_addr(&self, buf: &[u8], target: &SocketAddr) -> io::Result<usize> {
        self.source.try_io(Direction::Write, |io| io.send_to_addr(buf, target))
    }

    /// [`recv_from`](UnixDatagram::recv_from), at once or not at all.
    ///
    /// # Errors
    /// `WouldBlock`, and those of `recv_from`.
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source.try_io(Direction::Read, |io| io.recv_from(buf))
    }

    /// Ends one direction, or both, at once.
    ///
    /// # Errors
    /// Those of the system, for example `NotConnected`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.source.io().shutdown(how)
    }

    ask_system! {
        /// The address of this end.
        fn local_addr() -> SocketAddr;
        /// The address of the peer, if it is connected.
        fn peer_addr() -> SocketAddr;
        /// The error that waits on the socket, which is cleared (`SO_ERROR`).
        fn take_error() -> Option<io::Error>;
    }

    readiness!(readable: poll_recv_ready, writable: poll_send_ready);
    attempts!(try_recv: Read, |io, buf: &mut [u8]| io.recv(buf));
    attempts!(try_send: Write, |io, buf: &[u8]| io.send(buf));
    deadlines!(close);
}

has_fd!(UnixDatagram);
