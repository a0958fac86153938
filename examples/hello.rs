//! The smallest program: a task, its result, a sleep.

use std::time::Duration;

#[gort::main]
async fn main() {
    let answer = gort::spawn(async {
        gort::time::sleep(Duration::from_millis(10)).await;
        6 * 7
    });
    println!("hello from gort: {}", answer.await.unwrap());
}
