//! What recording costs: the same work with and without, in turns.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use gort::Runtime;
use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;
use gort::trace::FlightRecorder;

use super::Result;

const ROUNDS: usize = 9;
const CONNECTIONS: usize = 50;

/// Prints nanoseconds per operation, the median of the rounds.
pub(crate) fn measure() -> Result<()> {
    let runtime = gort::Builder::new().procs(2).build()?;
    println!("{:24} {:>9} {:>9}   ratio", "", "off", "on");
    compare("echo, 50 x 64 bytes", &runtime, echo)?;
    compare("spawn and join a task", &runtime, spawns)?;
    compare("yield", &runtime, yields)
}

fn compare(name: &str, rt: &Runtime, work: fn(&Runtime) -> Result<f64>) -> Result<()> {
    work(rt)?; // warm
    let (mut off, mut on) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        off.push(work(rt)?);
        let recorder = FlightRecorder::start(Duration::from_secs(1), 32 << 20)?;
        on.push(work(rt)?);
        drop(recorder);
    }
    let (off, on) = (median(off), median(on));
    println!("{name:24} {off:9.1} {on:9.1} {:7.3}", on / off);
    Ok(())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn per_op(begin: Instant, ops: usize) -> f64 {
    begin.elapsed().as_secs_f64() * 1e9 / ops as f64
}

/// A goroutine per connection on either side.
fn echo(rt: &Runtime) -> Result<f64> {
    const TRIPS: usize = 400;
    rt.run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").wait()?;
        let addr = listener.local_addr()?;
        let begin = Instant::now();
        let clients = (0..CONNECTIONS).map(|_| gort::go(move || client(addr, TRIPS)));
        let clients: Vec<_> = clients.collect();
        for _ in 0..CONNECTIONS {
            let (mut stream, _) = listener.accept().wait()?;
            drop(gort::go(move || -> std::io::Result<()> {
                let mut buffer = [0; 64];
                while stream.read(&mut buffer)? > 0 {
                    stream.write_all(&buffer)?;
                }
                Ok(())
            }));
        }
        clients.into_iter().try_for_each(|client| client.wait()?)?;
        Ok(per_op(begin, CONNECTIONS * TRIPS))
    })
}

fn client(addr: std::net::SocketAddr, trips: usize) -> Result<()> {
    let mut stream = TcpStream::connect(addr).wait()?;
    let mut buffer = [7; 64];
    for _ in 0..trips {
        stream.write_all(&buffer)?;
        stream.read_exact(&mut buffer)?;
    }
    Ok(())
}

fn spawns(rt: &Runtime) -> Result<f64> {
    const N: usize = 200_000;
    let begin = Instant::now();
    rt.run(move || {
        for _ in 0..N / 100 {
            let tasks: Vec<_> = (0..100).map(|_| gort::spawn(async {})).collect();
            tasks.into_iter().try_for_each(gort::Wait::wait)?;
        }
        Ok(per_op(begin, N))
    })
}

fn yields(rt: &Runtime) -> Result<f64> {
    const N: usize = 500_000;
    let begin = Instant::now();
    rt.block_on(rt.spawn(async {
        for _ in 0..N {
            gort::yield_now().await;
        }
    }))?;
    Ok(per_op(begin, N))
}
