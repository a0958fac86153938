fn main() {
    let mut longest = "";
    gort::scope(|s| {
        let inside = String::from("gone before the goroutine");
        s.go(|| println!("{inside}"));
    });
    gort::scope(|s| {
        let inside = String::from("gone after the body");
        s.go(|| longest = &inside);
    });
    println!("{longest}");
}
