//! hyper 1 on gort: a server of HTTP/1, as hyper's own first example has it, with a goroutine
//! instead of a task per connection if it is told so.
//!
//! ```sh
//! cargo run --release -p gort-ecosystem --example hyper_hello -- 127.0.0.1:3000 [--goroutines]
//! cargo run -p gort-ecosystem --example hyper_hello -- --once    # asks itself, and ends
//! ```

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::net::SocketAddr;

use bytes::Bytes;
use gort::compat::hyper::GortTimer;
use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, client, server};

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"Hello, World!\n"))))
}

/// One connection, to its end. What it fails with is the client's affair.
async fn connection(stream: TcpStream) {
    let mut http = server::conn::http1::Builder::new();
    let _ = http.timer(GortTimer).serve_connection(stream, service_fn(hello)).await;
}

async fn serve(listener: TcpListener, goroutines: bool) -> Result<(), std::io::Error> {
    loop {
        let (stream, _) = listener.accept().await?;
        if goroutines {
            gort::go(move || connection(stream).wait());
        } else {
            gort::spawn(connection(stream));
        }
    }
}

/// hyper's client: a connection is a future of its own, beside the handle for requests.
async fn ask(addr: SocketAddr) -> Result<Bytes, Box<dyn Error + Send + Sync>> {
    let stream = TcpStream::connect(addr).await?;
    let (mut requests, connection) = client::conn::http1::handshake(stream).await?;
    gort::spawn(connection);
    let request = Request::get("/").header("host", "localhost").body(Empty::<Bytes>::new())?;
    let answer = requests.send_request(request).await?;
    Ok(answer.into_body().collect().await?.to_bytes())
}

#[gort::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let goroutines = env::args().any(|arg| arg == "--goroutines");
    let at = env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let listener = TcpListener::bind(at.as_deref().unwrap_or("127.0.0.1:0")).await?;
    let addr = listener.local_addr()?;
    println!("listening at http://{addr}");
    let server = gort::spawn(serve(listener, goroutines));
    if gort_ecosystem::once() {
        print!("{}", String::from_utf8_lossy(&ask(addr).await?));
        return Ok(());
    }
    Ok(server.await??)
}
