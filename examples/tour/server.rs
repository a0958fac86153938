//! The server, in either style: a task per connection, each sending back what it reads.

use std::io;

use gort::JoinHandle;
use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;

use super::options::Mode;

/// Serves whoever connects, until it is aborted.
pub fn start(mode: Mode, listener: TcpListener) -> JoinHandle<io::Result<()>> {
    match mode {
        Mode::Async => gort::spawn(serve_async(listener)),
        Mode::Goroutine => gort::go(move || serve(&listener)),
    }
}

async fn serve_async(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _peer) = listener.accept().await?;
        drop(gort::spawn(echo_async(stream))); // runs on by itself
    }
}

async fn echo_async(stream: TcpStream) -> io::Result<u64> {
    stream.set_nodelay(true)?;
    futures::io::copy(&stream, &mut &stream).await
}

fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (stream, _peer) = listener.accept().wait()?;
        drop(gort::go(move || echo(&stream))); // runs on by itself
    }
}

fn echo(stream: &TcpStream) -> io::Result<u64> {
    stream.set_nodelay(true)?;
    io::copy(&mut &*stream, &mut &*stream)
}
