//! Closing a socket that others use: they get errors, the kernel's socket goes at once, and no number
//! of a descriptor means two files. Go: `net/net_test.go`, `os/fd_race_test.go` and
//! `net/file_test.go`, by name and in our words.

mod time_kinds;

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

use futures::future::{join, join_all};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;
use gort::time::{Duration, timeout};
use gort_tests::{Child, Counts, Rng, alone, eventually, is_child, runtime, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use time_kinds::running;

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(ANY).await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

async fn pair() -> (TcpStream, TcpStream) {
    let (listener, addr) = listener().await;
    let (client, server) = join(TcpStream::connect(addr), listener.accept()).await;
    (client.unwrap(), server.unwrap().0)
}

async fn read(mut stream: &TcpStream) -> io::Result<usize> {
    stream.read(&mut [0; 64]).await
}

async fn write(mut stream: &TcpStream) -> io::Result<usize> {
    stream.write(b"text").await
}

#[track_caller]
fn assert_closed<T: std::fmt::Debug>(done: io::Result<T>) {
    let error = done.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected, "{error}");
    assert_eq!(error.to_string(), "use of closed network connection");
}

/// Go: TestCloseRead.
#[test]
fn close_read() {
    running(async |_| {
        let (client, _server) = pair().await;
        client.shutdown(Shutdown::Read).unwrap();
        assert_eq!(read(&client).await.unwrap(), 0, "the end");
    });
}

