//! What asks the servers of HTTP/2 and the sleeping handler: clients on a runtime of tokio with one thread, which is the same
//! for all of them.

use std::cell::RefCell;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

use super::STREAMS;
use crate::Report;
use crate::echo::histogram::Histogram;
use crate::measure::cpu_of;

/// Part of the time that is run before measuring.
const WARM_UP: f64 = 0.25;

/// How far apart requests beside the sleeping handler are, and how many there are.
const NEXT: Duration = Duration::from_millis(1);
const REQUESTS: u32 = 1_000;

type Failed = Box<dyn Error + Send + Sync>;

fn run<F: Future>(load: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime for the clients");
    LocalSet::new().block_on(&runtime, load)
}

/// Keeps `streams` requests open on one connection, for `duration` after the warm-up: requests per second, CPU time of the
/// server per request, latencies.
///
/// # Errors
/// Those of the connection, and of reading the server's CPU time.
pub fn http2(
    address: SocketAddr,
    streams: usize,
    duration: Duration,
    server: u32,
) -> Result<Report, Failed> {
    run(async move {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.initial_max_send_streams(streams.min(STREAMS as usize));
        let (requests, connection) = http.handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let latencies = Rc::new(RefCell::new(Histogram::default()));
        let start = Instant::now() + duration.mul_f64(WARM_UP);
        let end = start + duration;
        let mut clients = JoinSet::new();
        for _ in 0..streams {
            clients.spawn_local(ask(requests.clone(), latencies.clone(), start, end));
        }
        tokio::time::sleep_until(start.into()).await;
        let cpu = cpu_of(server)?;
        tokio::time::sleep_until(end.into()).await;
        let cpu = cpu_of(server)?.saturating_sub(cpu);
        while let Some(client) = clients.join_next().await {
            client??;
        }
        drop(requests);
        connection.await??;
        let latencies = latencies.borrow();
        let count = latencies.total().max(1) as f64;
        let report = Report::new()
            .with("req_per_s", count / duration.as_secs_f64())
            .with("cpu_us", cpu.as_secs_f64() * 1e6 / count);
        Ok(with_latencies(report, &latencies))
    })
}

/// One request after the other; those that are answered between `start` and `end` count.
async fn ask(
    mut requests: http2::SendRequest<Empty<Bytes>>,
    latencies: Rc<RefCell<Histogram>>,
    start: Instant,
    end: Instant,
) -> Result<(), hyper::Error> {
    loop {
        let asked = Instant::now();
        requests.ready().await?;
        let request = Request::get("http://localhost/").body(Empty::new()).expect("a valid URI");
        let answer = requests.send_request(request).await?;
        answer.into_body().collect().await?;
        let now = Instant::now();
        if now > end {
            return Ok(());
        }
        if now > start {
            latencies.borrow_mut().add(now - asked);
        }
    }
}

/// Asks a thousand times, each on a connection of its own and a millisecond after the other, whether or not that is answered,
/// while somebody lets the server sleep all the time. Latencies count from when the request was due.
///
/// # Errors
/// Those of the connections.
pub fn nap(address: SocketAddr) -> io::Result<Report> {
    run(async move {
        let naps = tokio::task::spawn_local(async move {
            loop {
                get(address, "/nap").await?;
            }
            #[allow(unreachable_code)] // gives the block its type
            io::Result::Ok(())
        });
        let mut asked = JoinSet::new();
        let start = Instant::now() + Duration::from_millis(50); // the nap has begun
        for i in 0..REQUESTS {
            asked.spawn_local(async move {
                let due = start + i * NEXT;
                tokio::time::sleep_until(due.into()).await;
                get(address, "/").await?;
                io::Result::Ok(due.elapsed())
            });
        }
        let mut latencies = Histogram::default();
        while let Some(done) = asked.join_next().await {
            latencies.add(done??);
        }
        naps.abort();
        Ok(with_latencies(Report::new(), &latencies))
    })
}

async fn get(address: SocketAddr, path: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: me\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    match answer.starts_with(b"HTTP/1.1 200 ") {
        true => Ok(()),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn with_latencies(report: Report, latencies: &Histogram) -> Report {
    let quantile_us = |q| latencies.quantile(q).as_secs_f64() * 1e6;
    report
        .with("p50_us", quantile_us(0.5))
        .with("p99_us", quantile_us(0.99))
        .with("p99.9_us", quantile_us(0.999))
}
