//! `Socket`: the options that a socket must have before it is bound or connected.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket as System, TcpKeepalive, Type};

use super::addr::{ToSocketAddrs, resolve, try_each};
use super::{TcpListener, TcpStream, UdpSocket};

/// Connections that may wait to be accepted; the system may cut it down (on Linux to
/// `net.core.somaxconn`, 4096).
const BACKLOG: i32 = 1024;

/// Options for sockets yet to be made. One set of them can make any number of sockets, IPv4 and IPv6.
///
/// For options that are not here, make the socket with another crate and hand it to `from_std`.
///
/// # Examples
/// A listener for each P, among which the system spreads the connections:
/// ```
/// use gort::net::Socket;
/// # gort::block_on(async {
/// let socket = Socket::new().reuse_port(true).backlog(4096);
/// let first = socket.listen("127.0.0.1:0").await?;
/// let second = socket.listen(first.local_addr()?).await?;
/// # drop(second);
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "it makes no socket by itself"]
pub struct Socket {
    reuse_address: Option<bool>,
    reuse_port: bool,
    only_v6: Option<bool>,
    backlog: Option<i32>,
    nodelay: bool,
    keepalive: Option<Duration>,
    linger: Option<Duration>,
    recv_buffer_size: Option<usize>,
    send_buffer_size: Option<usize>,
    ttl: Option<u32>,
    #[cfg(any(target_os = "linux", target_os = "android"))]
    device: Option<Vec<u8>>,
    local: Option<SocketAddr>,
}

impl Socket {
    /// The system's defaults, but for what [`reuse_address`](Socket::reuse_address) and
    /// [`backlog`](Socket::backlog) say.
    pub fn new() -> Socket {
        Socket::default()
    }

    /// Whether an address may be bound that lately was another socket's (`SO_REUSEADDR`). At first
    /// true for listeners, except on Windows, where it lets others take the port over.
    pub fn reuse_address(mut self, on: bool) -> Socket {
        self.reuse_address = Some(on);
        self
    }

    /// Whether several sockets may be bound to one address, if all say so (`SO_REUSEPORT`). Linux
    /// spreads connections and datagrams among them.
    pub fn reuse_port(mut self, on: bool) -> Socket {
        self.reuse_port = on;
        self
    }

    /// Whether an IPv6 socket takes no IPv4 (`IPV6_V6ONLY`).
    pub fn only_v6(mut self, on: bool) -> Socket {
        self.only_v6 = Some(on);
        self
    }

    /// Connections that may wait to be accepted; 1024 at first. The system may cut it down, Linux to
    /// `net.core.somaxconn`, 4096.
    pub fn backlog(mut self, connections: u32) -> Socket {
        self.backlog = Some(i32::try_from(connections).unwrap_or(i32::MAX));
        self
    }

    /// Whether small writes go out at once (`TCP_NODELAY`). On a listener: of all its connections,
    /// where the system hands it on, as Linux does.
    pub fn nodelay(mut self, on: bool) -> Socket {
        self.nodelay = on;
        self
    }

    /// Has probes sent when nothing has come for so long, counted in seconds; see
    /// [`TcpStream::set_keepalive`].
    pub fn keepalive(mut self, idle: Option<Duration>) -> Socket {
        self.keepalive = idle;
        self
    }

    /// What a close does with unsent data; see [`TcpStream::set_linger`].
    pub fn linger(mut self, linger: Option<Duration>) -> Socket {
        self.linger = linger;
        self
    }

    /// The size of the kernel's buffer for what comes, in bytes (`SO_RCVBUF`).
    pub fn recv_buffer_size(mut self, bytes: usize) -> Socket {
        self.recv_buffer_size = Some(bytes);
        self
    }

    /// The size of the kernel's buffer for what goes, in bytes (`SO_SNDBUF`).
    pub fn send_buffer_size(mut self, bytes: usize) -> Socket {
        self.send_buffer_size = Some(bytes);
        self
    }

    /// The time-to-live of its packets; of IPv6, the hops.
    pub fn ttl(mut self, ttl: u32) -> Socket {
        self.ttl = Some(ttl);
        self
    }

