//! Programs that end in some way, for the tests that look at the end. Go: testdata/testprog.
//!
//! `testprog NAME` runs one. None of them starts a thread of its own unless that is the point.

use std::future::pending;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use gort::chan;
use gort::net::TcpListener;
use gort::prelude::*;
use gort::sync::{Mutex, WaitGroup};

/// Long enough for a false alarm.
const A_WHILE: Duration = Duration::from_millis(500);

const PROGRAMS: &[(&str, fn())] = &[
    ("SimpleDeadlock", simple_deadlock),
    ("InitDeadlock", init_deadlock),
    ("LockedDeadlock", locked_deadlock),
    ("LockedDeadlock2", locked_deadlock2),
    ("AsyncDeadlock", async_deadlock),
    ("LocalDeadlock", local_deadlock),
    ("MutexDeadlock", mutex_deadlock),
    ("WaitGroupDeadlock", wait_group_deadlock),
    ("CoroutineDeadlock", coroutine_deadlock),
    ("PausedDeadlock", paused_deadlock),
    ("RunDeadlock", run_deadlock),
    ("ForeignEnds", foreign_ends),
    ("TwoRuntimesDeadlock", two_runtimes_deadlock),
    ("Embedded", embedded),
    ("Off", off),
    ("Timer", timer),
    ("Blocking", blocking),
    ("Syscall", syscall),
    ("Foreign", foreign),
    ("OtherRuntime", other_runtime),
    ("NetpollDeadlock", netpoll_deadlock),
    ("MainGoroutineID", main_goroutine_id),
    ("Parked", parked),
    ("Hogs", hogs),
    ("Overflow", overflow),
];

fn main() {
    let name = std::env::args().nth(1).unwrap_or_default();
    let program = PROGRAMS.iter().find(|(known, _)| *known == name);
    program.unwrap_or_else(|| panic!("no program `{name}`")).1();
}

fn say(word: &str) {
    println!("{word}");
    std::io::stdout().flush().unwrap();
}

#[gort::main]
fn simple_deadlock() {
    pending::<()>().wait();
    unreachable!("not reached");
}

fn init_deadlock() {
    gort::Runtime::new().unwrap().run(|| pending::<()>().wait());
}

#[gort::main]
fn locked_deadlock() {
    let _lock = gort::lock_os_thread();
    pending::<()>().wait();
}

#[gort::main(procs = 2)]
fn locked_deadlock2() {
    drop(gort::go(|| {
        let _lock = gort::lock_os_thread();
        pending::<()>().wait();
    }));
    gort::time::sleep(Duration::from_millis(1)).wait();
    pending::<()>().wait();
}

#[gort::main]
async fn async_deadlock() {
    let (_tx, rx) = chan::bounded::<u32>(0);
    let _ = rx.recv().await;
}

#[gort::main]
async fn local_deadlock() {
    let (_tx, rx) = chan::bounded::<u32>(0);
    let local = Rc::new(1);
    let _ = rx.recv().await;
    drop(local);
}

#[gort::main(procs = 4)]
fn mutex_deadlock() {
    let mutex = Mutex::new(());
    let _one = mutex.lock().wait();
    let _two = mutex.lock().wait();
}

#[gort::main(procs = 1)]
fn wait_group_deadlock() {
    let group = WaitGroup::new();
    group.add(1);
    group.wait();
}

#[gort::main]
fn coroutine_deadlock() {
    let mut pull = gort::iter::pull(|y| {
        y.yield_(1);
        pending::<()>().wait();
        y.yield_(2);
    });
    pull.by_ref().for_each(drop);
}

#[gort::main(start_paused = true)]
fn paused_deadlock() {
    gort::time::sleep(Duration::from_secs(3600)).wait();
    say("an hour later");
    pending::<()>().wait();
}

fn run_deadlock() {
    let runtime = gort::Builder::new().procs(2).build().unwrap();
    runtime.block_on(async { gort::spawn(async {}).await.unwrap() });
    runtime.run(|| pending::<()>().wait());
}

#[gort::main]
fn foreign_ends() {
    let (tx, rx) = chan::bounded::<u32>(0);
    drop(std::thread::spawn(move || {
        std::thread::sleep(A_WHILE);
        std::mem::forget(tx);
    }));
    let _ = rx.recv().wait();
}

