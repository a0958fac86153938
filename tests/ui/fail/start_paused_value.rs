#[gort::test(start_paused = 1)]
fn number() {}

#[gort::test(start_paused)]
fn missing() {}

#[gort::test(start_paused = true, start_paused = false)]
fn twice() {}

fn main() {}
