//! An echo server: a task per connection.
//!
//! ```text
//! cargo run --release -p gort-examples --example echo_async -- 127.0.0.1:7777
//! ```
//! Then, elsewhere: `nc 127.0.0.1 7777`.

use std::error::Error;
use std::net::SocketAddr;

use gort::net::{TcpListener, TcpStream};

#[gort::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7777".into());
    let listener = TcpListener::bind(&addr).await;
    let listener = listener.map_err(|error| format!("cannot listen at {addr}: {error}"))?;
    println!("listening at {}; Ctrl-C ends it", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept().await?;
        drop(gort::spawn(serve(stream, peer))); // runs on by itself
    }
}

/// Serves one connection to its end. Its errors are its own: the others go on.
async fn serve(stream: TcpStream, peer: SocketAddr) {
    println!("{peer}: connected");
    match futures::io::copy(&stream, &mut &stream).await {
        Ok(bytes) => println!("{peer}: closed after {bytes} bytes"),
        Err(error) => println!("{peer}: {error}"),
    }
}
