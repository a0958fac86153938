// An error in the body stands where it is, also when the attribute is wrong.
#[gort::main(cores = 2)]
async fn main() {
    let count: u32 = "four";
    gort::yield_now().await;
    println!("{count}");
}
