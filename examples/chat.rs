//! A chat room over TCP. A goroutine owns the room, so nothing is locked: guests come, speak and
//! go through channels. Each guest has two goroutines, one that reads lines and one that writes.
//!
//! ```text
//! cargo run --release -p gort-examples --example chat -- 127.0.0.1:7777
//! ```
//! serves until it is killed; talk to it with `nc 127.0.0.1 7777`. Without an address it is its own
//! guests, and ends by itself.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gort::chan::{Receiver, Sender, after, bounded};
use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;

/// Lines that a slow guest may lag behind; after that it is shown the door.
const LAG: usize = 100;

/// What happens in the room.
enum Event {
    Join(SocketAddr, Sender<Arc<str>>),
    Line(SocketAddr, String),
    Leave(SocketAddr),
}

#[gort::main]
fn main() -> io::Result<()> {
    if let Some(address) = std::env::args().nth(1) {
        let listener = TcpListener::bind(address).wait()?;
        println!("the room is at {}", listener.local_addr()?);
        return serve(&listener);
    }
    let listener = TcpListener::bind("127.0.0.1:0").wait()?;
    let address = listener.local_addr()?;
    gort::go(move || serve(&listener));
    demonstrate(address)
}

/// Lets guests in.
fn serve(listener: &TcpListener) -> io::Result<()> {
    let (events, happening) = bounded(16);
    gort::go(move || room(&happening));
    loop {
        let (stream, peer) = listener.accept().wait()?;
        let events = events.clone();
        gort::go(move || guest(&Arc::new(stream), peer, &events));
    }
}

/// The room: who is in it, and what they hear.
fn room(happening: &Receiver<Event>) {
    let mut guests: HashMap<SocketAddr, Sender<Arc<str>>> = HashMap::new();
    for event in happening {
        let text = match event {
            Event::Join(peer, lines) => {
                guests.insert(peer, lines);
                format!("* {peer} is here\n")
            }
            Event::Line(peer, line) => format!("{peer}: {line}\n"),
            Event::Leave(peer) if guests.remove(&peer).is_some() => format!("* {peer} has left\n"),
            Event::Leave(_) => continue,
        };
        let text: Arc<str> = text.into();
        // Who does not listen is not waited for.
        guests.retain(|_, lines| lines.try_send(text.clone()).is_ok());
    }
}

/// A guest, from the first line to the last.
fn guest(stream: &Arc<TcpStream>, peer: SocketAddr, events: &Sender<Event>) {
    let (lines, hears) = bounded(LAG);
    let to = stream.clone();
    gort::go(move || write_lines(&to, &hears));
    if events.send(Event::Join(peer, lines)).wait().is_err() {
        return;
    }
    let mut said = BufReader::new(&**stream).lines();
    while let Some(Ok(line)) = said.next()
        && events.send(Event::Line(peer, line)).wait().is_ok()
    {}
    // Nobody minds if the room is closed by now.
    let _ = events.send(Event::Leave(peer)).wait();
}

/// What a guest hears; a quiet minute is noted.
fn write_lines(mut stream: &TcpStream, hears: &Receiver<Arc<str>>) -> io::Result<()> {
    loop {
        select! {
            recv(hears) -> line => match line {
                Ok(line) => stream.write_all(line.as_bytes())?,
                Err(_) => return stream.shutdown(Shutdown::Both),
            },
            recv(after(Duration::from_secs(60))) -> _ => stream.write_all(b"* it is quiet\n")?,
        }
    }
}

/// Three guests that speak in turn; the first one hears all.
fn demonstrate(address: SocketAddr) -> io::Result<()> {
    let listener = TcpStream::connect(address).wait()?;
    let mut heard = BufReader::new(&listener).lines();
    let mut hear = |what: &str| -> io::Result<()> {
        for line in heard.by_ref() {
            let line = line?;
            println!("{line}");
            if line.ends_with(what) {
                return Ok(());
            }
        }
        Err(io::Error::other("the room is closed"))
    };
    hear("is here")?;
    for text in ["hello", "how are you?"] {
        let speaker = TcpStream::connect(address).wait()?;
        hear("is here")?;
        writeln!(&speaker, "{text}")?;
        hear(text)?;
        drop(speaker);
        hear("has left")?;
    }
    println!("the guests have been heard");
    Ok(())
}
