//! TCP as it should go: echo, halves, vectors, peeking, many connections, sockets on the move.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::thread;
use std::time::Duration;

use futures::future::{join, join_all};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::{FutureExt, StreamExt};
use gort::net::{TcpListener, TcpStream};
use gort::time::{sleep, timeout};
use gort_tests::{Counts, Rng, alone, for_procs, for_procs_alone, for_procs_async, runtime};

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(ANY).await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Both ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let (listener, addr) = listener().await;
    let (client, server) = join(TcpStream::connect(addr), listener.accept()).await;
    (client.unwrap(), server.unwrap().0)
}

/// Serves echoes until the listener is aborted.
fn echo_server(listener: TcpListener) -> gort::JoinHandle<()> {
    gort::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            drop(gort::spawn(async move {
                let _ = futures::io::copy(&stream, &mut &stream).await;
            }));
        }
    })
}

#[test]
fn echo() {
    for_procs_async(|| async {
        let (listener, addr) = listener().await;
        let server = echo_server(listener);
        let mut stream = TcpStream::connect(addr).await.unwrap();
        for round in 0..100u8 {
            stream.write_all(&[round; 64]).await.unwrap();
            let mut answer = [0; 64];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, [round; 64]);
        }
        stream.close().await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        server.abort();
    });
}

#[test]
fn addresses_and_options() {
    for_procs_async(|| async {
        let (client, server) = pair().await;
        assert_eq!(client.local_addr().unwrap(), server.peer_addr().unwrap());
        assert_eq!(client.peer_addr().unwrap(), server.local_addr().unwrap());
        client.set_nodelay(true).unwrap();
        assert!(client.nodelay().unwrap());
        client.set_ttl(33).unwrap();
        assert_eq!(client.ttl().unwrap(), 33);
        client.set_linger(Some(Duration::from_secs(1))).unwrap();
        assert_eq!(client.linger().unwrap(), Some(Duration::from_secs(1)));
        assert!(client.take_error().unwrap().is_none());
    });
}

#[test]
fn names_are_looked_up() {
    for_procs_async(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accept = async {
            for _ in 0..3 {
                listener.accept().await.unwrap();
            }
        };
        let connect = async {
            TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
            TcpStream::connect([([127, 0, 0, 1], port).into()].as_slice()).await.unwrap();
        };
        join(accept, connect).await;
    });
}

/// A large transfer, which fills the kernel's buffers on the way.
#[test]
fn megabytes_in_both_directions() {
    const LENGTH: usize = 4 << 20;
    for_procs_async(|| async {
        let (listener, addr) = listener().await;
        let server = echo_server(listener);
        let (mut read, mut write) = TcpStream::connect(addr).await.unwrap().into_split();
        let sent: Vec<u8> = (0..LENGTH).map(|i| ((i * 31) >> 8) as u8).collect();
        let expected = sent.clone();
        let writer = gort::spawn(async move {
            write.write_all(&sent).await.unwrap();
            write.close().await.unwrap();
        });
        let mut got = Vec::new();
        read.read_to_end(&mut got).await.unwrap();
        assert!(got == expected);
        writer.await.unwrap();
        server.abort();
    });
}

/// Half-close: the peer reads to the end and may still answer.
#[test]
fn half_close() {
    for_procs_async(|| async {
        let (mut client, mut server) = pair().await;
        client.write_all(b"question").await.unwrap();
        client.close().await.unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "question");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    });
}

/// Data and the end of the stream arrive together: the short read must not forget the end.
#[test]
fn the_end_after_a_short_read() {
    for_procs_async(|| async {
        for _ in 0..50 {
            let (mut client, mut server) = pair().await;
            let mut buf = [0; 100];
            // Registered and waiting, so that one event tells of both.
            assert!(server.read(&mut buf).now_or_never().is_none());
            client.write_all(b"last words").await.unwrap();
            client.close().await.unwrap();
            sleep(Duration::from_micros(200)).await;
            assert_eq!(server.read(&mut buf).await.unwrap(), 10);
            let end = timeout(Duration::from_secs(20), server.read(&mut buf)).await;
            assert_eq!(end.expect("the end is forgotten").unwrap(), 0);
        }
    });
}

