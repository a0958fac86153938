//! Unix sockets: paths and names, streams and halves, datagrams and queues.

mod net_modes;

use std::fs;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures::future::{join, join_all};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::{FutureExt, StreamExt};
use gort::net::{Direction, UnixDatagram, UnixListener, UnixStream};
use gort::prelude::*;
use gort::time::{Duration, Instant};
use gort_tests::{Counts, alone, for_procs_alone};

use net_modes::{everywhere, for_modes};

/// A directory of the test's own, which goes with it.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("gort-{}-{}", std::process::id(), NEXT.fetch_add(1, SeqCst));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn echo() {
    everywhere(|| async {
        let dir = Dir::new();
        let path = dir.path("echo");
        let listener = UnixListener::bind(&path).unwrap();
        let server = gort::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                drop(gort::spawn(async move {
                    let _ = futures::io::copy(&stream, &mut &stream).await;
                }));
            }
        });
        let mut stream = UnixStream::connect(&path).await.unwrap();
        for round in 0..50u8 {
            AsyncWriteExt::write_all(&mut stream, &[round; 64]).await.unwrap();
            let mut answer = [0; 64];
            AsyncReadExt::read_exact(&mut stream, &mut answer).await.unwrap();
            assert_eq!(answer, [round; 64]);
        }
        stream.close().await.unwrap();
        assert_eq!(AsyncReadExt::read(&mut stream, &mut [0; 8]).await.unwrap(), 0);
        server.abort();
    });
}

/// std's traits, in goroutines.
#[test]
fn echo_in_blocking_style() {
    for_modes(|rt, _| {
        rt.run(|| {
            let (mut here, there) = UnixStream::pair().unwrap();
            let echo = gort::go(move || std::io::copy(&mut &there, &mut &there).unwrap());
            for round in 0..50u8 {
                Write::write_all(&mut here, &[round; 500]).unwrap();
                let mut back = [0; 500];
                Read::read_exact(&mut here, &mut back).unwrap();
                assert_eq!(back, [round; 500]);
            }
            here.shutdown(Shutdown::Write).unwrap();
            assert_eq!(Read::read(&mut here, &mut [0; 8]).unwrap(), 0);
            assert_eq!(echo.wait().unwrap(), 50 * 500);
        });
    });
}

/// Two hundred goroutines, each with a peer.
#[test]
fn many_readers() {
    for_modes(|rt, _| {
        let readers: Vec<_> = (0..200u8)
            .map(|i| {
                rt.go(move || {
                    let (mut here, mut there) = UnixStream::pair().unwrap();
                    let peer = gort::go(move || Write::write_all(&mut there, &[i; 3]).unwrap());
                    let mut all = Vec::new();
                    Read::read_to_end(&mut here, &mut all).unwrap();
                    peer.wait().unwrap();
                    all == [i; 3]
                })
            })
            .collect();
        assert!(readers.into_iter().all(|reader| reader.wait().unwrap()));
    });
}

#[test]
fn addresses() {
    everywhere(|| async {
        let dir = Dir::new();
        let path = dir.path("here");
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(listener.local_addr().unwrap().as_pathname().unwrap(), path);
        let (client, server) = join(UnixStream::connect(&path), listener.accept()).await;
        let (client, (server, peer)) = (client.unwrap(), server.unwrap());
        assert!(peer.is_unnamed());
        assert!(client.local_addr().unwrap().is_unnamed());
        assert_eq!(client.peer_addr().unwrap().as_pathname().unwrap(), path);
        assert_eq!(server.local_addr().unwrap().as_pathname().unwrap(), path);
        assert!(client.take_error().unwrap().is_none());
        assert!(listener.take_error().unwrap().is_none());
    });
}

/// Names without a file, of Linux.
#[test]
fn abstract_names() {
    everywhere(|| async {
        let name = format!("gort-test-{}-{:?}", std::process::id(), std::thread::current().id());
        let addr = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixListener::bind_addr(&addr).unwrap();
        listener.set_unlink_on_close(true); // means nothing here
        let (client, server) = join(UnixStream::connect_addr(&addr), listener.accept()).await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap().0);
        let theirs = client.peer_addr().unwrap();
        assert_eq!(theirs.as_abstract_name().unwrap(), name.as_bytes());
        AsyncWriteExt::write_all(&mut client, b"x").await.unwrap();
        AsyncReadExt::read_exact(&mut server, &mut [0]).await.unwrap();
        drop(listener);
        let error = UnixStream::connect_addr(&addr).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let socket = UnixDatagram::bind_addr(&addr).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        client.send_to_addr(b"one", &addr).await.unwrap();
        client.connect_addr(&addr).unwrap();
        client.send(b"three").await.unwrap();
        let mut buf = [0; 8];
        assert_eq!(socket.recv(&mut buf).await.unwrap(), 3);
        assert_eq!(socket.recv(&mut buf).await.unwrap(), 5);
    });
}

