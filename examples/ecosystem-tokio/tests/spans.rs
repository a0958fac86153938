//! The feature `tracing`: what a subscriber sees of tasks and goroutines.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use gort::Runtime;
use gort::prelude::*;
use gort::task::Id;
use gort_tests::{BOUND, for_procs};
use tracing::field::{Field, Visit};
use tracing::{Event, Span, Subscriber, span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// What has happened to a span of a task.
#[derive(Debug, Default, Clone)]
struct Seen {
    target: &'static str,
    fields: HashMap<&'static str, String>,
    has_parent: bool,
    /// Times it was entered.
    enters: usize,
    is_entered: bool,
    is_closed: bool,
    /// What was done with its wakers.
    ops: HashMap<String, usize>,
}

impl Seen {
    #[track_caller]
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_else(|| panic!("no field `{name}` in {self:?}"))
    }

    fn ops(&self, op: &str) -> usize {
        self.ops.get(op).copied().unwrap_or(0)
    }
}

/// All tasks' spans since the last `take`, and what was wrong with them.
static SPANS: Mutex<Vec<(span::Id, Seen)>> = Mutex::new(Vec::new());
static WRONG: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local!(static ENTERED: RefCell<Vec<span::Id>> = const { RefCell::new(Vec::new()) });

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The subscriber of this process.
struct Watch;

impl Watch {
    /// Does something to the span, if it is one of a task. Ids are used again, so it is the latest.
    fn with(id: &span::Id, f: impl FnOnce(&mut Seen)) {
        if let Some((_, seen)) = lock(&SPANS).iter_mut().rev().find(|(of, _)| of == id) {
            f(seen);
        }
    }
}

fn wrong(what: &str, id: &span::Id) {
    lock(&WRONG).push(format!("{what}: {id:?}"));
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Watch {
    fn on_new_span(&self, attrs: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        if attrs.metadata().name() != "runtime.spawn" {
            return;
        }
        let has_parent = ctx.span(id).is_some_and(|span| span.parent().is_some());
        let mut seen = Seen { target: attrs.metadata().target(), has_parent, ..Seen::default() };
        attrs.record(&mut Fields(&mut seen.fields));
        lock(&SPANS).push((id.clone(), seen));
    }

    fn on_enter(&self, id: &span::Id, _: Context<'_, S>) {
        ENTERED.with_borrow_mut(|entered| entered.push(id.clone()));
        Self::with(id, |seen| {
            seen.enters += 1;
            if std::mem::replace(&mut seen.is_entered, true) || seen.is_closed {
                wrong("entered twice, or after its end", id);
            }
        });
    }

    fn on_exit(&self, id: &span::Id, _: Context<'_, S>) {
        if ENTERED.with_borrow_mut(Vec::pop).as_ref() != Some(id) {
            wrong("left although it was not the innermost one of its thread", id);
        }
        Self::with(id, |seen| {
            if !std::mem::replace(&mut seen.is_entered, false) {
                wrong("left but not entered", id);
            }
        });
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "tokio::task::waker" {
            return;
        }
        let mut fields = HashMap::new();
        event.record(&mut Fields(&mut fields));
        let id = span::Id::from_u64(fields["task.id"].parse().expect("a number"));
        Self::with(&id, |seen| *seen.ops.entry(fields["op"].clone()).or_default() += 1);
    }

    fn on_close(&self, id: span::Id, _: Context<'_, S>) {
        Self::with(&id, |seen| {
            if seen.is_entered || std::mem::replace(&mut seen.is_closed, true) {
                wrong("closed while entered, or twice", &id);
            }
        });
    }
}

struct Fields<'a>(&'a mut HashMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

/// Runs `test` on runtimes of 1, 2 and 4 Ps, no other test beside it. Afterwards all spans of this
/// file must have ended, and `check` gets them in the order of the spawns.
#[track_caller]
fn watched(test: impl Fn(&Runtime), check: impl Fn(&[Seen])) {
    static ONE: Mutex<()> = Mutex::new(());
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| tracing_subscriber::registry().with(Watch).init());
    let _one = lock(&ONE);
    for_procs(|rt| {
        // A runtime of its own, so that it has ended when this looks.
        let procs = rt.handle().metrics().procs;
        for migrate in [false, true] {
            lock(&SPANS).clear();
            let builder = gort::Builder::new().procs(procs);
            // SAFETY: no goroutine here uses thread-locals, but for the subscriber's, which it
            // finds anew each time.
            let builder = if migrate { unsafe { builder.migrate_goroutines() } } else { builder };
            let rt = builder.build().expect("a runtime");
            test(&rt);
            assert!(rt.shutdown_timeout(BOUND));
            let spans: Vec<Seen> = lock(&SPANS).iter().map(|(_, seen)| seen.clone()).collect();
            let here = |seen: &&Seen| seen.field("loc.file").ends_with("spans.rs");
            let spans: Vec<Seen> = spans.iter().filter(here).cloned().collect();
            assert_eq!(*lock(&WRONG), Vec::<String>::new());
            for seen in &spans {
                assert!(seen.is_closed && !seen.has_parent, "{seen:?}");
                let (made, gone) = (seen.ops("waker.clone"), seen.ops("waker.drop"));
                assert_eq!(made, gone + seen.ops("waker.wake"), "{seen:?}");
            }
            check(&spans);
        }
    });
}

