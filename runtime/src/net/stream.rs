//! `TcpStream`.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use gort_netpoll::Direction;
use socket2::{SockRef, TcpKeepalive};

use crate::time::{Instant, timeout};

use super::addr::{ToSocketAddrs, resolve, try_each};
use super::io_traits::{Stream, reads, writes};
use super::options::has_fd;
use super::source::Source;
use super::split::{self, OwnedReadHalf, OwnedWriteHalf};

/// A TCP connection.
///
/// Reading and writing is by the traits of the `futures` crate (`use futures::{AsyncReadExt,
/// AsyncWriteExt}`), on the stream or on `&` of it. `close` of the writing side is a half-close:
/// the peer reads to the end and may still answer. See [`TcpListener`](super::TcpListener) for an
/// example.
#[derive(Debug)]
pub struct TcpStream {
    source: Source<mio::net::TcpStream>,
}

impl TcpStream {
    /// Connects to the first of the addresses that answers. Dropping the future gives up.
    ///
    /// # Errors
    /// Those of the lookup, and of the attempt at the last address, for example
    /// `ConnectionRefused`.
    pub async fn connect(addr: impl ToSocketAddrs) -> io::Result<TcpStream> {
        try_each(resolve(addr).await?, TcpStream::connect_to).await
    }

    /// As [`connect`](TcpStream::connect), for at most so long, the lookup included.
    ///
    /// # Errors
    /// `TimedOut` after that time; otherwise as those of [`connect`](TcpStream::connect).
    pub async fn connect_timeout(
        addr: impl ToSocketAddrs,
        limit: Duration,
    ) -> io::Result<TcpStream> {
        match timeout(limit, TcpStream::connect(addr)).await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn connect_to(addr: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connected(mio::net::TcpStream::connect(addr)?).await
    }

    /// Waits for the end of an attempt.
    pub(super) async fn connected(stream: mio::net::TcpStream) -> io::Result<TcpStream> {
        let source = Source::connecting(stream)?;
        poll_fn(|cx| source.poll_ready(Direction::Write, cx)).await?;
        match source.io().take_error()? {
            Some(error) => Err(error),
            None => Ok(TcpStream { source }),
        }
    }

    pub(super) fn new(stream: mio::net::TcpStream) -> io::Result<TcpStream> {
        Ok(TcpStream { source: Source::new(stream)? })
    }

    /// Takes over a stream of std's, which is made non-blocking.
    ///
    /// # Errors
    /// Those of the system.
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<TcpStream> {
        stream.set_nonblocking(true)?;
        TcpStream::new(mio::net::TcpStream::from_std(stream))
    }

    /// Gives the socket back as std's type; it stays non-blocking.
    ///
    /// # Errors
    /// If it cannot be taken out of the netpoller.
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        self.source.into_std()
    }

