//! `ToSocketAddrs`: addresses, and names that must be looked up first.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use futures::channel::oneshot;

/// What [`TcpListener::bind`](super::TcpListener::bind) and
/// [`TcpStream::connect`](super::TcpStream::connect) take: socket addresses, pairs of an IP address
/// and a port, and strings such as `"127.0.0.1:80"` or `"localhost:80"`.
///
/// Names are looked up by the system on a thread of its own, so a slow resolver delays nobody; the
/// thread goes on to its end if the caller gives up. This trait is sealed.
pub trait ToSocketAddrs: sealed::Target {}

pub(super) mod sealed {
    use std::net::SocketAddr;

    /// Addresses, or a name and a port to look up.
    #[derive(Debug)]
    pub enum Lookup {
        /// Known at once, without an allocation.
        One(SocketAddr),
        /// Known at once.
        Known(Vec<SocketAddr>),
        /// `host:port`.
        Text(String),
        /// A host and a port.
        Host(String, u16),
    }

    /// The inside of `ToSocketAddrs`.
    pub trait Target: Send {
        /// What is known.
        fn lookup(&self) -> Lookup;
    }
}

use sealed::{Lookup, Target};

/// Looks up the addresses of a host, as [`ToSocketAddrs`] says; at least one.
///
/// # Errors
/// Those of the system's resolver.
///
/// # Examples
/// ```
/// # gort::block_on(async {
/// let mut addrs = gort::net::lookup_host("localhost:80").await?;
/// assert!(addrs.all(|addr| addr.ip().is_loopback()));
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub async fn lookup_host(
    host: impl ToSocketAddrs,
) -> io::Result<impl Iterator<Item = SocketAddr> + Send + 'static> {
    Ok(resolve(host).await?.into_iter())
}

/// The addresses of `target`, at least one.
pub(super) async fn resolve(target: impl ToSocketAddrs) -> io::Result<Vec<SocketAddr>> {
    let addrs = match target.lookup() {
        Lookup::One(addr) => vec![addr],
        Lookup::Known(addrs) => addrs,
        Lookup::Text(text) => ask_system(text).await?,
        Lookup::Host(host, port) => ask_system((host, port)).await?,
    };
    if addrs.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to use was found"));
    }
    Ok(addrs)
}

/// The first address of `target`, for datagrams.
pub(super) async fn resolve_first(target: impl ToSocketAddrs) -> io::Result<SocketAddr> {
    match target.lookup() {
        Lookup::One(addr) => Ok(addr),
        _ => Ok(resolve(target).await?[0]),
    }
}

async fn ask_system(
    target: impl std::net::ToSocketAddrs + Send + fmt::Debug + 'static,
) -> io::Result<Vec<SocketAddr>> {
    let (answer, question) = oneshot::channel();
    std::thread::Builder::new().name("gort-lookup".into()).spawn(move || {
        let addrs = target.to_socket_addrs().map(Iterator::collect);
        drop(answer.send(addrs)); // whoever asked may have gone
    })?;
    question.await.map_err(|_| io::Error::other("the name lookup panicked"))?
}

/// Tries each address in turn. The error is the last one's.
pub(super) async fn try_each<T, F>(
    addrs: Vec<SocketAddr>,
    mut attempt: impl FnMut(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut last = None;
    for addr in addrs {
        match attempt(addr).await {
            Ok(t) => return Ok(t),
            Err(e) => last = Some(e),
        }
    }
    Err(last.expect("`resolve` gives at least one address"))
}

macro_rules! known {
    ($($t:ty),*) => {$(
        impl ToSocketAddrs for $t {}
        impl Target for $t {
            fn lookup(&self) -> Lookup {
                Lookup::One((*self).into())
            }
        }
    )*};
}

known!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

impl ToSocketAddrs for [SocketAddr] {}
impl Target for [SocketAddr] {
    fn lookup(&self) -> Lookup {
        Lookup::Known(self.to_vec())
    }
}

impl ToSocketAddrs for str {}
impl Target for str {
    fn lookup(&self) -> Lookup {
        match self.parse::<SocketAddr>() {
            Ok(addr) => Lookup::One(addr),
            Err(_) => Lookup::Text(self.to_owned()),
        }
    }
}

impl ToSocketAddrs for String {}
impl Target for String {
    fn lookup(&self) -> Lookup {
        self.as_str().lookup()
    }
}

impl ToSocketAddrs for (&str, u16) {}
impl Target for (&str, u16) {
    fn lookup(&self) -> Lookup {
        match self.0.parse::<IpAddr>() {
            Ok(ip) => Lookup::One((ip, self.1).into()),
            Err(_) => Lookup::Host(self.0.to_owned(), self.1),
        }
    }
}

impl ToSocketAddrs for (String, u16) {}
impl Target for (String, u16) {
    fn lookup(&self) -> Lookup {
        (self.0.as_str(), self.1).lookup()
    }
}

impl<T: ToSocketAddrs + ?Sized + Sync> ToSocketAddrs for &T {}
impl<T: ToSocketAddrs + ?Sized + Sync> Target for &T {
    fn lookup(&self) -> Lookup {
        (**self).lookup()
    }
}
