//! Go's tests of `context` (x_test.go, context_test.go) on `CancelToken`, by their names, in our
//! words. Left out: those of values, of contexts of other makes, and of allocation counts.

mod sync_kinds;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use gort::prelude::*;
use gort::sync::{CancelCause, CancelToken, Group};
use gort::time::{Instant, sleep, timeout};
use gort_tests::{CountWaker, Rng, eventually, for_procs, returns};

use sync_kinds::{for_kinds, join_all, now, poll_once};

/// So long that only a mistake makes it pass.
const LONG: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(2);

fn is_explicit(token: &CancelToken) -> bool {
    matches!(token.cause(), Some(CancelCause::Cancelled))
}

fn is_late(token: &CancelToken) -> bool {
    matches!(token.cause(), Some(CancelCause::DeadlineExceeded))
}

/// TestBackground, TestWithCancel.
#[test]
fn with_cancel() {
    let token = CancelToken::new();
    assert!(!token.is_cancelled() && token.cause().is_none() && token.deadline().is_none());
    assert!(poll_once(std::pin::pin!(token.cancelled())).is_pending());
    token.cancel();
    token.cancel();
    assert!(token.is_cancelled() && is_explicit(&token));
    assert!(matches!(now(token.cancelled()), CancelCause::Cancelled));
}

/// TestParentFinishesChild.
#[test]
fn parent_finishes_child() {
    let parent = CancelToken::new();
    let (child, timer) = (parent.child(), parent.with_timeout(LONG));
    let grandchild = timer.child();
    parent.cancel();
    for token in [&parent, &child, &timer, &grandchild] {
        assert!(is_explicit(token));
    }
    // TestWithCancelCanceledParent.
    assert!(is_explicit(&parent.child()) && is_explicit(&parent.with_timeout(LONG)));
}

/// TestChildFinishesFirst.
#[test]
fn child_finishes_first() {
    let parent = CancelToken::new();
    let (child, sibling) = (parent.child(), parent.child());
    child.cancel();
    assert!(child.is_cancelled() && !parent.is_cancelled() && !sibling.is_cancelled());
    drop(child);
    parent.cancel();
    assert!(sibling.is_cancelled());
}

/// TestDeadline, TestTimeout, with tokens and layers.
#[test]
fn deadline() {
    for_kinds(|rt, kind| {
        let token = CancelToken::new();
        let layers = [
            token.with_timeout(SHORT),
            token.with_deadline(Instant::now() + SHORT),
            token.child().with_timeout(SHORT),
            token.with_timeout(SHORT).child(),
            token.with_timeout(SHORT).with_timeout(LONG),
            token.with_timeout(LONG).with_timeout(SHORT),
        ];
        let wait = |(i, token): (usize, CancelToken)| {
            kind.start(rt, i, async move {
                assert!(matches!(token.cancelled().await, CancelCause::DeadlineExceeded));
                assert!(token.is_cancelled());
            })
        };
        join_all(layers.into_iter().enumerate().map(wait).collect());
        assert!(!token.is_cancelled());
    });
}

/// TestDeadline's past and zero; TestWithTimeout with all the time there is.
#[test]
fn deadline_now_and_never() {
    let token = CancelToken::new();
    assert!(is_late(&token.with_timeout(Duration::ZERO)));
    assert!(is_late(&token.with_deadline(Instant::now())));
    let never = token.with_timeout(Duration::MAX);
    assert!(!never.is_cancelled());
    assert!(timeout(SHORT, never.cancelled()).wait().is_err());
    token.cancel();
    assert!(is_explicit(&never));
}

/// TestCanceledTimeout.
#[test]
fn canceled_timeout() {
    let token = CancelToken::new().with_timeout(LONG);
    token.cancel();
    assert!(is_explicit(&token));
}

/// Nobody waits; a look is enough, also in the token above whose deadline it is.
#[test]
fn a_deadline_is_seen_without_a_waiter() {
    let above = CancelToken::new().with_timeout(SHORT);
    let below = above.child();
    eventually("late", || below.is_cancelled());
    assert!(is_late(&below) && is_late(&above));
}

/// TestSimultaneousCancels: 5000 tokens below one, cancelled from everywhere in any order.
#[test]
fn simultaneous_cancels() {
    for_kinds(|rt, kind| {
        let root = CancelToken::new();
        let mut tree = vec![root.clone()];
        for i in 0..600 {
            tree.push(tree[i / 2].child());
        }
        let wait = |(i, token): (usize, &CancelToken)| {
            let token = token.clone();
            kind.start(rt, i, async move { drop(token.cancelled().await) })
        };
        let waiting: Vec<_> = tree.iter().take(30).enumerate().map(wait).collect();
        let cancel = |(i, tokens): (usize, &[CancelToken])| {
            let tokens = tokens.to_vec();
            kind.start(rt, i, async move { tokens.iter().for_each(CancelToken::cancel) })
        };
        join_all(tree.chunks(100).enumerate().map(cancel).collect());
        join_all(waiting);
        assert!(tree.iter().all(CancelToken::is_cancelled));
    });
}

