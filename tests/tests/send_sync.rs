//! The auto-traits of the public types, pinned; what must not be Send is in `tests/ui`.

use std::cell::Cell;
use std::fmt::Debug;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;

use gort::coro::{Coroutine, State};
use gort::iter::{Pull, ScopedPull, Yielder};
use gort::time::{Elapsed, Instant, Interval, Sleep, Timeout};
use gort::{
    Builder, EnterGuard, Handle, JoinError, JoinHandle, Metrics, PanicPolicy, ProcMetrics, Runtime,
    YieldNow,
};

fn send<T: Send>() {}
fn sync<T: Sync>() {}
fn unpin<T: Unpin>() {}
fn debug<T: Debug>() {}
fn unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
fn everything<T: Send + Sync + Unpin + Debug + 'static>() {}

/// Whether a type has an auto-trait: the inherent constant wins where its bound holds.
macro_rules! is {
    ($t:ty: $bound:ident) => {{
        trait Fallback {
            const IS: bool = false;
        }
        impl<T: ?Sized> Fallback for T {}
        struct Probe<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code)]
        impl<T: ?Sized + $bound> Probe<T> {
            const IS: bool = true;
        }
        <Probe<$t>>::IS
    }};
}

#[test]
fn what_is_shared_is_send_and_sync() {
    everything::<Runtime>();
    everything::<Handle>();
    everything::<Builder>();
    everything::<Metrics>();
    everything::<ProcMetrics>();
    everything::<PanicPolicy>();
    everything::<JoinError>();
    everything::<gort::task::Id>();
    everything::<Instant>();
    everything::<Elapsed>();
    everything::<Sleep>();
    everything::<Interval>();
    everything::<YieldNow>();
    everything::<Timeout<Sleep>>();
}

#[test]
fn coroutines_stay_where_they_are() {
    assert!(!is!(Coroutine<(), u8, ()>: Send) && !is!(Coroutine<(), u8, ()>: Sync));
    assert!(!is!(Pull<u8>: Send) && !is!(Pull<u8>: Sync));
    assert!(!is!(ScopedPull<'static, u8>: Send) && !is!(ScopedPull<'static, u8>: Sync));
    assert!(!is!(Yielder<u8>: Send) && !is!(Yielder<u8>: Sync));
    unpin::<Coroutine<(), u8, ()>>();
    unpin::<Pull<u8>>();
    debug::<Coroutine<(), u8, ()>>();
    debug::<Pull<u8>>();
    debug::<ScopedPull<'static, u8>>();
    debug::<Yielder<u8>>();
    everything::<State<u8, u8>>();
}

#[test]
fn a_join_handle_is_as_its_output() {
    everything::<JoinHandle<String>>();
    // A handle gives no `&T`, so it is Sync for an output that is only Send.
    send::<JoinHandle<Cell<u8>>>();
    sync::<JoinHandle<Cell<u8>>>();
    unpin::<JoinHandle<std::marker::PhantomPinned>>();
    unwind_safe::<JoinHandle<Cell<u8>>>();
    debug::<JoinHandle<Rc<u8>>>();
    assert!(!is!(JoinHandle<Rc<u8>>: Send));
    assert!(!is!(JoinHandle<Rc<u8>>: Sync));
}

#[test]
fn an_enter_guard_stays_on_its_thread() {
    assert!(!is!(EnterGuard<'static>: Send));
    debug::<EnterGuard<'static>>();
}

#[test]
fn a_timeout_is_as_its_future() {
    send::<Timeout<Sleep>>();
    assert!(!is!(Timeout<std::future::Ready<Rc<u8>>>: Send));
}

#[test]
fn futures_of_the_public_functions_are_send() {
    fn check<T: Send>(_: T) {}
    check(gort::spawn(async {}));
    check(gort::time::sleep(std::time::Duration::ZERO));
    check(async { gort::time::interval(std::time::Duration::MAX).tick().await });
    check(async { gort::spawn(async {}).await });
    check(gort::yield_now());
}
