#[gort::main]
async fn main() -> Result<(), std::io::Error> {
    "not a result"
}

#[gort::main]
async fn no_tail() -> Result<(), std::io::Error> {
    Ok(());
}

#[gort::main]
async fn undeclared() {
    Ok::<(), std::io::Error>(())?;
}