#[test]
fn each_spawn_has_its_span() {
    static IDS: Mutex<Vec<Id>> = Mutex::new(Vec::new());
    watched(
        |rt| {
            let user = tracing::info_span!("user");
            let _entered = user.enter();
            lock(&IDS).clear();
            rt.block_on(async {
                let builder = || gort::task::Builder::new().name("named");
                let task = gort::spawn(async { [0; 100].len() });
                let goroutine = builder().go(|| ()).unwrap();
                let local = gort::spawn_local(async {});
                let blocking = gort::spawn_blocking(|| ());
                let ids = [task.id(), goroutine.id(), local.id(), blocking.id()];
                lock(&IDS).extend(ids);
                task.await.unwrap();
                goroutine.await.unwrap();
                local.await.unwrap();
                blocking.await.unwrap();
            });
        },
        |spans| {
            let kinds: Vec<_> = spans.iter().map(|seen| seen.field("kind")).collect();
            assert_eq!(kinds, ["task", "goroutine", "local", "blocking"]);
            let targets = spans.iter().map(|seen| seen.target).collect::<Vec<_>>();
            assert_eq!(targets[..3], ["tokio::task"; 3]);
            assert_eq!(targets[3], "tokio::task::blocking");
            assert!(spans[3].field("fn").contains("each_spawn_has_its_span"));
            let names: Vec<_> = spans.iter().map(|seen| seen.field("task.name")).collect();
            assert_eq!(names, ["", "named", "", ""]);
            for (seen, id) in spans.iter().zip(&*lock(&IDS)) {
                assert_eq!(seen.field("task.id"), id.to_string());
                assert_eq!(seen.enters, 1, "{seen:?}");
                assert!(seen.field("loc.line").parse::<u32>().unwrap() > 100);
                assert!(seen.field("loc.col").parse::<u32>().unwrap() > 1);
                assert!(seen.field("size.bytes").parse::<usize>().unwrap() < 10_000);
            }
        },
    );
}

#[test]
fn each_dispatch_enters() {
    watched(
        |rt| {
            rt.block_on(rt.spawn(async {
                for _ in 0..10 {
                    gort::yield_now().await;
                }
            }))
            .unwrap();
            let goroutine = rt.go(|| (0..10).for_each(|_| gort::yield_now().wait()));
            goroutine.wait().unwrap();
        },
        |spans| {
            assert_eq!(spans.len(), 2);
            for seen in spans {
                assert_eq!((seen.enters, seen.ops("waker.wake_by_ref")), (11, 10), "{seen:?}");
            }
        },
    );
}

