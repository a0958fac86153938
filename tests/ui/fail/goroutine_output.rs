use std::rc::Rc;

// The value of `main` need not be `Send`, but it has to be one that a `main` may return.
#[gort::main]
fn main() -> u64 {
    let _ = not_send();
    7
}

// Under another name the value goes to the caller, on another thread.
#[gort::main]
fn not_send() -> Rc<u32> {
    Rc::new(1)
}
