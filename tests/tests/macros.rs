//! `#[gort::main]` and `#[gort::test]` at run time: which thread runs the body, what comes out
//! of it, and how a process ends.
//!
//! How a process ends is tested with a program of its own, `src/bin/macro_main.rs`.

use std::cell::Cell;
use std::error::Error;
use std::process::{Command, Output};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use gort::prelude::*;

fn here() -> ThreadId {
    thread::current().id()
}

#[gort::main]
async fn send_body() -> ThreadId {
    gort::yield_now().await;
    here()
}

#[test]
fn a_send_body_runs_on_a_worker() {
    assert_ne!(send_body(), here());
}

#[gort::main]
async fn local_body() -> ThreadId {
    let count = Rc::new(Cell::new(1));
    gort::yield_now().await;
    count.set(count.get() + 1);
    assert_eq!(count.get(), 2);
    here()
}

#[test]
fn a_body_that_is_not_send_runs_on_the_calling_thread() {
    assert_eq!(local_body(), here());
}

#[gort::main]
async fn local_output() -> Rc<ThreadId> {
    Rc::new(here())
}

#[test]
fn an_output_that_is_not_send_keeps_the_body_on_the_calling_thread() {
    assert_eq!(*local_output(), here());
}

#[gort::main]
fn goroutine_body() -> ThreadId {
    let begun = here();
    let count = Rc::new(Cell::new(1));
    gort::time::sleep(Duration::from_millis(1)).wait();
    count.set(count.get() + 1);
    assert_eq!((count.get(), here()), (2, begun));
    here()
}

#[test]
fn a_plain_body_runs_on_a_worker_and_stays_there() {
    assert_ne!(goroutine_body(), here());
}

/// On one P the two take turns only if each wait parks a goroutine, and not the thread.
#[gort::main(procs = 1)]
fn turns() -> Vec<char> {
    let said = Arc::new(Mutex::new(Vec::new()));
    let other = gort::go({
        let said = said.clone();
        move || {
            said.lock().unwrap().push('b');
            gort::yield_now().wait();
            said.lock().unwrap().push('d');
        }
    });
    said.lock().unwrap().push('a');
    gort::yield_now().wait();
    said.lock().unwrap().push('c');
    other.wait().unwrap();
    Arc::into_inner(said).unwrap().into_inner().unwrap()
}

#[test]
fn a_plain_body_is_a_goroutine_among_others() {
    assert_eq!(turns(), ['a', 'b', 'c', 'd']);
}

/// Uses `left` more kilobytes of stack.
#[inline(never)]
fn deep(left: usize) -> usize {
    let frame = std::hint::black_box([1u8; 1024]);
    match left {
        0 => 0,
        _ => deep(left - 1) + usize::from(frame[left % 1024]),
    }
}

#[gort::main(stack_size = 1_048_576)]
fn on_a_large_stack() -> usize {
    // More than the default stack holds.
    deep(300)
}

#[test]
fn stack_size_is_that_of_the_body() {
    assert_eq!(on_a_large_stack(), 300);
}

// SAFETY: the body and what it calls keep nothing of a thread over a wait.
#[gort::main(procs = 2, unsafe(migrate))]
fn migrates() -> u32 {
    let handles: Vec<_> = (0..20u32)
        .map(|n| {
            gort::go(move || {
                gort::yield_now().wait();
                n
            })
        })
        .collect();
    handles.into_iter().map(|handle| handle.wait().unwrap()).sum()
}

#[test]
fn main_with_goroutines_that_migrate() {
    assert_eq!(migrates(), 190);
}

#[gort::main(procs = 2)]
async fn sums() -> Result<u64, gort::JoinError> {
    let mut handles = Vec::new();
    for n in 0..100u64 {
        handles.push(gort::spawn(async move {
            gort::yield_now().await;
            n
        }));
    }
    let mut sum = 0;
    for handle in handles {
        sum += handle.await?;
    }
    Ok(sum)
}

#[test]
fn main_spawns_and_joins_on_two_procs() {
    assert_eq!(sums().unwrap(), 4950);
}

#[test]
fn main_may_be_called_again_and_inside_another_runtime() {
    #[gort::main(procs = 1)]
    async fn outer() -> u64 {
        thread::spawn(|| sums().unwrap()).join().unwrap()
    }
    assert_eq!(outer() + outer(), 9900);
}

