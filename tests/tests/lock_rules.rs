//! Coroutines and goroutines that are locked to their thread: the 19 programs of Go's commit
//! dfe781e (`testdata/testprog/coro.go`, `testdata/testprogcgo/coro.go`), and some more. Each is a
//! process of its own, and either says OK or dies with Go's words and exit code 2.

mod go_modes;

use gort::coro::{Coroutine, State};
use gort::ffi;
use gort::iter::{Pull, Yielder, pull};
use gort::prelude::*;
use gort::{Runtime, lock_os_thread};
use gort_tests::{Child, beside_others, c_call, is_child};

use go_modes::Mode;

const FATAL: &str =
    "fatal error: coro: OS thread locking must match locking at coroutine creation\n";

type Body = fn(&Yielder<u32>);

/// What the body of a program does, in a goroutine.
enum Program {
    Ok(fn()),
    Fatal(fn()),
}
use Program::{Fatal, Ok as Fine};

/// By Go's names.
const PROGRAMS: &[(&str, Program)] = &[
    ("LockOSThreadIterLock", Fine(|| exhaust(lock))),
    ("LockOSThreadIterLockYield", Fatal(|| exhaust(lock_yield))),
    ("LockOSThreadLock", Fine(|| exhaust_locked(simple))),
    ("LockOSThreadLockIterNested", Fine(|| exhaust_locked(nested))),
    ("LockOSThreadLockIterLock", Fine(|| exhaust_locked(lock))),
    ("LockOSThreadLockIterLockYield", Fatal(|| exhaust_locked(lock_yield))),
    ("LockOSThreadLockIterYieldNewG", Fatal(|| exhaust_locked(yield_by_another))),
    ("LockOSThreadLockAfterPull", Fatal(|| lock_after_pull(simple))),
    ("LockOSThreadStopLocked", Fine(|| stop_locked(simple))),
    ("LockOSThreadStopLockedIterNested", Fine(|| stop_locked(nested))),
    ("CgoIterCallback", Fine(|| exhaust(callback))),
    ("CgoIterCallbackYield", Fatal(|| exhaust(callback_yield))),
    ("CgoCallback", Fine(|| in_callback(|| exhaust(simple)))),
    ("CgoCallbackIterNested", Fine(|| in_callback(|| exhaust(nested)))),
    ("CgoCallbackIterCallback", Fine(|| in_callback(|| exhaust(callback)))),
    ("CgoCallbackIterCallbackYield", Fatal(|| in_callback(|| exhaust(callback_yield)))),
    ("CgoCallbackAfterPull", Fatal(callback_after_pull)),
    ("CgoStopCallback", Fine(|| in_callback(|| stop(simple)))),
    ("CgoStopCallbackIterNested", Fine(|| in_callback(|| stop(nested)))),
    // And what Go has no program for.
    ("HandedOnUnlocked", Fine(handed_on)),
    ("UnlockBeforeDrop", Fatal(unlock_before_drop)),
    ("ReturnLocked", Fatal(|| exhaust(return_locked))),
    ("TwoInTurnsLocked", Fine(two_in_turns)),
    ("LockBetween", Fine(lock_between)),
    ("WaitsLocked", Fine(|| exhaust_locked(waits))),
    ("DropUnstartedElsewhere", Fine(drop_unstarted)),
    ("UnwindingMismatchLeaks", Fine(unwinding_mismatch)),
];

fn expect_all(mut p: Pull<u32>) {
    for expected in [Some(5), Some(5), Some(5), None, None] {
        assert_eq!(p.next(), expected);
    }
}

fn exhaust(body: Body) {
    expect_all(pull(body));
}

fn exhaust_locked(body: Body) {
    let _locked = lock_os_thread();
    exhaust(body);
}

fn lock_after_pull(body: Body) {
    let mut p = pull(body);
    let _locked = lock_os_thread();
    p.next();
}

fn stop_locked(body: Body) {
    let _locked = lock_os_thread();
    stop(body);
}

/// Has C call `f` back.
fn in_callback(f: impl FnOnce()) {
    let mut f = Some(f);
    ffi::call(|| c_call(|| ffi::callback(|| f.take().expect("it is called once")()).unwrap()));
}

fn callback_after_pull() {
    let mut p = pull(simple);
    in_callback(|| assert_eq!(p.next(), Some(5)));
}

fn stop(body: Body) {
    let mut p = pull(body);
    assert_eq!(p.next(), Some(5));
    p.stop();
    assert_eq!(p.next(), None);
}

fn simple(y: &Yielder<u32>) {
    (0..3).for_each(|_| y.yield_(5));
}

fn nested(y: &Yielder<u32>) {
    pull(simple).for_each(|value| y.yield_(value));
}

fn lock(y: &Yielder<u32>) {
    for _ in 0..3 {
        drop(lock_os_thread());
        y.yield_(5);
    }
}

fn lock_yield(y: &Yielder<u32>) {
    for _ in 0..3 {
        let _locked = lock_os_thread();
        y.yield_(5);
    }
}

