#[gort::main]
fn main() -> Result<(), std::io::Error> {
    "not a result"
}

#[gort::main]
fn no_tail() -> Result<(), std::io::Error> {
    Ok(());
}

// An `await` needs an `async fn`.
#[gort::main]
fn awaits() {
    gort::yield_now().await;
}
