//! TCP as it goes wrong: clear errors, nothing lost, nothing leaked.

use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use gort::net::{TcpListener, TcpStream};
use gort::time::{Instant, sleep, timeout};
use gort_tests::{
    BOUND, Child, Counts, alone, eventually, fds, for_procs, for_procs_async, is_child, returns,
    runtime, until,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use socket2::SockRef;

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(ANY).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (client, server) = join(TcpStream::connect(addr), listener.accept()).await;
    (client.unwrap(), server.unwrap().0)
}

/// Closes with a reset instead of an end.
fn reset(stream: TcpStream) {
    stream.set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// A read stops before urgent data, although there is more behind it, of which the kernel does not
/// tell again.
#[test]
fn urgent_data() {
    for_procs_async(|| async {
        let (client, mut server) = pair().await;
        let client = SockRef::from(&client);
        for _ in 0..3 {
            client.send(b"ab").unwrap();
            client.send_out_of_band(b"c").unwrap();
            client.send(b"de").unwrap();
            let mut read = [0; 4];
            timeout(BOUND, server.read_exact(&mut read)).await.expect("there is more").unwrap();
            assert_eq!(&read, b"abde");
        }
    });
}

#[test]
fn binding_a_used_port() {
    for_procs_async(|| async {
        let first = TcpListener::bind(ANY).await.unwrap();
        let addr = first.local_addr().unwrap();
        let error = TcpListener::bind(addr).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        drop(first);
        TcpListener::bind(addr).await.unwrap();
    });
}

#[test]
fn binding_a_foreign_address() {
    for_procs_async(|| async {
        // TEST-NET-1, RFC 5737.
        let error = TcpListener::bind((Ipv4Addr::new(192, 0, 2, 1), 0)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    });
}

async fn dead_port() -> SocketAddr {
    TcpListener::bind(ANY).await.unwrap().local_addr().unwrap()
}

#[test]
fn connecting_to_a_dead_port() {
    for_procs_async(|| async {
        let error = TcpStream::connect(dead_port().await).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn addresses_that_mean_nothing() {
    for_procs_async(|| async {
        assert!(TcpStream::connect("no port").await.is_err());
        assert!(TcpStream::connect("127.0.0.1:99999").await.is_err());
        assert!(TcpStream::connect("name.invalid:1").await.is_err());
        let none: &[SocketAddr] = &[];
        let error = TcpStream::connect(none).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn the_first_address_is_dead_and_the_second_alive() {
    for_procs_async(|| async {
        let listener = TcpListener::bind(ANY).await.unwrap();
        let addrs = [dead_port().await, listener.local_addr().unwrap()];
        let (client, server) = join(TcpStream::connect(&addrs[..]), listener.accept()).await;
        assert_eq!(client.unwrap().peer_addr().unwrap(), addrs[1]);
        server.unwrap();
    });
}

#[test]
fn the_peer_resets_before_and_in_the_middle_of_a_read() {
    for_procs_async(|| async {
        let (client, mut server) = pair().await;
        reset(client);
        let error = server.read(&mut [0; 4]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);

        let (client, mut server) = pair().await;
        let reader = gort::spawn(async move { server.read(&mut [0; 4]).await });
        for _ in 0..20 {
            gort::yield_now().await;
        }
        reset(client);
        let error = reader.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn the_peer_resets_a_writer_that_waits() {
    for_procs_async(|| async {
        let (mut client, server) = pair().await;
        let writer = gort::spawn(async move {
            loop {
                if let Err(error) = client.write_all(&[0; 100_000]).await {
                    return error.kind();
                }
            }
        });
        sleep(Duration::from_millis(2)).await; // the buffers are full by then, or will be
        reset(server);
        let kind = writer.await.unwrap();
        assert!([ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&kind), "{kind}");
    });
}

#[test]
fn writing_to_a_closed_peer() {
    for_procs_async(|| async {
        let (mut client, server) = pair().await;
        drop(server);
        let failed = async {
            while client.write_all(b"more").await.is_ok() {
                gort::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), failed).await.unwrap();
        assert!(client.close().await.is_ok() || client.close().await.is_err(), "no panic");
    });
}

/// Go: TestAcceptIgnoreAbortedConnRequest: a connection that is reset in the backlog does not end
/// the server.
#[test]
fn connections_that_were_reset_in_the_backlog() {
    for_procs_async(|| async {
        let listener = TcpListener::bind(ANY).await.unwrap();
        let addr = listener.local_addr().unwrap();
        for _ in 0..10 {
            reset(TcpStream::connect(addr).await.unwrap());
        }
        let mut good = TcpStream::connect(addr).await.unwrap();
        good.write_all(b"good").await.unwrap();
        let served = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut text = [0; 4];
                if stream.read_exact(&mut text).await.is_ok() {
                    return text;
                }
            }
        };
        assert_eq!(&served.await, b"good");
    });
}

/// Out of descriptors: connections wait in the backlog, and are served when others close.
#[test]
fn emfile_during_accept() {
    if is_child() {
        return exhaust();
    }
    let ended = Child::of("emfile_during_accept").run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("recovered"), "{}", ended.stderr);
}

fn exhaust() {
    let rt = runtime(2);
    rt.block_on(rt.spawn(async {
        let listener = TcpListener::bind(ANY).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let limit = fds() as u64 + 20;
        setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum: Some(limit) }).unwrap();
        let mut hoard = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            hoard.push(file);
        }
        hoard.pop();
        let mut client = TcpStream::connect(addr).await.unwrap(); // takes the last one
        let refused = TcpStream::connect(addr).await.unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(24), "EMFILE");
        let server = gort::spawn(async move { listener.accept().await.unwrap().0 });
        sleep(Duration::from_millis(30)).await;
        assert!(!server.is_finished(), "there is no descriptor to accept with");
        hoard.clear();
        let mut server = server.await.unwrap();
        client.write_all(b"recovered").await.unwrap();
        client.close().await.unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).await.unwrap();
        eprintln!("{text}");
    }))
    .unwrap();
}

#[test]
fn a_runtime_that_gets_no_descriptors_says_so() {
    if is_child() {
        let limit = Rlimit { current: Some(4), maximum: Some(4) };
        setrlimit(Resource::Nofile, limit).unwrap();
        let error = gort::Builder::new().procs(1).build().unwrap_err();
        eprintln!("refused: {error}");
        return;
    }
    let ended = Child::of("a_runtime_that_gets_no_descriptors_says_so").run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("refused: "), "{}", ended.stderr);
}

/// Sockets that outlive their runtime give errors, at once, whatever is asked of them.
#[test]
fn sockets_after_the_end_of_their_runtime() {
    let _machine = gort_tests::beside_others();
    for procs in [1, 2, 4] {
        returns("sockets after the end", move || {
            let rt = runtime(procs);
            let (mut client, server) = rt.block_on(rt.spawn(pair())).unwrap();
            let listener = rt.block_on(rt.spawn(TcpListener::bind(ANY))).unwrap().unwrap();
            let waiting = std::thread::spawn(move || {
                let mut server = server;
                let got = futures::executor::block_on(server.read(&mut [0; 4]));
                (server, got)
            });
            drop(rt);
            let (mut server, got) = waiting.join().unwrap();
            assert!(got.is_err(), "it would wait for ever");
            futures::executor::block_on(async {
                assert!(client.read(&mut [0; 4]).await.is_err());
                assert!(server.read(&mut [0; 4]).await.is_err());
                assert!(listener.accept().await.is_err());
                let _ = client.close().await;
            });
            drop((client, server, listener));
        });
    }
}

/// A socket may be made for a runtime that has ended; that is an error too.
#[test]
fn sockets_of_an_ended_runtime() {
    returns("sockets of an ended runtime", || {
        let rt = runtime(1);
        let handle = rt.handle();
        drop(rt);
        let _enter = handle.enter();
        let bound = futures::executor::block_on(TcpListener::bind(ANY));
        if let Ok(listener) = bound {
            assert!(futures::executor::block_on(listener.accept()).is_err());
        }
    });
}

/// Wakes of a socket's last waiter race its close.
#[test]
fn a_close_races_readiness() {
    for_procs_async(|| async {
        for _ in 0..300 {
            let (mut client, mut server) = pair().await;
            let reader = gort::spawn(async move {
                let mut buf = [0; 4];
                let _ = timeout(Duration::from_micros(50), server.read(&mut buf)).await;
            });
            let writer = gort::spawn(async move { client.write_all(b"x").await });
            let _ = writer.await.unwrap();
            reader.await.unwrap();
        }
    });
}

/// The waker that waits at a socket is dropped with it, or replaced by a later one.
#[test]
fn a_socket_keeps_no_waker_beyond_its_wait() {
    for_procs(|rt| {
        let (client, mut server) = rt.block_on(rt.spawn(pair())).unwrap();
        let (count, waker) = gort_tests::CountWaker::pair();
        let mut buf = [0; 4];
        let mut read = pin!(server.read(&mut buf));
        assert!(read.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        rt.block_on((&client).write_all(b"wake")).unwrap();
        eventually("the wake", || count.wakes() == 1);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(read.as_mut().poll(&mut cx), Poll::Ready(Ok(4))));
        drop(client);
        drop(server);
        eventually("no waker is kept", || std::sync::Arc::strong_count(&count) == 2);
    });
}

#[test]
fn a_connect_that_is_given_up_leaves_nothing() {
    let _machine = alone();
    let rt = runtime(1);
    eventually("the worker and sysmon have started", || Counts::now().threads >= 2);
    let before = Counts::now();
    rt.block_on(rt.spawn(async {
        for _ in 0..100 {
            // The answer, a refusal, may come at once or never be looked at.
            let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, 9)).now_or_never();
        }
    }))
    .unwrap();
    before.assert_restored();
}

