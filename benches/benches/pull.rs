//! `Pull` beside the libraries that do the same, all in one process.
//!
//! `next` is one value of an endless count; `life` is an iterator that is created, gives four values and ends, on a stack
//! that was used before, where the library can; `unstarted` is created and dropped; `stopped` is dropped in the middle.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gort_benches::workload::coro::{
    Corosensei, Counting, Generator, Gort, RawContext, sum, whole_life,
};

const BATCH: u64 = 1_000;

fn all(c: &mut Criterion) {
    on_this_stack(c, "thread");
    gort::Builder::new().procs(1).build().expect("gort starts").run(|| {
        let mut c = short();
        on::<Gort>(&mut c, "goroutine");
        of_gort(&mut c, "goroutine");
    });
}

fn on_this_stack(c: &mut Criterion, place: &str) {
    // Sets the flags of MXCSR; with others than on the stacks a switch by `context` takes 75 ns more.
    drop(Gort::new(&mut (), 0));
    on::<RawContext>(c, place);
    on::<Gort>(c, place);
    on::<Corosensei>(c, place);
    on::<Generator>(c, place);
    of_gort(c, place);
}

fn on<C: Counting>(c: &mut Criterion, place: &str) {
    let mut stack = C::Stack::default();
    let mut counting = C::new(&mut stack, u64::MAX >> 1);
    let mut group = c.benchmark_group(format!("next/{place}"));
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function(C::NAME, |b| b.iter(|| sum(black_box(&mut counting), BATCH)));
    group.finish();
    let mut group = c.benchmark_group(format!("life/{place}"));
    group.bench_function(C::NAME, |b| {
        b.iter(|| assert_eq!(whole_life::<C>(black_box(&mut stack)), 6));
    });
}

fn of_gort(c: &mut Criterion, place: &str) {
    c.bench_function(&format!("unstarted/{place}/gort"), |b| {
        b.iter(|| drop(black_box(Gort::new(&mut (), 4))));
    });
    c.bench_function(&format!("stopped/{place}/gort"), |b| {
        b.iter(|| Gort::new(&mut (), 4).next());
    });
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
}

criterion_group!(name = benches; config = short(); targets = all);
criterion_main!(benches);
