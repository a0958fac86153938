//! `#[gort::main]` and `#[gort::test]` at run time: which thread runs the body, what comes out
//! of it, and how a process ends.
//!
//! How a process ends is tested with a program of its own, `src/bin/macro_main.rs`.

use std::cell::Cell;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};

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
    let output = Command::new(env!("CARGO_BIN_EXE_macro_main"))
        .arg(argument)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for words in words {
        assert_eq!(stderr.matches(words).count(), 1, "{words}: {stderr}");
    }
}

#[test]
fn main_that_returns_ok_exits_with_0() {
    assert_main_ends("ok", 0, &["farewell"]);
}

#[test]
fn main_that_returns_an_error_prints_it_and_exits_with_1() {
    assert_main_ends("err", 1, &["Error: \"the error of main\"", "farewell"]);
}

#[test]
fn main_that_panics_reports_once_and_exits_with_101() {
    assert_main_ends("panic", 101, &["payload of the task", "farewell"]);
}

#[test]
fn main_with_a_local_body_that_panics_exits_with_101() {
    assert_main_ends("local_panic", 101, &["payload of the local body", "farewell"]);
}
