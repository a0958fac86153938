//! Types are compared at the user's expressions.
use gort::chan::bounded;
use gort::prelude::*;

fn main() {
    let (tx, rx) = bounded::<i32>(0);
    select! { recv(tx) -> _ => {} }
    select! { send(rx, 1) -> _ => {} }
    select! { send(tx, "text") -> _ => {} }
    select! { default(5) => {} }
    select! { recv(rx) -> Ok(n) => println!("{n}") }
    let _n: i32 = select! { recv(rx) -> _ => 1, default => "two" };
    select! { recv(rx) -> msg => msg.missing() }
}
