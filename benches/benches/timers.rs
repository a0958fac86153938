//! Timers on gort, tokio and smol, side by side: created and dropped, unneeded, and a thousand that run out.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gort_benches::Rt;
use gort_benches::rt::{Gort, Smol, Tokio};
use gort_benches::workload::timers;

fn all(c: &mut Criterion) {
    on::<Gort>(c);
    on::<Tokio>(c);
    on::<Smol>(c);
}

fn on<R: Rt>(c: &mut Criterion) {
    const N: u64 = 1000;
    R::with(1, |handle| {
        let mut group = c.benchmark_group("timer_cancel/P1");
        group.throughput(Throughput::Elements(N));
        group.bench_function(R::NAME, |b| {
            b.iter(|| R::finish(handle, timers::create_and_cancel::<R>(N)));
        });
        group.finish();

        let mut group = c.benchmark_group("timeout_ready/P1");
        group.throughput(Throughput::Elements(N));
        group.bench_function(R::NAME, |b| {
            b.iter(|| R::finish(handle, timers::timeout_ready::<R>(N)));
        });
        group.finish();

        let mut group = c.benchmark_group("sleepers/P1");
        group.bench_function(R::NAME, |b| {
            b.iter(|| R::finish(handle, timers::sleepers::<R>(N)));
        });
        group.finish();
    });
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group!(name = benches; config = short(); targets = all);
criterion_main!(benches);