/// Go: TestUnixUnlink, with std's default: the path stays.
#[test]
fn paths_stay_or_go() {
    everywhere(|| async {
        let dir = Dir::new();
        let path = dir.path("socket");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        assert_eq!(UnixListener::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        let error = UnixStream::connect(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        fs::remove_file(&path).unwrap();
        let error = UnixStream::connect(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        for close in [false, true] {
            let listener = UnixListener::bind(&path).unwrap();
            listener.set_unlink_on_close(true);
            if close {
                listener.close().unwrap();
                assert!(!path.exists());
                fs::write(&path, "another's").unwrap();
                drop(listener); // removes once
                assert!(path.exists());
                fs::remove_file(&path).unwrap();
            } else {
                drop(listener);
                assert!(!path.exists());
            }
        }
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_unlink_on_close(true);
        drop(listener.into_std().unwrap());
        assert!(path.exists(), "it was std's");
    });
}

#[test]
fn long_paths_are_refused() {
    everywhere(|| async {
        let path = "x".repeat(200);
        assert_eq!(UnixListener::bind(&path).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(UnixDatagram::bind(&path).unwrap_err().kind(), ErrorKind::InvalidInput);
        let error = UnixStream::connect(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn credentials() {
    everywhere(|| async {
        let (a, _b) = UnixStream::pair().unwrap();
        let cred = a.peer_cred().unwrap();
        assert_eq!(cred.pid(), Some(std::process::id() as i32));
        assert_eq!(cred.uid(), rustix::process::getuid().as_raw());
        assert_eq!(cred.gid(), rustix::process::getgid().as_raw());
    });
}

#[test]
fn halves() {
    everywhere(|| async {
        let (mut client, server) = UnixStream::pair().unwrap();
        let (mut read, mut write) = server.into_split();
        AsyncWriteExt::write_all(&mut client, b"ping").await.unwrap();
        let mut buf = [0; 4];
        AsyncReadExt::read_exact(&mut read, &mut buf).await.unwrap();
        AsyncWriteExt::write_all(&mut write, b"pong").await.unwrap();
        AsyncReadExt::read_exact(&mut client, &mut buf).await.unwrap();
        assert_eq!(&buf, b"pong");
        assert!(read.as_stream().peer_cred().is_ok());

        let (other, _) = UnixStream::pair().unwrap().0.into_split();
        let error = other.reunite(write).unwrap_err();
        assert!(error.to_string().contains("same stream"));
        let server = read.reunite(error.1).unwrap();
        let (mut read, write) = server.into_split();
        drop(write);
        assert_eq!(AsyncReadExt::read(&mut client, &mut buf).await.unwrap(), 0);
        AsyncWriteExt::write_all(&mut client, b"still").await.unwrap();
        drop(client);
        let mut rest = String::new();
        AsyncReadExt::read_to_string(&mut read, &mut rest).await.unwrap();
        assert_eq!(rest, "still");
    });
}

fn send_fd(socket: &UnixStream, text: &[u8], file: &fs::File) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = [file.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
    let sent = sendmsg(socket, &[IoSlice::new(text)], &mut control, SendFlags::empty());
    assert_eq!(sent.unwrap(), text.len());
}

/// A read stops behind a message that came with a descriptor; what follows it is not forgotten.
#[test]
fn short_reads_that_leave_something() {
    everywhere(|| async {
        let (client, mut server) = UnixStream::pair().unwrap();
        // Registered and waiting, so that one event tells of all.
        assert!(AsyncReadExt::read(&mut server, &mut [0; 100]).now_or_never().is_none());
        send_fd(&client, b"with a file", &fs::File::open("/dev/null").unwrap());
        client.try_write(b"and without").unwrap();
        let mut buf = [0; 100];
        assert_eq!(AsyncReadExt::read(&mut server, &mut buf).await.unwrap(), 11);
        let rest = AsyncReadExt::read(&mut server, &mut buf);
        let rest = gort::time::timeout(Duration::from_secs(20), rest).await;
        assert_eq!(rest.expect("the rest is forgotten").unwrap(), 11);
    });
}

#[test]
fn attempts_and_readiness() {
    everywhere(|| async {
        let (a, b) = UnixStream::pair().unwrap();
        let mut buf = [0; 8];
        assert_eq!(b.try_read(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(b.readable().now_or_never().is_none());
        a.writable().await.unwrap();
        assert_eq!(a.try_write(b"now").unwrap(), 3);
        assert_eq!(b.try_read(&mut buf).unwrap(), 3);
        assert_eq!(a.try_write(b"then").unwrap(), 4);
        b.readable().await.unwrap();
        let op = || socket2::SockRef::from(&b).recv(&mut [MaybeUninit::uninit(); 8]);
        assert_eq!(b.try_io(Direction::Read, op).unwrap(), 4);
        a.try_write(b"later").unwrap();
        assert_eq!(b.async_io(Direction::Read, op).await.unwrap(), 5);
        drop(a);
        b.readable().await.unwrap();
        assert_eq!(b.try_read(&mut buf).unwrap(), 0);
        assert_eq!(b.try_write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

/// More clients than the backlog holds: they wait, and all get through.
#[test]
fn a_full_backlog_is_waited_out() {
    everywhere(|| async {
        let dir = Dir::new();
        let path = dir.path("busy");
        let socket =
            socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(1).unwrap();
        let listener = UnixListener::from_std(std::os::fd::OwnedFd::from(socket).into()).unwrap();
        let clients: Vec<_> = (0..10)
            .map(|_| {
                let path = path.clone();
                gort::spawn(async move {
                    let mut stream = UnixStream::connect(path).await.unwrap();
                    AsyncReadExt::read(&mut stream, &mut [0; 8]).await.unwrap()
                })
            })
            .collect();
        for _ in 0..10 {
            gort::yield_now().await;
        }
        let streams: Vec<_> = listener.incoming().take(10).collect().await;
        drop(streams);
        assert!(join_all(clients).await.into_iter().all(|n| n.unwrap() == 0));
    });
}

#[test]
fn datagrams() {
    everywhere(|| async {
        let dir = Dir::new();
        let (at_a, at_b) = (dir.path("a"), dir.path("b"));
        let (a, b) = (UnixDatagram::bind(&at_a).unwrap(), UnixDatagram::bind(&at_b).unwrap());
        a.send_to(b"to b", &at_b).await.unwrap();
        let mut buf = [0; 8];
        let (n, from) = b.recv_from(&mut buf).await.unwrap();
        assert_eq!((n, from.as_pathname().unwrap()), (4, &*at_a));
        b.connect(&at_a).unwrap();
        assert_eq!(b.peer_addr().unwrap().as_pathname().unwrap(), at_a);
        b.send(b"back").await.unwrap();
        assert_eq!(a.recv(&mut buf).await.unwrap(), 4);
        // Cut off, and empty ones.
        b.send(b"a long one").await.unwrap();
        b.send(b"").await.unwrap();
        assert_eq!(a.recv(&mut buf).await.unwrap(), 8);
        assert_eq!(a.recv(&mut buf).await.unwrap(), 0);
        assert_eq!(a.try_recv(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        b.try_send(b"x").unwrap();
        assert_eq!(a.try_recv_from(&mut buf).unwrap().0, 1);
        assert_eq!(UnixDatagram::bind(&at_a).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(a);
        assert_eq!(b.send(b"gone").await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let nowhere = b.send_to(b"x", dir.path("nowhere")).await.unwrap_err();
        assert_eq!(nowhere.kind(), ErrorKind::NotFound);
    });
}

/// A sender waits for room: one that is connected by the kernel's word, another one by looking again,
/// since the queue is full of others' datagrams.
#[test]
fn full_queues_are_waited_out() {
    everywhere(|| async {
        let dir = Dir::new();
        let path = dir.path("slow");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let filler = UnixDatagram::unbound().unwrap();
        filler.connect(&path).unwrap();
        let mut filled = 0;
        while filler.try_send(b"fill").is_ok() {
            filled += 1;
        }
        let connected = gort::spawn(async move { filler.send(b"more").await.unwrap() });
        let stranger = gort::spawn(async move {
            let stranger = UnixDatagram::unbound().unwrap();
            stranger.send_to(b"more", path).await.unwrap()
        });
        for _ in 0..10 {
            gort::yield_now().await;
        }
        for _ in 0..filled + 2 {
            assert_eq!(receiver.recv(&mut [0; 8]).await.unwrap(), 4);
        }
        assert_eq!((connected.await.unwrap(), stranger.await.unwrap()), (4, 4));
    });
}

/// Deadlines and closing are those of `TcpStream`; here, that they are there.
#[test]
fn deadlines_and_closing() {
    everywhere(|| async {
        let (mut a, b) = UnixStream::pair().unwrap();
        a.set_deadline(Some(Instant::now() + Duration::from_millis(2)));
        let error = AsyncReadExt::read(&mut a, &mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let error = AsyncWriteExt::write(&mut a, b"x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        a.set_deadline(None);
        AsyncWriteExt::write_all(&mut a, b"x").await.unwrap();
        b.close_now().unwrap();
        assert_eq!(b.try_read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::NotConnected);
        // It was left unread.
        let error = AsyncReadExt::read(&mut a, &mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);

        let (a, b) = UnixDatagram::pair().unwrap();
        a.set_read_deadline(Some(Instant::now()));
        assert_eq!(a.recv(&mut [0; 8]).await.unwrap_err().kind(), ErrorKind::TimedOut);
        let full = Instant::now() + Duration::from_millis(5);
        a.set_write_deadline(Some(full));
        let error = loop {
            match a.send(b"fill").await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        b.close().unwrap();
        assert_eq!(b.recv(&mut [0; 8]).await.unwrap_err().kind(), ErrorKind::NotConnected);

        let dir = Dir::new();
        let path = dir.path("listener");
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_deadline(Some(Instant::now() + Duration::from_millis(2)));
        assert_eq!(listener.accept().await.unwrap_err().kind(), ErrorKind::TimedOut);
        listener.set_deadline(None);
        let (client, server) = join(UnixStream::connect(&path), listener.accept()).await;
        drop((client.unwrap(), server.unwrap()));
        listener.close().unwrap();
        assert_eq!(listener.accept().await.unwrap_err().kind(), ErrorKind::NotConnected);
    });
}

/// A wait for room by looking again ends with the deadline, too.
#[test]
fn send_to_has_a_deadline() {
    everywhere(|| async {
        let dir = Dir::new();
        let path = dir.path("full");
        let _receiver = UnixDatagram::bind(&path).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_write_deadline(Some(Instant::now() + Duration::from_millis(5)));
        let error = loop {
            match sender.send_to(b"fill", &path).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn to_and_from_std() {
    everywhere(|| async {
        let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        let (mut a, b) = (UnixStream::from_std(a).unwrap(), UnixStream::from_std(b).unwrap());
        AsyncWriteExt::write_all(&mut a, b"x").await.unwrap();
        let mut std = b.into_std().unwrap();
        assert_eq!(Read::read(&mut std, &mut [0; 8]).unwrap(), 1);
        assert_eq!(Read::read(&mut std, &mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let (c, d) = UnixDatagram::pair().unwrap();
        let d = UnixDatagram::from_std(d.into_std().unwrap()).unwrap();
        c.send(b"yz").await.unwrap();
        assert_eq!(d.recv(&mut [0; 8]).await.unwrap(), 2);
    });
}

#[test]
fn descriptors_are_given_back() {
    let _machine = alone();
    let before = Counts::now();
    for_procs_alone(|rt| {
        let dir = Dir::new();
        let path = dir.path("listener");
        let work = rt.spawn(async move {
            let listener = UnixListener::bind(&path).unwrap();
            for _ in 0..100 {
                let (client, server) = join(UnixStream::connect(&path), listener.accept()).await;
                drop(client);
                let (mut read, write) = server.unwrap().0.into_split();
                drop(write);
                assert_eq!(AsyncReadExt::read(&mut read, &mut [0; 4]).await.unwrap(), 0);
                let (a, b) = UnixDatagram::pair().unwrap();
                assert!(a.recv(&mut [0; 4]).now_or_never().is_none());
                drop(b);
            }
        });
        rt.block_on(work).unwrap();
    });
    before.assert_restored();
}

#[test]
fn what_is_shared_is_send_and_sync() {
    fn everything<T: Send + Sync + Unpin + std::fmt::Debug + 'static>() {}
    fn future<T: Send>(_: T) {}
    everything::<UnixStream>();
    everything::<UnixListener>();
    everything::<UnixDatagram>();
    everything::<gort::net::OwnedReadHalf<UnixStream>>();
    everything::<gort::net::OwnedWriteHalf<UnixStream>>();
    everything::<gort::net::ReuniteError<UnixStream>>();
    everything::<gort::net::unix::UCred>();
    everything::<gort::net::unix::pipe::Sender>();
    everything::<gort::net::unix::pipe::Receiver>();
    everything::<gort::net::unix::pipe::OpenOptions>();
    everything::<gort::net::UdpSocket>();
    everything::<gort::net::AsyncFd<std::os::fd::OwnedFd>>();
    fn all(listener: &UnixListener, socket: &UnixDatagram, buf: &mut [u8]) {
        future(UnixStream::connect("x"));
        future(listener.accept());
        future(listener.incoming());
        future(socket.send_to(b"", "x"));
        future(socket.recv_from(buf));
    }
    let _: fn(&UnixListener, &UnixDatagram, &mut [u8]) = all;
}