/// TestInterlockedCancels: parent and child cancel each other.
#[test]
fn interlocked_cancels() {
    for_procs(|rt| {
        let parent = CancelToken::new();
        let child = parent.child();
        let (above, below) = (parent.clone(), child.clone());
        let follows = rt.spawn(async move {
            above.cancelled().await;
            below.cancel();
        });
        parent.cancel();
        child.cancelled().wait();
        follows.wait().unwrap();
    });
}

/// TestLayersCancel, TestLayersTimeout: a random stack of layers; cancelling one ends what is above
/// it in the stack, and nothing else.
#[test]
fn layers() {
    let mut rng = Rng::from_env();
    for _ in 0..200 {
        let mut stack = vec![CancelToken::new()];
        for _ in 0..20 {
            let top = &stack[stack.len() - 1];
            let layer = match rng.below(3) {
                0 => top.child(),
                1 => top.with_timeout(LONG),
                _ => top.with_timeout(Duration::MAX),
            };
            stack.push(layer);
        }
        let cut = rng.below(stack.len() as u64) as usize;
        stack[cut].cancel();
        for (i, token) in stack.iter().enumerate() {
            assert_eq!(token.is_cancelled(), i >= cut);
        }
    }
}

/// TestCancelRemoves: dropped children are forgotten, however many there were.
#[test]
fn cancel_removes() {
    let parent = CancelToken::new();
    let kept = parent.child();
    for _ in 0..100_000 {
        drop(parent.child());
    }
    parent.cancel();
    assert!(kept.is_cancelled());
}

/// TestCause.
#[test]
fn cause() {
    let parent = CancelToken::new();
    let child = parent.with_timeout(LONG);
    let finished = parent.child();
    finished.cancel();
    parent.cancel_with("power failure");
    parent.cancel_with("too late");
    for token in [&parent, &child] {
        assert_eq!(token.cause().unwrap().to_string(), "power failure");
    }
    assert!(is_explicit(&finished), "it had its own");
    assert_eq!(now(child.cancelled()).to_string(), "power failure");
}

/// TestCauseRace: of several causes one is kept, and all see the same.
#[test]
fn cause_race() {
    for_kinds(|rt, kind| {
        let token = CancelToken::new();
        let cancel = |i| {
            let token = token.clone();
            kind.start(rt, i, async move {
                token.cancel_with(format!("{i}"));
                token.cause().unwrap().to_string()
            })
        };
        let seen = join_all((0..8).map(cancel).collect());
        assert!(seen.iter().all(|cause| *cause == seen[0]), "{seen:?}");
    });
}

/// A dropped wait is forgotten; the others are woken once each.
#[test]
fn waits_are_dropped() {
    let token = CancelToken::new();
    let (count, waker) = CountWaker::pair();
    let mut cx = std::task::Context::from_waker(&waker);
    let mut waits: Vec<_> = (0..40).map(|_| Box::pin(token.cancelled())).collect();
    for wait in &mut waits {
        assert!(wait.as_mut().poll(&mut cx).is_pending());
    }
    waits.truncate(20);
    token.cancel();
    assert_eq!(count.wakes(), 20);
}

#[test]
fn run_until_cancelled() {
    for_procs(|rt| {
        let token = CancelToken::new();
        assert_eq!(token.run_until_cancelled(async { 1 }).wait(), Some(1));
        let (theirs, polls) = (token.clone(), Arc::new(AtomicUsize::new(0)));
        let seen = polls.clone();
        let works = rt.spawn(async move {
            let forever = async {
                loop {
                    seen.fetch_add(1, SeqCst);
                    gort::yield_now().await;
                }
            };
            theirs.run_until_cancelled(forever).await
        });
        eventually("it works", || polls.load(SeqCst) > 0);
        token.cancel();
        assert_eq!(works.wait().unwrap(), None);
        let never = token.run_until_cancelled(async { unreachable!("cancelled before") });
        assert_eq!(never.wait(), None);
    });
}

#[test]
fn a_guard_cancels() {
    let token = CancelToken::new();
    let guard = token.clone().drop_guard();
    let kept = guard.disarm();
    assert!(!kept.is_cancelled());
    drop(kept.drop_guard());
    assert!(token.is_cancelled());
}

/// Neither the end of a deep tree nor its cancellation is a recursion.
#[test]
fn a_very_deep_tree() {
    for cancel in [false, true] {
        returns("a deep tree", move || {
            let root = CancelToken::new();
            let mut leaf = root.clone();
            for _ in 0..200_000 {
                leaf = leaf.child();
            }
            if cancel {
                root.cancel();
            }
            assert_eq!(leaf.is_cancelled(), cancel);
            drop(root);
            drop(leaf);
        });
    }
}

/// TestAfterFunc's subject, with what we have for it: work that begins when a token is cancelled.
#[test]
fn work_that_begins_with_the_cancellation() {
    for_procs(|rt| {
        rt.run(|| {
            let token = CancelToken::new();
            let mut group = Group::<()>::new();
            let theirs = token.clone();
            group.go(move || {
                theirs.cancelled().wait();
                Ok(())
            });
            sleep(Duration::from_micros(100)).wait();
            token.cancel();
            assert_eq!(group.join().wait(), Ok(()));
        });
    });
}
