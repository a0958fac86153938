//! quinn on gort: many connections, timers that are put off again and again, and lost datagrams.

#[allow(dead_code)] // the test has its own clients
#[path = "../examples/quic_echo.rs"]
mod quic_echo;

use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use gort::compat::quinn::GortRuntime;
use gort::prelude::*;
use gort::time::advance;
use gort_tests::{BOUND, Counts, Rng, Watchdog, alone, for_procs, for_procs_alone};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{
    AsyncTimer, AsyncUdpSocket, ClientConfig, Connection, ConnectionError, Endpoint, Runtime,
    TransportConfig, UdpPoller,
};

use quic_echo::{ask, configs, endpoint, serve};

/// A server that runs, and an endpoint for its clients, both on `runtime`. They end with that:
/// a proper end takes three times as long as quinn thinks an answer may take.
struct Pair {
    server: Endpoint,
    client: Endpoint,
}

impl Pair {
    fn new(runtime: &Arc<dyn Runtime>, transport: TransportConfig) -> Pair {
        let (mut server_config, mut client_config): (_, ClientConfig) = configs().unwrap();
        let transport = Arc::new(transport);
        server_config.transport_config(transport.clone());
        client_config.transport_config(transport);
        let server = endpoint(Some(server_config), runtime.clone()).unwrap();
        let mut client = endpoint(None, runtime.clone()).unwrap();
        client.set_default_client_config(client_config);
        drop(gort::spawn(serve(server.clone())));
        Pair { server, client }
    }

    async fn connect(&self) -> Connection {
        let addr = self.server.local_addr().unwrap();
        self.client.connect(addr, "localhost").unwrap().await.unwrap()
    }
}

fn gort_runtime() -> Arc<dyn Runtime> {
    Arc::new(GortRuntime)
}

/// `streams` echoes at once over one connection.
async fn ask_all(connection: &Connection, streams: usize, len: usize) {
    let asks = (0..streams).map(|i| async move {
        let words = vec![i as u8; len];
        assert_eq!(ask(connection, &words).await.unwrap(), words);
    });
    futures::future::join_all(asks).await;
}

fn many(rt: &gort::Runtime, connections: usize, streams: usize) {
    let _enter = rt.enter();
    let pair = Arc::new(Pair::new(&gort_runtime(), TransportConfig::default()));
    let clients: Vec<_> = (0..connections)
        .map(|i| {
            let pair = pair.clone();
            let visit = async move { ask_all(&pair.connect().await, streams, 100 + i).await };
            // Tasks and goroutines side by side.
            if i % 2 == 0 { rt.spawn(visit) } else { rt.go(move || visit.wait()) }
        })
        .collect();
    for client in clients {
        rt.block_on(client).unwrap();
    }
}

#[test]
fn hundred_connections_of_hundred_streams() {
    let _machine = alone();
    for (procs, connections, streams) in [(1, 10, 100), (2, 100, 10), (4, 100, 100)] {
        let rt = gort_tests::runtime(procs);
        let watchdog = Watchdog::start(rt.handle());
        many(&rt, connections, streams);
        drop(watchdog);
        assert!(rt.shutdown_timeout(BOUND));
    }
}

/// On a paused clock: the time of quinn is gort's.
#[test]
fn an_idle_timeout_fires_when_nothing_has_put_it_off() {
    for procs in [1, 2, 4] {
        let rt = gort::Builder::new().procs(procs).start_paused(true).build().unwrap();
        rt.block_on(async {
            let mut transport = TransportConfig::default();
            let idle = Duration::from_secs(30);
            transport.max_idle_timeout(Some(idle.try_into().unwrap()));
            let pair = Pair::new(&gort_runtime(), transport);
            let connection = pair.connect().await;
            // Each answer resets the timer.
            for _ in 0..5 {
                advance(idle * 2 / 3).await;
                assert_eq!(ask(&connection, b"still there?").await.unwrap(), b"still there?");
            }
            assert!(connection.close_reason().is_none());
            let start = Instant::now();
            advance(idle * 2).await;
            assert_eq!(connection.closed().await, ConnectionError::TimedOut);
            assert!(start.elapsed() < idle, "it was gort's clock that ran");
        });
        assert!(rt.shutdown_timeout(BOUND));
    }
}

