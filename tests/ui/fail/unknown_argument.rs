#[gort::main(procs = 2, threads = 4)]
async fn main() {}

#[gort::test(paused = true)]
fn paused() {}