/// A client that sends its request a byte at a time is cut off by the deadline of the whole; those
/// beside it are served.
#[test]
fn a_slow_loris() {
    for_procs_async(|| async {
        let (mut slow, server) = pair().await;
        let served = gort::spawn(async move {
            server.set_read_deadline(Some(Instant::now() + Duration::from_millis(20)));
            (&server).read_exact(&mut [0; 1_000]).await.unwrap_err().kind()
        });
        let (mut quick, other) = pair().await;
        let echo = gort::spawn(async move { futures::io::copy(&other, &mut &other).await });
        let mut sent = 0;
        while slow.write_all(b"x").await.is_ok() {
            quick.write_all(b"quick").await.unwrap();
            quick.read_exact(&mut [0; 5]).await.unwrap();
            sleep(Duration::from_millis(1)).await;
            sent += 1;
        }
        assert_eq!(served.await.unwrap(), ErrorKind::TimedOut, "after {sent} bytes");
        quick.close().await.unwrap();
        echo.await.unwrap().unwrap();
    });
}

/// Peers that neither read, nor write, nor end: a deadline for each direction.
#[test]
fn half_open_peers() {
    for_procs_async(|| async {
        let (mut client, _silent) = pair().await;
        let deadline = Some(Instant::now() + Duration::from_millis(10));
        client.set_read_deadline(deadline);
        client.set_write_deadline(deadline);
        assert_eq!(client.read(&mut [0; 4]).await.unwrap_err().kind(), ErrorKind::TimedOut);
        let written = client.write_all(&vec![0; 32 << 20]).await;
        assert_eq!(written.unwrap_err().kind(), ErrorKind::TimedOut);
    });
}

