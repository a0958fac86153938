//! Waiting for several things at once, and not for ever: three servers of different speed, an
//! impatient client, and a clock.
//!
//! ```text
//! cargo run --release -p gort-examples --example select_timeout
//! ```

use std::time::Duration;

use gort::chan::{Receiver, after, bounded, tick};
use gort::prelude::*;
use gort::time::sleep;

const PATIENCE: Duration = Duration::from_millis(50);

#[gort::main]
fn main() {
    // The first answer counts.
    let answer = select! {
        recv(ask("quick", Duration::from_millis(5))) -> answer => answer.ok(),
        recv(ask("slow", Duration::from_secs(60))) -> answer => answer.ok(),
        default(PATIENCE) => None,
    };
    println!("first: {answer:?}");
    assert_eq!(answer, Some("quick"));

    // Nobody answers in time.
    let gave_up = select! {
        recv(ask("slow", Duration::from_secs(60))) -> _ => false,
        recv(after(PATIENCE)) -> _ => true,
    };
    println!("gave up: {gave_up}");
    assert!(gave_up);

    // A loop with a limit for the whole, and something to do in between.
    let (end, ticks) = (after(4 * PATIENCE), tick(PATIENCE / 10));
    let answer = ask("steady", PATIENCE);
    let mut looks = 0;
    loop {
        select! {
            recv(answer) -> answer => {
                println!("after {looks} looks at the clock: {answer:?}");
                break;
            }
            recv(ticks) -> _ => looks += 1,
            recv(end) -> _ => {
                println!("after {looks} looks at the clock: nothing");
                break;
            }
        }
    }
}

/// A request to a server: the channel on which the answer will come. A client that has gone
/// meanwhile is an error of the send, and nothing else.
fn ask(name: &'static str, takes: Duration) -> Receiver<&'static str> {
    let (tx, answer) = bounded(1);
    gort::spawn(async move {
        sleep(takes).await;
        tx.send(name).await
    });
    answer
}
