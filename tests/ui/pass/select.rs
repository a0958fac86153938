//! The expansion of the select macros brings no lint of its own, and needs no import.
#![forbid(warnings, unused_imports)]
#![deny(missing_docs, unreachable_pub, unused_qualifications, unsafe_code)]

/// Entry.
#[gort::main]
async fn main() {
    let (tx, rx) = gort::chan::bounded::<i32>(1);
    gort::select! { send(tx, 5) -> res => res.unwrap() }
    let n = gort::select_async! {
        recv(rx) -> n => n.unwrap(),
        recv(gort::chan::never::<()>()) -> _ => return,
        default(std::time::Duration::from_secs(1)) => 0,
    };
    assert_eq!(n, 5);
    gort::select! {
        recv(rx) -> _ => return,
        default => {}
    }
}