    /// The only network interface to use, `eth0` say (`SO_BINDTODEVICE`).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn bind_device(mut self, interface: impl Into<Vec<u8>>) -> Socket {
        self.device = Some(interface.into());
        self
    }

    /// The address that [`connect`](Socket::connect) connects from.
    pub fn local_addr(mut self, addr: SocketAddr) -> Socket {
        self.local = Some(addr);
        self
    }

    /// Listens at the first of the addresses that can be had.
    ///
    /// # Errors
    /// Those of the lookup, and of the options, bind and listen for the last address, for example
    /// `AddrInUse`.
    pub async fn listen(&self, addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
        let listen = async |addr| {
            let socket = self.make(addr, Type::STREAM, Protocol::TCP, cfg!(unix))?;
            socket.bind(&addr.into())?;
            socket.listen(self.backlog.unwrap_or(BACKLOG))?;
            TcpListener::from_std(socket.into())
        };
        try_each(resolve(addr).await?, listen).await
    }

    /// Connects to the first of the addresses that answers. Dropping the future gives up.
    ///
    /// # Errors
    /// Those of the lookup, and of the options and the attempt for the last address, for example
    /// `ConnectionRefused`.
    pub async fn connect(&self, addr: impl ToSocketAddrs) -> io::Result<TcpStream> {
        try_each(resolve(addr).await?, async |addr| self.connect_to(addr).await).await
    }

    async fn connect_to(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        let socket = self.make(addr, Type::STREAM, Protocol::TCP, false)?;
        if let Some(local) = self.local {
            socket.bind(&local.into())?;
        }
        socket.set_nonblocking(true)?;
        match socket.connect(&addr.into()) {
            Err(e) if is_in_progress(&e) => {}
            done => done?,
        }
        TcpStream::connected(mio::net::TcpStream::from_std(socket.into())).await
    }

    /// A UDP socket at the first of the addresses that can be had.
    ///
    /// # Errors
    /// Those of the lookup, and of the options and bind for the last address, for example `AddrInUse`.
    pub async fn udp(&self, addr: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        let bind = async |addr| {
            let socket = self.make(addr, Type::DGRAM, Protocol::UDP, false)?;
            socket.bind(&addr.into())?;
            UdpSocket::from_std(socket.into())
        };
        try_each(resolve(addr).await?, bind).await
    }

    /// A socket with all the options that concern it.
    fn make(
        &self,
        addr: SocketAddr,
        kind: Type,
        protocol: Protocol,
        reuse_address: bool,
    ) -> io::Result<System> {
        let socket = System::new(Domain::for_address(addr), kind, Some(protocol))?;
        if self.reuse_address.unwrap_or(reuse_address) {
            socket.set_reuse_address(true)?;
        }
        if self.reuse_port {
            socket.set_reuse_port(true)?;
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(device) = &self.device {
            socket.bind_device(Some(device))?;
        }
        if let Some(bytes) = self.recv_buffer_size {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.send_buffer_size {
            socket.set_send_buffer_size(bytes)?;
        }
        self.of_ip(&socket, addr)?;
        if kind == Type::STREAM {
            self.of_tcp(&socket)?;
        }
        Ok(socket)
    }

    fn of_ip(&self, socket: &System, addr: SocketAddr) -> io::Result<()> {
        if let Some(on) = self.only_v6
            && addr.is_ipv6()
        {
            socket.set_only_v6(on)?;
        }
        match self.ttl {
            Some(ttl) if addr.is_ipv4() => socket.set_ttl_v4(ttl),
            Some(ttl) => socket.set_unicast_hops_v6(ttl),
            None => Ok(()),
        }
    }

    fn of_tcp(&self, socket: &System) -> io::Result<()> {
        if self.nodelay {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(idle) = self.keepalive {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
        }
        if self.linger.is_some() {
            socket.set_linger(self.linger)?;
        }
        Ok(())
    }
}

/// The attempt goes on.
fn is_in_progress(e: &io::Error) -> bool {
    #[cfg(unix)]
    let begun = e.raw_os_error() == Some(libc::EINPROGRESS);
    #[cfg(not(unix))]
    let begun = e.kind() == io::ErrorKind::WouldBlock;
    begun
}
