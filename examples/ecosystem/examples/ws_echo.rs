//! An echo server for WebSockets, `ws` and `wss`, in plain blocking code: tungstenite and rustls on
//! goroutines. There is no glue: both want `std::io::Read + Write`, and that is what gort's sockets
//! are, to a goroutine. Where it looks as if a thread were blocked, only the goroutine is.
//!
//! ```text
//! cargo run --release -p gort-ecosystem --example ws_echo            # serves until Ctrl-C
//! cargo run --release -p gort-ecosystem --example ws_echo -- --once  # with clients of its own
//! ```
//! From the console of a browser: `s = new WebSocket("ws://127.0.0.1:9001"); s.onmessage = m =>
//! console.log(m.data); s.onopen = () => s.send("hello")`.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;
use gort_ecosystem::{once, tls};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use tungstenite::handshake::HandshakeRole;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{HandshakeError, Message, WebSocket};

/// Clients of each kind with `--once`.
const CLIENTS: usize = 50;

#[gort::main]
fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let (server_config, client_config) = tls::self_made();
    let (server_config, client_config) = (Arc::new(server_config), Arc::new(client_config));
    let ports = if once() { [0, 0] } else { [9001, 9002] };
    let plain = TcpListener::bind(("127.0.0.1", ports[0])).wait()?;
    let secret = TcpListener::bind(("127.0.0.1", ports[1])).wait()?;
    let (plain_addr, secret_addr) = (plain.local_addr()?, secret.local_addr()?);
    println!("listening at ws://{plain_addr} and wss://{secret_addr}");
    let servers = [
        gort::go(move || serve(&plain, echo)),
        gort::go(move || serve(&secret, move |stream| echo(secured(stream, &server_config)?))),
    ];
    if !once() {
        let [plain, secret] = servers;
        plain.wait()??;
        return Ok(secret.wait()??);
    }

    gort::scope(|s| {
        for i in 0..CLIENTS {
            let config = &client_config;
            s.go(move || talk(connect(plain_addr).expect("a connection"), i));
            s.go(move || talk(connect_tls(secret_addr, config).expect("a connection"), i));
        }
    });
    println!("{} clients have heard their echo", 2 * CLIENTS);
    Ok(())
}

/// Serves each connection in a goroutine. An error of one is its own: the others go on.
pub(crate) fn serve<H>(listener: &TcpListener, handle: H) -> io::Result<()>
where
    H: Fn(TcpStream) -> tungstenite::Result<()> + Clone + Send + 'static,
{
    loop {
        let (stream, peer) = listener.accept().wait()?;
        let handle = handle.clone();
        drop(gort::go(move || match handle(stream) {
            Ok(()) | Err(tungstenite::Error::ConnectionClosed) => {}
            Err(error) => eprintln!("{peer}: {error}"),
        }));
    }
}

/// Says everything again until the peer closes the connection.
pub(crate) fn echo(stream: impl Read + Write) -> tungstenite::Result<()> {
    let mut socket = finished(tungstenite::accept_with_config(stream, Some(config())))?;
    loop {
        let message = socket.read()?; // answers pings and the close by itself
        if message.is_text() || message.is_binary() {
            socket.send(message)?;
        }
    }
}

/// The server's end of a TLS connection, whose handshake is made by the first read.
pub(crate) fn secured(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
) -> io::Result<StreamOwned<ServerConnection, TcpStream>> {
    let connection = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, stream))
}

/// A client's end.
pub(crate) fn connect(server: SocketAddr) -> tungstenite::Result<WebSocket<TcpStream>> {
    let stream = TcpStream::connect(server).wait()?;
    open("ws://localhost/", stream)
}

/// A client's end of a TLS connection.
pub(crate) fn connect_tls(
    server: SocketAddr,
    config: &Arc<ClientConfig>,
) -> tungstenite::Result<WebSocket<StreamOwned<ClientConnection, TcpStream>>> {
    let stream = TcpStream::connect(server).wait()?;
    let name = "localhost".try_into().expect("a name");
    let connection = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
    open("wss://localhost/", StreamOwned::new(connection, stream))
}

fn open<S: Read + Write>(url: &str, stream: S) -> tungstenite::Result<WebSocket<S>> {
    let opened = tungstenite::client::client_with_config(url, stream, Some(config()));
    finished(opened).map(|(socket, _response)| socket)
}

/// With tungstenite's own 128 KiB, ten thousand sockets would read into a gigabyte.
pub(crate) fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(4096)
}

/// On sockets that wait, a handshake succeeds or fails; it is never left half-way.
fn finished<T, R: HandshakeRole>(
    handshake: Result<T, HandshakeError<R>>,
) -> tungstenite::Result<T> {
    handshake.map_err(|error| match error {
        HandshakeError::Failure(error) => error,
        HandshakeError::Interrupted(_) => io::Error::from(io::ErrorKind::WouldBlock).into(),
    })
}

/// Says ten things, hears each of them again, and closes the connection.
fn talk<S: Read + Write>(mut socket: WebSocket<S>, client: usize) {
    for i in 0..10 {
        let message = Message::text(format!("client {client}, message {i}"));
        socket.send(message.clone()).expect("a message goes out");
        assert_eq!(socket.read().expect("its echo"), message);
    }
    finish(socket);
}

/// The closing handshake, from the side that begins.
pub(crate) fn finish<S: Read + Write>(mut socket: WebSocket<S>) {
    socket.close(None).expect("the wish goes out");
    while socket.read().is_ok() {}
}
