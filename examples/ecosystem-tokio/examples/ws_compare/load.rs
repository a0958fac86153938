//! The one who asks: a goroutine per connection, on one P.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use gort::net::TcpStream;
use gort::prelude::*;
use gort::sync::{Barrier, Group, Semaphore};
use gort_ecosystem::raise_fd_limit;
use tungstenite::Message;

use super::{Result, config};

/// Connections that knock at the same time; more would overflow the backlog.
const KNOCKING: usize = 500;

/// What all connections share.
struct Shared {
    addr: SocketAddr,
    ready: Barrier,
    knocking: Semaphore,
    stop: AtomicBool,
    /// Answers so far.
    count: AtomicU64,
}

/// Prints messages a second, CPU us of the server for each, its threads, and its memory in MiB.
pub(crate) fn run(addr: &str, connections: &str, millis: &str, server: &str) -> Result<()> {
    let _ = raise_fd_limit();
    let (connections, millis): (usize, u64) = (connections.parse()?, millis.parse()?);
    let shared = Arc::new(Shared {
        addr: addr.parse()?,
        ready: Barrier::new(connections + 1),
        knocking: Semaphore::new(KNOCKING),
        stop: AtomicBool::new(false),
        count: AtomicU64::new(0),
    });
    let server = server.to_owned();
    let rt = gort::Builder::new().procs(1).build()?;
    rt.run(move || {
        let mut all = Group::new();
        for _ in 0..connections {
            let shared = shared.clone();
            all.go(move || shared.ask());
        }
        shared.ready.wait();
        gort::time::sleep(Duration::from_millis(millis / 6)).wait();
        let measured = shared.measure(Duration::from_millis(millis), &server);
        shared.stop.store(true, Relaxed); // Relaxed: they see it soon
        all.join().wait()?;
        measured
    })
}

impl Shared {
    fn ask(&self) -> Result<()> {
        let permit = self.knocking.acquire().wait();
        let stream = TcpStream::connect(self.addr).wait()?;
        stream.set_nodelay(true)?;
        let url = "ws://localhost/";
        let (mut socket, _) = tungstenite::client::client_with_config(url, stream, Some(config()))?;
        drop(permit);
        self.ready.wait();
        while !self.stop.load(Relaxed) {
            socket.send(Message::binary(vec![7; 64]))?;
            socket.read()?;
            self.count.fetch_add(1, Relaxed); // Relaxed: a count
        }
        Ok(())
    }

    fn measure(&self, time: Duration, server: &str) -> Result<()> {
        let (start, count, cpu) = (Instant::now(), self.count.load(Relaxed), cpu_us(server)?);
        gort::time::sleep(time).wait();
        let took = start.elapsed().as_secs_f64();
        let (n, cpu) = ((self.count.load(Relaxed) - count) as f64, cpu_us(server)? - cpu);
        let threads = fs::read_dir(format!("/proc/{server}/task"))?.count();
        println!("{} {} {threads} {}", n / took, cpu as f64 / n, resident_mib(server)?);
        Ok(())
    }
}

/// CPU time of a process; its unit is the tick of 10 ms.
fn cpu_us(process: &str) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = stat.rsplit_once(')').ok_or("no stat")?.1.split_whitespace();
    let user_and_system = fields.skip(11).take(2).map(str::parse::<u64>);
    Ok(user_and_system.sum::<std::result::Result<u64, _>>()? * 10_000)
}

fn resident_mib(process: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).ok_or("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no size")?.parse()?;
    Ok(kib / 1024.0)
}
