//! Two libraries with reactors of their own, awaited side by side in tasks of gort.
//!
//! ```text
//! cargo run --release -p gort-ecosystem-tokio --example foreign_reactor
//! ```
//! reqwest cannot do without tokio. `async_compat::Compat` gives it one: while the future is polled
//! a tokio runtime with one thread of its own is the current one, and moves its sockets. The types
//! of smol (`async-net`) need nothing: their reactor's thread starts with the first of them. To
//! gort both are futures that are woken from elsewhere.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_compat::Compat;
use futures::{AsyncReadExt, AsyncWriteExt};
use gort::net::TcpListener;
use gort::prelude::*;
use gort_ecosystem::http::{BODY, serve_slowly};

const TASKS: usize = 10;

#[gort::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let servers = Servers::start(Duration::from_millis(100)).await?;
    let tasks: Vec<_> = (0..TASKS).map(|i| gort::spawn(both(servers.clone(), i))).collect();
    for task in tasks {
        task.await??;
    }
    println!("{TASKS} tasks have heard from both");
    Ok(())
}

/// A page for reqwest and an echo for async-net, from one task.
pub(crate) async fn both(servers: Servers, i: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
    let words = format!("task {i}");
    let (page, echo) = futures::join!(page(&servers.url), echo(servers.echo, &words));
    assert_eq!(page?, BODY);
    assert_eq!(echo?, words);
    Ok(())
}

/// With reqwest, on tokio.
pub(crate) async fn page(url: &str) -> reqwest::Result<String> {
    Compat::new(async { reqwest::get(url).await?.text().await }).await
}

/// With async-net, on async-io.
async fn echo(server: SocketAddr, words: &str) -> io::Result<String> {
    let mut stream = async_net::TcpStream::connect(server).await?;
    stream.write_all(words.as_bytes()).await?;
    stream.close().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Both are gort's.
#[derive(Clone)]
pub(crate) struct Servers {
    pub(crate) url: String,
    pub(crate) echo: SocketAddr,
}

impl Servers {
    pub(crate) async fn start(delay: Duration) -> io::Result<Servers> {
        let pages = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", pages.local_addr()?);
        drop(gort::go(move || serve_slowly(&pages, delay)));
        let echoes = TcpListener::bind("127.0.0.1:0").await?;
        let echo = echoes.local_addr()?;
        drop(gort::go(move || -> io::Result<()> {
            loop {
                let (stream, _) = echoes.accept().wait()?;
                drop(gort::go(move || io::copy(&mut &stream, &mut &stream)));
            }
        }));
        Ok(Servers { url, echo })
    }
}
