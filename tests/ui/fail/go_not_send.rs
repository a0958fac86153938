use std::rc::Rc;

#[gort::main]
async fn main() {
    let shared = Rc::new(1);
    gort::go(move || println!("{shared}"));
}
