//! The echo servers in blocking style: a goroutine per connection. Sockets have no common trait, so there are two of them.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use gort::Wait as _;

use super::{ADDRESS, BUFFER, announce};
use crate::Co;
use crate::co::{GortGo, May};

/// Serves on gort until the process ends.
pub fn serve_gort(procs: usize) {
    GortGo::run(procs, || {
        let listener = gort::net::TcpListener::bind(ADDRESS).wait().expect("a free port");
        announce(listener.local_addr().expect("a bound socket has an address"));
        loop {
            if let Ok((stream, _peer)) = listener.accept().wait() {
                GortGo::go(move || {
                    // Without it the answers only come later.
                    let _set = stream.set_nodelay(true);
                    echo(stream)
                });
            }
        }
    })
}

/// Serves one connection on gort to its end; `announce` is told where it is awaited.
pub fn serve_one_gort(announce: impl FnOnce(SocketAddr)) {
    let listener = gort::net::TcpListener::bind(ADDRESS).wait().expect("a free port");
    announce(listener.local_addr().expect("a bound socket has an address"));
    if let Ok((stream, _peer)) = listener.accept().wait() {
        let _set = stream.set_nodelay(true);
        // Its errors are the client's to notice.
        let _ended = echo(stream);
    }
}

/// Serves on may until the process ends.
pub fn serve_may(procs: usize) {
    May::run(procs, || {
        let listener = may::net::TcpListener::bind(ADDRESS).expect("a free port");
        announce(listener.local_addr().expect("a bound socket has an address"));
        loop {
            if let Ok((stream, _peer)) = listener.accept() {
                May::go(move || {
                    let _set = stream.set_nodelay(true);
                    echo(stream)
                });
            }
        }
    })
}

/// Serves one connection on may to its end; `announce` is told where it is awaited.
pub fn serve_one_may(announce: impl FnOnce(SocketAddr)) {
    let listener = may::net::TcpListener::bind(ADDRESS).expect("a free port");
    announce(listener.local_addr().expect("a bound socket has an address"));
    if let Ok((stream, _peer)) = listener.accept() {
        let _set = stream.set_nodelay(true);
        // Its errors are the client's to notice.
        let _ended = echo(stream);
    }
}

fn echo(mut stream: impl Read + Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}
