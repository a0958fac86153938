//! A future that waits for values that stay on their thread stays there too.
use gort::chan::bounded;
use gort::prelude::*;
use std::rc::Rc;

fn main() {
    let (_tx, rx) = bounded::<Rc<i32>>(0);
    gort::spawn(async move { select_async! { recv(rx) -> _ => {} } });
}
