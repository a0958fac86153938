//! Sockets that have a path instead of an address, and pipes.
//!
//! [`UnixStream`], [`UnixListener`] and [`UnixDatagram`] follow the types of std. An address is a path,
//! or on Linux a name without a file ("abstract"), by [`SocketAddr::from_abstract_name`]: the methods
//! that take a [`SocketAddr`] end in `_addr`.
//!
//! A path stays when its socket has gone, and cannot be bound again before it is removed. That is the
//! owner's business, or the listener's: [`UnixListener::set_unlink_on_close`].
//!
//! [`SocketAddr::from_abstract_name`]: https://doc.rust-lang.org/std/os/linux/net/trait.SocketAddrExt.html

#[allow(unsafe_code)] // see the ledger in lib.rs
mod cred;
mod datagram;
mod listener;
pub mod pipe;
mod stream;

pub use cred::UCred;
pub use datagram::UnixDatagram;
pub use listener::{UnixIncoming, UnixListener};
pub use std::os::unix::net::SocketAddr;
pub use stream::UnixStream;
