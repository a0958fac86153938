//! How a process dies of its stacks, and of what looks similar.

use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::thread;

use super::super::fault::{AltStack, FaultWriter, install};
use super::super::{SizeClass, Slot, arena, pool};
use super::*;

fn describe(writer: &mut FaultWriter, slot: Slot) {
    writer
        .text("fatal error: goroutine ")
        .number(1007)
        .text(" stack overflow (stack_size ")
        .number(slot.size() as u64)
        .text(" bytes)\n");
}

const REPORT: &str = "fatal error: goroutine 1007 stack overflow (stack_size 65536 bytes)\n";

/// An address at which nothing is ever mapped; null itself is caught by debug builds of std.
const NOWHERE: usize = 64;

fn nowhere() -> *const usize {
    black_box(std::ptr::without_provenance(NOWHERE))
}

fn on_a_stack(body: impl FnOnce() -> usize + 'static) {
    install(describe).unwrap();
    let _alt_stack = AltStack::new().unwrap();
    run_on(&pool::get(SizeClass::K64).unwrap(), body);
}

#[inline(never)]
fn recurse(depth: usize) -> usize {
    let frame = black_box([depth; 16]);
    if depth == 0 { 0 } else { recurse(depth + 1) + frame[3] }
}

#[inline(never)]
fn one_big_frame() -> usize {
    black_box([1_u8; 200 << 10])[7].into()
}

#[track_caller]
fn assert_reported(output: &Output) {
    assert_eq!(output.status.code(), Some(2), "{}", stderr(output));
    assert_eq!(stderr(output), REPORT);
}

#[test]
fn recursion_is_reported() {
    assert_reported(&isolated(test_path!(recursion_is_reported), || {
        on_a_stack(|| recurse(1));
    }));
}

#[test]
fn one_big_frame_is_reported() {
    assert_reported(&isolated(test_path!(one_big_frame_is_reported), || {
        on_a_stack(one_big_frame);
    }));
}

#[test]
fn recursion_on_a_second_thread_is_reported() {
    let name = test_path!(recursion_on_a_second_thread_is_reported);
    assert_reported(&isolated(name, || {
        thread::spawn(|| on_a_stack(|| recurse(1))).join().unwrap();
    }));
}

#[test]
fn recursion_is_reported_with_mapped_guards() {
    let name = test_path!(recursion_is_reported_with_mapped_guards);
    assert_reported(&isolated(name, || {
        super::super::guard::force_mappings(64);
        on_a_stack(|| recurse(1));
    }));
}

#[test]
fn two_overflows_at_once_give_one_report() {
    let name = test_path!(two_overflows_at_once_give_one_report);
    assert_reported(&isolated(name, || {
        let threads = [0; 2].map(|_| thread::spawn(|| on_a_stack(|| recurse(1))));
        for thread in threads {
            thread.join().unwrap();
        }
    }));
}

#[test]
fn a_wild_pointer_still_dies_by_sigsegv() {
    let output = isolated(test_path!(a_wild_pointer_still_dies_by_sigsegv), || {
        on_a_stack(|| {
            // SAFETY: none; dying of this is the test.
            unsafe { nowhere().read_volatile() }
        });
    });
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_stray_pointer_into_a_guard_is_not_an_overflow() {
    let name = test_path!(a_stray_pointer_into_a_guard_is_not_an_overflow);
    let output = isolated(name, || {
        install(describe).unwrap();
        let slot = pool::get(SizeClass::K64).unwrap();
        // SAFETY: none; dying of this is the test.
        unsafe { slot.limit().sub(8).read_volatile() };
    });
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_threads_own_overflow_is_still_stds() {
    let output = isolated(test_path!(a_threads_own_overflow_is_still_stds), || {
        install(describe).unwrap();
        let thread = thread::Builder::new().name("worker-1".into());
        let recursing = thread.spawn(|| {
            let _alt_stack = AltStack::new().unwrap();
            recurse(1)
        });
        recursing.unwrap().join().unwrap();
    });
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    let text = stderr(&output);
    assert!(text.contains("thread 'worker-1'"), "{text}");
    assert!(text.contains("has overflowed its stack"), "{text}");
}

#[test]
fn an_older_handler_is_called_with_the_context() {
    extern "C" fn older(_: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: valid as passed by the kernel; _exit is async-signal-safe.
        unsafe {
            let right = (*info).si_addr().addr() == NOWHERE && !context.is_null();
            libc::_exit(if right { 77 } else { 1 });
        }
    }
    let output = isolated(test_path!(an_older_handler_is_called_with_the_context), || {
        let older: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = older;
        die_with_older_handler(older as usize, libc::SA_SIGINFO);
    });
    assert_eq!(output.status.code(), Some(77));
}

#[test]
fn an_older_plain_handler_is_called() {
    extern "C" fn older(signal: i32) {
        // SAFETY: async-signal-safe.
        unsafe { libc::_exit(signal + 60) };
    }
    let output = isolated(test_path!(an_older_plain_handler_is_called), || {
        let older: extern "C" fn(i32) = older;
        die_with_older_handler(older as usize, 0);
    });
    assert_eq!(output.status.code(), Some(libc::SIGSEGV + 60));
}

#[test]
fn without_an_older_handler_the_signal_kills() {
    let output = isolated(test_path!(without_an_older_handler_the_signal_kills), || {
        die_with_older_handler(libc::SIG_DFL, 0);
    });
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
}

fn die_with_older_handler(handler: usize, flags: i32) {
    set_action(libc::SIGSEGV, handler, flags);
    install(describe).unwrap();
    // SAFETY: none; dying of this is the test.
    unsafe { nowhere().read_volatile() };
}

fn set_action(signal: i32, handler: usize, flags: i32) {
    // SAFETY: all zeroes is a value of this plain struct.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the handler only ends the process.
    let result = unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
    assert_eq!(result, 0);
}

#[test]
fn alt_stacks_are_large_enough_and_restored() {
    fn current() -> (usize, usize) {
        // SAFETY: all zeroes is a value of this plain struct; the call only fills it in.
        let stack = unsafe {
            let mut stack: libc::stack_t = std::mem::zeroed();
            assert_eq!(libc::sigaltstack(std::ptr::null(), &mut stack), 0);
            stack
        };
        (stack.ss_sp.addr(), stack.ss_size)
    }

    let before = current();
    let outer = AltStack::new().unwrap();
    let during = current();
    assert!(during.1 >= 32 << 10);
    let inner = AltStack::new().unwrap();
    assert_eq!(current(), during, "a second one has nothing to do");
    drop(inner);
    assert_eq!(current(), during);
    drop(outer);
    assert_eq!(current(), before);
}

#[test]
fn slots_are_found_by_address() {
    let slot = pool::get(SizeClass::K256).unwrap();
    let (limit, top) = (slot.limit().addr(), slot.top().addr());
    for addr in [limit - 1, limit, top - 1] {
        assert_eq!(arena::slot_of(addr), Some(*slot));
    }
    assert_ne!(arena::slot_of(limit - (4 << 10) - 1), Some(*slot));
    let local = 0_u8;
    assert_eq!(arena::slot_of(&raw const local as usize), None);
    pool::put(slot);
}
