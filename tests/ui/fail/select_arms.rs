//! What is wrong in an arm is said at the arm.
use gort::chan::bounded;
use gort::prelude::*;

fn main() {
    let (tx, rx) = bounded::<i32>(0);
    select! { receive(rx) -> _ => {} }
    select! { recv(rx) => {} }
    select! { recv(rx) -> _ {} }
    select! { recv() -> _ => {} }
    select! { recv -> _ => {} }
    select! { recv(rx, 1) -> _ => {} }
    select! { send(tx) -> _ => {} }
    select! { send(tx, 1, 2) -> _ => {} }
    select! { default -> _ => {} }
    select! { default(a, b) => {} }
    select! { default => {} default => {} }
    select! { recv(rx) -> _ => 1 default => 2 }
    select! { 5 => 1 }
}
