use std::rc::Rc;

#[gort::main]
async fn main() {
    let _shared = gort::go(|| Rc::new(1)).await;
}
