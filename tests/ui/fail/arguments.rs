#[gort::main]
async fn main(name: String) {
    println!("{name}");
}

#[gort::test]
async fn test(a: u32, b: u32) {
    assert_eq!(a, b);
}

#[gort::main]
fn plain(name: String) {
    println!("{name}");
}
