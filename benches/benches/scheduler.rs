//! Spawning and switching on gort, tokio and smol, side by side, at sizes for a quick look while tuning.
//!
//! All runtimes share one process here, so its heap and its caches; the numbers to quote are those of `peers`.

use std::future::Future;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gort_benches::Rt;
use gort_benches::rt::{Gort, Smol, Tokio};
use gort_benches::workload::{spawn, switch};

fn all(c: &mut Criterion) {
    for procs in [1, 2] {
        on::<Gort>(c, procs);
        on::<Tokio>(c, procs);
        on::<Smol>(c, procs);
    }
}

fn on<R: Rt>(c: &mut Criterion, procs: usize) {
    R::with(procs, |handle| {
        let mut bench = Bench::<R> { c, handle, procs };
        bench.add("spawn_join", 10_000, spawn::spawn_join::<R>);
        bench.add("skynet", 10_000, spawn::skynet_tree::<R>);
        bench.add("chained_spawn", 10_000, spawn::chained_spawn::<R>);
        bench.add("spawn_many_local", 10_000, spawn::spawn_many_local::<R>);
        bench.add("ping_pong", 1_000, spawn::ping_pong::<R>);
        bench.add("yield", 10_000, switch::yields::<R>);
        bench.add("oneshot", 1_000, switch::oneshot_ping_pong::<R>);
        bench.add("pp", 1_000, switch::slot_ping_pong::<R>);
    });
}

struct Bench<'a, R: Rt> {
    c: &'a mut Criterion,
    handle: &'a R::Handle,
    procs: usize,
}

impl<R: Rt> Bench<'_, R> {
    fn add<F>(&mut self, name: &str, n: u64, work: impl Fn(u64) -> F)
    where
        F: Future<Output = u64> + Send + 'static,
    {
        let mut group = self.c.benchmark_group(format!("{name}/P{}", self.procs));
        group.throughput(Throughput::Elements(n));
        group.bench_function(R::NAME, |b| b.iter(|| R::finish(self.handle, work(n))));
    }
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group!(name = benches; config = short(); targets = all);
criterion_main!(benches);
