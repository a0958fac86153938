//! Deadlines of sockets. The tests of Go's `net/timeout_test.go` by name, in our words: as tasks, as
//! goroutines in both modes and on plain threads.

mod time_kinds;

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use futures::future::{join, join_all};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;
use gort::time::{Duration, Instant, advance, settle, timeout};
use gort_tests::{BOUND, Rng, beside_others, for_procs, runtime, until};
use time_kinds::{HOUR, MS, SEC, paused, running};

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
const US: Duration = Duration::from_micros(1);
const NS: Duration = Duration::from_nanos(1);

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

#[expect(clippy::unnecessary_wraps, reason = "what the setters take")]
fn past() -> Option<Instant> {
    Some(Instant::now() - 5 * SEC)
}

#[expect(clippy::unnecessary_wraps, reason = "what the setters take")]
fn within(limit: Duration) -> Option<Instant> {
    Some(Instant::now() + limit)
}

async fn read(mut stream: &TcpStream) -> io::Result<usize> {
    stream.read(&mut [0; 64]).await
}

async fn write(mut stream: &TcpStream) -> io::Result<usize> {
    stream.write(b"write timeout test").await
}

#[track_caller]
fn assert_timed_out<T: std::fmt::Debug>(done: io::Result<T>) {
    assert_eq!(done.unwrap_err().kind(), ErrorKind::TimedOut);
}

#[track_caller]
fn assert_closed<T: std::fmt::Debug>(done: io::Result<T>) {
    let error = done.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected, "{error}");
}

/// It waits, for as long as anybody looks.
async fn assert_waits<T: std::fmt::Debug>(operation: impl Future<Output = io::Result<T>>) {
    if let Ok(done) = timeout(20 * MS, operation).await {
        panic!("it returned {done:?}");
    }
}

/// Go: TestAcceptTimeout. Past deadlines fail although a connection is there.
#[test]
fn accept_timeout() {
    running(async |_| {
        let (listener, addr) = listener().await;
        listener.set_deadline(within(MS));
        assert_timed_out(listener.accept().await);
        let _client = TcpStream::connect(addr).await.unwrap();
        listener.set_deadline(past());
        assert_timed_out(listener.accept().await);
        listener.set_deadline(None);
        listener.accept().await.unwrap();
    });
}

/// Go: TestAcceptTimeoutMustReturn.
#[test]
fn accept_timeout_must_return() {
    running(async |_| {
        let (listener, _) = listener().await;
        listener.set_deadline(None);
        listener.set_deadline(within(2 * MS));
        assert_timed_out(listener.accept().await);
    });
}

/// Go: TestAcceptTimeoutMustNotReturn. The deadline that is taken back does no harm.
#[test]
fn accept_timeout_must_not_return() {
    running(async |kind| {
        let (listener, _) = listener().await;
        let listener = Arc::new(listener);
        listener.set_deadline(past());
        listener.set_deadline(None);
        assert_waits(listener.accept()).await;
        let accepting = listener.clone();
        let task = kind.start(async move { accepting.accept().await });
        listener.close().unwrap();
        assert_closed(task.await.unwrap());
    });
}

/// Go: TestReadTimeout. What comes in time is read, later attempts fail, and more than once.
#[test]
fn read_timeout() {
    running(async |_| {
        let (client, server) = pair().await;
        write(&server).await.unwrap();
        client.set_read_deadline(past());
        for _ in 0..2 {
            assert_timed_out(read(&client).await);
        }
        client.set_read_deadline(within(BOUND));
        assert_eq!(read(&client).await.unwrap(), 18);
        client.set_read_deadline(within(2 * MS));
        for _ in 0..2 {
            assert_timed_out(read(&client).await);
        }
    });
}

/// Go: TestReadTimeoutMustNotReturn.
#[test]
fn read_timeout_must_not_return() {
    running(async |kind| {
        let (client, _server) = pair().await;
        let client = Arc::new(client);
        client.set_deadline(past());
        client.set_write_deadline(past());
        client.set_read_deadline(None);
        assert_waits(read(&client)).await;
        let reading = client.clone();
        let task = kind.start(async move { read(&reading).await });
        client.close_now().unwrap();
        assert_closed(task.await.unwrap());
    });
}