/// A goroutine, and a task, are in their own span wherever they go on.
#[test]
fn everybody_is_in_their_own_span() {
    const ROUNDS: usize = 20;
    fn check(first: &Option<span::Id>) {
        assert_eq!(Span::current().id(), *first);
    }
    watched(
        |rt| {
            let (tx, rx) = gort::chan::bounded::<usize>(1);
            let all: Vec<_> = (0..40)
                .map(|i| {
                    let (tx, rx) = (tx.clone(), rx.clone());
                    if i % 2 == 0 {
                        return rt.go(move || {
                            let first = Span::current().id();
                            assert!(first.is_some());
                            for round in 0..ROUNDS {
                                tx.send(round).wait().unwrap();
                                check(&first);
                                gort::time::sleep(Duration::from_micros(50)).wait();
                                check(&first);
                                gort::yield_now().wait();
                                check(&first);
                            }
                        });
                    }
                    rt.spawn(async move {
                        let first = Span::current().id();
                        assert!(first.is_some());
                        for _ in 0..ROUNDS {
                            rx.recv().await.unwrap();
                            check(&first);
                            gort::spawn(async {}).await.unwrap();
                            check(&first);
                        }
                    })
                })
                .collect();
            all.into_iter().for_each(|one| one.wait().unwrap());
        },
        |spans| assert_eq!(spans.len(), 40 + 20 * ROUNDS),
    );
}

/// Timers, joins and channels wake from inside the scheduler; a subscriber hears of it.
#[test]
fn wakes_are_seen() {
    watched(
        |rt| {
            let sleeps = || gort::time::sleep(Duration::from_millis(1));
            rt.spawn(sleeps()).wait().unwrap();
            rt.go(move || sleeps().wait()).wait().unwrap();
            rt.spawn(async move { gort::spawn(sleeps()).await.unwrap() }).wait().unwrap();
        },
        |spans| {
            assert_eq!(spans.len(), 4);
            for seen in spans {
                assert_eq!((seen.enters, seen.ops("waker.wake")), (2, 1), "{seen:?}");
            }
        },
    );
}

#[test]
fn calls_of_c_and_back_are_balanced() {
    watched(
        |rt| {
            let call = |depth: usize| {
                move || {
                    let first = Span::current().id();
                    for _ in 0..depth {
                        gort::ffi::call(|| {
                            let inside = gort::ffi::callback(|| {
                                gort::time::sleep(Duration::from_micros(100)).wait();
                                assert_eq!(Span::current().id(), first);
                                gort::yield_now().wait();
                            });
                            assert!(inside.is_ok());
                            assert_eq!(Span::current().id(), first);
                        });
                        assert_eq!(Span::current().id(), first);
                    }
                }
            };
            let all: Vec<_> = (1..10).map(|depth| rt.go(call(depth))).collect();
            all.into_iter().for_each(|one| one.wait().unwrap());
        },
        |spans| assert_eq!(spans.len(), 9),
    );
}

#[test]
fn spans_end_with_what_is_aborted_or_left_over() {
    watched(
        |rt| {
            let waits = || gort::time::sleep(Duration::from_secs(1000));
            let task = rt.spawn(waits());
            let goroutine = rt.go(move || waits().wait());
            task.abort();
            goroutine.abort();
            assert!(task.wait().unwrap_err().is_cancelled());
            assert!(goroutine.wait().unwrap_err().is_cancelled());
            drop(rt.spawn(waits()));
            drop(rt.go(move || waits().wait()));
            drop(rt.spawn(std::future::pending::<()>()));
        },
        |spans| assert_eq!(spans.len(), 5),
    );
}

#[test]
fn a_panic_ends_the_span() {
    watched(
        |rt| {
            assert!(rt.spawn(async { panic!("a task's") }).wait().unwrap_err().is_panic());
            assert!(rt.go(|| panic!("a goroutine's")).wait().unwrap_err().is_panic());
        },
        |spans| assert!(spans.len() == 2 && spans.iter().all(|seen| seen.enters == 1)),
    );
}
