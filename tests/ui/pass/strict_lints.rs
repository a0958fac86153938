//! The expansion brings no lint of its own.
#![forbid(warnings, unused_imports)]
#![deny(missing_docs, unreachable_pub, unused_qualifications, unsafe_code)]

/// Entry.
#[gort::main]
async fn main() -> std::io::Result<()> {
    #![allow(dead_code)]
    sendable();
    goroutine();
    not_sendable();
    let recursive = false;
    if recursive {
        Box::pin(main()).await?;
    }
    Ok(())
}

#[gort::main]
async fn sendable() {}

#[gort::main]
async fn not_sendable() {
    let pointer = std::ptr::null::<u8>();
    gort::yield_now().await;
    assert!(pointer.is_null());
}

#[gort::main(stack_size = 65_536)]
fn goroutine() {
    let recursive = false;
    if recursive {
        goroutine();
    }
}
