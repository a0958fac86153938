//! An echo server: a goroutine per connection. `echo_async` is the same with futures.
//!
//! ```text
//! cargo run --release -p gort-examples --example echo_goroutine -- 127.0.0.1:7777
//! ```
//! Then, elsewhere: `nc 127.0.0.1 7777`.

use std::error::Error;
use std::net::SocketAddr;

use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;

#[gort::main]
fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7777".into());
    let listener = TcpListener::bind(&addr).wait();
    let listener = listener.map_err(|error| format!("cannot listen at {addr}: {error}"))?;
    println!("listening at {}; Ctrl-C ends it", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept().wait()?;
        drop(gort::go(move || serve(stream, peer))); // runs on by itself
    }
}

/// Serves one connection to its end. Its errors are its own: the others go on.
fn serve(stream: TcpStream, peer: SocketAddr) {
    println!("{peer}: connected");
    match std::io::copy(&mut &stream, &mut &stream) {
        Ok(bytes) => println!("{peer}: closed after {bytes} bytes"),
        Err(error) => println!("{peer}: {error}"),
    }
}
