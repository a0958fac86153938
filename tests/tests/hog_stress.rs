//! Everything that holds up a thread, mixed at random, in chaos mode, where a P is taken at each
//! look of sysmon: nothing is lost, nothing runs twice. `GORT_TEST_SEED` repeats the choices.

mod go_modes;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use futures::{AsyncReadExt, AsyncWriteExt};
use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;
use gort::{JoinHandle, Runtime};
use gort_tests::{BOUND, OnDrop, Rng, Watchdog, alone, eventually, spin, threads};

use go_modes::{MODES, Mode};

/// How long each mixture lasts.
const TIME: Duration = Duration::from_millis(700);

/// What all share, and what must come out at the end.
struct Books {
    /// Numbers that were given to somebody, and that came back.
    given: AtomicU64,
    returned: AtomicU64,
    begun: AtomicUsize,
    ended: AtomicUsize,
    lock: Mutex<u64>,
    locked: AtomicU64,
    /// Numbers go through here from anybody to anybody.
    mail: (Mutex<mpsc::Sender<u64>>, Mutex<mpsc::Receiver<u64>>),
    end: Instant,
}

impl Books {
    fn open() -> Arc<Books> {
        let (send, receive) = mpsc::channel();
        Arc::new(Books {
            given: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            begun: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            lock: Mutex::new(0),
            locked: AtomicU64::new(0),
            mail: (Mutex::new(send), Mutex::new(receive)),
            end: Instant::now() + TIME,
        })
    }

    fn give(&self, n: u64) -> u64 {
        self.given.fetch_add(n, SeqCst);
        n
    }

    fn take(&self, n: u64) {
        self.returned.fetch_add(n, SeqCst);
    }

    fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }

    #[track_caller]
    fn close(&self, rt: &Runtime) {
        eventually("all have ended", || self.begun.load(SeqCst) == self.ended.load(SeqCst));
        for n in self.mail.1.lock().unwrap().try_iter() {
            self.take(n);
        }
        assert_eq!(self.given.load(SeqCst), self.returned.load(SeqCst), "numbers were lost");
        assert_eq!(*self.lock.lock().unwrap(), self.locked.load(SeqCst));
        eventually("none is detached", || rt.handle().metrics().detached == 0);
        eventually("none blocks", || rt.handle().metrics().blocking == 0);
        eventually("none is queued", || rt.handle().metrics().global_queue == 0);
        eventually("no goroutine is left", || rt.handle().metrics().goroutines == 0);
        eprintln!("{} bodies, sum {}", self.begun.load(SeqCst), self.given.load(SeqCst));
    }
}

/// One thing that blocks, computes, or only seems to. Returns a number that was given.
fn hold_up(books: &Arc<Books>, rng: &mut Rng) -> u64 {
    let n = books.give(rng.below(1000));
    let short = Duration::from_micros(rng.below(2500));
    match rng.below(10) {
        0 => spin(short),
        1 => thread::sleep(short),
        2 => gort::syscall(|| thread::sleep(short)),
        3 => gort::syscall(|| spin(Duration::from_micros(5))),
        4 => {
            return gort::blocking(|| {
                thread::sleep(short);
                n
            });
        }
        5 => {
            let mut guard = books.lock.lock().unwrap();
            spin(Duration::from_micros(200));
            *guard += n;
            books.locked.fetch_add(n, SeqCst);
        }
        6 => books.mail.0.lock().unwrap().send(books.give(n)).unwrap(),
        7 => {
            let received = books.mail.1.lock().unwrap().try_recv();
            received.into_iter().for_each(|n| books.take(n));
        }
        8 => {
            return gort::block_on(async move {
                gort::yield_now().await;
                n
            });
        }
        _ => {}
    }
    n
}

/// A child of some kind, its number, and whether somebody aborts it.
fn child(books: &Arc<Books>, rng: &mut Rng) -> (JoinHandle<u64>, u64) {
    let n = rng.below(1000);
    let (mut theirs, here) = (rng.split(), books.clone());
    books.begun.fetch_add(1, SeqCst);
    let armed = {
        let books = books.clone();
        OnDrop::new(move || drop_count(&books))
    };
    let body = move || {
        let _armed = armed;
        let back = hold_up(&here, &mut theirs);
        here.take(back);
        n
    };
    let task = match rng.below(4) {
        0 => gort::go(body),
        1 => gort::spawn_blocking(body),
        _ => gort::spawn(async move {
            gort::yield_now().await;
            body()
        }),
    };
    (task, n)
}

fn drop_count(books: &Books) {
    books.ended.fetch_add(1, SeqCst);
}

