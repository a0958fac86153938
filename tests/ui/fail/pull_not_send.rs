use gort::iter::pull;

#[gort::main]
fn main() {
    let mut numbers = pull(|y| y.yield_(1));
    gort::go(move || numbers.next());
}
