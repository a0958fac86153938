use std::cell::Cell;

fn main() {
    let counter = Cell::new(0);
    gort::scope(|s| {
        s.go(|| counter.set(1));
    });
}
