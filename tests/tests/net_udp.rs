//! Datagrams: who gets what, what is lost, and what the errors of others do.

mod net_modes;

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;

use futures::FutureExt;
use futures::future::{join_all, poll_fn};
use gort::net::{Direction, UdpSocket};
use gort::prelude::*;
use gort::time::{Duration, Instant};
use gort_tests::{Counts, Rng, alone, for_procs_alone, until};

use net_modes::{everywhere, for_modes};

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

async fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(ANY).await.unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

/// Two sockets that are connected with each other.
async fn pair() -> (UdpSocket, UdpSocket) {
    let ((a, at_a), (b, at_b)) = (socket().await, socket().await);
    a.connect(at_b).await.unwrap();
    b.connect(at_a).await.unwrap();
    (a, b)
}

#[test]
fn echo() {
    everywhere(|| async {
        let (server, addr) = socket().await;
        let serve = gort::spawn(async move {
            let mut buf = [0; 1500];
            loop {
                let (n, from) = server.recv_from(&mut buf).await.unwrap();
                server.send_to(&buf[..n], from).await.unwrap();
            }
        });
        let (client, _) = socket().await;
        client.connect(addr).await.unwrap();
        assert_eq!(client.peer_addr().unwrap(), addr);
        for round in 0..100u8 {
            assert_eq!(client.send(&[round; 64]).await.unwrap(), 64);
            let mut answer = [0; 100];
            assert_eq!(client.recv(&mut answer).await.unwrap(), 64);
            assert_eq!(answer[..64], [round; 64]);
        }
        serve.abort();
    });
}

/// Go: TestUDPZeroBytePayload, TestUDPZeroByteBuffer.
#[test]
fn zero_length_datagrams() {
    everywhere(|| async {
        let (a, b) = pair().await;
        assert_eq!(a.send(b"").await.unwrap(), 0);
        let (n, from) = b.recv_from(&mut [0; 8]).await.unwrap();
        assert_eq!((n, from), (0, a.local_addr().unwrap()));
        // An empty buffer waits for a datagram, and takes it.
        assert!(b.recv(&mut []).now_or_never().is_none());
        a.send(b"taken").await.unwrap();
        assert_eq!(b.recv(&mut []).await.unwrap(), 0);
        assert!(b.recv(&mut [0; 8]).now_or_never().is_none());
    });
}

/// What does not fit is lost, and the next datagram is whole.
#[test]
fn datagrams_are_cut_off() {
    everywhere(|| async {
        let (a, b) = pair().await;
        a.send(b"a long one").await.unwrap();
        a.send(b"next").await.unwrap();
        let mut buf = [0; 6];
        assert_eq!(b.peek(&mut buf).await.unwrap(), 6);
        assert_eq!(b.recv(&mut buf).await.unwrap(), 6);
        assert_eq!(&buf, b"a long");
        assert_eq!(b.recv(&mut buf).await.unwrap(), 4);
        assert_eq!(&buf[..4], b"next");
    });
}

#[test]
fn too_long_a_datagram_is_an_error() {
    everywhere(|| async {
        let (a, b) = pair().await;
        assert!(a.send(&vec![0; 70_000]).await.is_err());
        a.send(b"still works").await.unwrap();
        assert_eq!(b.recv(&mut [0; 100]).await.unwrap(), 11);
    });
}

