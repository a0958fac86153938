//! What is watched: clients ask a server for sums, each connection is a goroutine, tasks compute
//! the sums. One request is for a report, whose worker computes for far longer than a time slice:
//! its P is taken from it, and another thread goes on with what is queued there.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gort::chan::{Receiver, Sender};
use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;
use gort::task::Builder;

use super::Result;

const CLIENTS: u8 = 16;
const REQUESTS: u8 = 80;
/// The first client asks for the report at this request.
const REPORT: u8 = 20;
const REPORT_TIME: Duration = Duration::from_millis(16);
/// Between two requests of a client.
const PAUSE: Duration = Duration::from_micros(300);
const WORKERS: usize = 8;

/// A job, and where its result goes.
type Job = (u8, gort::sync::oneshot::Sender<u8>);

pub(crate) fn run() -> Result<()> {
    let runtime = gort::Builder::new().procs(2).build()?;
    runtime.run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").wait()?;
        let addr = listener.local_addr()?;
        let (jobs, todo) = gort::chan::bounded(8);
        for _ in 0..WORKERS {
            let todo = todo.clone();
            drop(Builder::new().name("worker").spawn(work(todo))?);
        }
        drop(Builder::new().name("accept").go(move || accept(&listener, &jobs))?);
        let clients =
            (0..CLIENTS).map(|id| Builder::new().name("client").go(move || ask(id, addr)));
        let clients: Vec<_> = clients.collect::<std::io::Result<_>>()?;
        clients.into_iter().try_for_each(|client| client.wait()?)
    })
}

fn accept(listener: &TcpListener, jobs: &Sender<Job>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().wait()?;
        let jobs = jobs.clone();
        drop(Builder::new().name("connection").go(move || serve(stream, &jobs))?);
    }
}

/// One connection: a byte in, a byte out.
fn serve(mut stream: TcpStream, jobs: &Sender<Job>) -> Result<()> {
    let mut byte = [0];
    while stream.read(&mut byte)? > 0 {
        let (tx, rx) = gort::sync::oneshot::channel();
        jobs.send((byte[0], tx)).wait().map_err(|_| "no workers")?;
        byte[0] = rx.wait()?;
        stream.write_all(&byte)?;
    }
    Ok(())
}

async fn work(todo: Receiver<Job>) {
    while let Ok((n, result)) = todo.recv().await {
        let time =
            if n == 255 { REPORT_TIME } else { Duration::from_micros(40 + 2 * u64::from(n)) };
        let begin = Instant::now();
        while begin.elapsed() < time {
            std::hint::spin_loop();
        }
        let _ = result.send(n.wrapping_add(1)); // the client may have gone
    }
}

fn ask(id: u8, addr: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(addr).wait()?;
    for i in 0..REQUESTS {
        let n = if id == 0 && i == REPORT { 255 } else { i };
        stream.write_all(&[n])?;
        let mut answer = [0];
        stream.read_exact(&mut answer)?;
        assert_eq!(answer[0], n.wrapping_add(1));
        gort::time::sleep(PAUSE + Duration::from_micros(u64::from(id) * 30)).wait();
    }
    Ok(())
}
