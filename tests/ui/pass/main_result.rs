#[gort::main(procs = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let n: u32 = gort::spawn(async { "42".parse::<u32>() }).await??;
    assert_eq!(n, 42);
    Ok(())
}