    /// Reads without taking: the next read gives the same bytes again.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.source.poll_io(Direction::Read, cx, |io| io.peek(buf))).await
    }

    /// Waits until a read may give something: data, the end, or an error. It is a hint; another
    /// reader may be faster. Dropping the future cancels the wait.
    ///
    /// # Errors
    /// If the stream has been closed, its deadline has passed, or its runtime has ended.
    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.source.poll_ready(Direction::Read, cx)).await
    }

    /// Waits until a write may take something. As [`readable`](TcpStream::readable).
    ///
    /// # Errors
    /// As those of [`readable`](TcpStream::readable).
    pub async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| self.source.poll_ready(Direction::Write, cx)).await
    }

    /// Reads what is there, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing; otherwise as a read.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.try_io(Direction::Read, |mut io| io.read(buf))
    }

    /// Writes what there is room for, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room; otherwise as a write.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.source.try_io(Direction::Write, |mut io| io.write(buf))
    }

    /// Ends one direction, or both, at once. `Write` tells the peer that no more will come.
    ///
    /// # Errors
    /// Those of the system, for example `NotConnected`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.source.io().shutdown(how)
    }

    /// Sets the time at which reading and writing end: from then on both fail with `TimedOut`, at
    /// once, even where there is something to read. Operations that wait fail at that time; if it is
    /// past, now. A later deadline, or none, revives the stream. Go: `SetDeadline`.
    ///
    /// It counts on the clock of the stream's runtime. Setting it before each operation is cheap.
    ///
    /// # Examples
    /// ```
    /// use gort::net::{TcpListener, TcpStream};
    /// use gort::time::{Duration, Instant};
    /// use std::io::{ErrorKind, Read};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let listener = gort::block_on(TcpListener::bind("127.0.0.1:0"))?;
    /// let mut silent = gort::block_on(TcpStream::connect(listener.local_addr()?))?;
    /// silent.set_deadline(Some(Instant::now() + Duration::from_millis(5)));
    /// assert_eq!(silent.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::TimedOut);
    /// # Ok(()) }
    /// ```
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        self.source.set_deadline(deadline);
    }

    /// As [`set_deadline`](TcpStream::set_deadline), for reading.
    pub fn set_read_deadline(&self, deadline: Option<Instant>) {
        self.source.set_read_deadline(deadline);
    }

    /// As [`set_deadline`](TcpStream::set_deadline), for writing.
    pub fn set_write_deadline(&self, deadline: Option<Instant>) {
        self.source.set_write_deadline(deadline);
    }

    /// When reading ends, if it has been set.
    #[must_use]
    pub fn read_deadline(&self) -> Option<Instant> {
        self.source.read_deadline()
    }

    /// When writing ends, if it has been set.
    #[must_use]
    pub fn write_deadline(&self) -> Option<Instant> {
        self.source.write_deadline()
    }

    /// Closes the connection now, whoever else holds the stream: operations that wait and all later
    /// ones fail with `NotConnected` ("use of closed network connection"), the peer sees the end,
    /// or a reset if something was left unread. Go: `Close`. Nothing if it has been done before.
    ///
    /// The number of the descriptor stays taken until the drop, so nobody can mistake another file
    /// for this one; calls that ask the kernel, for an address or an option, fail with `EBADF`. To
    /// end only the writing side, [`shutdown`](TcpStream::shutdown), or `close` of `AsyncWriteExt`.
    ///
    /// # Errors
    /// `EMFILE` and the like, if the first close of the process finds no free descriptor for a
    /// moment: then the connection is shut down, and closed when the stream is dropped.
    #[doc(alias = "close")]
    pub fn close_now(&self) -> io::Result<()> {
        self.source.close()
    }

    /// Two halves that own the stream together, for two tasks. Dropping the writing half ends that
    /// direction. To read in one place and write in another of the same task, borrow the stream
    /// twice: `&stream` reads and writes.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        split::into_split(self)
    }

    /// The address of this end.
    ///
    /// # Errors
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.io().local_addr()
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// Those of the system.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.source.io().peer_addr()
    }

    /// Whether small writes go out at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// Those of the system.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.source.io().nodelay()
    }

    /// Sets whether small writes go out at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.source.io().set_nodelay(on)
    }

    /// The time-to-live of its packets.
    ///
    /// # Errors
    /// Those of the system.
    pub fn ttl(&self) -> io::Result<u32> {
        self.source.io().ttl()
    }

    /// Sets the time-to-live of its packets.
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.source.io().set_ttl(ttl)
    }

    /// What a close does with unsent data (`SO_LINGER`).
    ///
    /// # Errors
    /// Those of the system.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        SockRef::from(self.source.io()).linger()
    }

    /// Sets what a close does with unsent data (`SO_LINGER`). `Some(ZERO)` resets the connection.
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        SockRef::from(self.source.io()).set_linger(linger)
    }

    /// Whether probes are sent when nothing has come for a while (`SO_KEEPALIVE`).
    ///
    /// # Errors
    /// Those of the system.
    pub fn keepalive(&self) -> io::Result<bool> {
        SockRef::from(self.source.io()).keepalive()
    }

    /// Has probes sent when nothing has come for so long, which is counted in seconds, or has none
    /// sent. A peer that answers none of them (on Linux nine, 75 s apart) has gone: reads fail with
    /// `TimedOut`.
    ///
    /// # Errors
    /// Those of the system, `InvalidInput` for less than a second.
    pub fn set_keepalive(&self, idle: Option<Duration>) -> io::Result<()> {
        let socket = SockRef::from(self.source.io());
        match idle {
            Some(idle) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle)),
            None => socket.set_keepalive(false),
        }
    }

    /// The size of the kernel's buffer for what has come (`SO_RCVBUF`). Linux shows twice what was
    /// set.
    ///
    /// # Errors
    /// Those of the system.
    pub fn recv_buffer_size(&self) -> io::Result<usize> {
        SockRef::from(self.source.io()).recv_buffer_size()
    }

    /// Sets the size of the kernel's buffer for what has come (`SO_RCVBUF`); the kernel then no
    /// longer fits it to the connection by itself.
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_recv_buffer_size(&self, bytes: usize) -> io::Result<()> {
        SockRef::from(self.source.io()).set_recv_buffer_size(bytes)
    }

    /// As [`recv_buffer_size`](TcpStream::recv_buffer_size), for what is to go (`SO_SNDBUF`).
    ///
    /// # Errors
    /// Those of the system.
    pub fn send_buffer_size(&self) -> io::Result<usize> {
        SockRef::from(self.source.io()).send_buffer_size()
    }

    /// As [`set_recv_buffer_size`](TcpStream::set_recv_buffer_size), for what is to go
    /// (`SO_SNDBUF`).
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_send_buffer_size(&self, bytes: usize) -> io::Result<()> {
        SockRef::from(self.source.io()).set_send_buffer_size(bytes)
    }

    /// The error that waits on the socket, which is cleared (`SO_ERROR`).
    ///
    /// # Errors
    /// Those of the system.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.io().take_error()
    }
}

impl Stream for TcpStream {
    type Io = mio::net::TcpStream;

    fn source(&self) -> &Source<mio::net::TcpStream> {
        &self.source
    }

    fn end(&self) -> io::Result<()> {
        match self.shutdown(Shutdown::Write) {
            // The peer was faster; closed it is.
            Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(()),
            done => done,
        }
    }
}

reads!(TcpStream);
writes!(TcpStream);
#[cfg(feature = "hyper")]
super::hyper_io::stream!(TcpStream);
has_fd!(TcpStream);
