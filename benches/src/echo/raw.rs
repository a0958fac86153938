//! The echo server without a runtime: one thread, one epoll loop.
//!
//! It is the limit the others are held against, and no more than that: it has no tasks and cannot wait for anything else.

use std::io::{self, Read as _, Write as _};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::{ADDRESS, BUFFER, announce};

const LISTENER: Token = Token(usize::MAX);

/// Serves until the process ends.
///
/// # Errors
/// Those of epoll and of the listening socket; a connection's own only end the connection.
pub fn serve() -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(ADDRESS.parse().map_err(io::Error::other)?)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    announce(listener.local_addr()?);
    let mut events = Events::with_capacity(1024);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept_all(&poll, &listener, &mut connections)?;
                continue;
            }
            let place = &mut connections[event.token().0];
            let goes_on = place.as_mut().is_some_and(|c| c.echo(&mut buffer).is_ok());
            if !goes_on {
                *place = None;
            }
        }
    }
}

fn accept_all(
    poll: &Poll,
    listener: &TcpListener,
    connections: &mut Vec<Option<Connection>>,
) -> io::Result<()> {
    while let Ok((mut stream, _peer)) = listener.accept() {
        stream.set_nodelay(true)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(connections.len()), both)?;
        connections.push(Some(Connection { stream, unsent: Vec::new() }));
    }
    Ok(())
}

struct Connection {
    stream: TcpStream,
    /// What the socket did not take; empty nearly always.
    unsent: Vec<u8>,
}

impl Connection {
    /// Echoes until the socket has no more; fails when the connection has ended.
    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            if !self.flush()? {
                return Ok(());
            }
            let n = match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let sent = match self.stream.write(&buffer[..n]) {
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            self.unsent.extend_from_slice(&buffer[sent..n]);
            if n < buffer.len() && self.unsent.is_empty() {
                // A short read has emptied the socket; the next byte brings the next event.
                return Ok(());
            }
        }
    }

    /// Whether nothing is left to send.
    fn flush(&mut self) -> io::Result<bool> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
