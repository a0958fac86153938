//! The servers on gort: a task per connection, or a goroutine.

use gort::Wait as _;
use gort::compat::hyper::{GortExecutor, GortTimer};
use gort::net::{TcpListener, TcpStream};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;

use super::{Kind, STREAMS, app, hello};
use crate::co::GortGo;
use crate::echo::{ADDRESS, announce};
use crate::rt::Gort;
use crate::{Co as _, Rt as _};

/// Serves until the process ends.
pub fn serve(kind: Kind, procs: usize) {
    Gort::run(procs, async move {
        let listener = listen().await;
        if kind == Kind::Nap {
            let _never = gort::compat::axum::serve(listener, app()).await;
            return;
        }
        loop {
            if let Ok((stream, _peer)) = listener.accept().await {
                Gort::detach(connection(kind, stream));
            }
        }
    })
}

/// As `serve`, with a goroutine per connection. axum's connections are always tasks.
pub fn serve_goroutines(kind: Kind, procs: usize) {
    GortGo::run(procs, move || {
        let listener = listen().wait();
        loop {
            if let Ok((stream, _peer)) = listener.accept().wait() {
                GortGo::go(move || connection(kind, stream).wait());
            }
        }
    })
}

async fn listen() -> TcpListener {
    let listener = TcpListener::bind(ADDRESS).await.expect("a free port");
    announce(listener.local_addr().expect("a bound socket has an address"));
    listener
}

/// Its errors are the client's to notice.
async fn connection(kind: Kind, stream: TcpStream) {
    let _set = stream.set_nodelay(true);
    if kind == Kind::Http2 {
        let mut http = http2::Builder::new(GortExecutor);
        http.timer(GortTimer).max_concurrent_streams(STREAMS);
        let _ended = http.serve_connection(stream, service_fn(hello)).await;
    } else {
        let mut http = http1::Builder::new();
        let _ended = http.timer(GortTimer).serve_connection(stream, service_fn(hello)).await;
    }
}
