//! Sockets in blocking style: `std::io::{Read, Write}` in goroutines, and beside futures.

mod go_modes;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;
use gort::time::timeout;
use gort::{JoinHandle, Runtime};
use gort_tests::{Counts, Probe, alone, eventually};

use go_modes::{MODES, check, for_modes};

/// A server that echoes, one goroutine per connection, until it is aborted.
fn echo_server(rt: &Runtime) -> (SocketAddr, JoinHandle<()>) {
    let listener = rt.run(|| TcpListener::bind("127.0.0.1:0").wait().unwrap());
    let addr = listener.local_addr().unwrap();
    let server = rt.go(move || {
        loop {
            let (stream, _) = listener.accept().wait().unwrap();
            drop(gort::go(move || io::copy(&mut &stream, &mut &stream)));
        }
    });
    (addr, server)
}

fn stop(server: JoinHandle<()>) {
    server.abort();
    assert!(server.wait().unwrap_err().is_cancelled());
}

#[test]
fn echo_over_two_hundred_connections() {
    const CONNECTIONS: usize = 200;
    let _machine = alone();
    for mode in MODES {
        for procs in [1, 2, 4] {
            check(mode, procs, |rt, _| {
                let (addr, server) = echo_server(rt);
                let clients: Vec<_> = (0..CONNECTIONS)
                    .map(|i| {
                        rt.go(move || {
                            let mut stream = TcpStream::connect(addr).wait().unwrap();
                            for round in 0..5 {
                                let text = [(i + round) as u8; 500];
                                stream.write_all(&text).unwrap();
                                let mut back = [0; 500];
                                stream.read_exact(&mut back).unwrap();
                                assert_eq!(text, back);
                            }
                            stream.shutdown(Shutdown::Write).unwrap();
                            assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
                        })
                    })
                    .collect();
                clients.into_iter().for_each(|client| client.wait().unwrap());
                stop(server);
            });
        }
    }
}

/// More than the socket's buffers hold, so that both sides park in the middle of a write.
#[test]
fn a_long_transfer() {
    const BYTES: usize = 4 << 20;
    for_modes(|rt, _| {
        let (addr, server) = echo_server(rt);
        let stream = Arc::new(rt.block_on(TcpStream::connect(addr)).unwrap());
        let writing = stream.clone();
        let writer = rt.go(move || {
            let block: Vec<u8> = (0..=250).cycle().take(BYTES).collect();
            (&*writing).write_all(&block).unwrap();
            (&*writing).flush().unwrap();
            writing.shutdown(Shutdown::Write).unwrap();
        });
        let reader = rt.go(move || {
            let mut all = Vec::new();
            (&*stream).read_to_end(&mut all).unwrap();
            all
        });
        writer.wait().unwrap();
        let all = reader.wait().unwrap();
        assert!(all.into_iter().eq((0..=250).cycle().take(BYTES)));
        stop(server);
    });
}

/// One connection: a future reads it, a goroutine writes it, and the other way round.
#[test]
fn a_future_and_a_goroutine_on_one_connection() {
    for_modes(|rt, _| {
        let (addr, server) = echo_server(rt);
        for future_reads in [false, true] {
            let stream = Arc::new(rt.block_on(TcpStream::connect(addr)).unwrap());
            let other = stream.clone();
            if future_reads {
                let reader = rt.spawn(async move {
                    let mut back = [0; 1_000];
                    futures::AsyncReadExt::read_exact(&mut &*other, &mut back).await.unwrap();
                    back
                });
                let writer = rt.go(move || {
                    for _ in 0..100 {
                        (&*stream).write_all(b"0123456789").unwrap();
                        gort::yield_now().wait();
                    }
                });
                writer.wait().unwrap();
                assert_eq!(reader.wait().unwrap()[990..], *b"0123456789");
            } else {
                let reader = rt.go(move || {
                    let mut back = [0; 1_000];
                    Read::read_exact(&mut &*other, &mut back).unwrap();
                    back
                });
                let writer = rt.spawn(async move {
                    for _ in 0..100 {
                        futures::AsyncWriteExt::write_all(&mut &*stream, b"0123456789")
                            .await
                            .unwrap();
                        gort::yield_now().await;
                    }
                });
                writer.wait().unwrap();
                assert_eq!(reader.wait().unwrap()[990..], *b"0123456789");
            }
        }
        stop(server);
    });
}