#[test]
fn both_directions_of_shutdown() {
    for_procs_async(|| async {
        let (mut client, server) = pair().await;
        client.shutdown(Shutdown::Read).unwrap();
        assert_eq!(client.read(&mut [0; 4]).await.unwrap(), 0);
        client.shutdown(Shutdown::Write).unwrap();
        assert!(client.write(b"x").await.is_err());
        assert_eq!((&server).read(&mut [0; 4]).await.unwrap(), 0);
    });
}

/// A reader that waits is woken by a shutdown in the same process.
#[test]
fn shutdown_wakes_a_reader() {
    for_procs_async(|| async {
        let (client, _server) = pair().await;
        let client = std::sync::Arc::new(client);
        let theirs = client.clone();
        let reader = gort::spawn(async move { (&*theirs).read(&mut [0; 4]).await.unwrap() });
        for _ in 0..10 {
            gort::yield_now().await;
        }
        client.shutdown(Shutdown::Both).unwrap();
        assert_eq!(reader.await.unwrap(), 0);
    });
}

#[test]
fn borrowed_and_owned_halves() {
    for_procs_async(|| async {
        let (mut client, server) = pair().await;
        let (mut from_client, mut to_client) = server.into_split();
        let (mut read, mut write) = (&client, &client);
        let talk = async {
            write.write_all(b"ping").await.unwrap();
            let mut buf = [0; 4];
            read.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"pong");
        };
        let answer = async {
            let mut buf = [0; 4];
            from_client.read_exact(&mut buf).await.unwrap();
            to_client.write_all(b"pong").await.unwrap();
        };
        join(talk, answer).await;
        assert_eq!(from_client.as_stream().peer_addr().unwrap(), client.local_addr().unwrap());

        let (other, _) = pair().await.0.into_split();
        let error = other.reunite(to_client).unwrap_err();
        assert!(error.to_string().contains("same stream"));
        let mut server = from_client.reunite(error.1).unwrap();
        server.write_all(b"whole").await.unwrap();
        drop(server);
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "whole");
    });
}

#[test]
fn dropping_the_write_half_ends_the_direction() {
    for_procs_async(|| async {
        let (mut client, server) = pair().await;
        let (mut read, write) = server.into_split();
        drop(write);
        assert_eq!(client.read(&mut [0; 4]).await.unwrap(), 0);
        client.write_all(b"still").await.unwrap();
        drop(client);
        let mut rest = String::new();
        read.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "still");
    });
}

#[test]
fn vectored() {
    for_procs_async(|| async {
        let (mut client, mut server) = pair().await;
        let parts = [IoSlice::new(b"one"), IoSlice::new(b""), IoSlice::new(b"three")];
        assert_eq!(client.write_vectored(&parts).await.unwrap(), 8);
        let (mut a, mut b) = ([0; 2], [0; 10]);
        let mut bufs = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
        assert_eq!(server.read_vectored(&mut bufs).await.unwrap(), 8);
        assert_eq!((&a, &b[..6]), (b"on", &b"ethree"[..]));
    });
}

#[test]
fn peek_does_not_take() {
    for_procs_async(|| async {
        let (mut client, mut server) = pair().await;
        let mut buf = [0; 8];
        assert!(server.peek(&mut buf).now_or_never().is_none());
        client.write_all(b"look").await.unwrap();
        for _ in 0..3 {
            assert_eq!(server.peek(&mut buf).await.unwrap(), 4);
            assert_eq!(&buf[..4], b"look");
        }
        assert_eq!(server.peek(&mut buf[..2]).await.unwrap(), 2);
        assert_eq!(server.read(&mut buf).await.unwrap(), 4);
        assert!(server.peek(&mut buf).now_or_never().is_none());
    });
}

/// Go: TestZeroByteRead.
#[test]
fn empty_buffers() {
    for_procs_async(|| async {
        let (mut client, mut server) = pair().await;
        assert_eq!(client.write(b"").await.unwrap(), 0);
        client.write_all(b"x").await.unwrap();
        server.peek(&mut [0]).await.unwrap();
        assert_eq!(server.read(&mut []).await.unwrap(), 0);
        assert_eq!(server.read(&mut [0; 2]).await.unwrap(), 1);
    });
}

