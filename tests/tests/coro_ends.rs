//! How coroutines end, and what misuse of them leads to: a panic, the end of the process with a
//! text and code 2, or a clean end; destructors run once, and no stack is lost.

mod coro_places;
mod go_modes;

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::thread;

use gort::coro::{Coroutine, State, Yielder};
use gort::iter::pull;
use gort::prelude::*;
use gort_tests::{Child, OnDrop, alone, is_child, panic_text};

use coro_places::{Drops, assert_calm, everywhere, everywhere_alone};
use go_modes::for_modes;

/// The text of the panic that `f` ends with.
#[track_caller]
fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("it does not panic"),
        Err(payload) => panic_text(&*payload).to_owned(),
    }
}

/// Yields for ever, with something to drop.
fn endless(drops: &Drops) -> Coroutine<(), u32, ()> {
    let guard = drops.guard();
    Coroutine::new(move |y: &Yielder<(), u32>, ()| {
        let _guard = guard;
        for i in 0.. {
            y.yield_(i);
        }
    })
}

#[test]
fn never_begun() {
    everywhere(|| {
        let drops = Drops::default();
        drop(endless(&drops));
        assert_eq!(drops.count(), 1);
        drop(pull(|_: &gort::iter::Yielder<()>| unreachable!("it never begins")));
    });
}

#[test]
fn dropped_half_way() {
    everywhere(|| {
        let drops = Drops::default();
        let mut half = endless(&drops);
        assert_eq!(half.resume(()), State::Yielded(0));
        assert_eq!(drops.count(), 0);
        drop(half);
        assert_eq!(drops.count(), 1);
        assert_calm();
    });
}

#[test]
fn dropped_while_panicking() {
    everywhere(|| {
        let drops = Drops::default();
        let text = panic_of(|| {
            let (mut half, _new) = (endless(&drops), endless(&drops));
            half.resume(());
            resume_unwind(Box::new("the caller's"));
        });
        assert_eq!((text.as_str(), drops.count()), ("the caller's", 2));
        assert_calm();
    });
}

/// A destructor that runs because of a panic may use coroutines.
#[test]
fn used_while_panicking() {
    everywhere(|| {
        let drops = Drops::default();
        let text = panic_of(|| {
            let _on_drop = OnDrop::new(|| {
                assert!(thread::panicking());
                let mut inside = endless(&drops);
                assert_eq!(inside.resume(()), State::Yielded(0));
                assert_eq!(inside.resume(()), State::Yielded(1));
            });
            resume_unwind(Box::new("outer"));
        });
        assert_eq!((text.as_str(), drops.count()), ("outer", 1));
        assert_calm();
    });
}

#[test]
fn a_panic_comes_out_once() {
    everywhere(|| {
        let drops = Drops::default();
        let guard = drops.guard();
        let mut fails = Coroutine::new(move |y: &Yielder<(), u32>, ()| {
            let _guard = guard;
            y.yield_(1);
            resume_unwind(Box::new("the body's"));
        });
        assert_eq!(fails.resume(()), State::<_, ()>::Yielded(1));
        assert_eq!(panic_of(|| fails.resume(())), "the body's");
        assert!(fails.is_done());
        assert_eq!(drops.count(), 1);
        assert_calm();
        let again = panic_of(|| fails.resume(()));
        assert!(again.contains("a coroutine that has ended"), "{again}");
    });
}

#[test]
fn resumed_after_the_end() {
    everywhere(|| {
        let mut short = Coroutine::new(|_: &Yielder<(), ()>, ()| 5);
        assert_eq!(short.resume(()), State::Complete(5));
        let text = panic_of(|| short.resume(()));
        assert!(text.contains("a coroutine that has ended"), "{text}");
    });
}

/// A body that never yields is a function call.
#[test]
fn never_yields() {
    everywhere(|| {
        let drops = Drops::default();
        let guard = drops.guard();
        let mut plain = Coroutine::new(move |_: &Yielder<u32, ()>, i: u32| (i, guard));
        let State::Complete((7, guard)) = plain.resume(7) else { panic!("it returns") };
        assert_eq!(drops.count(), 0);
        drop(guard);
        assert_eq!(drops.count(), 1);
    });
}

/// Only unsafe code gets there: the borrow checker sees to the rest.
#[test]
fn resumed_inside_itself() {
    everywhere(|| {
        let place = Box::into_raw(Box::new(None::<Coroutine<(), String, ()>>));
        let at = place.expose_provenance();
        let body = move |y: &Yielder<(), String>, ()| {
            let place =
                std::ptr::with_exposed_provenance_mut::<Option<Coroutine<(), String, ()>>>(at);
            // SAFETY: the box is there; the second `&mut` is what is tested.
            let own = unsafe { (*place).as_mut() };
            y.yield_(panic_of(|| own.expect("it is there").resume(())));
        };
        // SAFETY: the box is ours.
        let own = unsafe { (*place).insert(Coroutine::new(body)) };
        let State::Yielded(text) = own.resume(()) else { panic!("it yields") };
        assert!(text.contains("inside itself"), "{text}");
        assert_eq!(own.resume(()), State::Complete(()));
        // SAFETY: nobody else has it.
        drop(unsafe { Box::from_raw(place) });
    });
}