/// Go: TestCloseWrite. Both directions end one after the other; then writing is an error.
#[test]
fn close_write() {
    running(async |kind| {
        let (client, server) = pair().await;
        let server = kind.start(async move {
            assert_eq!(read(&server).await.unwrap(), 0, "the client's end");
            server.shutdown(Shutdown::Write).unwrap();
            assert_eq!(write(&server).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
            server
        });
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read(&client).await.unwrap(), 0, "the server's end");
        assert_eq!(write(&client).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        server.await.unwrap();
    });
}

/// Go: TestConnClose. All that comes later fails.
#[test]
fn conn_close() {
    running(async |_| {
        let (client, server) = pair().await;
        client.close_now().unwrap();
        assert_closed(read(&client).await);
        assert_closed(write(&client).await);
        assert_closed((&client).read(&mut []).await);
        assert_closed(client.peek(&mut [0]).await);
        assert_closed(client.readable().await);
        assert_closed(client.try_read(&mut [0]));
        assert_closed(client.try_write(b"text"));
        assert!(client.local_addr().is_err());
        client.set_deadline(Some(gort::time::Instant::now()));
        assert_closed(read(&client).await);
        client.close_now().unwrap();
        assert_eq!(read(&server).await.unwrap(), 0, "the peer sees the end");
        assert_closed(client.into_std());
    });
}

/// Go: TestListenerClose. The port is free.
#[test]
fn listener_close() {
    running(async |_| {
        let (listener, addr) = listener().await;
        let waiting = TcpStream::connect(addr).await.unwrap();
        listener.close().unwrap();
        assert_closed(listener.accept().await);
        listener.close().unwrap();
        let error = TcpStream::connect(addr).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(!matches!(read(&waiting).await, Ok(1..)), "a reset, or the end");
        TcpListener::bind(addr).await.unwrap();
    });
}

/// Go: TestCloseUnblocksRead, and the same for writes and accepts, several at once.
#[test]
fn close_unblocks() {
    running(async |kind| {
        let (listener, _) = listener().await;
        let (client, server) = pair().await;
        let (listener, client) = (Arc::new(listener), Arc::new(client));
        let started = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        for i in 0..9 {
            let (listener, client, started) = (listener.clone(), client.clone(), started.clone());
            tasks.push(kind.start(async move {
                started.fetch_add(1, SeqCst);
                match i % 3 {
                    0 => listener.accept().await.map(drop),
                    1 => read(&client).await.map(drop),
                    _ => (&*client).write_all(&vec![0; 16 << 20]).await,
                }
            }));
        }
        until("they have started", || started.load(SeqCst) == 9).await;
        thread::spawn(move || {
            listener.close().unwrap();
            client.close_now().unwrap();
        })
        .join()
        .unwrap();
        for task in tasks {
            assert_closed(task.await.unwrap());
        }
        drop(server);
    });
}

/// Go: TestZeroByteRead. Done at once, whether or not something is there.
#[test]
fn zero_byte_read() {
    running(async |_| {
        let (client, server) = pair().await;
        assert_eq!((&client).read(&mut []).await.unwrap(), 0);
        assert_eq!((&client).read_vectored(&mut []).await.unwrap(), 0);
        write(&server).await.unwrap();
        assert_eq!((&client).read(&mut []).await.unwrap(), 0);
        assert_eq!((&client).write(&[]).await.unwrap(), 0);
        assert_eq!(read(&client).await.unwrap(), 4);
    });
}

/// Go: TestFdRace. Descriptors are borrowed and used while others close.
#[test]
fn fd_race() {
    running(async |kind| {
        for _ in 0..10 {
            let (client, _server) = pair().await;
            let client = Arc::new(client);
            let tasks = (0..10).map(|i| {
                let client = client.clone();
                kind.start(async move {
                    for _ in 0..5 {
                        let number = client.as_fd().as_raw_fd();
                        let copy = client.as_fd().try_clone_to_owned().unwrap();
                        assert_ne!(copy.as_raw_fd(), number);
                        if i == 7 {
                            client.close_now().unwrap();
                        }
                        gort::yield_now().await;
                    }
                })
            });
            join_all(tasks.collect::<Vec<_>>()).await.into_iter().for_each(|task| task.unwrap());
            assert_closed(read(&client).await);
        }
    });
}

/// Go: TestFileCloseRace, at the number: what is opened after a close gets another one, so that who
/// still holds the socket cannot read it.
#[test]
fn the_number_stays_taken() {
    running(async |_| {
        let (client, server) = pair().await;
        let number = client.as_raw_fd();
        client.close_now().unwrap();
        let files = [(); 20].map(|()| File::open("/proc/self/exe").unwrap());
        assert!(files.iter().all(|file| file.as_raw_fd() != number));
        assert_eq!(client.as_raw_fd(), number);
        assert_eq!(socket2::SockRef::from(&client).r#type().unwrap_err().raw_os_error(), Some(9));
        drop(server);
    });
}

/// Readers, writers and closers of one stream, at random: whoever comes too late is told so, and
/// nobody waits for ever.
#[test]
fn close_races_everything() {
    running(async |kind| {
        for round in 0..30 {
            let (client, server) = pair().await;
            let client = Arc::new(client);
            let tasks = (0..6).map(|i| {
                let client = client.clone();
                kind.start(async move {
                    for _ in 0..(i * 7 + round) % 5 {
                        gort::yield_now().await;
                    }
                    loop {
                        let done = match i {
                            0..3 => read(&client).await,
                            3 | 4 => write(&client).await,
                            _ => client.close_now().map(|()| 1),
                        };
                        match done {
                            Ok(0) => panic!("the peer has not ended"),
                            Ok(_) if i == 5 => return,
                            Ok(_) => {}
                            Err(_) => return assert_closed(done),
                        }
                    }
                })
            });
            let tasks: Vec<_> = tasks.collect();
            let peer = kind.start(async move {
                while write(&server).await.is_ok() && read(&server).await.is_ok_and(|n| n > 0) {}
            });
            join_all(tasks).await.into_iter().for_each(|task| task.unwrap());
            peer.await.unwrap();
        }
    });
}

/// A close while the process has no descriptor for the dead file.
#[test]
fn a_close_that_gets_no_descriptor() {
    if is_child() {
        return close_without_descriptors();
    }
    let ended = Child::of("a_close_that_gets_no_descriptor").run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("closed"), "{}", ended.stderr);
}

fn close_without_descriptors() {
    let rt = runtime(2);
    rt.block_on(rt.spawn(async {
        let (client, server) = pair().await;
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(0), maximum }).unwrap();
        assert_eq!(client.close_now().unwrap_err().raw_os_error(), Some(24), "EMFILE");
        assert_closed(read(&client).await);
        assert_eq!(read(&server).await.unwrap(), 0, "it is shut down");
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
        client.close_now().unwrap();
        assert_closed(read(&client).await);
        eprintln!("closed");
    }))
    .unwrap();
}

/// A descriptor, and a slot of the netpoller, that are used again and again while readers of the
/// former owners are still about: no event and no byte reaches a stranger (T13, T15).
#[test]
fn reuse_under_churn() {
    running(async |kind| {
        let (listener, addr) = listener().await;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let server = kind.start(async move {
            let mut echoes = Vec::new();
            while !stopping.load(SeqCst) {
                let (stream, _) = listener.accept().await.unwrap();
                echoes.push(kind.start(async move {
                    let _ = futures::io::copy(&stream, &mut &stream).await;
                }));
            }
            join_all(echoes).await.into_iter().for_each(|echo| echo.unwrap());
        });
        let clients = (0..4u8).map(|tag| kind.start(churn(addr, tag)));
        join_all(clients.collect::<Vec<_>>()).await.into_iter().for_each(|client| client.unwrap());
        stop.store(true, SeqCst);
        drop(TcpStream::connect(addr).await.unwrap());
        server.await.unwrap();
    });
}

