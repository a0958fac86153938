//! TCP echo servers, and the load that is put on them.
//!
//! Each server runs in a process of its own with `procs` workers, answers each message with the same bytes and says
//! `LISTENING address` when it is ready. One load generator, a single-threaded mio loop, serves them all, so that what differs
//! is the server alone. [`raw`] is a server without a runtime: the least that the machine's sockets cost.

use std::io::Write as _;
use std::net::SocketAddr;

pub mod goroutines;
pub mod gort;
pub mod histogram;
pub mod load;
pub mod raw;
pub mod smol;
pub mod tokio;

/// Bytes a server reads at once, for each connection.
pub const BUFFER: usize = 16 * 1024;

/// Where all servers listen: a free port of the loopback interface.
pub const ADDRESS: &str = "127.0.0.1:0";

/// Tells the parent process where the server listens.
pub fn announce(address: SocketAddr) {
    println!("LISTENING {address}");
    // A parent that is gone needs no address.
    let _flushed = std::io::stdout().flush();
}
