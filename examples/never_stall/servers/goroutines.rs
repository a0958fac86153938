//! The server on goroutines: plain blocking code.

use std::io::{self, Read, Write};
use std::sync::Arc;

use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;

use super::{ADDRESS, BUFFER, announce};
use crate::handlers::Handlers;
use crate::http::Inbox;

pub fn serve(handlers: &Arc<Handlers>) -> io::Result<()> {
    let listener = TcpListener::bind(ADDRESS).wait()?;
    announce(listener.local_addr()?)?;
    loop {
        let (stream, _peer) = listener.accept().wait()?;
        let handlers = handlers.clone();
        drop(gort::go(move || connection(stream, &handlers)));
    }
}

fn connection(mut stream: TcpStream, handlers: &Arc<Handlers>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut inbox, mut buffer) = (Inbox::default(), [0; BUFFER]);
    loop {
        while let Some(request) = inbox.take()? {
            let handlers = handlers.clone();
            let answer = gort::go(move || handlers.answer(&request)).wait()?;
            stream.write_all(&answer)?;
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => inbox.add(&buffer[..n]),
        }
    }
}
