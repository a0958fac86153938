//! What hogs do to the others: two of them compute or block for half a second without a word to the runtime, while tickers
//! of 1 ms and an echoing socket want their turn. The result is the longest that any of these went without.
//!
//! A plain thread, which no hog can hold up, directs the scene:
//!
//! ```text
//! ms      0     20     60        210                              710
//! hogs    nap --------- wait ---- stall ---------------------------- end
//! others         start, and take their turns ---- measured --------------- end
//! ```
//!
//! The nap is a short stall, and the others are started in it: where a coroutine stays on the thread on which it began, as
//! on gort, they begin on other threads than the hogs, if the runtime has any to offer. A hog's neighbours on its own thread
//! cannot be spared: hence the ticker goroutine beside hogs that are tasks, and so run anywhere, counts only for itself. More
//! about neighbours in [`site`](super::site).

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::Setup;
use crate::work::{TICK, spin};
use crate::{Co, Report, Rt};

const HOGS: usize = 2;
const NAP: Duration = Duration::from_millis(60);
/// From the end of the nap to the stall.
const CALM: Duration = Duration::from_millis(150);
const STALL: Duration = Duration::from_millis(500);
/// From the start of the hogs to that of the others, and from the end of the hogs to that of the others.
const MARGIN: Duration = Duration::from_millis(20);

/// How a hog stalls; no runtime is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hog {
    /// It computes.
    Spin,
    /// Its thread sleeps.
    Sleep,
    /// Its thread waits for a mutex of `std`, which a plain thread holds.
    Mutex,
}

/// Hogs and others as tasks.
pub fn tasks<R: Rt>(setup: &Setup, hog: Hog) -> Report {
    R::with(setup.procs, |handle| {
        let scene = Arc::new(Scene::new(hog));
        let held = scene.hold();
        let start_hog = |_| {
            let scene = Arc::clone(&scene);
            R::spawn_on(handle, async move {
                thread::sleep(NAP);
                R::sleep(CALM).await;
                scene.stall();
            })
        };
        let hogs: Vec<_> = (0..HOGS).map(start_hog).collect();
        thread::sleep(MARGIN);
        let (ticker, other) = (Turns::of(&scene), Turns::of(&scene));
        let own = ticker.clone();
        let ticking = R::spawn_on(handle, async move {
            while own.take() {
                R::sleep(TICK).await;
            }
        });
        let tick = other.clone();
        R::tick_in_coroutine(handle, move || tick.take());
        let (echo, announce) = Echo::of(&scene);
        let echoing = R::spawn_on(handle, R::echo_one(announce));
        let echo = echo.start();
        scene.let_go(held);
        hogs.into_iter().for_each(|hog| R::finish(handle, hog));
        scene.end();
        R::finish(handle, ticking);
        R::finish(handle, echoing);
        let echo = echo.join().expect("the client only does I/O");
        let report = report(&[("ticker_ms", &ticker), ("echo_ms", &echo)]);
        match other.largest_gap_ms() {
            Some(gap) => report.with("neighbour_ms", gap),
            None => report,
        }
    })
}

/// Hogs and others as coroutines.
pub fn coroutines<C: Co>(setup: &Setup, hog: Hog) -> Report {
    C::with(setup.procs, || {
        let scene = Arc::new(Scene::new(hog));
        let held = scene.hold();
        let start_hog = |_| {
            let scene = Arc::clone(&scene);
            C::go(move || {
                thread::sleep(NAP);
                C::sleep(CALM);
                scene.stall();
            })
        };
        let hogs: Vec<_> = (0..HOGS).map(start_hog).collect();
        thread::sleep(MARGIN);
        let (ticker, other) = (Turns::of(&scene), Turns::of(&scene));
        let own = ticker.clone();
        let ticking = C::go(move || {
            while own.take() {
                C::sleep(TICK);
            }
        });
        let tick = other.clone();
        C::tick_in_task(move || tick.take());
        let (echo, announce) = Echo::of(&scene);
        let echoing = C::go(move || C::echo_one(announce));
        let echo = echo.start();
        scene.let_go(held);
        hogs.into_iter().for_each(C::join);
        scene.end();
        C::join(ticking);
        C::join(echoing);
        let echo = echo.join().expect("the client only does I/O");
        report(&[("ticker_ms", &ticker), ("task_ms", &other), ("echo_ms", &echo)])
    })
}

/// The gap of each that had any turns, and `gap_ms`, the worst of them.
fn report(parts: &[(&str, &Turns)]) -> Report {
    let mut report = Report::new();
    let mut worst = 0_f64;
    for (name, turns) in parts {
        if let Some(gap) = turns.largest_gap_ms() {
            report = report.with(name, gap);
            worst = worst.max(gap);
        }
    }
    report.with("gap_ms", worst)
}