/// Go: TestWriteTimeout. The deadline counts although there is room.
#[test]
fn write_timeout() {
    running(async |_| {
        let (client, _server) = pair().await;
        client.set_write_deadline(past());
        for _ in 0..2 {
            assert_timed_out(write(&client).await);
        }
        client.set_write_deadline(within(2 * MS));
        let error = loop {
            match write(&client).await {
                Ok(_) => gort::yield_now().await,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_timed_out(write(&client).await);
    });
}

/// Go: TestWriteTimeoutMustNotReturn.
#[test]
fn write_timeout_must_not_return() {
    running(async |kind| {
        let (client, _server) = pair().await;
        let client = Arc::new(client);
        client.set_deadline(past());
        client.set_read_deadline(past());
        client.set_write_deadline(None);
        assert_waits((&*client).write_all(&vec![0; 32 << 20])).await;
        let writing = client.clone();
        let task = kind.start(async move { (&*writing).write_all(&vec![0; 32 << 20]).await });
        client.close_now().unwrap();
        assert_closed(task.await.unwrap());
    });
}

/// Go: TestReadTimeoutFluctuation. Never early.
#[test]
fn read_timeout_fluctuation() {
    running(async |_| {
        let (client, _server) = pair().await;
        for limit in [MS, 2 * MS, 4 * MS] {
            let start = Instant::now();
            client.set_read_deadline(Some(start + limit));
            assert_timed_out(read(&client).await);
            assert!(start.elapsed() >= limit);
        }
    });
}

/// Go: TestWriteTimeoutFluctuation.
#[test]
fn write_timeout_fluctuation() {
    running(async |_| {
        let (client, _server) = pair().await;
        for limit in [MS, 2 * MS, 4 * MS] {
            let start = Instant::now();
            client.set_write_deadline(Some(start + limit));
            let written = (&client).write_all(&vec![0; 32 << 20]).await;
            assert_timed_out(written);
            assert!(start.elapsed() >= limit);
        }
    });
}

/// Go: TestReadWriteProlongedTimeout. The deadlines are pushed forward by two tasks at once.
#[test]
fn read_write_prolonged_timeout() {
    const BYTES: usize = 200;
    running(async |kind| {
        let (client, server) = pair().await;
        let server = Arc::new(server);
        let (reading, writing) = (server.clone(), server);
        let reader = kind.start(async move {
            for _ in 0..BYTES {
                reading.set_read_deadline(within(HOUR));
                (&*reading).read_exact(&mut [0]).await.unwrap();
            }
        });
        let writer = kind.start(async move {
            for _ in 0..BYTES {
                writing.set_write_deadline(within(HOUR));
                (&*writing).write_all(&[0]).await.unwrap();
            }
        });
        for _ in 0..BYTES {
            (&client).write_all(&[0]).await.unwrap();
            (&client).read_exact(&mut [0]).await.unwrap();
        }
        reader.await.unwrap();
        writer.await.unwrap();
    });
}

/// Go: TestVariousDeadlines (1Proc, 4Proc).
#[test]
fn various_deadlines() {
    const NANOS: [u32; 11] =
        [1, 2, 50, 200, 750, 1000, 5000, 25_000, 250_000, 1_000_000, 5_000_000];
    running(async |_| {
        for limit in NANOS.map(|n| n * NS) {
            let (client, _server) = pair().await;
            client.set_deadline(within(limit));
            assert_timed_out((&client).read_to_end(&mut Vec::new()).await);
        }
    });
}

/// Go: TestReadWriteDeadlineRace, at 2 us: deadlines are moved as fast as they expire, beside a
/// reader and a writer. In the end the stream is as good as ever.
#[test]
fn read_write_deadline_race() {
    const ROUNDS: usize = 300;
    running(async |kind| {
        let (client, server) = pair().await;
        let client = Arc::new(client);
        let operations = [client.clone(), client.clone()].map(Some);
        let mut tasks = Vec::new();
        for (i, stream) in operations.into_iter().flatten().enumerate() {
            tasks.push(kind.start(async move {
                for _ in 0..ROUNDS {
                    let done = if i == 0 { read(&stream).await } else { write(&stream).await };
                    assert!(done.as_ref().err().is_none_or(|e| e.kind() == ErrorKind::TimedOut));
                    gort::yield_now().await;
                }
            }));
        }
        let moving = client.clone();
        let mover = kind.start(async move {
            while Arc::strong_count(&moving) > 2 {
                moving.set_read_deadline(within(2 * US));
                moving.set_write_deadline(within(2 * US));
                gort::yield_now().await;
            }
        });
        join_all(tasks).await.into_iter().for_each(|task| task.unwrap());
        mover.await.unwrap();
        client.set_deadline(None);
        write(&server).await.unwrap();
        assert_eq!(read(&client).await.unwrap(), 18);
    });
}

/// Go: TestConcurrentSetDeadline.
#[test]
fn concurrent_set_deadline() {
    running(async |kind| {
        let streams: Vec<_> = join_all((0..10).map(|_| pair())).await;
        let streams = Arc::new(streams);
        let setters = (0..8).map(|_| {
            let streams = streams.clone();
            kind.start(async move {
                for i in 0..50 {
                    let deadline = Some(Instant::now() + MS * i);
                    streams.iter().for_each(|(client, _)| client.set_read_deadline(deadline));
                    gort::yield_now().await;
                }
            })
        });
        join_all(setters.collect::<Vec<_>>()).await.into_iter().for_each(|set| set.unwrap());
        for (client, _) in &*streams {
            assert_timed_out(read(client).await);
        }
    });
}

/// Go: TestDialTimeout. A backlog that is full answers nobody.
#[test]
fn dial_timeout() {
    running(async |_| {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(ANY).into()).unwrap();
        socket.listen(0).unwrap();
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        let mut fill = Vec::new();
        let start = Instant::now();
        let error = loop {
            match TcpStream::connect_timeout(addr, 2 * MS).await {
                Ok(stream) => fill.push(stream),
                Err(error) => break error,
            }
            assert!(start.elapsed() < BOUND, "the backlog has no end");
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_timed_out(TcpStream::connect_timeout(addr, Duration::ZERO).await);
    });
}

/// Go: TestDialTimeoutMaxDuration.
#[test]
fn dial_timeout_max_duration() {
    running(async |_| {
        let (_listener, addr) = listener().await;
        TcpStream::connect_timeout(addr, Duration::MAX).await.unwrap();
    });
}

/// Whoever waits is woken by a deadline in the past; the other direction goes on waiting.
#[test]
fn a_past_deadline_wakes_who_waits() {
    running(async |kind| {
        let (client, server) = pair().await;
        let client = Arc::new(client);
        let started = Arc::new(AtomicUsize::new(0));
        let readers = [(); 3].map(|()| {
            let (client, started) = (client.clone(), started.clone());
            kind.start(async move {
                started.fetch_add(1, SeqCst);
                read(&client).await
            })
        });
        let writing = client.clone();
        let writer = kind.start(async move { (&*writing).write_all(&vec![7; 8 << 20]).await });
        until("they wait", || started.load(SeqCst) == 3).await;
        client.set_read_deadline(past());
        for reader in readers {
            assert_timed_out(reader.await.unwrap());
        }
        assert!(!writer.is_finished());
        (&server).read_exact(&mut vec![0; 8 << 20]).await.unwrap();
        writer.await.unwrap().unwrap();
    });
}

/// The last of several deadlines is the one that counts, whatever timers were armed for the others.
#[test]
fn only_the_last_deadline_counts() {
    running(async |_| {
        let (client, server) = pair().await;
        for earlier in [HOUR, 30 * US, MS] {
            client.set_deadline(within(earlier));
        }
        client.set_deadline(within(HOUR));
        assert_waits(read(&client)).await;
        client.set_read_deadline(within(MS));
        assert_timed_out(read(&client).await);
        assert_eq!(write(&client).await.unwrap(), 18, "the other one is an hour ahead");
        client.set_read_deadline(within(HOUR));
        write(&server).await.unwrap();
        assert_eq!(read(&client).await.unwrap(), 18);
    });
}

#[test]
fn deadlines_can_be_asked_for() {
    running(async |_| {
        let (client, _server) = pair().await;
        assert_eq!(client.read_deadline(), None);
        let (one, two) = (within(HOUR), within(2 * HOUR));
        client.set_deadline(one);
        client.set_write_deadline(two);
        assert_eq!((client.read_deadline(), client.write_deadline()), (one, two));
        client.set_deadline(None);
        assert_eq!((client.read_deadline(), client.write_deadline()), (None, None));
    });
}

/// On the test clock a deadline is exact.
#[test]
fn a_paused_clock() {
    paused(async |kind| {
        let (client, server) = pair().await;
        let client = Arc::new(client);
        let start = Instant::now();
        client.set_deadline(Some(start + HOUR));
        let reading = client.clone();
        let reader = kind.start(async move {
            let got = read(&reading).await;
            (got, Instant::now())
        });
        advance(HOUR - NS).await;
        settle().await;
        assert!(!reader.is_finished());
        client.set_read_deadline(Some(start + 2 * HOUR));
        advance(HOUR).await;
        assert!(!reader.is_finished(), "it was put off");
        assert_timed_out(write(&client).await);
        advance(HOUR).await;
        let (got, at) = reader.await.unwrap();
        assert_timed_out(got);
        assert_eq!(at, start + 2 * HOUR);
        drop(server);
    });
}

/// Threads and tasks of another runtime use the timers of the socket's own.
#[test]
fn deadlines_set_from_elsewhere() {
    for_procs(|rt| {
        let (client, _server) = rt.block_on(rt.spawn(pair())).unwrap();
        let client = Arc::new(client);
        let reading = client.clone();
        let reader = rt.spawn(async move { read(&reading).await });
        let setting = client.clone();
        thread::spawn(move || setting.set_deadline(within(MS))).join().unwrap();
        assert_timed_out(reader.wait().unwrap());

        let other = runtime(1);
        let setting = client.clone();
        let late = other.spawn(async move {
            setting.set_deadline(None);
            setting.set_deadline(within(MS));
            read(&setting).await
        });
        assert_timed_out(other.block_on(late).unwrap());
        client.set_deadline(within(HOUR)); // and armed when it is dropped
    });
}

#[test]
fn deadlines_after_the_end_of_the_runtime() {
    let _machine = beside_others();
    for procs in [1, 2, 4] {
        let rt = runtime(procs);
        let (client, server) = rt.block_on(rt.spawn(pair())).unwrap();
        client.set_deadline(within(HOUR));
        drop(rt);
        for stream in [client, server] {
            stream.set_deadline(within(MS));
            stream.set_deadline(past());
            assert!(futures::executor::block_on(read(&stream)).is_err());
        }
    }
}

/// Data and deadlines at random: every byte arrives once, in order, whatever expired in between.
#[test]
fn expiry_loses_nothing() {
    let rng = std::sync::Mutex::new(Rng::from_env());
    running(|kind| {
        let mut rng = rng.lock().unwrap().split();
        async move {
            let (client, server) = pair().await;
            let writer = kind.start(async move {
                for byte in 0..200u8 {
                    (&server).write_all(&[byte]).await.unwrap();
                    gort::yield_now().await;
                }
                server
            });
            let mut got = Vec::new();
            while got.len() < 200 {
                client.set_read_deadline(within(US * rng.below(60) as u32));
                let mut buf = [0; 7];
                match (&client).read(&mut buf).await {
                    Ok(n) => got.extend_from_slice(&buf[..n]),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut),
                }
                gort::yield_now().await;
            }
            assert!(got.into_iter().eq(0..200));
            drop(writer.await.unwrap());
        }
    });
}