#[test]
fn peek_does_not_take() {
    everywhere(|| async {
        let (a, b) = pair().await;
        let mut buf = [0; 8];
        assert!(b.peek(&mut buf).now_or_never().is_none());
        a.send(b"look").await.unwrap();
        for _ in 0..3 {
            assert_eq!(b.peek(&mut buf).await.unwrap(), 4);
            assert_eq!(b.peek_from(&mut buf).await.unwrap(), (4, a.local_addr().unwrap()));
            assert_eq!(b.try_peek(&mut buf).unwrap(), 4);
            assert_eq!(b.try_peek_from(&mut buf).unwrap().0, 4);
        }
        assert_eq!(b.recv(&mut buf).await.unwrap(), 4);
        assert_eq!(b.try_peek(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

/// What lies there is found, whether or not the netpoller has told of it.
#[test]
fn attempts() {
    everywhere(|| async {
        let (a, b) = pair().await;
        let mut buf = [0; 8];
        assert_eq!(b.try_recv(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(a.try_send(b"one").unwrap(), 3);
        assert_eq!(b.try_recv(&mut buf).unwrap(), 3);
        let (c, at_c) = socket().await;
        assert_eq!(c.try_recv_from(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        let (d, at_d) = socket().await;
        assert_eq!(d.try_send_to(b"two", at_c).unwrap(), 3);
        assert_eq!(c.try_recv_from(&mut buf).unwrap(), (3, at_d));
        // And after it, waiting works.
        assert_eq!(c.try_recv(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        d.try_send_to(b"three", at_c).unwrap();
        assert_eq!(c.recv(&mut buf).await.unwrap(), 5);
    });
}

/// As quinn does it: wait for readiness, then try anything with the descriptor.
#[test]
fn readiness_and_attempts() {
    everywhere(|| async {
        let (a, b) = pair().await;
        assert!(b.readable().now_or_never().is_none());
        a.writable().await.unwrap();
        a.send(b"x").await.unwrap();
        b.readable().await.unwrap();
        let recv = || socket2::SockRef::from(&b).recv(&mut [std::mem::MaybeUninit::uninit(); 8]);
        assert_eq!(b.try_io(Direction::Read, recv).unwrap(), 1);
        assert_eq!(b.try_io(Direction::Read, recv).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(b.readable().now_or_never().is_none());
        let later = gort::spawn(async move {
            a.send(b"yz").await.unwrap();
            a
        });
        assert_eq!(b.async_io(Direction::Read, recv).await.unwrap(), 2);
        drop(later.await.unwrap());
        assert!(poll_fn(|cx| b.poll_send_ready(cx)).now_or_never().is_some());
        assert_eq!(b.try_recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(poll_fn(|cx| b.poll_recv_ready(cx)).now_or_never().is_none());
    });
}

/// Nobody listens: the host says so, the next operation tells, and the socket goes on.
#[test]
fn connection_refused() {
    everywhere(|| async {
        let (gone, addr) = socket().await;
        drop(gone);
        let (client, here) = socket().await;
        client.connect(addr).await.unwrap();
        client.send(b"anybody?").await.unwrap();
        let error = client.recv(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(client.take_error().unwrap().is_none());
        let back = UdpSocket::bind(addr).await.unwrap();
        client.send(b"again").await.unwrap();
        let mut buf = [0; 8];
        assert_eq!(back.recv_from(&mut buf).await.unwrap(), (5, here));
        back.send_to(b"yes", here).await.unwrap();
        assert_eq!(client.recv(&mut buf).await.unwrap(), 3);
    });
}

#[test]
fn unconnected_sockets_know_no_peer() {
    everywhere(|| async {
        let (socket, _) = socket().await;
        assert_eq!(socket.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        assert!(socket.send(b"whither?").await.is_err());
    });
}

#[test]
fn names_and_lists_of_addresses() {
    everywhere(|| async {
        let (server, addr) = socket().await;
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(b"a", ("127.0.0.1", addr.port())).await.unwrap();
        client.send_to(b"b", addr.to_string()).await.unwrap();
        client.send_to(b"c", [addr].as_slice()).await.unwrap();
        let mut buf = [0; 8];
        for letter in b"abc" {
            assert_eq!(server.recv(&mut buf).await.unwrap(), 1);
            assert_eq!(buf[0], *letter);
        }
        let none: &[SocketAddr] = &[];
        let error = client.send_to(b"d", none).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(UdpSocket::bind(addr).await.unwrap_err().kind(), ErrorKind::AddrInUse);
    });
}

#[test]
fn options() {
    everywhere(|| async {
        let (socket, _) = socket().await;
        socket.set_broadcast(true).unwrap();
        assert!(socket.broadcast().unwrap());
        socket.set_ttl(33).unwrap();
        assert_eq!(socket.ttl().unwrap(), 33);
        socket.set_multicast_ttl_v4(2).unwrap();
        assert_eq!(socket.multicast_ttl_v4().unwrap(), 2);
        socket.set_multicast_loop_v4(false).unwrap();
        assert!(!socket.multicast_loop_v4().unwrap());
        let Ok(socket) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await else {
            return; // a host without IPv6
        };
        socket.set_multicast_loop_v6(false).unwrap();
        assert!(!socket.multicast_loop_v6().unwrap());
        socket.only_v6().unwrap();
    });
}

/// A group, on the loopback interface.
#[test]
fn multicast() {
    everywhere(|| async {
        let group = Ipv4Addr::new(239, 255, 77, 77);
        let receiver = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        if receiver.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).is_err() {
            return; // a host whose loopback interface knows no groups
        }
        let (sender, _) = socket().await;
        socket2::SockRef::from(&sender).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
        let port = receiver.local_addr().unwrap().port();
        sender.send_to(b"to all", (group, port)).await.unwrap();
        assert_eq!(receiver.recv(&mut [0; 8]).await.unwrap(), 6);
        receiver.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST).unwrap();
    });
}

/// Many tasks at one socket: each datagram wakes all, and one of them has it.
#[test]
fn many_receivers() {
    const RECEIVERS: usize = 50;
    const EACH: usize = 10;
    everywhere(|| async {
        let (server, addr) = socket().await;
        let server = Arc::new(server);
        let total = Arc::new(AtomicUsize::new(0));
        let receivers: Vec<_> = (0..RECEIVERS)
            .map(|_| {
                let (server, total) = (server.clone(), total.clone());
                gort::spawn(async move {
                    for _ in 0..EACH {
                        let mut buf = [0; 8];
                        let n = server.recv(&mut buf).await.unwrap();
                        total.fetch_add(usize::from_be_bytes(buf[..n].try_into().unwrap()), SeqCst);
                    }
                })
            })
            .collect();
        let (client, _) = socket().await;
        let mut sent = 0;
        for i in 0..RECEIVERS * EACH {
            client.send_to(&i.to_be_bytes(), addr).await.unwrap();
            sent += i;
            if i % 16 == 15 {
                // Not more than the socket's buffer holds.
                until("they are received", || total.load(SeqCst) == sent).await;
            }
        }
        join_all(receivers).await.into_iter().for_each(Result::unwrap);
        assert_eq!(total.load(SeqCst), sent);
    });
}

/// A goroutine, a task and a plain thread at one socket.
#[test]
fn all_kinds_at_one_socket() {
    for_modes(|rt, _| {
        let (server, addr) = rt.block_on(socket());
        let server = Arc::new(server);
        let (task, goroutine, thread) = (server.clone(), server.clone(), server);
        let task = rt.spawn(async move { task.recv(&mut [0; 8]).await.unwrap() });
        let goroutine = rt.go(move || goroutine.recv(&mut [0; 8]).wait().unwrap());
        let thread = std::thread::spawn(move || thread.recv(&mut [0; 8]).wait().unwrap());
        let (client, _) = rt.block_on(socket());
        for _ in 0..3 {
            rt.block_on(client.send_to(b"one", addr)).unwrap();
        }
        let all = [task.wait().unwrap(), goroutine.wait().unwrap(), thread.join().unwrap()];
        assert_eq!(all, [3; 3]);
    });
}

/// Receives that are given up, at every moment, lose no datagram.
#[test]
fn dropped_receives_lose_nothing() {
    let seeds = RefCell::new(Rng::from_env());
    everywhere(|| {
        let mut rng = seeds.borrow_mut().split();
        async move {
            let (a, b) = pair().await;
            let mut buf = [0; 8];
            for round in 0..200u64 {
                if rng.one_in(2) {
                    assert!(b.recv(&mut buf).now_or_never().is_none());
                }
                a.send(&round.to_be_bytes()).await.unwrap();
                let n = loop {
                    match b.recv(&mut buf).now_or_never() {
                        Some(n) => break n.unwrap(),
                        None => gort::yield_now().await,
                    }
                };
                assert_eq!((n, u64::from_be_bytes(buf)), (8, round));
            }
        }
    });
}

#[test]
fn polling() {
    everywhere(|| async {
        let ((a, at_a), (b, at_b)) = (socket().await, socket().await);
        let mut buf = [0; 8];
        let pending = poll_fn(|cx| Poll::Ready(b.poll_recv_from(cx, &mut buf).is_pending())).await;
        assert!(pending);
        poll_fn(|cx| a.poll_send_to(cx, b"polled", at_b)).await.unwrap();
        assert_eq!(poll_fn(|cx| b.poll_peek_from(cx, &mut buf)).await.unwrap(), (6, at_a));
        assert_eq!(poll_fn(|cx| b.poll_peek(cx, &mut buf)).await.unwrap(), 6);
        assert_eq!(poll_fn(|cx| b.poll_recv_from(cx, &mut buf)).await.unwrap(), (6, at_a));
        b.connect(at_a).await.unwrap();
        poll_fn(|cx| b.poll_send(cx, b"back")).await.unwrap();
        assert_eq!(poll_fn(|cx| a.poll_recv(cx, &mut buf)).await.unwrap(), 4);
    });
}

/// Go: TestReadFromTimeout. Past, soon, and revived.
#[test]
fn read_from_timeout() {
    everywhere(|| async {
        let (a, b) = pair().await;
        let mut buf = [0; 8];
        a.send(b"there").await.unwrap();
        b.set_read_deadline(Some(Instant::now() - Duration::from_secs(1)));
        // It wins over what is there (N30).
        assert_eq!(b.recv_from(&mut buf).await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(b.try_recv(&mut buf).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(b.readable().await.unwrap_err().kind(), ErrorKind::TimedOut);
        b.send(b"writing goes on").await.unwrap();
        b.set_read_deadline(None);
        assert_eq!(b.read_deadline(), None);
        assert_eq!(b.recv_from(&mut buf).await.unwrap().0, 5);
        for _ in 0..3 {
            let soon = Instant::now() + Duration::from_millis(2);
            b.set_deadline(Some(soon));
            assert_eq!(b.recv(&mut buf).await.unwrap_err().kind(), ErrorKind::TimedOut);
            assert!(Instant::now() >= soon);
        }
    });
}

/// Go: TestWriteToTimeout.
#[test]
fn write_to_timeout() {
    everywhere(|| async {
        let (a, b) = pair().await;
        let at_b = b.local_addr().unwrap();
        a.set_write_deadline(Some(Instant::now() - Duration::from_secs(1)));
        assert_eq!(a.send(b"x").await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(a.send_to(b"x", at_b).await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(a.write_deadline().is_some() && a.read_deadline().is_none());
        a.set_write_deadline(Some(Instant::now() + Duration::from_secs(3600)));
        a.send(b"x").await.unwrap();
        assert_eq!(b.recv(&mut [0; 8]).await.unwrap(), 1);
    });
}

/// A deadline that is set while somebody waits.
#[test]
fn a_deadline_wakes_who_waits() {
    for_modes(|rt, _| {
        let (socket, _) = rt.block_on(socket());
        let socket = Arc::new(socket);
        let (task, goroutine) = (socket.clone(), socket.clone());
        let task = rt.spawn(async move { task.recv(&mut [0; 8]).await });
        let goroutine = rt.go(move || goroutine.recv(&mut [0; 8]).wait());
        rt.block_on(gort::yield_now());
        socket.set_deadline(Some(Instant::now()));
        assert_eq!(task.wait().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(goroutine.wait().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    });
}

/// Go: TestPacketConnClose.
#[test]
fn packet_conn_close() {
    for_modes(|rt, _| {
        let (socket, addr) = rt.block_on(socket());
        let socket = Arc::new(socket);
        let (task, goroutine) = (socket.clone(), socket.clone());
        let task = rt.spawn(async move { task.recv_from(&mut [0; 8]).await });
        let goroutine = rt.go(move || goroutine.recv_from(&mut [0; 8]).wait());
        rt.block_on(gort::yield_now());
        socket.close().unwrap();
        socket.close().unwrap();
        assert_eq!(task.wait().unwrap().unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(goroutine.wait().unwrap().unwrap_err().kind(), ErrorKind::NotConnected);
        let error = rt.block_on(socket.send_to(b"x", addr)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        rt.block_on(UdpSocket::bind(addr)).unwrap(); // the port is free
        let socket = Arc::into_inner(socket).unwrap();
        assert!(socket.into_std().is_err());
    });
}

#[test]
fn to_and_from_std() {
    everywhere(|| async {
        let std = std::net::UdpSocket::bind(ANY).unwrap();
        let addr = std.local_addr().unwrap();
        let socket = UdpSocket::from_std(std).unwrap();
        let (client, _) = self::socket().await;
        client.send_to(b"x", addr).await.unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 1);
        let std = socket.into_std().unwrap();
        assert_eq!(std.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let socket = UdpSocket::from_std(std).unwrap();
        client.send_to(b"yz", addr).await.unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 2);
    });
}

#[test]
fn descriptors_are_given_back() {
    let _machine = alone();
    let before = Counts::now();
    for_procs_alone(|rt| {
        let work = rt.spawn(async {
            for _ in 0..200 {
                let (a, b) = pair().await;
                assert!(b.recv(&mut [0; 8]).now_or_never().is_none());
                a.send(b"into the void").await.unwrap();
            }
        });
        rt.block_on(work).unwrap();
    });
    before.assert_restored();
}

#[test]
fn the_futures_are_send() {
    fn check<T: Send>(_: T) {}
    fn all(socket: &UdpSocket, buf: &mut [u8]) {
        check(UdpSocket::bind(ANY));
        check(socket.connect(ANY));
        check(socket.send(b""));
        check(socket.send_to(b"", ANY));
        check(socket.recv(buf));
        check(socket.recv_from(buf));
        check(socket.peek_from(buf));
        check(socket.readable());
        check(gort::net::lookup_host("localhost:80"));
    }
    let _ = all;
}
