#[gort::main(procs = 2, threads = 4)]
async fn main() {}

#[gort::test(start_paused = true)]
fn paused() {}
