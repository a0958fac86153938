use gort::coro::{Coroutine, Yielder};

fn main() {
    let numbers = Coroutine::new(|y: &Yielder<(), u32>, ()| y.yield_(1));
    std::thread::spawn(move || drop(numbers));
}