/// What hogs, others and the director share.
struct Scene {
    hog: Hog,
    lock: Mutex<()>,
    began: Instant,
    /// When the first hog stalled.
    stalled: OnceLock<Instant>,
    over: AtomicBool,
}

impl Scene {
    fn new(hog: Hog) -> Self {
        let (lock, over) = (Mutex::new(()), AtomicBool::new(false));
        Self { hog, lock, began: Instant::now(), stalled: OnceLock::new(), over }
    }

    /// A hog's part.
    fn stall(&self) {
        self.stalled.get_or_init(Instant::now);
        match self.hog {
            Hog::Spin => spin(STALL),
            Hog::Sleep => thread::sleep(STALL),
            Hog::Mutex => drop(lock(&self.lock)),
        }
    }

    /// Takes the mutex before any hog does.
    fn hold(&self) -> MutexGuard<'_, ()> {
        lock(&self.lock)
    }

    /// Keeps the mutex until the hogs have waited long enough.
    fn let_go(&self, held: MutexGuard<'_, ()>) {
        let until = NAP + CALM + STALL;
        thread::sleep(until.saturating_sub(self.began.elapsed()));
        drop(held);
    }

    /// Ends the others, once each could have had its turn after the hogs.
    fn end(&self) {
        thread::sleep(MARGIN);
        // Relaxed: nothing else is passed on by it.
        self.over.store(true, Ordering::Relaxed);
    }
}

/// When one of the others had its turn.
#[derive(Clone)]
struct Turns {
    scene: Arc<Scene>,
    taken: Arc<Mutex<Vec<Instant>>>,
}

impl Turns {
    fn of(scene: &Arc<Scene>) -> Self {
        Self { scene: Arc::clone(scene), taken: Arc::default() }
    }

    /// Notes a turn; whether there shall be more.
    fn take(&self) -> bool {
        lock(&self.taken).push(Instant::now());
        // Relaxed: pairs with `Scene::end`; a turn too many does no harm.
        !self.scene.over.load(Ordering::Relaxed)
    }

    /// The longest time between two turns that ended after the first hog stalled; `None` without turns.
    fn largest_gap_ms(&self) -> Option<f64> {
        let stalled = *self.scene.stalled.get()?;
        let taken = lock(&self.taken);
        let gaps = taken.windows(2).filter(|pair| pair[1] > stalled).map(|pair| pair[1] - pair[0]);
        gaps.max().map(|gap| gap.as_secs_f64() * 1e3)
    }
}

/// The client of the echoing socket: a byte every millisecond, from a plain thread.
struct Echo {
    turns: Turns,
    address: mpsc::Receiver<SocketAddr>,
}

impl Echo {
    /// The client, and what tells it the server's address.
    fn of(scene: &Arc<Scene>) -> (Self, impl FnOnce(SocketAddr) + Send + 'static) {
        let (announce, address) = mpsc::channel();
        let announce = move |server| announce.send(server).expect("the client waits for it");
        (Self { turns: Turns::of(scene), address }, announce)
    }

    fn start(self) -> thread::JoinHandle<Turns> {
        thread::spawn(move || {
            let server = self.address.recv().expect("the server listens");
            self.ask(server).expect("the server echoes");
            self.turns
        })
    }

    fn ask(&self, server: SocketAddr) -> io::Result<()> {
        let mut stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        loop {
            stream.write_all(b"?")?;
            stream.read_exact(&mut [0])?;
            if !self.turns.take() {
                return Ok(());
            }
            thread::sleep(TICK);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::co::{GortGo, May};
    use crate::rt::{Gort, Smol, Tokio};

    const SETUP: Setup = Setup { procs: 2, scale: 0.1 };

    /// All of `parts` had turns, and so had the echo.
    fn has(report: &Report, parts: &[&str]) {
        let all = [parts, &["ticker_ms", "echo_ms", "gap_ms"]].concat();
        assert!(all.iter().all(|part| report.get(part) > Some(0.5)), "{report}");
    }

    #[test]
    fn on_gort() {
        for hog in [Hog::Spin, Hog::Sleep, Hog::Mutex] {
            has(&tasks::<Gort>(&SETUP, hog), &["neighbour_ms"]);
            has(&coroutines::<GortGo>(&SETUP, hog), &["task_ms"]);
        }
    }

    #[test]
    fn on_the_peers() {
        has(&tasks::<Tokio>(&SETUP, Hog::Sleep), &[]);
        has(&tasks::<Smol>(&SETUP, Hog::Sleep), &[]);
        has(&coroutines::<May>(&SETUP, Hog::Sleep), &[]);
    }
}
