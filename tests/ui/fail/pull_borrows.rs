use gort::iter::{Pull, pull};

fn letters(text: &str) -> Pull<char> {
    pull(|y| text.chars().for_each(|letter| y.yield_(letter)))
}

fn main() {
    letters("ab").next();
}
