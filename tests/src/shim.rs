//! The functions of `shim.c`, for closures.

use std::ffi::c_void;

type Callback = extern "C" fn(*mut c_void);

unsafe extern "C" {
    fn gort_test_call(f: Callback, arg: *mut c_void);
    fn gort_test_call_between(f: Callback, arg: *mut c_void, mark: u8) -> i32;
    fn gort_test_deep(kib: u32, f: Option<Callback>, arg: *mut c_void) -> u32;
}

/// What C calls: the closure behind `arg`, which catches what it panics with.
extern "C" fn run(arg: *mut c_void) {
    // SAFETY: the functions below pass the address of such a reference, and wait.
    let f = unsafe { &mut *arg.cast::<&mut dyn FnMut()>() };
    f();
}

/// C that calls `f`, which must not unwind.
pub fn c_call(mut f: impl FnMut()) {
    let mut f: &mut dyn FnMut() = &mut f;
    // SAFETY: `run` takes what is passed.
    unsafe { gort_test_call(run, (&raw mut f).cast()) };
}

/// As [`c_call`], from a frame full of `mark`; whether that is as it was afterwards.
pub fn c_call_between(mark: u8, mut f: impl FnMut()) -> bool {
    let mut f: &mut dyn FnMut() = &mut f;
    // SAFETY: `run` takes what is passed.
    unsafe { gort_test_call_between(run, (&raw mut f).cast(), mark) != 0 }
}

/// C that uses that many KiB of stack.
pub fn c_deep(kib: u32) {
    // SAFETY: there is no callback.
    assert_eq!(unsafe { gort_test_deep(kib, None, std::ptr::null_mut()) }, kib);
}

/// As [`c_deep`], and calls `f` at the bottom, which must not unwind.
pub fn c_deep_call(kib: u32, mut f: impl FnMut()) {
    let mut f: &mut dyn FnMut() = &mut f;
    // SAFETY: `run` takes what is passed.
    assert_eq!(unsafe { gort_test_deep(kib, Some(run), (&raw mut f).cast()) }, kib);
}
