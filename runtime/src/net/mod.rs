//! Sockets, pipes, and whatever else has a descriptor, over the runtime's netpoller.
//!
//! | | |
//! |---|---|
//! | [`TcpStream`], [`TcpListener`], [`UdpSocket`] | the Internet; [`Socket`] for options before bind and connect |
//! | [`UnixStream`], [`UnixListener`], [`UnixDatagram`] | within a host, by path or name |
//! | [`unix::pipe`] | pipes |
//! | [`AsyncFd`] | the descriptors of others |
//!
//! Every wait here is a future over the task's waker: sockets work in tasks of any runtime, on
//! other executors, and with [`.wait()`](crate::Wait) in goroutines and on plain threads. A socket is
//! registered with the netpoller of the runtime it was made in (the
//! [current](crate::Handle::current) one, or the default one). It may outlive that runtime; its
//! operations then give an error.
//!
//! Streams and their halves implement the I/O traits of std, which block the goroutine or the plain
//! thread, and those of the `futures` crate; with the feature `tokio-io` tokio's, too. They do for
//! themselves and for `&` of them, so that one task may read while another writes. Several tasks may
//! wait for the same socket.
//!
//! Dropping a future cancels it; nothing that the kernel has taken or given is lost.
//!
//! Deadlines ([`TcpStream::set_deadline`] and the like) and closes ([`TcpListener::close`],
//! [`TcpStream::close_now`]) follow Go's rules: they hold for all who use the socket, and for those
//! who wait at that moment, too.

mod accept;
mod addr;
#[cfg(unix)]
mod async_fd;
#[allow(unsafe_code)] // see the ledger in lib.rs
mod close;
mod deadline;
#[cfg(unix)]
mod fd;
#[cfg(feature = "hyper")]
#[allow(unsafe_code)] // see the ledger in lib.rs
mod hyper_io;
mod io_traits;
mod listener;
mod options;
mod socket;
mod source;
mod split;
mod stream;
#[cfg(feature = "tokio-io")]
mod tokio_io;
mod udp;
#[cfg(unix)]
pub mod unix;

pub use addr::{ToSocketAddrs, lookup_host};
#[cfg(unix)]
pub use async_fd::{AsyncFd, AsyncFdReadyGuard, TryIoError};
pub use gort_netpoll::Direction;
pub use listener::{Incoming, TcpListener};
pub use socket::Socket;
pub use split::{Halves, OwnedReadHalf, OwnedWriteHalf, ReuniteError};
pub use std::net::Shutdown;
pub use stream::TcpStream;
pub use udp::UdpSocket;
#[cfg(unix)]
pub use unix::{UnixDatagram, UnixListener, UnixStream};