/// One round of somebody: holds up, waits, starts others, and joins, drops or aborts them.
fn round(books: &Arc<Books>, rng: &mut Rng) {
    let back = hold_up(books, rng);
    books.take(back);
    match rng.below(6) {
        0 => {
            let (task, n) = child(books, rng);
            assert_eq!(task.wait().unwrap(), n);
        }
        1 => drop(child(books, rng)),
        2 => {
            let (task, _) = child(books, rng);
            task.abort();
            // It may have ended before.
            if let Err(error) = task.wait() {
                assert!(error.is_cancelled(), "{error:?}");
            }
        }
        3 => gort::time::sleep(Duration::from_micros(rng.below(1500))).wait(),
        4 => {
            let (send, receive) = oneshot::channel();
            let n = books.give(rng.below(1000));
            drop(gort::spawn(async move { send.send(n) }));
            books.take(receive.wait().unwrap());
        }
        _ => gort::yield_now().wait(),
    }
}

fn mixture(rt: &Runtime, rng: &mut Rng) {
    let _entered = rt.enter();
    let books = Books::open();
    let listener = rt.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let addr = listener.local_addr().unwrap();
    let server = rt.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            drop(gort::spawn(async move {
                let mut byte = [0];
                while AsyncReadExt::read_exact(&mut stream, &mut byte).await.is_ok() {
                    AsyncWriteExt::write_all(&mut stream, &byte).await.unwrap();
                }
            }));
        }
    });
    let mut all = Vec::new();
    for i in 0..12 {
        let (books, mut rng) = (books.clone(), rng.split());
        all.push(match i % 3 {
            0 => rt.spawn(async move {
                while books.goes_on() {
                    round(&books, &mut rng); // its waits are nested
                    gort::yield_now().await;
                }
            }),
            1 => rt.go(move || {
                while books.goes_on() {
                    round(&books, &mut rng);
                }
            }),
            _ => rt.spawn(async move {
                let mut stream = TcpStream::connect(addr).await.unwrap();
                while books.goes_on() {
                    let n = books.give(rng.below(256));
                    AsyncWriteExt::write_all(&mut stream, &[n as u8]).await.unwrap();
                    let mut back = [0];
                    AsyncReadExt::read_exact(&mut stream, &mut back).await.unwrap();
                    books.take(u64::from(back[0]));
                    let held = hold_up(&books, &mut rng);
                    books.take(held);
                }
            }),
        });
    }
    // One changes the number of Ps; plain threads come in from outside.
    thread::scope(|scope| {
        for i in 0..3 {
            let (books, mut rng, handle) = (books.clone(), rng.split(), rt.handle());
            scope.spawn(move || {
                let procs = handle.metrics().procs as u64;
                let _entered = handle.enter();
                while books.goes_on() {
                    if i == 0 {
                        handle.set_procs(1 + rng.below(2 * procs) as usize);
                        thread::sleep(Duration::from_millis(1));
                    } else {
                        round(&books, &mut rng);
                    }
                }
            });
        }
    });
    all.into_iter().for_each(|one| one.wait().unwrap());
    server.abort();
    assert!(server.wait().unwrap_err().is_cancelled());
    books.close(rt);
}

#[test]
fn everything_at_once() {
    let _machine = alone();
    let before = threads();
    let mut rng = Rng::from_env();
    for mode in [Mode::Home, Mode::Migrate] {
        for procs in [1, 2] {
            eprintln!("{mode:?}, procs = {procs}");
            let rt = mode.builder(procs).chaos(rng.below(1 << 32)).build().unwrap();
            let watchdog = Watchdog::start(rt.handle());
            mixture(&rt, &mut rng);
            drop(watchdog);
            assert!(rt.shutdown_timeout(BOUND), "the runtime did not end");
        }
    }
    eventually("all threads have ended", || threads() <= before);
}

/// The same in the middle of which the runtime ends. What was started is dropped once, whatever
/// became of it.
#[test]
fn the_end_in_the_middle() {
    let _machine = alone();
    let before = threads();
    let mut rng = Rng::from_env();
    for mode in MODES {
        for procs in [1, 2] {
            let rt = mode.builder(procs).chaos(rng.below(1 << 32)).build().unwrap();
            let books = Books::open();
            for i in 0..12 {
                let (books, mut rng) = (books.clone(), rng.split());
                let mut body = move || {
                    let mut rounds = 0;
                    while rounds < 200 && books.goes_on() {
                        rounds += 1;
                        let back = hold_up(&books, &mut rng);
                        books.take(back);
                        drop(child(&books, &mut rng));
                    }
                };
                if i % 2 == 0 { drop(rt.go(body)) } else { drop(rt.spawn(async move { body() })) }
            }
            thread::sleep(Duration::from_millis(20 + rng.below(60)));
            assert!(rt.shutdown_timeout(BOUND), "the runtime did not end");
            assert_eq!(books.begun.load(SeqCst), books.ended.load(SeqCst), "dropped once each");
        }
    }
    eventually("all threads have ended", || threads() <= before);
}
