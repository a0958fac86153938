//! A goroutine that lives on a thread is runnable in a P's queue when the runtime ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use gort::prelude::*;
use gort_tests::{BOUND, beside_others, eventually, runtime};

/// It waits for the first of its children, and so stands in its mark below the others.
#[test]
fn a_joiner_in_its_mark_ends_with_the_runtime() {
    let _machine = beside_others();
    for procs in [1, 2, 4] {
        eprintln!("procs = {procs}");
        let rt = runtime(procs);
        let ran = Arc::new(AtomicUsize::new(0));
        let counted = ran.clone();
        let parent = rt.go(move || {
            let child = || {
                let ran = counted.clone();
                gort::spawn(async move {
                    std::thread::sleep(Duration::from_millis(3));
                    ran.fetch_add(1, SeqCst);
                })
            };
            let children: Vec<_> = (0..200).map(|_| child()).collect();
            children.into_iter().for_each(|child| child.wait().unwrap());
        });
        eventually("some children have run", || ran.load(SeqCst) >= 3);
        assert!(rt.shutdown_timeout(BOUND), "the runtime did not end");
        drop(parent);
    }
}
