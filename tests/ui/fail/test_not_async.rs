#[gort::test(procs = 2)]
fn plain() -> Result<(), String> {
    Ok(())
}

fn main() {}
