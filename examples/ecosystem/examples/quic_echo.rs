//! An echo server over QUIC, and ten clients with ten streams each: quinn on gort.
//!
//! ```text
//! cargo run --release -p gort-ecosystem --example quic_echo
//! ```
//! All there is of gort in it is `GortRuntime`, which an endpoint is made with. The server is made
//! of tasks; the clients are goroutines, which wait for the same futures with `.wait()`.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use gort::compat::quinn::GortRuntime;
use gort::prelude::*;
use gort_ecosystem::tls;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, Incoming, RecvStream,
    SendStream, ServerConfig,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const CLIENTS: usize = 10;
const STREAMS: usize = 10;

#[gort::main]
fn main() -> Result<()> {
    let (server_config, client_config) = configs()?;
    let server = endpoint(Some(server_config), Arc::new(GortRuntime))?;
    let addr = server.local_addr()?;
    println!("listening at {addr}");
    drop(gort::spawn(serve(server)));

    let mut client = endpoint(None, Arc::new(GortRuntime))?;
    client.set_default_client_config(client_config);
    let start = Instant::now();
    gort::scope(|s| {
        for i in 0..CLIENTS {
            let client = &client;
            s.go(move || visit(client, addr, i).expect("an echo"));
        }
    });
    println!("{} echoes in {:?}", CLIENTS * STREAMS, start.elapsed());
    client.wait_idle().wait();
    Ok(())
}

/// One connection: says something on each of its streams, and hears it again.
fn visit(client: &Endpoint, server: SocketAddr, i: usize) -> Result<()> {
    let connection = client.connect(server, "localhost")?.wait()?;
    for stream in 0..STREAMS {
        let words = format!("client {i}, stream {stream}");
        let echo = ask(&connection, words.as_bytes()).wait()?;
        assert_eq!(echo, words.as_bytes());
    }
    connection.close(0_u32.into(), b"that was all");
    Ok(())
}

/// Says `words` on a stream of its own, and returns the answer.
pub(crate) async fn ask(connection: &Connection, words: &[u8]) -> Result<Vec<u8>> {
    let (mut send, mut receive) = connection.open_bi().await?;
    let say = async {
        send.write_all(words).await?;
        send.finish()?;
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    };
    let hear = async { Ok(receive.read_to_end(words.len()).await?) };
    let ((), answer) = futures::try_join!(say, hear)?;
    Ok(answer)
}

/// Serves until the endpoint is closed. A task for each connection, and one for each stream.
pub(crate) async fn serve(endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        drop(gort::spawn(async move {
            if let Err(error) = serve_connection(incoming).await {
                eprintln!("connection: {error}");
            }
        }));
    }
}

async fn serve_connection(incoming: Incoming) -> Result<()> {
    let connection = incoming.await?;
    loop {
        let (send, receive) = match connection.accept_bi().await {
            Ok(stream) => stream,
            Err(ConnectionError::ApplicationClosed(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        drop(gort::spawn(echo(send, receive)));
    }
}

async fn echo(mut send: SendStream, mut receive: RecvStream) -> Result<()> {
    while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
        send.write_chunk(chunk.bytes).await?;
    }
    Ok(send.finish()?)
}

/// An endpoint at a free port of this machine: a server's, or, without a configuration, a client's.
pub(crate) fn endpoint(
    server: Option<ServerConfig>,
    runtime: Arc<dyn quinn::Runtime>,
) -> std::io::Result<Endpoint> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    Endpoint::new(EndpointConfig::default(), server, socket, runtime)
}

/// Of a server with a certificate of its own making, and of its clients.
pub(crate) fn configs() -> Result<(ServerConfig, ClientConfig)> {
    let (server, client) = tls::self_made();
    let server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
    let client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?));
    Ok((server, client))
}
