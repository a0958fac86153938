#[gort::main]
async fn main() {
    // The output is `Result<u32, JoinError>`: the task may have panicked.
    let n: u32 = gort::spawn(async { 41u32 }).await;
    println!("{n}");
}
