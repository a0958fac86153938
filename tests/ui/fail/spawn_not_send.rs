use std::rc::Rc;

#[gort::main]
async fn main() {
    let shared = Rc::new(1);
    gort::spawn(async move {
        gort::yield_now().await;
        println!("{shared}");
    });
}
