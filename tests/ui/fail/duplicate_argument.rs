#[gort::main(procs = 2, procs = 4)]
async fn main() {
    same_under_two_names();
}

#[gort::main(procs = 2, worker_threads = 2)]
async fn same_under_two_names() {}

#[gort::test(crate = gort, crate = gort)]
async fn paths() {}