/// On the clock on the wall.
#[test]
fn an_idle_timeout_fires_by_itself() {
    for_procs(|rt| {
        let start = Instant::now();
        rt.block_on(async {
            let mut transport = TransportConfig::default();
            let idle = Duration::from_millis(200);
            transport.max_idle_timeout(Some(idle.try_into().unwrap()));
            let pair = Pair::new(&gort_runtime(), transport);
            // A machine that pauses may let it fire during the handshake.
            let connecting = pair.client.connect(pair.server.local_addr().unwrap(), "localhost");
            let error = match connecting.unwrap().await {
                Ok(connection) => connection.closed().await,
                Err(error) => error,
            };
            assert_eq!(error, ConnectionError::TimedOut);
            assert!(start.elapsed() >= idle);
        });
    });
}

#[test]
fn completes_although_datagrams_are_lost() {
    let rng = Rng::from_env();
    for_procs(|rt| {
        let _enter = rt.enter();
        let lossy = Arc::new(Lossy { rng: Mutex::new(rng.clone()), lost: AtomicUsize::new(0) });
        let runtime = Arc::new(LossyRuntime(lossy.clone())) as Arc<dyn Runtime>;
        let mut transport = TransportConfig::default();
        // quinn's guess of 333 ms has a lost first datagram be missed after a second.
        transport.initial_rtt(Duration::from_millis(20));
        let pair = Arc::new(Pair::new(&runtime, transport));
        let clients: Vec<_> = (0..10)
            .map(|_| {
                let pair = pair.clone();
                rt.spawn(async move { ask_all(&pair.connect().await, 10, 20_000).await })
            })
            .collect();
        for client in clients {
            rt.block_on(client).unwrap();
        }
        let lost = lossy.lost.load(Ordering::Relaxed);
        println!("{lost} datagrams lost");
        assert!(lost > 0);
    });
}

#[test]
fn endpoints_leave_nothing_behind() {
    let _machine = alone();
    let before = Counts::now();
    for_procs_alone(|rt| {
        rt.block_on(async {
            let pair = Pair::new(&gort_runtime(), TransportConfig::default());
            let connection = pair.connect().await;
            assert_eq!(ask(&connection, b"hello").await.unwrap(), b"hello");
            // Both endpoints and the connection end with the runtime.
        });
    });
    before.assert_restored();
}

/// Loses one datagram of twenty that are sent.
struct Lossy {
    rng: Mutex<Rng>,
    lost: AtomicUsize,
}

impl Lossy {
    fn loses(&self) -> bool {
        let loses = self.rng.lock().unwrap().one_in(20);
        self.lost.fetch_add(usize::from(loses), Ordering::Relaxed);
        loses
    }
}

impl fmt::Debug for Lossy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lossy")
    }
}

#[derive(Debug)]
struct LossyRuntime(Arc<Lossy>);

impl Runtime for LossyRuntime {
    fn new_timer(&self, deadline: Instant) -> Pin<Box<dyn AsyncTimer>> {
        GortRuntime.new_timer(deadline)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        GortRuntime.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = GortRuntime.wrap_udp_socket(socket)?;
        Ok(Arc::new(LossySocket { socket, lossy: self.0.clone() }))
    }

    fn now(&self) -> Instant {
        GortRuntime.now()
    }
}

#[derive(Debug)]
struct LossySocket {
    socket: Arc<dyn AsyncUdpSocket>,
    lossy: Arc<Lossy>,
}

/// The defaults stand for what is missing: one datagram per `Transmit`.
impl AsyncUdpSocket for LossySocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.lossy.loses() { Ok(()) } else { self.socket.try_send(transmit) }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }
}