/// Reads that are given up, at every moment, lose no byte.
#[test]
fn dropped_reads_lose_nothing() {
    for_procs_async(|| async {
        let (mut client, mut server) = pair().await;
        let writer = gort::spawn(async move {
            for i in 0..2000u32 {
                client.write_all(&i.to_be_bytes()).await.unwrap();
                if i % 7 == 0 {
                    gort::yield_now().await;
                }
            }
        });
        let mut got = Vec::new();
        let mut buf = [0; 13];
        loop {
            let limit = Duration::from_nanos(u64::from(got.len() as u32 % 5000));
            match timeout(limit, server.read(&mut buf)).await {
                Ok(n) => match n.unwrap() {
                    0 => break,
                    n => got.extend_from_slice(&buf[..n]),
                },
                Err(_) => gort::yield_now().await,
            }
        }
        writer.await.unwrap();
        let expected: Vec<u8> = (0..2000u32).flat_map(u32::to_be_bytes).collect();
        assert!(got == expected);
    });
}

#[test]
fn dropped_accepts_lose_nothing() {
    for_procs_async(|| async {
        let (listener, addr) = listener().await;
        let clients = gort::spawn(join_all((0..50).map(move |i: u8| async move {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(&[i]).await.unwrap();
            stream.close().await.unwrap();
            stream
        })));
        let mut seen = Vec::new();
        while seen.len() < 50 {
            let limit = Duration::from_micros(seen.len() as u64 * 3);
            match timeout(limit, listener.accept()).await {
                Ok(accepted) => {
                    let mut byte = [0];
                    accepted.unwrap().0.read_exact(&mut byte).await.unwrap();
                    seen.push(byte[0]);
                }
                Err(_) => gort::yield_now().await,
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
        clients.await.unwrap();
    });
}

#[test]
fn several_tasks_accept_at_one_listener() {
    for_procs_async(|| async {
        let (listener, addr) = listener().await;
        let listener = std::sync::Arc::new(listener);
        let acceptors: Vec<_> = (0..4)
            .map(|_| {
                let listener = listener.clone();
                gort::spawn(async move {
                    for _ in 0..10 {
                        let (mut stream, _) = listener.accept().await.unwrap();
                        stream.write_all(b"hi").await.unwrap();
                    }
                })
            })
            .collect();
        let clients = (0..40).map(|_| async {
            let mut text = String::new();
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "hi");
        });
        join_all(clients).await;
        join_all(acceptors).await.into_iter().for_each(Result::unwrap);
    });
}

#[test]
fn incoming_is_a_stream() {
    for_procs_async(|| async {
        let (listener, addr) = listener().await;
        let clients = gort::spawn(join_all((0..10).map(move |_| TcpStream::connect(addr))));
        let streams: Vec<_> = listener.incoming().take(10).collect().await;
        assert!(streams.iter().all(Result::is_ok));
        clients.await.unwrap();
    });
}

/// One stream, a task that reads and a task that writes, and both at once.
#[test]
fn a_reader_and_a_writer_share_a_stream() {
    for_procs_async(|| async {
        let (listener, addr) = listener().await;
        let server = echo_server(listener);
        let stream = std::sync::Arc::new(TcpStream::connect(addr).await.unwrap());
        let theirs = stream.clone();
        let writer = gort::spawn(async move {
            for i in 0..500u32 {
                (&*theirs).write_all(&i.to_be_bytes()).await.unwrap();
            }
            theirs.shutdown(Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        (&*stream).read_to_end(&mut got).await.unwrap();
        assert!(got == (0..500u32).flat_map(u32::to_be_bytes).collect::<Vec<_>>());
        writer.await.unwrap();
        server.abort();
    });
}

/// S69: many sockets become ready at once.
#[test]
fn a_thousand_connections() {
    const CONNECTIONS: usize = 1000;
    let _machine = alone();
    for_procs_alone(|rt| {
        let work = rt.spawn(async {
            let (listener, addr) = listener().await;
            let server = echo_server(listener);
            let clients: Vec<_> = (0..CONNECTIONS)
                .map(|i| {
                    gort::spawn(async move {
                        let mut stream = TcpStream::connect(addr).await.unwrap();
                        let message = [i as u8; 64];
                        for _ in 0..5 {
                            stream.write_all(&message).await.unwrap();
                            let mut answer = [0; 64];
                            stream.read_exact(&mut answer).await.unwrap();
                            assert_eq!(answer, message);
                        }
                    })
                })
                .collect();
            join_all(clients).await.into_iter().for_each(Result::unwrap);
            server.abort();
        });
        rt.block_on(work).unwrap();
    });
}

#[test]
fn descriptors_are_given_back() {
    let _machine = alone();
    let before = Counts::now();
    for_procs_alone(|rt| {
        let work = rt.spawn(async {
            for _ in 0..200 {
                let (client, mut server) = pair().await;
                drop(client);
                assert_eq!(server.read(&mut [0; 4]).await.unwrap(), 0);
            }
            let (_listener, addr) = listener().await;
            for _ in 0..50 {
                drop(TcpStream::connect(addr)); // not polled
                let _ = TcpStream::connect(addr).now_or_never(); // given up in the middle
            }
        });
        rt.block_on(work).unwrap();
    });
    before.assert_restored();
}

#[test]
fn to_and_from_std() {
    for_procs_async(|| async {
        let std_listener = std::net::TcpListener::bind(ANY).unwrap();
        let addr = std_listener.local_addr().unwrap();
        let listener = TcpListener::from_std(std_listener).unwrap();
        let client = thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(addr).unwrap();
            std::io::Write::write_all(&mut stream, b"plain").unwrap();
            std::io::read_to_string(stream).unwrap()
        });
        let (stream, _) = listener.accept().await.unwrap();
        let std_stream = stream.into_std().unwrap();
        let mut stream = TcpStream::from_std(std_stream).unwrap();
        let mut buf = [0; 5];
        stream.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"plain");
        stream.write_all(b"gort").await.unwrap();
        drop(stream);
        assert_eq!(client.join().unwrap(), "gort");
        assert_eq!(listener.into_std().unwrap().local_addr().unwrap(), addr);
    });
}

/// A socket belongs to the runtime where it was made, and is used from everywhere.
#[test]
fn sockets_move_between_tasks_runtimes_and_executors() {
    for_procs(|rt| {
        let other = runtime(2);
        let (mut client, mut server) = rt.block_on(rt.spawn(pair())).unwrap();
        let work = other.spawn(async move {
            client.write_all(b"from there").await.unwrap();
            let mut buf = [0; 4];
            client.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"here");
            client
        });
        let mut buf = [0; 10];
        futures::executor::block_on(server.read_exact(&mut buf)).unwrap();
        assert_eq!(&buf, b"from there");
        rt.block_on(server.write_all(b"here")).unwrap();
        let client = other.block_on(work).unwrap();
        drop(other);
        rt.block_on(rt.spawn(async move { drop((client, server)) })).unwrap();
    });
}

