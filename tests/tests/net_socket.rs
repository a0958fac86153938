//! `Socket`: options before bind and connect.

mod net_modes;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures::future::join;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use gort::net::{Socket, TcpListener, TcpStream};
use socket2::SockRef;

use net_modes::everywhere;

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

#[test]
fn a_connection() {
    everywhere(|| async {
        let listener = Socket::new().listen("localhost:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let socket = Socket::new()
            .nodelay(true)
            .keepalive(Some(Duration::from_secs(60)))
            .linger(Some(Duration::from_secs(1)))
            .ttl(33);
        let (client, server) = join(socket.connect(addr), listener.accept()).await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap().0);
        assert!(client.nodelay().unwrap() && client.keepalive().unwrap());
        assert_eq!(client.linger().unwrap(), Some(Duration::from_secs(1)));
        client.write_all(b"hello").await.unwrap();
        server.read_exact(&mut [0; 5]).await.unwrap();
        if addr.is_ipv4() {
            assert_eq!(client.ttl().unwrap(), 33);
        }
    });
}

#[test]
fn the_end_to_connect_from() {
    everywhere(|| async {
        let listener = TcpListener::bind(ANY).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let local = Ipv4Addr::new(127, 0, 0, 3); // also this host
        let socket = Socket::new().local_addr((local, 0).into());
        let (client, server) = join(socket.connect(addr), listener.accept()).await;
        let local = client.unwrap().local_addr().unwrap();
        assert_eq!(local.ip(), Ipv4Addr::new(127, 0, 0, 3));
        assert_eq!(server.unwrap().1, local);
        let wrong = Socket::new().local_addr((Ipv6Addr::LOCALHOST, 0).into());
        assert!(wrong.connect(addr).await.is_err());
    });
}

#[test]
fn refused() {
    everywhere(|| async {
        let gone = TcpListener::bind(ANY).await.unwrap().local_addr().unwrap();
        let error = Socket::new().connect(gone).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

/// Two listeners at one address, which both get connections in the end.
#[test]
fn reuse_port() {
    everywhere(|| async {
        let socket = Socket::new().reuse_port(true).backlog(64);
        let one = socket.listen(ANY).await.unwrap();
        let addr = one.local_addr().unwrap();
        let error = TcpListener::bind(addr).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let two = socket.listen(addr).await.unwrap();
        let mut accepted = [0, 0];
        while accepted.contains(&0) {
            let client = TcpStream::connect(addr);
            let server = futures::future::select(Box::pin(one.accept()), Box::pin(two.accept()));
            let (client, which) = join(client, server).await;
            client.unwrap();
            accepted[usize::from(matches!(which, futures::future::Either::Right(_)))] += 1;
        }
        let datagrams = Socket::new().reuse_port(true);
        let one = datagrams.udp(ANY).await.unwrap();
        datagrams.udp(one.local_addr().unwrap()).await.unwrap();
        let error = Socket::new().udp(one.local_addr().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    });
}

#[test]
fn buffers() {
    everywhere(|| async {
        let socket = Socket::new().recv_buffer_size(32 << 10).send_buffer_size(16 << 10);
        let udp = socket.udp(ANY).await.unwrap();
        let at_least = SockRef::from(&udp).recv_buffer_size().unwrap();
        assert!((32 << 10..=128 << 10).contains(&at_least));
        let at_least = SockRef::from(&udp).send_buffer_size().unwrap();
        assert!((16 << 10..=64 << 10).contains(&at_least));
    });
}

#[test]
fn only_v6() {
    everywhere(|| async {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        for only in [false, true] {
            let Ok(socket) = Socket::new().only_v6(only).udp(any).await else {
                return; // a host without IPv6
            };
            assert_eq!(socket.only_v6().unwrap(), only);
            let port = socket.local_addr().unwrap().port();
            let sender = Socket::new().only_v6(true).udp(ANY).await.unwrap(); // means nothing here
            sender.connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
            sender.send(b"x").await.unwrap();
            if only {
                let error = sender.recv(&mut [0]).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            } else {
                assert_eq!(socket.recv(&mut [0]).await.unwrap(), 1);
            }
        }
    });
}

#[test]
fn unknown_devices_are_refused() {
    everywhere(|| async {
        assert!(Socket::new().bind_device("no-such-device").udp(ANY).await.is_err());
    });
}

#[test]
fn it_is_send_and_sync() {
    fn everything<T: Send + Sync + Unpin + std::fmt::Debug + Clone + 'static>(_: &T) {}
    fn future<T: Send>(_: T) {}
    let socket = Socket::new();
    everything(&socket);
    future(socket.connect(ANY));
    future(socket.listen(ANY));
    future(socket.udp(ANY));
}
