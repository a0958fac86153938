//! Calls of C code from goroutines, and calls back. Go: cgocall, cgocallback.
//!
//! ```
//! use gort::ffi;
//! use gort::prelude::*;
//!
//! // C's side of it: something that calls back.
//! extern "C" fn twice(f: extern "C" fn(&mut u32), arg: &mut u32) {
//!     f(arg);
//!     f(arg);
//! }
//!
//! extern "C" fn count(n: &mut u32) {
//!     // A wait in here parks the goroutine. A panic must not get into C's frames.
//!     let _ = ffi::callback(|| {
//!         gort::yield_now().wait();
//!         *n += 1;
//!     });
//! }
//!
//! let counted = gort::go(|| {
//!     let mut n = 0;
//!     ffi::call(|| twice(count, &mut n));
//!     n
//! });
//! assert_eq!(counted.wait().unwrap(), 2);
//! ```
//!
//! C code knows nothing of small stacks: [`call`] runs it on the stack of the thread, which is
//! large. What it calls back goes on where the goroutine was, by [`callback`], and is a goroutine
//! again: it may wait, yield, panic and call C.
//!
//! # Waiting in a callback
//!
//! The goroutine waits, and its thread, whose stack holds the frames of C, goes on with whatever
//! else lives there; its P goes to others. The frames of C end in the reverse order of their
//! beginning: a callback that is done while another goroutine's C frames lie above its own waits
//! for them to end.
//!
//! While it is in a callback a goroutine is [locked](crate::lock_os_thread) to its thread.
//!
//! # Ends
//!
//! A panic in a callback is kept; `callback` gives [`Panicked`] to its caller, which should return
//! to C as soon as it can; when [`call`] returns, the panic goes on there. An abort is the same: it
//! ends the callback's wait, and the goroutine ends after `call` has returned.
//!
//! # Elsewhere
//!
//! In a poll and on a plain thread both functions just call, and keep panics in the same way: the
//! stack is the thread's own already, unless it is that of a coroutine.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread::Result as Caught;

use crate::sched::g::GRef;
use crate::sched::m::{self, M};
use crate::task::{goroutine, system};
use crate::util::opaque;

/// A call that is under way.
struct Call {
    /// Whose it is, if that is a goroutine, and the M that it is on.
    of: Option<(GRef, *const M)>,
    /// The first panic of its callbacks.
    panic: RefCell<Option<Box<dyn Any + Send>>>,
}

/// Says that a callback has panicked. [`call`] will raise the panic again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Panicked;

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a callback from C panicked")
    }
}

impl std::error::Error for Panicked {}

thread_local! {
    /// The innermost call on this thread's own stack.
    static CALL: Cell<*const Call> = const { Cell::new(std::ptr::null()) };
}

/// Makes `call` the innermost one, or none if it is null; gives the one before.
#[inline(never)]
fn replace_call(call: *const Call) -> *const Call {
    opaque();
    CALL.replace(call)
}

/// Runs `f`, which calls C, on the thread's own stack, and returns what it does.
///
/// The goroutine does not stop meanwhile: its thread is busy, as with any call.
///
/// # Panics
/// As `f` does, and with the first panic of a [`callback`] in it.
pub fn call<R>(f: impl FnOnce() -> R) -> R {
    let of = goroutine::current().zip(m::current().map(std::ptr::from_ref));
    let call = Call { of, panic: RefCell::default() };
    let result = within(of.map(|(g, _)| g), f, |job| {
        let outer = replace_call(&call);
        job();
        replace_call(outer);
    });
    let kept = call.panic.take();
    match (kept, result) {
        (Some(payload), _) | (None, Err(payload)) => resume_unwind(payload),
        (None, Ok(result)) => result,
    }
}

/// Runs `f` around which `frame` lies, on the thread's own stack if `g` is a goroutine.
fn within<R>(g: Option<GRef>, f: impl FnOnce() -> R, frame: impl Fn(&dyn Fn())) -> Caught<R> {
    once(f, |job| match g {
        Some(g) => system::on_system_stack(g, &|| frame(job)),
        None => frame(job),
    })
}

/// Has `run` call `f` where it sees fit, once; a panic stays in there.
fn once<R>(f: impl FnOnce() -> R, run: impl FnOnce(&dyn Fn())) -> Caught<R> {
    let (f, result) = (Cell::new(Some(f)), Cell::new(None));
    run(&|| {
        if let Some(f) = f.take() {
            result.set(Some(catch_unwind(AssertUnwindSafe(f))));
        }
    });
    result.take().expect("it has been called")
}

/// Runs `f`, as something that C calls: in a goroutine's [`call`] on the goroutine's own stack,
/// where it may wait.
///
/// Outside of any `call`, where there is nobody to raise it again, a panic ends here.
///
/// # Errors
/// If `f` panics, or the goroutine is aborted while it waits in there. Return to C then.
pub fn callback<R>(f: impl FnOnce() -> R) -> Result<R, Panicked> {
    let at = replace_call(std::ptr::null());
    // SAFETY: a call takes its address back before it ends.
    let call = unsafe { at.as_ref() };
    let result = once(f, |job| match call.and_then(Call::goroutine) {
        Some((g, m)) => system::on_goroutine_stack(g, m, job),
        None => job(),
    });
    replace_call(at);
    result.map_err(|payload| {
        if let Some(call) = call {
            call.panic.borrow_mut().get_or_insert(payload);
        }
        Panicked
    })
}

impl Call {
    /// Its goroutine, if it is that which calls: not a task or another runtime that runs on top of
    /// it, in a wait.
    fn goroutine(&self) -> Option<(GRef, &M)> {
        let (g, at) = self.of?;
        let m = m::current()?;
        (std::ptr::eq(m, at) && m.curg().is_none()).then_some((g, m))
    }
}