#[gort::main]
fn two_runtimes_deadlock() {
    let other = gort::Runtime::new().unwrap();
    let (tx, rx) = chan::bounded::<u32>(0);
    let _theirs = other.go(move || {
        let _tx = tx;
        gort::time::sleep(A_WHILE).wait();
        pending::<()>().wait();
    });
    let _ = rx.recv().wait();
}

/// Ends by the alarm.
fn embedded() {
    // SAFETY: no preconditions.
    unsafe { libc::alarm(2) };
    gort::Runtime::new().unwrap().block_on(pending::<()>());
}

/// As above.
fn off() {
    // SAFETY: no preconditions.
    unsafe { libc::alarm(2) };
    let builder = gort::Builder::new().deadlock_detection(false);
    builder.build().unwrap().run(|| pending::<()>().wait());
}

#[gort::main]
fn timer() {
    gort::time::sleep(A_WHILE).wait();
    say("done");
}

#[gort::main(procs = 2)]
fn blocking() {
    let one = gort::go(|| gort::blocking(|| std::thread::sleep(A_WHILE)));
    let two = gort::spawn_blocking(|| std::thread::sleep(A_WHILE));
    one.wait().unwrap();
    two.wait().unwrap();
    say("done");
}

#[gort::main(procs = 2)]
fn syscall() {
    let one = gort::go(|| gort::syscall(|| std::thread::sleep(A_WHILE)));
    let two = gort::spawn(async { std::thread::sleep(A_WHILE) });
    one.wait().unwrap();
    two.wait().unwrap();
    say("done");
}

#[gort::main]
fn foreign() {
    let (tx, rx) = chan::bounded::<u32>(0);
    let thread = std::thread::spawn(move || {
        std::thread::sleep(A_WHILE);
        tx.send(1).wait().unwrap();
    });
    assert_eq!(rx.recv().wait(), Ok(1));
    thread.join().unwrap();
    say("done");
}

#[gort::main]
fn other_runtime() {
    let other = gort::Runtime::new().unwrap();
    let (tx, rx) = chan::bounded::<u32>(0);
    let theirs = other.go(move || {
        gort::time::sleep(A_WHILE).wait();
        tx.send(1).wait().unwrap();
    });
    assert_eq!(rx.recv().wait(), Ok(1));
    theirs.wait().unwrap();
    say("done");
}

/// Somebody else has to connect.
#[gort::main]
fn netpoll_deadlock() {
    let listener = TcpListener::bind("127.0.0.1:0").wait().unwrap();
    say(&listener.local_addr().unwrap().port().to_string());
    drop(listener.accept().wait().unwrap());
    say("done");
}

#[gort::main]
fn main_goroutine_id() {
    panic!("test"); // the dump of a process that ends by a panic is std's
}

/// Waits for a signal. There is I/O, so that it is no deadlock.
#[gort::main(procs = 2)]
fn parked() {
    let listener = TcpListener::bind("127.0.0.1:0").wait().unwrap();
    let (tx, rx) = chan::bounded::<u32>(0);
    drop(gort::task::Builder::new().name("receiver").go(move || rx.recv().wait()));
    let (started, waits) = chan::bounded::<()>(1);
    drop(gort::spawn(async move {
        started.send(()).await.unwrap();
        gort::time::sleep(Duration::from_secs(3600)).await;
    }));
    waits.recv().wait().unwrap();
    say("ready");
    drop(listener.accept().wait());
    drop(tx);
}

/// All Ps are held by those who never stop, and more want to run. Ends by the alarm.
#[gort::main(procs = 2)]
fn hogs() {
    // SAFETY: no preconditions.
    unsafe { libc::alarm(20) };
    let said = Arc::new(AtomicBool::new(false));
    for _ in 0..12 {
        let said = said.clone();
        drop(gort::go(move || {
            if !said.swap(true, SeqCst) {
                say("ready");
            }
            loop {
                std::hint::spin_loop();
            }
        }));
    }
    loop {
        std::hint::spin_loop();
    }
}

#[gort::main]
fn overflow() {
    #[inline(never)]
    fn deeper(n: u64) -> u64 {
        let frame = std::hint::black_box([n; 64]);
        if n == u64::MAX { 0 } else { deeper(n + 1) + frame[(n % 64) as usize] }
    }
    let (_tx, rx) = chan::bounded::<u32>(0);
    drop(gort::task::Builder::new().name("receiver").go(move || rx.recv().wait()));
    gort::yield_now().wait();
    std::hint::black_box(deeper(0));
}
