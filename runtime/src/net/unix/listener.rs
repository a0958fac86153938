//! `UnixListener`.

use std::fs;
use std::io;
use std::os::unix::net::{self as std_net, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::UnixStream;
use crate::net::accept::{accept, incoming};
use crate::net::options::{ask_system, has_fd};
use crate::net::source::Source;
use crate::time::Instant;

/// A Unix socket that accepts connections.
///
/// # Examples
/// ```
/// use futures::{AsyncReadExt, AsyncWriteExt};
/// use gort::net::{UnixListener, UnixStream};
/// # fn main() -> std::io::Result<()> { gort::block_on(async {
/// # let dir = std::env::temp_dir().join(format!("gort-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// # let path = dir.join("listener");
/// let listener = UnixListener::bind(&path)?;
/// listener.set_unlink_on_close(true);
/// let mut client = UnixStream::connect(&path).await?;
/// let (mut server, _) = listener.accept().await?;
/// client.write_all(b"hello").await?;
/// server.read_exact(&mut [0; 5]).await?;
/// drop(listener);
/// assert!(!path.exists());
/// # std::fs::remove_dir(&dir)?;
/// # Ok(()) }) }
/// ```
#[derive(Debug)]
pub struct UnixListener {
    source: Source<mio::net::UnixListener>,
    unlink: AtomicBool,
}

impl UnixListener {
    /// Makes a socket at `path`. Nothing may be there; see
    /// [`set_unlink_on_close`](UnixListener::set_unlink_on_close).
    ///
    /// # Errors
    /// `AddrInUse` if something is there, `InvalidInput` if the path is too long, and what else the
    /// system says.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        UnixListener::from_std(std_net::UnixListener::bind(path)?)
    }

    /// [`bind`](UnixListener::bind), to any kind of address.
    ///
    /// # Errors
    /// As there.
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<UnixListener> {
        UnixListener::from_std(std_net::UnixListener::bind_addr(addr)?)
    }

    /// Takes over a listener of std's, which is made non-blocking.
    ///
    /// # Errors
    /// Those of the system.
    pub fn from_std(listener: std_net::UnixListener) -> io::Result<UnixListener> {
        listener.set_nonblocking(true)?;
        let source = Source::new(mio::net::UnixListener::from_std(listener))?;
        Ok(UnixListener { source, unlink: AtomicBool::new(false) })
    }

    /// Gives the socket back as std's type; it stays non-blocking, and its path stays.
    ///
    /// # Errors
    /// If it cannot be taken out of the netpoller.
    pub fn into_std(mut self) -> io::Result<std_net::UnixListener> {
        *self.unlink.get_mut() = false;
        self.source.to_std()
    }

    /// Waits for a connection. Several tasks may wait at the same listener. Cancel-safe: no
    /// connection is lost.
    ///
    /// When the process or the system is out of descriptors or memory, this waits and tries again, as
    /// [`TcpListener::accept`](crate::net::TcpListener::accept) does.
    ///
    /// # Errors
    /// What else the system says, and an error if the runtime has ended.
    pub async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let make = |(io, peer)| Ok((UnixStream::new(io)?, peer));
        accept(&self.source, mio::net::UnixListener::accept, make).await
    }

    /// Sets the time from which on accepting fails with `TimedOut`, as
    /// [`TcpStream::set_deadline`](crate::net::TcpStream::set_deadline) does for a stream.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        self.source.set_read_deadline(deadline);
    }

    /// Closes the listener now, whoever else holds it: who accepts gets `NotConnected`, and so do
    /// those whose connections are in the backlog. Go: `Close`. Nothing if it has been done before.
    ///
    /// # Errors
    /// As those of [`TcpStream::close_now`](crate::net::TcpStream::close_now).
    pub fn close(&self) -> io::Result<()> {
        self.unlink();
        self.source.close()
    }

    /// Sets whether closing or dropping the listener removes its path, whatever is there by then;
    /// false at first. Go: `SetUnlinkOnClose`, where it is true at first.
    pub fn set_unlink_on_close(&self, unlink: bool) {
        self.unlink.store(unlink, Ordering::Relaxed); // a flag that publishes nothing
    }

    /// Removes the path, if it is to be removed and has not been: the next one there may be another's.
    fn unlink(&self) {
        // Relaxed: as above.
        if self.unlink.swap(false, Ordering::Relaxed)
            && let Ok(addr) = self.local_addr()
            && let Some(path) = addr.as_pathname()
        {
            let _ = fs::remove_file(path); // somebody was faster
        }
    }

    ask_system! {
        /// The address that it listens at.
        fn local_addr() -> SocketAddr;
        /// The error that waits on the socket, which is cleared (`SO_ERROR`).
        fn take_error() -> Option<io::Error>;
    }
}

impl Drop for UnixListener {
    fn drop(&mut self) {
        self.unlink();
    }
}

incoming!(UnixIncoming, UnixListener, UnixStream, SocketAddr);
has_fd!(UnixListener);
