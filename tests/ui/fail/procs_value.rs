#[gort::main(procs = 0)]
async fn main() {}

#[gort::main(worker_threads = "4")]
async fn quoted() {}

#[gort::main(procs = -1)]
async fn negative() {}

#[gort::main(procs = 99999999999999999999)]
async fn too_large() {}

#[gort::main(procs)]
async fn missing() {}

#[gort::main(4)]
async fn unnamed() {}

#[gort::main(procs = N)]
async fn named() {}

#[gort::main(procs =)]
async fn cut_short() {}

#[gort::main(procs = 2 crate = gort)]
async fn no_comma() {}
