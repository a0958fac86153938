//! The server on tokio. Line by line the one on gort's tasks, so that only the runtimes differ.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{ADDRESS, BUFFER, announce};
use crate::handlers::Handlers;
use crate::http::Inbox;

pub async fn serve(handlers: Arc<Handlers>) -> io::Result<()> {
    let listener = TcpListener::bind(ADDRESS).await?;
    announce(listener.local_addr()?)?;
    loop {
        let (stream, _peer) = listener.accept().await?;
        drop(tokio::spawn(connection(stream, handlers.clone())));
    }
}

async fn connection(mut stream: TcpStream, handlers: Arc<Handlers>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut inbox, mut buffer) = (Inbox::default(), [0; BUFFER]);
    loop {
        while let Some(request) = inbox.take()? {
            let handlers = handlers.clone();
            let answer = tokio::spawn(async move { handlers.answer(&request) }).await?;
            stream.write_all(&answer).await?;
        }
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => inbox.add(&buffer[..n]),
        }
    }
}
