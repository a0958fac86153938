//! `UdpSocket`.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};

use gort_netpoll::Direction;

use super::addr::{ToSocketAddrs, resolve, resolve_first, try_each};
use super::options::{ask_system, deadlines, has_fd, readiness};
use super::source::Source;

/// A UDP socket.
///
/// Each send is one datagram, and each receive takes one; what does not fit into the buffer is lost.
/// Any number of tasks may send and receive by the same socket, through `&`. All the futures are
/// cancel-safe: a datagram is taken by a future that is ready, or by none.
///
/// On a connected socket a send or receive may fail with `ConnectionRefused`: the peer's host has
/// said so about an earlier datagram. The socket goes on.
///
/// # Examples
/// ```
/// use gort::net::UdpSocket;
/// # fn main() -> std::io::Result<()> { gort::block_on(async {
/// let (here, there) =
///     (UdpSocket::bind("127.0.0.1:0").await?, UdpSocket::bind("127.0.0.1:0").await?);
/// here.send_to(b"hello", there.local_addr()?).await?;
/// let mut buf = [0; 1500];
/// let (n, from) = there.recv_from(&mut buf).await?;
/// assert_eq!((&buf[..n], from), (&b"hello"[..], here.local_addr()?));
/// # Ok(()) }) }
/// ```
#[derive(Debug)]
pub struct UdpSocket {
    source: Source<mio::net::UdpSocket>,
}

impl UdpSocket {
    /// Binds to the first of the addresses that can be had.
    ///
    /// # Errors
    /// Those of the lookup, and of bind for the last address, for example `AddrInUse`.
    pub async fn bind(addr: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        let bind = async |addr| UdpSocket::new(mio::net::UdpSocket::bind(addr)?);
        try_each(resolve(addr).await?, bind).await
    }

    fn new(socket: mio::net::UdpSocket) -> io::Result<UdpSocket> {
        Ok(UdpSocket { source: Source::new(socket)? })
    }

    /// Takes over a socket of std's, which is made non-blocking.
    ///
    /// # Errors
    /// Those of the system.
    pub fn from_std(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
        socket.set_nonblocking(true)?;
        UdpSocket::new(mio::net::UdpSocket::from_std(socket))
    }

    /// Gives the socket back as std's type; it stays non-blocking.
    ///
    /// # Errors
    /// If it cannot be taken out of the netpoller.
    pub fn into_std(self) -> io::Result<std::net::UdpSocket> {
        self.source.into_std()
    }

    /// Makes the first address that the system accepts the peer: [`send`](UdpSocket::send) goes there,
    /// and only what comes from there is received.
    ///
    /// # Errors
    /// Those of the lookup, and of the last address.
    pub async fn connect(&self, addr: impl ToSocketAddrs) -> io::Result<()> {
        try_each(resolve(addr).await?, async |addr| self.source.io().connect(addr)).await
    }

    /// Sends a datagram to the peer. Waits while the system's buffer is full.
    ///
    /// # Errors
    /// Those of the system: among them `NotConnected`, `DestinationAddrRequired`, and an error for a
    /// datagram that is too long, of which then nothing is sent.
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_send(cx, buf)).await
    }

    /// Sends a datagram to the first of the addresses. Waits while the system's buffer is full.
    ///
    /// # Errors
    /// Those of the lookup, and those of [`send`](UdpSocket::send).
    pub async fn send_to(&self, buf: &[u8], target: impl ToSocketAddrs) -> io::Result<usize> {
        let target = resolve_first(target).await?;
        poll_fn(|cx| self.poll_send_to(cx, buf, target)).await
    }

    /// Receives a datagram, from the peer if there is one.
    ///
    /// # Errors
    /// Those of the system, for example `ConnectionRefused`.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_recv(cx, buf)).await
    }

    /// Receives a datagram, and says who has sent it.
    ///
    /// # Errors
    /// Those of the system, for example `ConnectionRefused`.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        poll_fn(|cx| self.poll_recv_from(cx, buf)).await
    }

    /// Receives a datagram without taking it: the next receive gives it again.
    ///
    /// # Errors
    /// Those of the system, for example `ConnectionRefused`.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_peek(cx, buf)).await
    }

    /// [`peek`](UdpSocket::peek), with the sender.
    ///
    /// # Errors
    /// Those of the system, for example `ConnectionRefused`.
    pub async fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        poll_fn(|cx| self.poll_peek_from(cx, buf)).await
    }

    readiness!(readable: poll_recv_ready, writable: poll_send_ready);
    deadlines!(close);
}

/// One attempt, without waiting. `WouldBlock` if there is nothing to receive, or no room.
impl UdpSocket {
    /// [`send`](UdpSocket::send), at once or not at all.
    ///
    /// # Errors
    /// `WouldBlock`, and those of `send`.
    pub fn try_send(&self, buf: &[u8]) -> io::Result<usize> {
        self.source.try_io(Direction::Write, |io| io.send(buf))
    }