/// Fairness: a ready socket has its turn beside tasks that never rest (S50, S70).
#[test]
fn sockets_are_served_beside_busy_tasks() {
    for_procs_async(|| async {
        let hogs: Vec<_> = (0..8)
            .map(|_| {
                gort::spawn(async {
                    loop {
                        gort::yield_now().await;
                    }
                })
            })
            .collect();
        let (mut client, mut server) = pair().await;
        for _ in 0..20 {
            client.write_all(b"x").await.unwrap();
            server.read_exact(&mut [0]).await.unwrap();
        }
        hogs.iter().for_each(gort::JoinHandle::abort);
    });
}

#[test]
fn random_talk() {
    let mut rng = Rng::from_env();
    let seeds = std::sync::Mutex::new((0..3).map(|_| rng.split()).collect::<Vec<_>>());
    for_procs_async(|| {
        let mut rng = seeds.lock().unwrap().pop().unwrap();
        async move {
            let (listener, addr) = listener().await;
            let server = echo_server(listener);
            let clients: Vec<_> = (0..20)
                .map(|_| {
                    let mut rng = rng.split();
                    gort::spawn(async move {
                        for _ in 0..5 {
                            let mut stream = TcpStream::connect(addr).await.unwrap();
                            for _ in 0..rng.below(20) {
                                let length = 1 + rng.below(20_000) as usize;
                                let sent = vec![rng.below(256) as u8; length];
                                stream.write_all(&sent).await.unwrap();
                                if rng.one_in(10) {
                                    break; // the answer is left in the air
                                }
                                let mut got = vec![0; length];
                                stream.read_exact(&mut got).await.unwrap();
                                assert!(got == sent);
                                if rng.one_in(3) {
                                    sleep(Duration::from_micros(rng.below(200))).await;
                                }
                            }
                        }
                    })
                })
                .collect();
            join_all(clients).await.into_iter().for_each(Result::unwrap);
            server.abort();
        }
    });
}