async fn churn(addr: SocketAddr, tag: u8) {
    for round in 0..40u8 {
        let stream = Arc::new(TcpStream::connect(addr).await.unwrap());
        let mark = [tag, round, !tag, !round];
        (&*stream).write_all(&mark).await.unwrap();
        let mut got = [0; 4];
        (&*stream).read_exact(&mut got).await.unwrap();
        assert_eq!(got, mark, "a stranger's bytes");
        let late = stream.clone();
        let late = gort::spawn(async move { read(&late).await });
        if round % 2 == 0 {
            gort::yield_now().await;
        }
        stream.close_now().unwrap();
        drop(stream);
        assert_closed(late.await.unwrap());
    }
}

/// Connections by the thousand, opened, used and torn down in every way at random: nothing is lost,
/// no descriptor and no thread is leaked.
#[test]
fn random_connections() {
    random_connections_for(2_000, Duration::from_secs(3));
}

/// The long form, for a minute: `cargo test --release --test net_close -- --ignored`.
#[test]
#[ignore = "takes a minute"]
fn ten_thousand_random_connections() {
    random_connections_for(10_000, Duration::from_secs(60));
}

/// Rounds of up to 500 connections at once, until there have been `connections` and the time is over;
/// the short form stops when either is.
fn random_connections_for(connections: usize, time: Duration) {
    let _machine = alone();
    let mut rng = Rng::from_env();
    let rt = runtime(4);
    rt.block_on(rt.spawn(async {
        let (client, _server) = pair().await;
        client.close_now().unwrap(); // the dead file has been made
    }))
    .unwrap();
    eventually("the workers have started", || Counts::now().threads >= 2);
    let before = Counts { threads: 64, ..Counts::now() };
    let start = std::time::Instant::now();
    let mut made = 0;
    let long = connections >= 10_000;
    while if long {
        made < connections || start.elapsed() < time
    } else {
        made < connections && start.elapsed() < time
    } {
        let seeds: Vec<_> = (0..500).map(|_| rng.split()).collect();
        made += seeds.len();
        rt.block_on(rt.spawn(async move {
            let (listener, addr) = listener().await;
            let listener = Arc::new(listener);
            let acceptor = listener.clone();
            let server = gort::go(move || serve(&acceptor));
            let clients = seeds.into_iter().map(|rng| gort::spawn(client(addr, rng)));
            let clients: Vec<_> = clients.collect();
            join_all(clients).await.into_iter().for_each(|client| client.unwrap());
            listener.close().unwrap();
            for served in server.await.unwrap() {
                served.await.unwrap();
            }
        }))
        .unwrap();
    }
    eprintln!("{made} connections in {:?}", start.elapsed());
    before.assert_restored();
    assert!(rt.shutdown_timeout(gort_tests::BOUND));
}

/// Echoes, each connection in a goroutine, until the listener is closed.
fn serve(listener: &TcpListener) -> Vec<gort::JoinHandle<()>> {
    let mut served = Vec::new();
    loop {
        match listener.accept().wait() {
            Ok((stream, _)) => {
                served.push(gort::go(move || drop(io::copy(&mut &stream, &mut &stream))));
            }
            Err(_) => return served,
        }
    }
}

async fn client(addr: SocketAddr, mut rng: Rng) {
    let stream = Arc::new(TcpStream::connect(addr).await.unwrap());
    let reader = {
        let stream = stream.clone();
        gort::spawn(async move {
            let mut all = Vec::new();
            let ended = (&*stream).read_to_end(&mut all).await.map(drop);
            (all, ended)
        })
    };
    let sent: Vec<u8> = (0..rng.below(3_000)).map(|_| rng.below(256) as u8).collect();
    (&*stream).write_all(&sent).await.unwrap();
    let end = rng.below(5);
    match end {
        0 => stream.shutdown(Shutdown::Write).unwrap(),
        1 => stream.close_now().unwrap(),
        2 => {
            stream.set_linger(Some(Duration::ZERO)).unwrap();
            stream.close_now().unwrap();
        }
        3 => stream.set_deadline(Some(gort::time::Instant::now())),
        _ => reader.abort(),
    }
    drop(stream);
    match (end, reader.await) {
        (4, aborted) => assert!(aborted.is_ok() || aborted.unwrap_err().is_cancelled()),
        (0, read) => {
            let (all, ended) = read.unwrap();
            ended.unwrap();
            assert_eq!(all, sent, "bytes were lost");
        }
        (_, read) => {
            let (all, ended) = read.unwrap();
            assert!(ended.is_err());
            assert!(sent.starts_with(&all));
        }
    }
}

/// A wait for a socket that nobody has closed goes on.
#[test]
fn a_close_is_nobody_elses_business() {
    running(async |_| {
        let (client, server) = pair().await;
        let (other, _third) = pair().await;
        other.close_now().unwrap();
        assert!(timeout(Duration::from_millis(5), read(&client)).await.is_err());
        write(&server).await.unwrap();
        assert_eq!(read(&client).await.unwrap(), 4);
    });
}