/// What a stream is doing when its peer resets the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Nothing,
    Reading,
    Writing,
    ReadingAfterItsEnd,
    WritingAfterThePeersEnd,
}

#[test]
fn resets_in_every_state() {
    use Doing::*;
    for_procs_async(|| async {
        for doing in [Nothing, Reading, Writing, ReadingAfterItsEnd, WritingAfterThePeersEnd] {
            let (client, mut server) = pair().await;
            if doing == ReadingAfterItsEnd {
                client.shutdown(Shutdown::Write).unwrap();
                assert_eq!(server.read(&mut [0; 4]).await.unwrap(), 0);
            }
            if doing == WritingAfterThePeersEnd {
                server.shutdown(Shutdown::Write).unwrap();
                assert_eq!((&client).read(&mut [0; 4]).await.unwrap(), 0);
            }
            let started = std::sync::Arc::new(AtomicBool::new(false));
            let starting = started.clone();
            let busy = gort::spawn(async move {
                starting.store(true, SeqCst);
                let done = match doing {
                    Nothing => Ok(()),
                    Reading | ReadingAfterItsEnd => (&client).read(&mut [0; 4]).await.map(drop),
                    _ => (&client).write_all(&vec![0; 32 << 20]).await,
                };
                (client, done)
            });
            until("it has started", || started.load(SeqCst)).await;
            reset(server);
            let (mut client, done) = busy.await.unwrap();
            let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
            if doing != Nothing {
                let error = done.unwrap_err();
                assert!(kinds.contains(&error.kind()), "{doing:?}: {error}");
            }
            // And from then on nothing waits.
            let read = client.read(&mut [0; 4]).await;
            assert!(read.is_err() || matches!(read, Ok(0)), "{doing:?}: {read:?}");
            assert!(client.write_all(b"more").await.is_err(), "{doing:?}");
            assert!(client.close_now().is_ok());
        }
    });
}

