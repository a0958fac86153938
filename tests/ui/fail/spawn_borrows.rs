#[gort::main]
async fn main() {
    let name = String::from("gort");
    gort::spawn(async {
        println!("{name}");
    });
}
