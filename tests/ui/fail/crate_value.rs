#[gort::main(crate = "not a path")]
async fn main() {}

#[gort::main(crate = 5)]
async fn number() {}

#[gort::main(crate = crate::elsewhere)]
async fn wrong_path() {}
