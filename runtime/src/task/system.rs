//! From a goroutine's stack to its thread's own, and back again from there: calls of C.
//!
//! ```text
//!   the thread's stack (g0)                    the goroutine's stack
//!   resume                                     ffi::call
//!    └ serve ◀──────── the job ────────────────  └ to_system (waits for a word)
//!       └ the job: C code                            :
//!          └ callback                                :
//!             └ serve ──── the callback ─────────▶   └ f, which may call, wait, yield
//!                :                                       └ wait ─ park
//!             (parked: others of this thread run here, above the C frames)
//!                :                                         goes on, ends
//!             ◀──────────── RETURNED ───────────────┘
//!          C goes on, and returns
//!       └──────────────── 0 ───────────────────▶ call returns
//! ```
//!
//! The frames of C lie on the thread's stack, and must end in the reverse order of their beginning.
//! A goroutine that waits inside a callback parks like any other, and the thread runs its other
//! residents above its C frames. One of them may have C frames of its own there, and wait in turn;
//! the first goroutine may go on then, on its own stack, but the return into its C frames has to
//! wait until they are the topmost again: `serve` has said RETURNED to whoever resumed it last, and
//! the callback finds that when its own loop gets its turn.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use super::goroutine::{Control, control};
use crate::os_thread;
use crate::sched::g::GRef;
use crate::sched::handoff;
use crate::sched::m::{self, M};
use crate::stack::switch::{self, Ctx};

/// What a goroutine tells its M when it leaves its stack; all else is a job's address.
pub(super) const PARKED: usize = 0;
pub(super) const DONE: usize = 1;
pub(super) const RETURNED: usize = 2;

/// Something to do on the other side's stack, by that side. It must not unwind.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Job<'a>(&'a dyn Fn());

/// A callback that is under way.
#[derive(Default)]
pub(super) struct Callback {
    returned: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Callback {
    /// Its goroutine has done all that it had to, and is suspended.
    pub(super) fn set_returned(&self) {
        self.returned.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Goes on with the goroutine `g`, with `word`, and runs its jobs here until it stops otherwise.
///
/// # Safety
/// The context is the goroutine's, suspended; its stack stays where it is.
#[inline(always)]
pub(super) unsafe fn serve(g: GRef, mut ctx: Ctx, mut word: usize) -> (Ctx, usize) {
    loop {
        // SAFETY: the caller's contract.
        let (back, said) = unsafe { switch::switch(ctx, word) };
        if said <= RETURNED {
            return (back, said);
        }
        ctx = run_job(g, back, said);
        word = 0;
    }
}

#[inline(never)]
fn run_job(g: GRef, ctx: Ctx, job: usize) -> Ctx {
    let control = control(g);
    control.ctx.set(Some(ctx)); // for callbacks
    let m = m::current().expect("a goroutine has an M");
    // The code on this stack is no goroutine, and waits as threads do.
    m.set_curg(None);
    // SAFETY: `to_system` has sent it, and waits for its end.
    unsafe { (*std::ptr::with_exposed_provenance::<Job<'_>>(job)).0() };
    m.set_curg(Some(g));
    control.ctx.take().expect("each callback puts it back")
}

/// Runs `job` on the thread's own stack, for the goroutine `g`, which calls.
pub(crate) fn on_system_stack(g: GRef, job: &dyn Fn()) {
    let control = control(g);
    let job = Job(job);
    let mut word = to_system(control, (&raw const job).expose_provenance());
    while word != 0 {
        // SAFETY: `on_goroutine_stack` has sent it, and waits for its end.
        unsafe { (*std::ptr::with_exposed_provenance::<Job<'_>>(word)).0() };
        word = to_system(control, RETURNED);
    }
}

fn to_system(control: &Control, word: usize) -> usize {
    let g0 = control.g0.take().expect("a running goroutine has an M");
    // The P may be gone meanwhile; then the goroutine waits for its turn after this.
    handoff::syscall(|| {
        // SAFETY: the M's flow, suspended in `serve`, which keeps the context that it gets.
        let (g0, word) = unsafe { switch::switch(g0, word) };
        control.g0.set(Some(g0));
        word
    })
}

/// Runs `job` on the stack of the goroutine `g`, below its frame in `on_system_stack`. Called on
/// the thread's own stack, by what that has called.
pub(crate) fn on_goroutine_stack(g: GRef, m: &M, job: &dyn Fn()) {
    let control = control(g);
    let job = Job(job);
    let callback = Callback::default();
    let outer = control.callback.replace(&raw const callback);
    os_thread::lock_internal(g);
    m.set_curg(Some(g));
    let ctx = control.ctx.take().expect("suspended in a call");
    // SAFETY: the goroutine's flow, suspended in `on_system_stack`.
    let (ctx, said) = unsafe { serve(g, ctx, (&raw const job).expose_provenance()) };
    control.ctx.set(Some(ctx));
    if said == PARKED {
        m.park_inside(g);
        // Runs what lives on this thread, the goroutine too.
        m.sched().arc().block_on(poll_fn(|cx| {
            if callback.returned.get() {
                return Poll::Ready(());
            }
            callback.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        }));
        m.go_on_inside(g);
    }
    os_thread::unlock_internal(g);
    m.set_curg(None);
    control.callback.set(outer);
}
