//! The two servers. Each prints its address and serves until it is killed.

use std::convert::Infallible;
use std::io::{self, Read, Write};

use futures::{SinkExt, StreamExt};
use gort::net::TcpListener;
use gort::prelude::*;
use gort_ecosystem::raise_fd_limit;

use super::{Result, config};

const ANY: &str = "127.0.0.1:0";

pub(crate) fn on_gort(procs: usize) -> Result<()> {
    let _ = raise_fd_limit();
    let rt = gort::Builder::new().procs(procs).build()?;
    let Err(error) = rt.run(|| -> io::Result<Infallible> {
        let listener = TcpListener::bind(ANY).wait()?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().wait()?;
            stream.set_nodelay(true)?;
            gort::go(move || echo(stream));
        }
    });
    Err(error.into())
}

fn echo(stream: impl Read + Write) -> tungstenite::Result<()> {
    let accepted = tungstenite::accept_with_config(stream, Some(config()));
    let mut socket = accepted.map_err(|_| io::Error::other("the handshake failed"))?;
    loop {
        let message = socket.read()?;
        if message.is_text() || message.is_binary() {
            socket.send(message)?;
        }
    }
}

pub(crate) fn on_tokio(procs: usize) -> Result<()> {
    let _ = raise_fd_limit();
    let mut rt = tokio::runtime::Builder::new_multi_thread();
    rt.worker_threads(procs).enable_io().build()?.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(ANY.parse()?)?;
        let listener = socket.listen(1024)?; // as gort's
        println!("{}", listener.local_addr()?);
        // A task, for what `block_on` runs is on no worker.
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                tokio::spawn(echo_async(stream));
            }
        })
        .await?
    })
}

async fn echo_async(stream: tokio::net::TcpStream) -> tungstenite::Result<()> {
    let accepted = tokio_tungstenite::accept_async_with_config(stream, Some(config()));
    let mut socket = accepted.await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}
