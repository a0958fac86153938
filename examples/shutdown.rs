//! Graceful shutdown: an echo server that serves until Ctrl-C or SIGTERM, tells its connections, and
//! waits for them. A child process of its own ends with it.
//!
//! ```text
//! cargo run --release -p gort-examples --example shutdown -- 127.0.0.1:7777
//! ```
//! Then, elsewhere: `nc 127.0.0.1 7777`; and here: Ctrl-C.

use std::io;

use futures::future::{Either, select};
use futures::{AsyncReadExt, AsyncWriteExt};
use gort::net::{TcpListener, TcpStream};
use gort::process::Command;
use gort::signal::unix::{SignalKind, signal};
use gort::sync::{CancelToken, JoinSet};

#[gort::main]
async fn main() -> io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7777".into());
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut helper = Command::new("sleep");
    let mut helper = helper.arg("1000").kill_on_drop(true).process_group(0).spawn()?;

    let listener = TcpListener::bind(&addr).await?;
    println!("listening at {}; Ctrl-C ends it", listener.local_addr()?);
    let (stop, mut connections) = (CancelToken::new(), JoinSet::new());
    let mut asked = Box::pin(select(Box::pin(interrupt.recv()), Box::pin(terminate.recv())));
    while let Either::Left((connection, _)) = select(Box::pin(listener.accept()), &mut asked).await
    {
        let (stream, _peer) = connection?;
        connections.spawn(serve(stream, stop.clone()));
        while connections.try_join_next().is_some() {} // those that have ended
    }

    println!("stopping, with {} connections", connections.len());
    stop.cancel();
    while connections.join_next().await.is_some() {}
    helper.kill().await?;
    println!("goodbye");
    Ok(())
}

/// Echoes until the peer has nothing more to say, or the server is to stop.
async fn serve(mut stream: TcpStream, stop: CancelToken) -> io::Result<()> {
    let mut buf = [0; 4096];
    loop {
        let read = Box::pin(stream.read(&mut buf));
        let n = match select(read, Box::pin(stop.cancelled())).await {
            Either::Left((n, _)) => n?,
            Either::Right(_) => return stream.write_all(b"goodbye\n").await,
        };
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buf[..n]).await?;
    }
}