/// The traits of std block a plain thread too.
#[test]
fn on_a_plain_thread() {
    for_modes(|rt, _| {
        let (addr, server) = echo_server(rt);
        let mut stream = rt.block_on(TcpStream::connect(addr)).unwrap();
        let entered = rt.enter();
        stream.write_all(b"plain").unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"plain");
        drop(entered);
        drop(stream);
        stop(server);
    });
}

#[test]
fn an_abort_ends_a_read() {
    for_modes(|rt, _| {
        let (addr, server) = echo_server(rt);
        let probe = Probe::new();
        let guard = probe.future();
        let arrived = Arc::new(AtomicUsize::new(0));
        let theirs = arrived.clone();
        let reader = rt.go(move || {
            let _guard = guard;
            let mut stream = TcpStream::connect(addr).wait().unwrap();
            theirs.fetch_add(1, SeqCst);
            stream.read(&mut [0; 8])
        });
        eventually("it reads", || arrived.load(SeqCst) == 1);
        reader.abort();
        assert!(reader.wait().unwrap_err().is_cancelled());
        assert_eq!(probe.drops(), 1);
        stop(server);
    });
}

#[test]
fn a_read_with_a_bound() {
    for_modes(|rt, _| {
        let (addr, server) = echo_server(rt);
        rt.run(move || {
            let mut stream = TcpStream::connect(addr).wait().unwrap();
            let mut buf = [0; 4];
            let read = futures::AsyncReadExt::read(&mut stream, &mut buf);
            assert!(timeout(Duration::from_millis(1), read).wait().is_err());
            stream.write_all(b"late").unwrap();
            Read::read_exact(&mut stream, &mut buf).unwrap();
            assert_eq!(&buf, b"late");
        });
        stop(server);
    });
}

/// Connections whose peers vanish, in the middle of this or that: each goroutine gets an error or
/// an end, and nothing stays behind.
#[test]
fn two_thousand_peers_vanish() {
    const CONNECTIONS: usize = 2_000;
    const AT_ONCE: usize = 200;
    let _machine = alone();
    for mode in MODES {
        let counts = Counts::now();
        check(mode, 2, |rt, _| {
            let listener = rt.run(|| TcpListener::bind("127.0.0.1:0").wait().unwrap());
            let addr = listener.local_addr().unwrap();
            let ended = Arc::new(AtomicUsize::new(0));
            let theirs = ended.clone();
            let server = rt.go(move || {
                for _ in 0..CONNECTIONS {
                    let (mut stream, _) = listener.accept().wait().unwrap();
                    let ended = theirs.clone();
                    drop(gort::go(move || {
                        let mut buf = [0; 64];
                        loop {
                            match stream.read(&mut buf) {
                                Ok(0) => break,
                                Ok(n) => match stream.write_all(&buf[..n]) {
                                    Ok(()) => {}
                                    Err(e) if e.kind() == ErrorKind::BrokenPipe => break,
                                    Err(e) if e.kind() == ErrorKind::ConnectionReset => break,
                                    Err(e) => panic!("{e}"),
                                },
                                Err(e) if e.kind() == ErrorKind::ConnectionReset => break,
                                Err(e) => panic!("{e}"),
                            }
                        }
                        ended.fetch_add(1, SeqCst);
                    }));
                }
            });
            for batch in 0..CONNECTIONS / AT_ONCE {
                let peers: Vec<_> = (0..AT_ONCE)
                    .map(|i| {
                        rt.go(move || {
                            let mut stream = TcpStream::connect(addr).wait().unwrap();
                            match (i + batch) % 4 {
                                0 => {}
                                1 => stream.set_linger(Some(Duration::ZERO)).unwrap(),
                                2 => stream.write_all(b"and gone").unwrap(),
                                _ => {
                                    stream.write_all(b"gone with a reset").unwrap();
                                    stream.set_linger(Some(Duration::ZERO)).unwrap();
                                }
                            }
                        })
                    })
                    .collect();
                peers.into_iter().for_each(|peer| peer.wait().unwrap());
            }
            server.wait().unwrap();
            eventually("all have ended", || ended.load(SeqCst) == CONNECTIONS);
            eventually("none is left", || rt.handle().metrics().goroutines == 0);
        });
        counts.assert_restored();
    }
}