/// Sets the flag when dropped.
struct OnDrop(Arc<AtomicBool>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in the test below.
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn the_runtime_is_gone_when_main_returns() {
    #[gort::main]
    async fn leaves_a_task() -> Arc<AtomicBool> {
        let dropped = Arc::new(AtomicBool::new(false));
        let guard = OnDrop(dropped.clone());
        gort::spawn(async move {
            std::future::pending::<()>().await;
            drop(guard);
        });
        gort::yield_now().await;
        dropped
    }
    // Acquire: pairs with the Release in `OnDrop`, on whichever thread dropped the task.
    assert!(leaves_a_task().load(Ordering::Acquire));
}

#[test]
fn the_runtime_is_gone_when_a_plain_main_returns_or_panics() {
    fn leave_a_goroutine() -> Arc<AtomicBool> {
        let dropped = Arc::new(AtomicBool::new(false));
        let guard = OnDrop(dropped.clone());
        gort::go(move || {
            std::future::pending::<()>().wait();
            drop(guard);
        });
        gort::yield_now().wait();
        dropped
    }
    #[gort::main]
    fn returns() -> Arc<AtomicBool> {
        leave_a_goroutine()
    }
    #[gort::main]
    fn panics() {
        std::panic::resume_unwind(Box::new(leave_a_goroutine()));
    }
    // Acquire: as above.
    assert!(returns().load(Ordering::Acquire));
    let payload = std::panic::catch_unwind(panics).unwrap_err();
    assert!(payload.downcast::<Arc<AtomicBool>>().unwrap().load(Ordering::Acquire));
}

#[gort::test]
async fn test_with_a_send_body() {
    let n = gort::spawn(async { 41 + 1 }).await.unwrap();
    assert_eq!(n, 42);
}

#[gort::test]
async fn test_with_a_local_body() {
    let shared = Rc::new(Cell::new(0));
    for _ in 0..3 {
        gort::yield_now().await;
        shared.set(shared.get() + 1);
    }
    assert_eq!(shared.get(), 3);
}

#[gort::test(procs = 2)]
async fn test_with_two_procs() {
    let left = gort::spawn(async { 1 });
    let right = gort::spawn(async { 2 });
    assert_eq!(left.await.unwrap() + right.await.unwrap(), 3);
}

#[gort::test(worker_threads = 1, crate = "gort")]
async fn test_with_tokio_names() -> Result<(), std::num::ParseIntError> {
    let n: u32 = "7".parse()?;
    assert_eq!(n, 7);
    Ok(())
}

#[gort::test]
fn test_as_a_goroutine() {
    let shared = Rc::new(Cell::new(0));
    for _ in 0..3 {
        gort::yield_now().wait();
        shared.set(shared.get() + gort::go(|| 1).wait().unwrap());
    }
    assert_eq!(shared.get(), 3);
}

// SAFETY: the body keeps nothing of a thread over a wait.
#[gort::test(worker_threads = 2, stack_size = 65_536, unsafe(migrate), crate = ::gort)]
fn test_as_a_goroutine_with_arguments() -> Result<(), gort::JoinError> {
    assert_eq!(gort::go(|| deep(8)).wait()?, 8);
    Ok(())
}

// SAFETY: no goroutine is started.
#[gort::test(unsafe(migrate))]
async fn test_that_migrates() {
    gort::yield_now().await;
}

/// Fails only in the process that `a_test_that_returns_an_error_fails` starts.
#[gort::test]
fn test_with_an_error_in_a_box() -> Result<(), Box<dyn Error>> {
    match std::env::var_os(FAIL) {
        None => Ok(()),
        Some(_) => Err("the error of a test".into()),
    }
}

const FAIL: &str = "GORT_TESTS_FAIL";

#[test]
fn a_test_that_returns_an_error_fails() {
    let output = run(Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "test_with_an_error_in_a_box"])
        .env(FAIL, "1"));
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(101), "{stdout}");
    assert!(stdout.contains("1 failed"), "{stdout}");
    // The harness has caught it, as it does for the test's own thread.
    assert!(stdout.contains("Error: \"the error of a test\""), "{stdout}");
}

#[gort::test]
#[should_panic(expected = "of the goroutine")]
fn a_panic_of_a_goroutine_fails_the_test() {
    gort::yield_now().wait();
    panic!("the payload of the goroutine");
}

#[gort::test]
#[should_panic(expected = "of the unit")]
#[allow(clippy::unused_unit)] // it is what is tested
fn a_panic_of_a_goroutine_that_returns_a_unit_fails_the_test() -> () {
    panic!("the payload of the unit");
}

#[gort::test]
#[should_panic(expected = "of the task")]
async fn a_panic_of_a_send_body_fails_the_test() {
    gort::yield_now().await;
    panic!("the payload of the task");
}

#[gort::test]
#[should_panic(expected = "of the local body")]
async fn a_panic_of_a_local_body_fails_the_test() {
    let shared = Rc::new(());
    gort::yield_now().await;
    panic!("the payload of the local body {shared:?}");
}

/// Runs the program `macro_main` and compares how it ended: exit code, and words on stderr.
fn assert_main_ends(argument: &str, code: i32, words: &[&str]) {
    let output = run(Command::new(env!("CARGO_BIN_EXE_macro_main")).arg(argument));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for words in words {
        assert_eq!(stderr.matches(words).count(), 1, "{words}: {stderr}");
    }
}

fn run(command: &mut Command) -> Output {
    command.env("RUST_BACKTRACE", "0").output().unwrap()
}

#[test]
fn main_that_returns_ok_exits_with_0() {
    assert_main_ends("ok", 0, &["farewell"]);
    assert_main_ends("go_ok", 0, &["farewell"]);
}

#[test]
fn main_that_returns_an_error_prints_it_and_exits_with_1() {
    assert_main_ends("err", 1, &["Error: \"the error of main\"", "farewell"]);
    assert_main_ends("go_err", 1, &["Error: \"the error of main\"", "farewell"]);
}

#[test]
fn main_that_panics_reports_once_and_exits_with_101() {
    assert_main_ends("panic", 101, &["payload of the task", "farewell"]);
    assert_main_ends("go_panic", 101, &["payload of the goroutine", "farewell"]);
}

#[test]
fn main_with_a_local_body_that_panics_exits_with_101() {
    assert_main_ends("local_panic", 101, &["payload of the local body", "farewell"]);
}

#[test]
fn main_that_asks_for_too_large_a_stack_says_so_and_exits_with_1() {
    assert_main_ends("go_too_large", 1, &["gort: cannot start the runtime", "stack_size"]);
}
