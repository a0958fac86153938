//! `UnixStream`.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{self as std_net, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::cred::{self, UCred};
use crate::net::io_traits::{Stream, reads, writes};
use crate::net::options::{ask_system, attempts, deadlines, has_fd, readiness};
use crate::net::source::Source;
use crate::net::split::{self, Halves, OwnedReadHalf, OwnedWriteHalf};
use crate::time::sleep;

/// How long `connect` waits before it looks again at a listener whose backlog is full, at first and
/// at most. A guess: the kernel tells nobody when there is room, and a connection made waits no
/// longer than it has waited already.
const BACKLOG_FULL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// A connection between two programs of one host.
///
/// Reading and writing is by the traits of std in goroutines, and by those of the `futures` crate in
/// tasks, on the stream or on `&` of it, as with [`TcpStream`](crate::net::TcpStream). `close` of the
/// writing side is a half-close.
///
/// # Examples
/// ```
/// use futures::{AsyncReadExt, AsyncWriteExt};
/// use gort::net::UnixStream;
/// # fn main() -> std::io::Result<()> { gort::block_on(async {
/// let (mut here, mut there) = UnixStream::pair()?;
/// here.write_all(b"hello").await?;
/// here.close().await?;
/// let mut text = String::new();
/// there.read_to_string(&mut text).await?;
/// assert_eq!(text, "hello");
/// # Ok(()) }) }
/// ```
#[derive(Debug)]
pub struct UnixStream {
    source: Source<mio::net::UnixStream>,
}

impl UnixStream {
    /// Connects to the listener at `path`. While its backlog is full this waits, and looks again
    /// every 1 to 100 ms. Dropping the future gives up.
    ///
    /// # Errors
    /// `NotFound` if nothing is there, `ConnectionRefused` if nobody listens, `InvalidInput` if the path
    /// is too long, and what else the system says.
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&SocketAddr::from_pathname(path)?).await
    }

    /// [`connect`](UnixStream::connect), to any kind of address.
    ///
    /// # Errors
    /// As there.
    pub async fn connect_addr(addr: &SocketAddr) -> io::Result<UnixStream> {
        let mut wait = BACKLOG_FULL.0;
        loop {
            match mio::net::UnixStream::connect_addr(addr) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    sleep(wait).await;
                    wait = (2 * wait).min(BACKLOG_FULL.1);
                }
                // Made at once: such a connection is never in progress.
                done => return UnixStream::new(done?),
            }
        }
    }

    pub(super) fn new(stream: mio::net::UnixStream) -> io::Result<UnixStream> {
        Ok(UnixStream { source: Source::new(stream)? })
    }

    /// Two streams that are connected with each other.
    ///
    /// # Errors
    /// Those of the system.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (a, b) = mio::net::UnixStream::pair()?;
        Ok((UnixStream::new(a)?, UnixStream::new(b)?))
    }

    /// Takes over a stream of std's, which is made non-blocking.
    ///
    /// # Errors
    /// Those of the system.
    pub fn from_std(stream: std_net::UnixStream) -> io::Result<UnixStream> {
        stream.set_nonblocking(true)?;
        UnixStream::new(mio::net::UnixStream::from_std(stream))
    }

    /// Gives the socket back as std's type; it stays non-blocking.
    ///
    /// # Errors
    /// If it cannot be taken out of the netpoller.
    pub fn into_std(self) -> io::Result<std_net::UnixStream> {
        self.source.into_std()
    }

    /// Ends one direction, or both, at once. `Write` tells the peer that no more will come.
    ///
    /// # Errors
    /// Those of the system, for example `NotConnected`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.source.io().shutdown(how)
    }

    /// Two halves that own the stream together, for two tasks. Dropping the writing half ends that
    /// direction. To read in one place and write in another of the same task, borrow the stream
    /// twice: `&stream` reads and writes.
    pub fn into_split(self) -> (OwnedReadHalf<UnixStream>, OwnedWriteHalf<UnixStream>) {
        split::into_split(self)
    }

    /// Who is at the other end, as it was when it connected, listened or made the pair.
    ///
    /// # Errors
    /// Those of the system.
    pub fn peer_cred(&self) -> io::Result<UCred> {
        cred::peer(self.source.io().as_fd())
    }

    ask_system! {
        /// The address of this end.
        fn local_addr() -> SocketAddr;
        /// The address of the other end, which is often none.
        fn peer_addr() -> SocketAddr;
        /// The error that waits on the socket, which is cleared (`SO_ERROR`).
        fn take_error() -> Option<io::Error>;
    }

    readiness!();
    attempts!(try_read: Read, |mut io, buf: &mut [u8]| io.read(buf));
    attempts!(try_write: Write, |mut io, buf: &[u8]| io.write(buf));
    deadlines!(close_now);
}

impl Stream for UnixStream {
    type Io = mio::net::UnixStream;

    /// A read stops behind a message that came with descriptors, whatever follows.
    const SHORT_IS_EMPTY: bool = false;

    fn source(&self) -> &Source<mio::net::UnixStream> {
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

impl Halves for UnixStream {}

reads!(UnixStream);
writes!(UnixStream);
#[cfg(feature = "hyper")]
crate::net::hyper_io::stream!(UnixStream);
reads!(OwnedReadHalf<UnixStream>);
writes!(OwnedWriteHalf<UnixStream>);
has_fd!(UnixStream);
