//! QUIC: a [`quinn::Runtime`] over gort's tasks, timers and netpoller.
//!
//! quinn asks a runtime for four things: a task per endpoint and per connection, a timer per
//! connection, datagrams, and the time. The datagrams go through `quinn_udp`, which knows the
//! kernel's ways to move many of them per system call; gort adds who waits for them.
//!
//! The time is that of [`gort::time`](crate::time): on a [paused](crate::time::pause) clock an idle
//! timeout of an hour takes no time at all.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, UdpPoller};

use crate::net::{Direction, UdpSocket};
use crate::time::{self, Sleep, sleep_until};

/// The runtime that a [`quinn::Endpoint`] is to be made with.
///
/// The endpoint's tasks run on the runtime that is [current](crate::spawn) where the endpoint and
/// its connections are made, its socket is registered there, and both end with it. quinn's futures
/// and streams then work anywhere: in tasks, in goroutines with [`.wait()`](crate::Wait), on plain
/// threads.
///
/// # Examples
/// With quinn's feature `rustls-ring` the config can be `EndpointConfig::default()`; the example
/// `quic_echo` of the repository is a whole server.
/// ```
/// use gort::compat::quinn::GortRuntime;
/// use std::net::UdpSocket;
/// use std::sync::Arc;
///
/// fn endpoint(config: quinn::EndpointConfig) -> std::io::Result<quinn::Endpoint> {
///     let socket = UdpSocket::bind("127.0.0.1:0")?;
///     quinn::Endpoint::new(config, None, socket, Arc::new(GortRuntime))
/// }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct GortRuntime;

impl Runtime for GortRuntime {
    fn new_timer(&self, deadline: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(sleep_until(deadline))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        drop(crate::spawn(future)); // runs on by itself
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(Datagrams::new(socket)?))
    }

    fn now(&self) -> Instant {
        time::Instant::now().into_std()
    }
}

impl AsyncTimer for Sleep {
    fn reset(self: Pin<&mut Self>, deadline: Instant) {
        Sleep::reset(self.get_mut(), deadline);
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Future::poll(self, cx)
    }
}

/// A socket, and what the kernel can do with it.
#[derive(Debug)]
struct Datagrams {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Datagrams {
    fn new(socket: std::net::UdpSocket) -> io::Result<Datagrams> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Datagrams { socket: UdpSocket::from_std(socket)?, state })
    }
}

impl AsyncUdpSocket for Datagrams {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let send = || self.state.send((&self.socket).into(), transmit);
        self.socket.try_io(Direction::Write, send)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_recv_ready(cx))?;
            let receive = || self.state.recv((&self.socket).into(), bufs, meta);
            match self.socket.try_io(Direction::Read, receive) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock || is_of_a_peer(&e) => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// News of a datagram sent before, which the network gave back: one peer's affair. An error of
/// `poll_recv` would end the endpoint, and the connections of all others with it.
fn is_of_a_peer(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    matches!(e.kind(), ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable)
}

/// Waits for room to send. Several may wait at one socket, each with its own waker.
#[derive(Debug)]
struct Room(Arc<Datagrams>);

impl UdpPoller for Room {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.socket.poll_send_ready(cx)
    }
}
