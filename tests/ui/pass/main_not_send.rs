use std::rc::Rc;

#[gort::main]
async fn main() {
    let shared = Rc::new(1);
    gort::yield_now().await;
    assert_eq!(*shared, 1);
    let returned = not_send_output();
    assert_eq!(*returned, 2);
}

#[gort::main]
async fn not_send_output() -> Rc<u32> {
    Rc::new(2)
}
