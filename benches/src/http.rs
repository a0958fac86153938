//! HTTP servers: hyper and axum, on gort and on tokio, and what asks them.
//!
//! As with [`echo`](crate::echo), each server is a process of its own. HTTP/1 is asked by the load generator of the echo
//! servers, HTTP/2 and the sleeping handler by clients on a runtime of tokio with one thread.

use std::convert::Infallible;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};

pub mod gort;
pub mod load;
pub mod tokio;

/// What a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// "Hello, World!" by hyper over HTTP/1.
    Http1,
    /// The same over HTTP/2.
    Http2,
    /// By axum: `/` says hello, `/nap` does so after 200 ms of sleep on its thread.
    Nap,
}

impl Kind {
    /// The kind with this name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "http1" => Some(Self::Http1),
            "http2" => Some(Self::Http2),
            "nap" => Some(Self::Nap),
            _ => None,
        }
    }
}

/// How long the sleeping handler sleeps.
pub const NAP: Duration = Duration::from_millis(200);

/// Streams that an HTTP/2 connection may have at once.
pub const STREAMS: u32 = 2_000;

const HELLO: &str = "Hello, World!";

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(HELLO.as_bytes()))))
}

fn app() -> Router {
    let nap = async || {
        thread::sleep(NAP);
        HELLO
    };
    Router::new().route("/", get(HELLO)).route("/nap", get(nap))
}