/// A body that catches the unwinding gets it again at its next yield.
#[test]
fn an_unwinding_that_is_caught_comes_again() {
    everywhere(|| {
        let drops = Drops::default();
        let (first, second) = (drops.guard(), drops.guard());
        let seen = Arc::new(AtomicUsize::new(0));
        let theirs = seen.clone();
        let mut stubborn = Coroutine::new(move |y: &Yielder<(), u32>, ()| {
            for _ in 0..3 {
                let caught = catch_unwind(AssertUnwindSafe(|| y.yield_(1)));
                theirs.fetch_add(usize::from(caught.is_err()), SeqCst);
            }
            drop(first);
            let _second = second;
            y.yield_(2);
            unreachable!("it is being unwound");
        });
        stubborn.resume(());
        drop(stubborn);
        assert_eq!((seen.load(SeqCst), drops.count()), (3, 2));
        assert_calm();
    });
}

/// One that catches it and returns: what it returns is dropped.
#[test]
fn an_unwinding_that_ends_in_a_return() {
    everywhere(|| {
        let drops = Drops::default();
        let guard = drops.guard();
        let mut returns = Coroutine::new(move |y: &Yielder<(), ()>, ()| {
            let _ = catch_unwind(AssertUnwindSafe(|| y.yield_(())));
            guard
        });
        assert!(matches!(returns.resume(()), State::Yielded(())));
        drop(returns);
        assert_eq!(drops.count(), 1);
    });
}

/// A panic of the body's own, instead of the unwinding, comes out of the drop.
#[test]
fn a_drop_that_panics() {
    everywhere(|| {
        let mut other = Coroutine::new(|y: &Yielder<(), ()>, ()| {
            let _ = catch_unwind(AssertUnwindSafe(|| y.yield_(())));
            resume_unwind(Box::new("another"));
        });
        assert!(matches!(other.resume(()), State::<_, ()>::Yielded(())));
        assert_eq!(panic_of(move || drop(other)), "another");
        assert_calm();
        // While the caller panics there is no room for a second one.
        let text = panic_of(|| {
            let mut other = pull(|y: &gort::iter::Yielder<()>| {
                let _ = catch_unwind(AssertUnwindSafe(|| y.yield_(())));
                resume_unwind(Box::new("another"));
            });
            other.next();
            resume_unwind(Box::new("the caller's"));
        });
        assert_eq!(text, "the caller's");
        assert_calm();
    });
}

/// The wait belongs to who began it, so its poll is no place to leave.
#[test]
fn yield_in_a_poll_that_the_body_waits_for() {
    everywhere(|| {
        let drops = Drops::default();
        let guard = drops.guard();
        let mut body = Coroutine::new(move |y: &Yielder<(), u32>, ()| {
            let _guard = guard;
            let text = panic_of(|| {
                poll_fn(|_| {
                    y.yield_(1);
                    Poll::Ready(())
                })
                .wait();
            });
            assert!(text.contains("inside the poll of a future"), "{text}");
            // An inner coroutine may yield to that poll, but not through it.
            poll_fn(|_| {
                let inner = |inner: &gort::iter::Yielder<u32>| {
                    inner.yield_(2);
                    let text = panic_of(|| y.yield_(3));
                    assert!(text.contains("inside the poll of a future"), "{text}");
                };
                assert_eq!(gort::iter::pull_scoped(inner, |p| p.sum::<u32>()), 2);
                Poll::Ready(())
            })
            .wait();
            y.yield_(4);
        });
        assert_eq!(body.resume(()), State::Yielded(4));
        assert_eq!(body.resume(()), State::Complete(()));
        assert_eq!(drops.count(), 1);
    });
}

/// A yielder in hands that it is not meant for.
struct Smuggled(usize);

impl Smuggled {
    fn new(y: &Yielder<(), ()>) -> Smuggled {
        Smuggled(std::ptr::from_ref(y).expose_provenance())
    }

    fn yield_(&self) {
        let y = std::ptr::with_exposed_provenance::<Yielder<(), ()>>(self.0);
        // SAFETY: the body waits meanwhile, so the yielder is there, and nobody else uses it.
        unsafe { (*y).yield_(()) };
    }
}

