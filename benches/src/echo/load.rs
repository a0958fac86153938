//! The load generator: a closed loop on one thread.
//!
//! Each connection sends a message, waits for all of the answer, notes how long that took and sends the next. What is sent is
//! echoed, or it is a request of HTTP/1, whose answers all have the length of the first one. The server's
//! CPU time is read from `/proc` before and after, so that the generator's own cost is not in it; requests per second do hold
//! it, on a machine where both share the processors.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::histogram::Histogram;
use crate::Report;
use crate::measure::cpu_of;

/// Part of the time that is run before measuring.
const WARM_UP: f64 = 0.25;

/// What load to put on whom.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// Connections at once.
    pub connections: usize,
    /// Bytes per message; none: a request of HTTP/1.
    pub bytes: Option<usize>,
    /// How long to measure, without the warm-up.
    pub duration: Duration,
    /// The server's process.
    pub server: u32,
}

/// Runs `load`: requests per second, CPU time of the server per request, latencies.
///
/// # Errors
/// Those of the sockets, and of reading the server's CPU time.
pub fn run(load: &Load) -> io::Result<Report> {
    let mut generator = Generator::connect(load)?;
    generator.run_for(load.duration.mul_f64(WARM_UP))?;
    generator.latencies = Histogram::default();
    let cpu = cpu_of(load.server)?;
    let start = Instant::now();
    generator.run_for(load.duration)?;
    let wall = start.elapsed();
    let cpu = cpu_of(load.server)?.saturating_sub(cpu);
    let latencies = &generator.latencies;
    let requests = latencies.total().max(1) as f64;
    let quantile_us = |q| latencies.quantile(q).as_secs_f64() * 1e6;
    Ok(Report::new()
        .with("req_per_s", requests / wall.as_secs_f64())
        .with("cpu_us", cpu.as_secs_f64() * 1e6 / requests)
        .with("p50_us", quantile_us(0.5))
        .with("p99_us", quantile_us(0.99))
        .with("p99.9_us", quantile_us(0.999)))
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Bytes of an answer to `REQUEST`: the head with its `content-length`, and the body.
fn answer_length(address: SocketAddr) -> io::Result<usize> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.write_all(REQUEST)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: Option<usize> = length.and_then(|length| length.parse().ok());
    Ok(head.len() + length.ok_or(io::ErrorKind::InvalidData)?)
}

struct Generator {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    message: Vec<u8>,
    /// Holds an answer.
    buffer: Vec<u8>,
    latencies: Histogram,
}

struct Connection {
    stream: TcpStream,
    sent: usize,
    received: usize,
    since: Instant,
}

impl Generator {
    fn connect(load: &Load) -> io::Result<Self> {
        let (message, answer) = match load.bytes {
            Some(bytes) => ((0..bytes).map(|i| i as u8).collect(), bytes),
            None => (REQUEST.to_vec(), answer_length(load.address)?),
        };
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(load.connections);
        for i in 0..load.connections {
            let stream = std::net::TcpStream::connect(load.address)?;
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let mut stream = TcpStream::from_std(stream);
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(i), both)?;
            let since = Instant::now();
            connections.push(Connection { stream, sent: 0, received: 0, since });
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            connections,
            message,
            buffer: vec![0; answer],
            latencies: Histogram::default(),
        })
    }

    fn run_for(&mut self, duration: Duration) -> io::Result<()> {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            self.poll.poll(&mut self.events, Some(Duration::from_millis(10)))?;
            for event in &self.events {
                let connection = &mut self.connections[event.token().0];
                connection.go_on(&self.message, &mut self.buffer, &mut self.latencies)?;
            }
        }
        Ok(())
    }
}

impl Connection {
    /// Goes on after an event: a complete answer starts the next message.
    fn go_on(
        &mut self,
        message: &[u8],
        buffer: &mut [u8],
        latencies: &mut Histogram,
    ) -> io::Result<()> {
        if self.sent > 0 {
            self.receive(buffer)?;
        }
        if self.received == buffer.len() {
            let now = Instant::now();
            latencies.add(now - self.since);
            (self.sent, self.received, self.since) = (0, 0, now);
        }
        self.send(message)
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        while self.sent < message.len() {
            match ready(self.stream.write(&message[self.sent..]))? {
                Some(n) => self.sent += n,
                None => break,
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        while self.received < buffer.len() {
            match ready(self.stream.read(&mut buffer[self.received..]))? {
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(n) => self.received += n,
                None => break,
            }
        }
        Ok(())
    }
}

fn ready(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(n) => Ok(Some(n)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