/// More buffers than a system call takes: what the kernel was not offered room for must not be
/// taken for read.
#[test]
fn a_thousand_buffers_and_more() {
    for_procs_async(|| async {
        let (client, server) = pair().await;
        let sent: Vec<u8> = (0..=255).cycle().take(5_000).collect();
        let pieces: Vec<_> = sent.chunks(1).map(IoSlice::new).collect();
        let mut written = 0;
        while written < sent.len() {
            written += (&client).write_vectored(&pieces[written..]).await.unwrap();
        }
        let mut got = Vec::new();
        while got.len() < sent.len() {
            let mut bytes = [0; 3_000];
            let mut rooms: Vec<_> = bytes.chunks_mut(1).map(IoSliceMut::new).collect();
            let n = (&server).read_vectored(&mut rooms).await.unwrap();
            got.extend_from_slice(&bytes[..n]);
        }
        assert_eq!(got, sent);
    });
}

/// Out of descriptors, and the listener is closed, or its deadline passes: the wait for better times
/// ends.
#[test]
fn emfile_during_accept_and_the_end_of_it() {
    if is_child() {
        let rt = runtime(2);
        return rt.block_on(rt.spawn(exhaust_and_close())).unwrap();
    }
    let ended = Child::of("emfile_during_accept_and_the_end_of_it").run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("ended"), "{}", ended.stderr);
}

async fn exhaust_and_close() {
    let listener = std::sync::Arc::new(TcpListener::bind(ANY).await.unwrap());
    let (client, _server) = pair().await;
    client.close_now().unwrap(); // the dead file has been made
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let limit = fds() as u64 + 20;
    setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum: Some(limit) }).unwrap();
    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    listener.set_deadline(Some(Instant::now() + Duration::from_millis(20)));
    assert_eq!(listener.accept().await.unwrap_err().kind(), ErrorKind::TimedOut);
    listener.set_deadline(None);
    let accepting = listener.clone();
    let accepting = gort::spawn(async move { accepting.accept().await.map(drop) });
    sleep(Duration::from_millis(20)).await;
    assert!(!accepting.is_finished());
    listener.close().unwrap();
    assert_eq!(accepting.await.unwrap().unwrap_err().kind(), ErrorKind::NotConnected);
    eprintln!("ended");
}