#[test]
fn yield_by_another_goroutine() {
    for_modes(|rt, _| {
        rt.run(|| {
            let mut body = Coroutine::new(|y: &Yielder<(), ()>, ()| {
                let smuggled = Smuggled::new(y);
                let error = gort::go(move || smuggled.yield_()).wait().unwrap_err();
                let payload = error.into_panic();
                let text = panic_text(&*payload);
                assert!(text.contains("by another goroutine"), "{text}");
                let smuggled = Smuggled::new(y);
                let error = gort::spawn(async move { smuggled.yield_() }).wait().unwrap_err();
                assert!(error.is_panic());
                y.yield_(());
            });
            assert_eq!(body.resume(()), State::Yielded(()));
            assert_eq!(body.resume(()), State::Complete(()));
        });
    });
}

#[test]
fn yield_of_one_that_does_not_run() {
    everywhere(|| {
        let mut body = Coroutine::new(|y: &Yielder<(), usize>, ()| {
            y.yield_(std::ptr::from_ref(y).expose_provenance());
        });
        let State::Yielded(at) = body.resume(()) else { panic!("it yields") };
        let y = std::ptr::with_exposed_provenance::<Yielder<(), usize>>(at);
        // SAFETY: the body is suspended, so the yielder is there.
        let text = panic_of(|| unsafe { (*y).yield_(0) });
        assert!(text.contains("a coroutine that does not run"), "{text}");
    });
}

/// The panic count is the thread's: nobody may leave with a share in it.
#[test]
fn yield_in_a_destructor_that_unwinds() {
    struct Yields<'a>(&'a Yielder<(), ()>);
    impl Drop for Yields<'_> {
        fn drop(&mut self) {
            self.0.yield_(());
        }
    }

    if is_child() {
        let run = || {
            let by_drop = std::env::var("GORT_TEST_HOW").as_deref() == Ok("drop");
            let mut body = Coroutine::new(move |y: &Yielder<(), ()>, ()| {
                y.yield_(());
                let _yields = Yields(y);
                if by_drop {
                    y.yield_(());
                }
                resume_unwind(Box::new(()));
            });
            body.resume(());
            if by_drop {
                body.resume(());
                drop(body);
            } else {
                body.resume(());
            }
        };
        match std::env::var("GORT_TEST_PLACE").as_deref() {
            Ok("thread") => run(),
            _ => gort::go(run).wait().unwrap(),
        }
        unreachable!("the process ends");
    }
    for place in ["thread", "goroutine"] {
        for how in ["drop", "panic"] {
            let child = Child::of("yield_in_a_destructor_that_unwinds");
            let ended = child.env("GORT_TEST_PLACE", place).env("GORT_TEST_HOW", how).run();
            assert_eq!(ended.code, Some(2), "{}", ended.stderr);
            let words = "fatal error: coro: yield while the stack is unwound";
            assert!(ended.stderr.contains(words), "{}", ended.stderr);
        }
    }
}

/// A forgotten one keeps its stack as it is; nobody else gets it.
#[test]
fn forgotten() {
    everywhere(|| {
        let drops = Drops::default();
        for i in 0..10 {
            let mut half = endless(&drops);
            half.resume(());
            std::mem::forget(half);
            let mut other = endless(&drops);
            assert_eq!(other.resume(()), State::Yielded(0));
            drop(other);
            assert_eq!(drops.count(), i + 1);
        }
    });
}

fn stack_memory() -> usize {
    gort::block_on(async { gort::Handle::current().metrics().stack_memory })
}

/// However they end, their stacks come back.
#[test]
fn no_stack_is_lost() {
    let _machine = alone();
    let all_ends = || {
        let drops = Drops::default();
        for _ in 0..200 {
            drop(endless(&drops));
            let mut half = endless(&drops);
            half.resume(());
            drop(half);
            let mut whole = Coroutine::new(|_: &Yielder<(), ()>, ()| ());
            whole.resume(());
            let mut fails = pull(|y: &gort::iter::Yielder<u32>| {
                y.yield_(1);
                resume_unwind(Box::new(()));
            });
            assert!(catch_unwind(AssertUnwindSafe(|| fails.by_ref().count())).is_err());
            let mut inner = endless(&drops);
            let mut nested = pull(move |y: &gort::iter::Yielder<u32>| {
                while let State::Yielded(i) = inner.resume(()) {
                    y.yield_(i);
                }
            });
            assert_eq!(nested.nth(5), Some(5));
        }
        assert_eq!(drops.count(), 600);
    };
    everywhere_alone(all_ends);
    let before = stack_memory();
    everywhere_alone(all_ends);
    everywhere_alone(all_ends);
    let grown = stack_memory() - before;
    // A runtime's threads take half a shelf of stacks each; a lost one would be 100,000 of 256 KiB.
    assert!(grown <= 64 << 20, "{grown} bytes");
}
