//! What recording costs: the same work with and without, in turns. In CPU time of all threads, also
//! of the one that empties the rings: it depends less on what else the machine does.

use std::io::{Read, Write};
use std::time::Duration;

use gort::Runtime;
use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;
use gort::trace::FlightRecorder;
use rustix::time::{ClockId, clock_gettime};

use super::Result;

const ROUNDS: usize = 31;
const CONNECTIONS: usize = 50;

/// Prints nanoseconds per operation, medians of the rounds, and the median of their ratios.
pub(crate) fn measure() -> Result<()> {
    let runtime = gort::Builder::new().procs(2).build()?;
    println!("{:24} {:>9} {:>9}   ratio", "", "off", "on");
    compare("echo, 50 x 64 bytes", &runtime, echo)?;
    compare("spawn and join a task", &runtime, spawns)?;
    compare("yield", &runtime, yields)
}

fn compare(name: &str, rt: &Runtime, work: fn(&Runtime) -> Result<f64>) -> Result<()> {
    work(rt)?; // warm
    let recorded = || {
        let _recorder = FlightRecorder::start(Duration::from_secs(1), 32 << 20)?;
        work(rt)
    };
    let (mut off, mut on, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let (without, with) = if round % 2 == 0 {
            (work(rt)?, recorded()?)
        } else {
            let with = recorded()?;
            (work(rt)?, with)
        };
        off.push(without);
        on.push(with);
        ratios.push(with / without);
    }
    println!("{name:24} {:9.1} {:9.1} {:7.3}", median(off), median(on), median(ratios));
    Ok(())
}

/// CPU time of the process, in nanoseconds.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn per_op(begin: f64, ops: usize) -> f64 {
    (cpu() - begin) / ops as f64
}

/// A goroutine per connection on either side.
fn echo(rt: &Runtime) -> Result<f64> {
    const TRIPS: usize = 200;
    rt.run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").wait()?;
        let addr = listener.local_addr()?;
        let begin = cpu();
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
    let begin = cpu();
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
    let begin = cpu();
    rt.block_on(rt.spawn(async {
        for _ in 0..N {
            gort::yield_now().await;
        }
    }))?;
    Ok(per_op(begin, N))
}
