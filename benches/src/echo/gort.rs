//! The echo server on gort: a task per connection.

use std::net::SocketAddr;

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use gort::net::{TcpListener, TcpStream};

use super::{ADDRESS, BUFFER, announce};
use crate::Rt;
use crate::rt::Gort;

/// Serves until the process ends.
pub fn serve(procs: usize) {
    Gort::run(procs, async {
        let listener = TcpListener::bind(ADDRESS).await.expect("a free port");
        announce(listener.local_addr().expect("a bound socket has an address"));
        loop {
            if let Ok((stream, _peer)) = listener.accept().await {
                Gort::detach(echo(stream));
            }
        }
    })
}

/// Serves one connection to its end; `announce` is told where it is awaited.
pub async fn serve_one(announce: impl FnOnce(SocketAddr) + Send) {
    let listener = TcpListener::bind(ADDRESS).await.expect("a free port");
    announce(listener.local_addr().expect("a bound socket has an address"));
    if let Ok((stream, _peer)) = listener.accept().await {
        echo(stream).await;
    }
}

async fn echo(mut stream: TcpStream) {
    // Without it the answers only come later.
    let _set = stream.set_nodelay(true);
    let mut buffer = vec![0; BUFFER];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
