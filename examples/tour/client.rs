//! The clients: each sends a message, waits for the answer, and sends the next.
//!
//! So there is one request under way per connection at any time, and its latency is mostly the
//! time it takes to serve all the others: the load is as high as the server can bear.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures::{AsyncReadExt, AsyncWriteExt};
use gort::net::TcpStream;

use super::histogram::Histogram;

/// What all clients share: what to send, what they measured, and when to stop.
pub struct Load {
    message: Vec<u8>,
    latencies: Histogram,
    stopped: AtomicBool,
}

impl Load {
    pub fn new(size: usize) -> Load {
        let message = (b'a'..=b'z').cycle().take(size).collect();
        Load { message, latencies: Histogram::new(), stopped: AtomicBool::new(false) }
    }

    /// The time each answered request took.
    pub fn latencies(&self) -> &Histogram {
        &self.latencies
    }

    /// Ends each client after its next answer.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed); // Relaxed: nothing else is passed on by it
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) // Relaxed: pairs with `stop`; late is soon enough
    }
}

/// One client, until the load is stopped.
pub async fn run(mut stream: TcpStream, load: Arc<Load>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut answer = vec![0; load.message.len()];
    let mut sent = Instant::now();
    while !load.is_stopped() {
        stream.write_all(&load.message).await?;
        stream.read_exact(&mut answer).await?;
        if answer != load.message {
            return Err(io::Error::other("the answer is not the message"));
        }
        let answered = Instant::now();
        load.latencies.add(answered - sent);
        sent = answered;
        answer.fill(0);
    }
    stream.close().await
}
