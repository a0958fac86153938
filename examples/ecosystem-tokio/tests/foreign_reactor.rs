//! Futures of tokio's and smol's reactors in tasks of gort.

#[allow(dead_code)] // the example's main
#[path = "../examples/foreign_reactor.rs"]
mod foreign_reactor;

use std::time::Duration;

use gort::prelude::*;
use gort_ecosystem::http::BODY;
use gort_tests::{BOUND, for_procs, runtime, until};

use foreign_reactor::{Servers, both, page};

/// `for_procs` also sees that the runtime ends beside the helper threads of the others, which
/// never do.
#[test]
fn both_in_one_join() {
    for_procs(|rt| {
        let servers =
            rt.block_on(async { Servers::start(Duration::from_millis(5)).await }).unwrap();
        let tasks: Vec<_> = (0..50).map(|i| rt.spawn(both(servers.clone(), i))).collect();
        for task in tasks {
            rt.block_on(task).unwrap().unwrap();
        }
    });
}

#[test]
fn in_goroutines_and_local_tasks() {
    for_procs(|rt| {
        let servers = rt.block_on(async { Servers::start(Duration::ZERO).await }).unwrap();
        rt.run(move || {
            let url = servers.url.clone();
            let local = gort::spawn_local(async move { page(&url).await });
            both(servers, 0).wait().unwrap();
            assert_eq!(local.wait().unwrap().unwrap(), BODY);
        });
    });
}

/// Between two polls the task is gort's: it goes on on gort's threads, and tokio is not current.
#[test]
fn the_tasks_stay_on_gort() {
    for_procs(|rt| {
        rt.block_on(rt.spawn(async {
            let servers = Servers::start(Duration::ZERO).await.unwrap();
            both(servers, 0).await.unwrap();
            let thread = std::thread::current();
            assert!(thread.name().unwrap().starts_with("gort"), "{thread:?}");
            assert!(gort::Handle::try_current().is_some());
            assert!(tokio::runtime::Handle::try_current().is_err());
        }))
        .unwrap();
    });
}

/// What waits for tokio's reactor when gort's runtime ends is dropped with it.
#[test]
fn an_end_in_the_middle_of_a_request() {
    for procs in [1, 2, 4] {
        let rt = runtime(procs);
        let servers = rt.block_on(Servers::start(2 * BOUND)).unwrap();
        let task = rt.spawn(async move { both(servers, 0).await.is_ok() });
        rt.block_on(until("the request waits", || rt.handle().metrics().goroutines > 2));
        assert!(rt.shutdown_timeout(BOUND), "the runtime did not end");
        assert!(task.wait().unwrap_err().is_cancelled());
    }
}