    /// [`send_to`](UdpSocket::send_to), at once or not at all.
    ///
    /// # Errors
    /// `WouldBlock`, and those of `send_to`.
    pub fn try_send_to(&self, buf: &[u8], target: SocketAddr) -> io::Result<usize> {
        self.source.try_io(Direction::Write, |io| io.send_to(buf, target))
    }

    /// [`recv`](UdpSocket::recv), at once or not at all.
    ///
    /// # Errors
    /// `WouldBlock`, and those of `recv`.
    pub fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.try_io(Direction::Read, |io| io.recv(buf))
    }

    /// [`recv_from`](UdpSocket::recv_from), at once or not at all.
    ///
    /// # Errors
    /// `WouldBlock`, and those of `recv_from`.
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source.try_io(Direction::Read, |io| io.recv_from(buf))
    }

    /// [`peek`](UdpSocket::peek), at once or not at all.
    ///
    /// # Errors
    /// `WouldBlock`, and those of `peek`.
    pub fn try_peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.try_io(Direction::Read, |io| io.peek(buf))
    }

    /// [`peek_from`](UdpSocket::peek_from), at once or not at all.
    ///
    /// # Errors
    /// `WouldBlock`, and those of `peek_from`.
    pub fn try_peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source.try_io(Direction::Read, |io| io.peek_from(buf))
    }
}

/// The same for futures of one's own. Each waker that was pending is woken, whoever else waits.
impl UdpSocket {
    /// See [`send`](UdpSocket::send).
    ///
    /// # Errors
    /// As there.
    pub fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.source.poll_io(Direction::Write, cx, |io| io.send(buf))
    }

    /// See [`send_to`](UdpSocket::send_to).
    ///
    /// # Errors
    /// As there.
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        target: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.source.poll_io(Direction::Write, cx, |io| io.send_to(buf, target))
    }

    /// See [`recv`](UdpSocket::recv).
    ///
    /// # Errors
    /// As there.
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.source.poll_io(Direction::Read, cx, |io| io.recv(buf))
    }

    /// See [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Errors
    /// As there.
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.source.poll_io(Direction::Read, cx, |io| io.recv_from(buf))
    }

    /// See [`peek`](UdpSocket::peek).
    ///
    /// # Errors
    /// As there.
    pub fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.source.poll_io(Direction::Read, cx, |io| io.peek(buf))
    }

    /// See [`peek_from`](UdpSocket::peek_from).
    ///
    /// # Errors
    /// As there.
    pub fn poll_peek_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.source.poll_io(Direction::Read, cx, |io| io.peek_from(buf))
    }
}

/// Addresses and options. They wait for nothing.
impl UdpSocket {
    ask_system! {
        /// The address of this end.
        fn local_addr() -> SocketAddr;
        /// The address of the peer, if it is connected.
        fn peer_addr() -> SocketAddr;
        /// The error that waits on the socket, which is cleared (`SO_ERROR`).
        fn take_error() -> Option<io::Error>;
        /// Whether it may send to a broadcast address.
        fn broadcast() -> bool;
        /// Sets whether it may send to a broadcast address.
        fn set_broadcast(on: bool) -> ();
        /// The time-to-live of its datagrams.
        fn ttl() -> u32;
        /// Sets the time-to-live of its datagrams.
        fn set_ttl(ttl: u32) -> ();
        /// Whether what it sends to a group comes back to this host.
        fn multicast_loop_v4() -> bool;
        /// Sets whether what it sends to a group comes back to this host.
        fn set_multicast_loop_v4(on: bool) -> ();
        /// The time-to-live of what it sends to a group; 1 at first: this network.
        fn multicast_ttl_v4() -> u32;
        /// Sets the time-to-live of what it sends to a group.
        fn set_multicast_ttl_v4(ttl: u32) -> ();
        /// Whether what it sends to a group comes back to this host.
        fn multicast_loop_v6() -> bool;
        /// Sets whether what it sends to a group comes back to this host.
        fn set_multicast_loop_v6(on: bool) -> ();
        /// Joins the group `group` on the interface that has the address `interface`; the system
        /// chooses for `UNSPECIFIED`.
        fn join_multicast_v4(group: &Ipv4Addr, interface: &Ipv4Addr) -> ();
        /// Joins the group `group` on the interface with the index `interface`, or any for 0.
        fn join_multicast_v6(group: &Ipv6Addr, interface: u32) -> ();
        /// Leaves the group; see [`join_multicast_v4`](UdpSocket::join_multicast_v4).
        fn leave_multicast_v4(group: &Ipv4Addr, interface: &Ipv4Addr) -> ();
        /// Leaves the group; see [`join_multicast_v6`](UdpSocket::join_multicast_v6).
        fn leave_multicast_v6(group: &Ipv6Addr, interface: u32) -> ();
        /// Whether it takes no IPv4 (`IPV6_V6ONLY`).
        fn only_v6() -> bool;
    }
}

has_fd!(UdpSocket);
