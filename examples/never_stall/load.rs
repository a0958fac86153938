//! The clients: a plain thread per connection, each with requests that are due at fixed times.
//!
//! A request that cannot be sent because the answer to the one before is still missing goes out as
//! soon as that has come, and its latency counts from when it was due.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::http::{self, Inbox};
use super::phase::Phase;

/// Connections with light requests, and the time between two of them on each.
const LIGHT: u32 = 20;
const LIGHT_PERIOD: Duration = Duration::from_millis(20);
pub const LIGHT_PER_SECOND: u32 = LIGHT * 1000 / LIGHT_PERIOD.as_millis() as u32;

/// Connections with hogs: they come as many at once.
const HOGS: u32 = 2;
const HOG_PERIOD: Duration = Duration::from_millis(500);
pub const HOGS_PER_SECOND: u32 = HOGS * 1000 / HOG_PERIOD.as_millis() as u32;
/// When the first hogs of a phase come.
const FIRST_HOGS: Duration = Duration::from_millis(50);

/// Time for the threads to start before a phase begins.
const LEAD: Duration = Duration::from_millis(20);
/// A server that does not answer for so long never will.
const PATIENCE: Duration = Duration::from_secs(20);

/// A light request.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was due, since the start of the phase.
    pub due: Duration,
    /// From then to its answer.
    pub latency: Duration,
}

/// Requests that are due at fixed times.
#[derive(Clone, Copy)]
struct Schedule {
    /// Since the start of the phase.
    first: Duration,
    period: Duration,
    /// None is due from then on.
    end: Duration,
}

impl Schedule {
    fn light(connection: u32, end: Duration) -> Schedule {
        Schedule { first: LIGHT_PERIOD * connection / LIGHT, period: LIGHT_PERIOD, end }
    }

    fn hogs(end: Duration) -> Schedule {
        Schedule { first: FIRST_HOGS, period: HOG_PERIOD, end }
    }

    fn times(self) -> impl Iterator<Item = Duration> {
        let times = (0..).map(move |i| self.first + self.period * i);
        times.take_while(move |&due| due < self.end)
    }
}

/// When hogs are due in a phase of this length.
pub fn hog_times(length: Duration) -> impl Iterator<Item = Duration> {
    Schedule::hogs(length).times()
}

/// All connections to a server; they stay open from phase to phase.
pub struct Load {
    light: Vec<Client>,
    hogs: Vec<Client>,
}

impl Load {
    pub fn connect(server: SocketAddr) -> io::Result<Load> {
        let connect = |_| Client::connect(server);
        let light = (0..LIGHT).map(connect).collect::<io::Result<_>>()?;
        let hogs = (0..HOGS).map(connect).collect::<io::Result<_>>()?;
        Ok(Load { light, hogs })
    }

    /// Sends some requests and one hog of each kind, which are not counted.
    pub fn warm_up(&mut self) -> io::Result<()> {
        self.run(Phase::Quiet, 2 * LIGHT_PERIOD)?;
        let mut paths = Phase::ALL.into_iter().filter_map(Phase::path);
        paths.try_for_each(|path| self.hogs[0].ask(path, b"warm"))
    }

    /// Runs a phase until all its requests are answered.
    pub fn run(&mut self, phase: Phase, length: Duration) -> io::Result<Vec<Sample>> {
        let start = Instant::now() + LEAD;
        thread::scope(|scope| {
            let mut light = Vec::new();
            for (client, connection) in self.light.iter_mut().zip(0..) {
                let plan = Schedule::light(connection, length);
                light.push(scope.spawn(move || client.keep(plan, start, "/echo")));
            }
            let mut hogs = Vec::new();
            if let Some(path) = phase.path() {
                let plan = Schedule::hogs(length);
                for client in &mut self.hogs {
                    hogs.push(scope.spawn(move || client.keep(plan, start, path)));
                }
            }
            finish(hogs)?;
            finish(light)
        })
    }
}

type Running<'a> = ScopedJoinHandle<'a, io::Result<Vec<Sample>>>;

/// Waits for clients; gives the samples of all.
fn finish(clients: Vec<Running<'_>>) -> io::Result<Vec<Sample>> {
    let samples = clients.into_iter().map(|c| c.join().expect("a client does not panic"));
    Ok(samples.collect::<io::Result<Vec<_>>>()?.concat())
}

/// One connection, and what has come in on it.
struct Client {
    stream: TcpStream,
    inbox: Inbox,
}

impl Client {
    fn connect(server: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client { stream, inbox: Inbox::default() })
    }

    /// Sends the requests of a schedule and waits for each answer.
    fn keep(&mut self, plan: Schedule, start: Instant, path: &str) -> io::Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for due in plan.times() {
            let at = start + due;
            thread::sleep(at.saturating_duration_since(Instant::now()));
            self.ask(path, format!("{path} {due:?}").as_bytes())?;
            samples.push(Sample { due, latency: at.elapsed() });
        }
        Ok(samples)
    }

    fn ask(&mut self, path: &str, body: &[u8]) -> io::Result<()> {
        self.stream.write_all(&http::request(path, body))?;
        let mut buffer = [0; 4096];
        loop {
            if let Some(answer) = self.inbox.take()? {
                let right = answer.what() == "200" && answer.body == body;
                return if right { Ok(()) } else { Err(wrong(&answer.first_line)) };
            }
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.inbox.add(&buffer[..n]),
            }
        }
    }
}

fn wrong(status: &str) -> io::Error {
    io::Error::other(format!("a wrong answer: {status}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn light_requests_are_spread_evenly() {
        let second = Duration::from_secs(1);
        let all = (0..LIGHT).flat_map(|connection| Schedule::light(connection, second).times());
        let mut all: Vec<_> = all.collect();
        all.sort();
        assert_eq!(all.len(), LIGHT_PER_SECOND as usize);
        assert!(all.windows(2).all(|pair| pair[1] - pair[0] == second / LIGHT_PER_SECOND));
        assert_eq!(hog_times(second).count() as u32 * HOGS, HOGS_PER_SECOND);
    }
}
