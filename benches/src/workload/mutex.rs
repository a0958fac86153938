//! One mutex, by each runtime's own.

use std::sync::Arc;

use crate::{Co, Rt};

/// Tasks that compete in [`contended`].
const TASKS: u64 = 8;

/// One task locks, adds one and unlocks, `n` times.
pub async fn alone<R: Rt>(n: u64) -> u64 {
    count_with::<R>(1, n).await
}

/// Eight tasks do so, `n` times in all.
pub async fn contended<R: Rt>(n: u64) -> u64 {
    count_with::<R>(TASKS, n / TASKS).await
}

async fn count_with<R: Rt>(tasks: u64, each: u64) -> u64 {
    let mutex = Arc::new(R::Mutex::default());
    let spawn = |_| {
        let mutex = mutex.clone();
        R::spawn(async move {
            for _ in 0..each {
                R::count(&mutex).await;
            }
        })
    };
    let handles: Vec<_> = (0..tasks).map(spawn).collect();
    for handle in handles {
        handle.await;
    }
    let mut mutex = Arc::into_inner(mutex).expect("the tasks have ended");
    assert_eq!(R::counted(&mut mutex), tasks * each);
    tasks * each
}

/// [`alone`] in blocking style.
pub fn alone_blocking<C: Co>(n: u64) -> u64 {
    count_blocking::<C>(1, n)
}

/// [`contended`] in blocking style.
pub fn contended_blocking<C: Co>(n: u64) -> u64 {
    count_blocking::<C>(TASKS, n / TASKS)
}

fn count_blocking<C: Co>(tasks: u64, each: u64) -> u64 {
    let mutex = Arc::new(C::Mutex::default());
    let start = |_| {
        let mutex = mutex.clone();
        C::go(move || (0..each).for_each(|_| C::count(&mutex)))
    };
    let handles: Vec<_> = (0..tasks).map(start).collect();
    handles.into_iter().for_each(C::join);
    let mut mutex = Arc::into_inner(mutex).expect("the goroutines have ended");
    assert_eq!(C::counted(&mut mutex), tasks * each);
    tasks * each
}
