//! A future and a goroutine on one connection: the future reads lines, the goroutine writes the
//! answers. Each is written in the style that suits it; the scheduler runs both.
//!
//! ```text
//! cargo run --release -p gort-examples --example mixed
//! ```
//! It is its own client, and ends by itself.

use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::sync::Arc;

use futures::channel::mpsc::{Receiver, Sender, channel};
use futures::{AsyncBufReadExt, SinkExt, StreamExt};
use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;

const LINES: u64 = 1000;

#[gort::main]
fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").wait()?;
    let addr = listener.local_addr()?;
    let client = gort::go(move || ask(&TcpStream::connect(addr).wait()?));

    let (stream, _peer) = listener.accept().wait()?;
    let stream = Arc::new(stream);
    let (numbers, squares) = channel(16);
    let reader = gort::spawn(read(stream.clone(), numbers));
    let writer = gort::go(move || write(&stream, squares));

    let sum = client.wait()??;
    reader.wait()??;
    let answers = writer.wait()??;
    println!("the future read {LINES} lines, the goroutine wrote {answers}: the sum is {sum}");
    assert_eq!(sum, (1..=LINES).map(|n| n * n).sum::<u64>());
    Ok(())
}

/// The future: a number per line, to the end of the stream.
async fn read(stream: Arc<TcpStream>, mut numbers: Sender<u64>) -> io::Result<()> {
    let mut lines = futures::io::BufReader::new(&*stream).lines();
    while let Some(line) = lines.next().await {
        let number = line?.parse().map_err(io::Error::other)?;
        numbers.send(number).await.map_err(io::Error::other)?;
    }
    Ok(())
}

/// The goroutine: the square of each number, as long as there are any.
fn write(mut stream: &TcpStream, mut numbers: Receiver<u64>) -> io::Result<u64> {
    let mut written = 0;
    while let Some(n) = numbers.next().wait() {
        writeln!(stream, "{}", n * n)?;
        written += 1;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(written)
}

/// The client: asks for the squares of the numbers from 1 to [`LINES`] and adds up the answers.
fn ask(mut stream: &TcpStream) -> io::Result<u64> {
    let questions: String = (1..=LINES).map(|n| format!("{n}\n")).collect();
    stream.write_all(questions.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let answers = BufReader::new(stream).lines();
    answers.map(|line| line?.parse::<u64>().map_err(io::Error::other)).sum()
}
