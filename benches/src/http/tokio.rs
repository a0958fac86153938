//! The servers on tokio, by the adapters of hyper-util and axum's own `serve`.

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::{Kind, STREAMS, app, hello};
use crate::Rt as _;
use crate::echo::{ADDRESS, announce};
use crate::rt::Tokio;

/// Serves until the process ends.
pub fn serve(kind: Kind, procs: usize) {
    Tokio::run(procs, async move {
        let listener = TcpListener::bind(ADDRESS).await.expect("a free port");
        announce(listener.local_addr().expect("a bound socket has an address"));
        if kind == Kind::Nap {
            let _never = axum::serve(listener, app()).await;
            return;
        }
        loop {
            if let Ok((stream, _peer)) = listener.accept().await {
                Tokio::detach(connection(kind, stream));
            }
        }
    })
}

/// Its errors are the client's to notice.
async fn connection(kind: Kind, stream: TcpStream) {
    let _set = stream.set_nodelay(true);
    let io = TokioIo::new(stream);
    if kind == Kind::Http2 {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
        let _ended = http.serve_connection(io, service_fn(hello)).await;
    } else {
        let mut http = http1::Builder::new();
        let _ended = http.timer(TokioTimer::new()).serve_connection(io, service_fn(hello)).await;
    }
}
