//! ureq over gort's sockets: requests of goroutines that wait on the netpoller, so that thousands
//! of them need no more threads than one.
//!
//! ureq leaves the sockets to a [`Connector`]. This one is its own `TcpConnector`, with gort's
//! `TcpStream` for std's and deadlines for `set_read_timeout`. It takes its place in a chain with
//! those for proxies and TLS.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::sync::{Arc, Weak};

use gort::net::TcpStream;
use gort::prelude::*;
use gort::time::Instant;
use socket2::SockRef;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, ShutdownHandle,
    Transport,
};
use ureq::{Agent, Error, config::Config};

/// An agent that connects with [`GortConnector`]. For goroutines, and plain threads.
#[must_use]
pub fn agent(config: Config) -> Agent {
    Agent::with_parts(config, GortConnector, DefaultResolver::default())
}

/// Opens gort's sockets.
#[derive(Debug, Clone, Copy, Default)]
pub struct GortConnector;

impl<In: Transport> Connector<In> for GortConnector {
    type Out = Either<In, GortTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        if let Some(proxy) = chained {
            return Ok(Some(Either::A(proxy)));
        }
        let config = details.config;
        let stream = connect(details)?;
        stream.set_nodelay(config.no_delay())?;
        let socket = Arc::new(Socket(stream));
        let shutdown: Weak<Socket> = Arc::downgrade(&socket);
        (details.register_shutdown)(shutdown)?;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(Either::B(GortTransport { socket, buffers })))
    }
}

fn connect(details: &ConnectionDetails<'_>) -> Result<TcpStream, Error> {
    let connecting = TcpStream::connect(&details.addrs[..]);
    match details.timeout.not_zero() {
        None => Ok(connecting.wait()?),
        Some(left) => match gort::time::timeout(*left, connecting).wait() {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(Error::Timeout(details.timeout.reason)),
        },
    }
}

/// A connection of ureq's.
#[derive(Debug)]
pub struct GortTransport {
    socket: Arc<Socket>,
    buffers: LazyBuffers,
}

#[derive(Debug)]
struct Socket(TcpStream);

impl ShutdownHandle for Socket {
    fn shutdown(&self) {
        let _ = self.0.shutdown(Shutdown::Both); // an error means that it is
    }
}

impl Transport for GortTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        let mut stream = &self.socket.0;
        stream.set_write_deadline(deadline(&timeout));
        let output = &self.buffers.output()[..amount];
        stream.write_all(output).map_err(|error| explain(error, &timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        let mut stream = &self.socket.0;
        stream.set_read_deadline(deadline(&timeout));
        let read = stream.read(self.buffers.input_append_buf());
        let amount = read.map_err(|error| explain(error, &timeout))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// Nothing may have come, not even the end: gort's sockets are non-blocking below.
    fn is_open(&mut self) -> bool {
        let peeked = SockRef::from(&self.socket.0).peek(&mut [MaybeUninit::uninit()]);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// A deadline in the past, where no time is left, fails at once.
fn deadline(timeout: &NextTimeout) -> Option<Instant> {
    (!timeout.after.is_not_happening()).then(|| Instant::now() + *timeout.after)
}

fn explain(error: io::Error, timeout: &NextTimeout) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => error.into(),
    }
}
