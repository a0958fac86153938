//! Labels: who has them, who inherits them, and where they are shown.

mod go_modes;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use gort::labels::{self, Labels};
use gort::prelude::*;
use gort::{JoinHandle, Runtime, chan};
use gort_tests::{eventually, for_procs, runtime};

use go_modes::for_modes;

fn here() -> String {
    labels::current().to_string()
}

#[track_caller]
fn done<T>(handle: JoinHandle<T>) -> T {
    handle.wait().expect("no panic")
}

#[test]
fn nobody_has_any_at_first() {
    for_modes(|rt, _| {
        assert!(labels::current().is_empty());
        assert_eq!(done(rt.go(here)), "{}");
        assert_eq!(done(rt.spawn(async { here() })), "{}");
    });
}

/// From tasks and goroutines to tasks and goroutines, and on to theirs.
#[test]
fn what_is_spawned_inherits() {
    fn children() -> Vec<JoinHandle<String>> {
        vec![
            gort::go(here),
            gort::spawn(async { here() }),
            gort::spawn_blocking(here),
            gort::go(|| done(gort::spawn(async { done(gort::go(here)) }))),
        ]
    }
    for_modes(|rt, _| {
        let goroutine = rt.go(|| {
            labels::set([("request", "17")]);
            children().into_iter().map(done).collect::<Vec<_>>()
        });
        assert_eq!(done(goroutine), ["{request: 17}"; 4]);
        let task = rt.spawn(async {
            labels::set([("request", "18")]);
            let mut found = Vec::new();
            for child in children() {
                found.push(child.await.expect("no panic"));
            }
            found
        });
        assert_eq!(done(task), ["{request: 18}"; 4]);
        assert_eq!(done(rt.go(here)), "{}");
    });
}

#[test]
fn they_stay_over_waits() {
    for_modes(|rt, _| {
        let goroutine = |i: usize| {
            rt.go(move || {
                labels::set([("i", i.to_string())]);
                for _ in 0..10 {
                    gort::time::sleep(Duration::from_micros(20)).wait();
                    gort::yield_now().wait();
                    assert_eq!(here(), format!("{{i: {i}}}"));
                }
            })
        };
        let task = |i: usize| {
            rt.spawn(async move {
                labels::set([("i", i.to_string())]);
                for _ in 0..10 {
                    gort::time::sleep(Duration::from_micros(20)).await;
                    gort::yield_now().await;
                    assert_eq!(here(), format!("{{i: {i}}}"));
                }
            })
        };
        let all: Vec<_> =
            (0..50).map(|i| if i % 2 == 0 { task(i) } else { goroutine(i) }).collect();
        all.into_iter().for_each(done);
    });
}

#[test]
fn with_adds_and_takes_back() {
    fn check() {
        labels::with([("a", "1"), ("b", "2")], || {
            assert_eq!(here(), "{a: 1, b: 2}");
            labels::with([("b", "3"), ("c", "4")], || assert_eq!(here(), "{a: 1, b: 3, c: 4}"));
            assert_eq!(here(), "{a: 1, b: 2}");
            let panics = || labels::with([("d", "5")], || panic!("as it should"));
            catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
            assert_eq!(here(), "{a: 1, b: 2}");
        });
        assert_eq!(here(), "{}");
    }
    for_modes(|rt, _| {
        check();
        rt.block_on(async { check() });
        done(rt.go(check));
        done(rt.spawn(async { check() }));
    });
}

/// On a plain thread they are the thread's, for what is spawned there, in whatever runtime.
#[test]
fn a_thread_has_some_too() {
    for_procs(|rt| {
        let other = runtime(1);
        labels::with([("from", "outside")], || {
            assert_eq!(done(rt.go(here)), "{from: outside}");
            assert_eq!(done(other.spawn(async { here() })), "{from: outside}");
            rt.block_on(async {
                assert_eq!(gort::spawn_local(async { here() }).await.unwrap(), "{from: outside}");
            });
            assert_eq!(std::thread::spawn(here).join().unwrap(), "{}");
        });
        let across = rt.handle();
        let far = other.go(move || {
            labels::set([("from", "afar")]);
            done(across.go(here))
        });
        assert_eq!(done(far), "{from: afar}");
    });
}

fn labels_of(rt: &Runtime, name: &str) -> Labels {
    let dump = rt.handle().dump();
    let found = dump.goroutines().find(|g| g.name() == Some(name));
    found.unwrap_or_else(|| panic!("no {name} in\n{dump}")).labels().clone()
}

#[test]
fn dumps_show_them() {
    for_modes(|rt, _| {
        let (tx, rx) = chan::unbounded::<()>();
        let builder = |name| gort::task::Builder::new().name(name).label("kind", name);
        let _entered = rt.enter();
        let (one, two) = (rx.clone(), rx);
        let goroutine = labels::with([("request", "17")], || {
            builder("goroutine").go(move || one.recv().wait()).expect("a stack")
        });
        let task = builder("task").spawn(async move { two.recv().await }).expect("a task");
        eventually("both wait", || rt.handle().states().waiting == 2);
        let text = rt.handle().dump().to_string();
        let line = "[chan receive] {kind: goroutine, request: 17}: goroutine\n";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("[chan receive] {kind: task}: task\n"), "{text}");
        let labels = labels_of(rt, "goroutine");
        assert_eq!((labels.get("request"), labels.get("none")), (Some("17"), None));
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("kind", "goroutine"), ("request", "17")]);
        drop(tx);
        done(goroutine).unwrap_err();
        done(task).unwrap_err();
    });
}

#[test]
fn a_label_cannot_break_the_line() {
    labels::with([("user", "Ada L."), ("q", "a\nb"), ("path", "/x/y-1.html"), ("", "")], || {
        assert_eq!(here(), r#"{"": "", path: /x/y-1.html, q: "a\nb", user: "Ada L."}"#);
    });
}
