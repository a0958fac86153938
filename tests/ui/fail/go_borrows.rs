#[gort::main]
async fn main() {
    let name = String::from("gort");
    gort::go(|| println!("{name}"));
}