fn callback(y: &Yielder<u32>) {
    for _ in 0..3 {
        in_callback(|| {});
        y.yield_(5);
    }
}

fn callback_yield(y: &Yielder<u32>) {
    for _ in 0..3 {
        in_callback(|| y.yield_(5));
    }
}

fn return_locked(y: &Yielder<u32>) {
    simple(y);
    std::mem::forget(lock_os_thread());
}

fn waits(y: &Yielder<u32>) {
    for _ in 0..3 {
        gort::yield_now().wait();
        gort::time::sleep(std::time::Duration::from_micros(50)).wait();
        y.yield_(5);
    }
}

fn yield_by_another(y: &Yielder<u32>) {
    let at = std::ptr::from_ref(y).expose_provenance();
    let by_another = move || {
        let y = std::ptr::with_exposed_provenance::<Yielder<u32>>(at);
        // SAFETY: the body waits meanwhile, so the yielder is there.
        unsafe { (*y).yield_(5) };
    };
    gort::go(by_another).wait().unwrap();
}

/// X1, within a thread: for all others the compiler says no.
fn handed_on() {
    let mut first = pull(simple);
    assert_eq!(first.next(), Some(5));
    let mut both = pull(move |y: &Yielder<u32>| first.by_ref().for_each(|value| y.yield_(value)));
    assert_eq!((both.next(), both.next(), both.next()), (Some(5), Some(5), None));
}

/// X2.
fn unlock_before_drop() {
    let locked = lock_os_thread();
    let mut p = pull(simple);
    assert_eq!(p.next(), Some(5));
    drop(locked);
    drop(p);
}

/// X4.
fn two_in_turns() {
    let _locked = lock_os_thread();
    let (p, q) = (pull(simple), pull(nested));
    assert_eq!(p.zip(q).collect::<Vec<_>>(), [(5, 5); 3]);
}

/// Locks that are held only while nobody switches concern nobody.
fn lock_between() {
    let mut p = pull(simple);
    assert_eq!(p.next(), Some(5));
    drop((lock_os_thread(), lock_os_thread()));
    assert_eq!(p.next(), Some(5));
    let locked = lock_os_thread();
    let mut answer = Coroutine::new(|y: &gort::coro::Yielder<u32, u32>, first| {
        let again = lock_os_thread();
        drop(again);
        y.yield_(first + 1)
    });
    assert_eq!(answer.resume(1), State::Yielded(2));
    assert_eq!(answer.resume(3), State::Complete(3));
    drop(locked);
    assert_eq!(p.count(), 1);
}

/// One that has not begun is dropped without a switch.
fn drop_unstarted() {
    let locked = lock_os_thread();
    let p = pull(simple);
    drop(locked);
    drop(p);
}

/// While the goroutine panics already, a mismatch leaks the stack and says so.
fn unwinding_mismatch() {
    let caught = std::panic::catch_unwind(|| {
        let mut p = pull(simple);
        p.next();
        let (p, _locked) = (p, lock_os_thread());
        let _drop_me_first = p;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(caught.is_err());
}

/// The runtime that the environment asks for.
fn runtime() -> Runtime {
    let var = |name: &str| std::env::var(name).expect("the parent sets it");
    let mode = if var("GORT_TEST_MODE") == "Migrate" { Mode::Migrate } else { Mode::Home };
    mode.runtime(var("GORT_TEST_PROCS").parse().expect("a number"))
}

#[test]
fn the_programs() {
    if is_child() {
        let name = std::env::var("GORT_TEST_PROGRAM").expect("the parent sets it");
        let (_, program) = PROGRAMS.iter().find(|(n, _)| *n == name).expect("its name");
        let (Fine(body) | Fatal(body)) = *program;
        runtime().run(body);
        return;
    }
    let _machine = beside_others();
    for (name, program) in PROGRAMS {
        for mode in ["Home", "Migrate"] {
            for procs in ["1", "2", "4"] {
                eprintln!("{name}, mode = {mode}, procs = {procs}");
                let child = Child::of("the_programs").env("GORT_TEST_PROGRAM", name);
                let ended = child.env("GORT_TEST_MODE", mode).env("GORT_TEST_PROCS", procs).run();
                match program {
                    Fine(_) => assert_eq!(ended.code, Some(0), "{}", ended.stderr),
                    Fatal(_) => {
                        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
                        assert!(ended.stderr.contains(FATAL), "{}", ended.stderr);
                        for detail in
                            ["coro: got thread ", "got lock internal ", "got lock external "]
                        {
                            assert!(ended.stderr.contains(detail), "{}", ended.stderr);
                        }
                    }
                }
            }
        }
    }
}

/// Outside of goroutines a lock is nothing, so that a body may be handed out of it.
#[test]
fn outside_of_goroutines() {
    let _machine = beside_others();
    lock_after_pull(lock_yield);
    gort::block_on(async { lock_after_pull(lock_yield) });
    gort::spawn(async { lock_after_pull(lock_yield) }).wait().unwrap();
}
