//! TCP over the runtime's netpoller.
//!
//! Every wait here is a future over the task's waker: sockets work in tasks of any runtime, on
//! other executors, and with [`.wait()`](crate::Wait) on plain threads. A socket is registered with
//! the netpoller of the runtime it was made in (the [current](crate::Handle::current) one, or the
//! default one). It may outlive that runtime; its operations then give an error.
//!
//! Streams implement the I/O traits of the `futures` crate, for themselves and for `&` of them, so
//! that one task may read while another writes. Several tasks may wait for the same socket.
//!
//! Dropping a read or write future cancels it; nothing that the kernel has taken or given is lost.

mod accept;
mod addr;
#[cfg(unix)]
mod async_fd;
#[allow(unsafe_code)] // see the ledger in lib.rs
mod close;
mod deadline;
#[cfg(unix)]
mod fd;
mod io_traits;
mod listener;
mod options;
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
pub use split::{Halves, OwnedReadHalf, OwnedWriteHalf, ReuniteError};
pub use std::net::Shutdown;
pub use stream::TcpStream;
pub use udp::UdpSocket;
#[cfg(unix)]
pub use unix::{UnixDatagram, UnixListener, UnixStream};
