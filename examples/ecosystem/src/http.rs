//! The smallest HTTP server that takes its time.

use std::io::{self, BufRead, BufReader, Write};
use std::time::Duration;

use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;

/// What it answers.
pub const BODY: &str = "Sorry for the delay.";

/// Answers each request `delay` after it has come, with [`BODY`]. A goroutine for each connection;
/// the call returns only with an error of the listener's.
///
/// # Errors
/// Those of [`TcpListener::accept`].
pub fn serve_slowly(listener: &TcpListener, delay: Duration) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().wait()?;
        drop(gort::go(move || answer(&stream, delay))); // its errors are the client's
    }
}

fn answer(stream: &TcpStream, delay: Duration) -> io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next().transpose()? {
        if line.is_empty() {
            gort::time::sleep(delay).wait();
            let length = BODY.len();
            let mut stream = stream;
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{BODY}")?;
        }
    }
    Ok(())
}
