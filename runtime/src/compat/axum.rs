//! [axum] 0.8 on gort: [`serve`], as `axum::serve` is it on tokio.
//!
//! axum needs tokio for little more than that function, behind its feature `tokio`, which is on by
//! default. Without it, `axum = { version = "0.8", default-features = false, features = ["http1",
//! "json", "matched-path", "original-uri", "query"] }`, everything else is there: routers,
//! extractors, state, middleware.
//!
//! ```
//! use axum::{Router, extract::Path, routing::get};
//! use gort::compat::axum::serve;
//! use gort::net::TcpListener;
//!
//! #[gort::main]
//! async fn main() -> std::io::Result<()> {
//!     let hello = async |Path(name): Path<String>| format!("Hello, {name}!");
//!     let app = Router::new().route("/{name}", get(hello));
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//! #   let ctrl_c = async {};
//!     serve(listener, app).with_graceful_shutdown(ctrl_c).await
//! }
//! ```
//!
//! In a goroutine, `.wait()` takes the place of `.await`. Each connection is a task, and each
//! HTTP/2 stream another. A handler that blocks its thread delays the other requests on its own
//! connection, and nobody else for longer than [`blocking`](crate::blocking) explains.

use std::convert::Infallible;
use std::fmt;
use std::future::{IntoFuture, Ready, pending, poll_fn, ready};
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ::axum::body::Body;
use ::axum::extract::{FromRequestParts, Request};
use ::axum::http::request::Parts;
use ::axum::middleware::AddExtension;
use ::axum::response::Response;
use ::axum::routing::MethodRouter;
use ::axum::{Extension, Router};
use ::hyper::body::Incoming;
use ::hyper::rt::{Read, Write};
use ::hyper::service::service_fn;
use futures::future::{BoxFuture, Either, select};
use hyper_util::server::conn::auto;
use tower_layer::Layer;
use tower_service::Service;

use super::hyper::{GortExecutor, GortTimer};
#[cfg(unix)]
use crate::net::unix;
use crate::net::{TcpListener, TcpStream};
use crate::sync::{CancelToken, WaitGroup};
use crate::time::sleep;

/// The wait after a failed accept that is not about one connection. axum and Go wait as long.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Serves a [`Router`], a [`MethodRouter`] or any make-service, over HTTP/1 and HTTP/2, to whoever
/// connects to `listener`. The server runs when this is awaited, or waited for.
///
/// It is axum's `serve`, with hyper's defaults for the rest: a request whose head takes longer than
/// 30 seconds closes its connection. (axum sets no limit.)
///
/// Dropping the future, or aborting its task, closes the listener; connections go on.
///
/// # Errors
/// None, ever: it goes on after errors of the listener, and ends at a graceful shutdown only.
///
/// # Panics
/// A panic in a handler ends its connection's task, or with HTTP/2 its stream's, and nothing else.
///
/// # Examples
/// In a goroutine:
/// ```
/// use axum::{Router, routing::get};
/// use gort::compat::axum::serve;
/// use gort::net::TcpListener;
/// use gort::prelude::*;
///
/// #[gort::main]
/// fn main() -> std::io::Result<()> {
///     let app = Router::new().route("/", get("hello"));
///     let listener = TcpListener::bind("127.0.0.1:0").wait()?;
/// #   let ctrl_c = async {};
///     serve(listener, app).with_graceful_shutdown(ctrl_c).wait()
/// }
/// ```
pub fn serve<L, M, S>(listener: L, make_service: M) -> Serve<L, M, S>
where
    L: Listener,
    M: for<'a> Service<IncomingStream<'a, L>, Error = Infallible, Response = S>,
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    Serve { listener, make_service, service: PhantomData }
}

/// What [`serve`] can listen to: gort's listeners, or something around them, such as TLS.
pub trait Listener: Send + 'static {
    /// A connection.
    type Io: Read + Write + Unpin + Send + 'static;
    /// The address of its other end.
    type Addr: Send;

    /// Waits for a connection. Nothing may be lost when the future is dropped. What to do about an
    /// error is up to the listener; the server has no use for one.
    fn accept(&mut self) -> impl Future<Output = (Self::Io, Self::Addr)> + Send;

    /// The address that it listens at.
    ///
    /// # Errors
    /// Those of the system.
    fn local_addr(&self) -> io::Result<Self::Addr>;
}

/// gort's listeners go on after an error: at once if it is that of one connection, else after a
/// second. A lack of descriptors or memory is waited for by `accept` itself.
macro_rules! listener {
    ($listener:ty, $stream:ty, $addr:ty) => {
        impl Listener for $listener {
            type Io = $stream;
            type Addr = $addr;

            async fn accept(&mut self) -> ($stream, $addr) {
                loop {
                    match <$listener>::accept(self).await {
                        Ok(accepted) => return accepted,
                        Err(error) if is_of_connection(&error) => {}
                        Err(_) => sleep(AFTER_ERROR).await,
                    }
                }
            }

            fn local_addr(&self) -> io::Result<$addr> {
                <$listener>::local_addr(self)
            }
        }
    };
}

listener!(TcpListener, TcpStream, SocketAddr);
#[cfg(unix)]
listener!(unix::UnixListener, unix::UnixStream, unix::SocketAddr);

fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// A server that has not begun yet. See [`serve`].
#[must_use = "a server does nothing unless awaited, or waited for"]
pub struct Serve<L, M, S> {
    listener: L,
    make_service: M,
    service: PhantomData<fn() -> S>,
}

impl<L: Listener, M, S> Serve<L, M, S> {
    /// Ends the server when `signal` is ready: it accepts no more, lets each connection answer
    /// what it has been asked already, and is ready itself when the last one is closed.
    pub fn with_graceful_shutdown<F>(self, signal: F) -> WithGracefulShutdown<L, M, S, F>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        WithGracefulShutdown { server: self, signal }
    }

    /// The address that it will serve at.
    ///
    /// # Errors
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<L::Addr> {
        self.listener.local_addr()
    }
}

impl<L, M, S> IntoFuture for Serve<L, M, S>
where
    L: Listener,
    M: for<'a> Service<IncomingStream<'a, L>, Error = Infallible, Response = S> + Send + 'static,
    for<'a> <M as Service<IncomingStream<'a, L>>>::Future: Send,
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Output = io::Result<()>;
    type IntoFuture = BoxFuture<'static, io::Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        let Serve { mut listener, mut make_service, .. } = self;
        Box::pin(async move {
            loop {
                let accepted = listener.accept().await;
                let (io, service) = make::<L, M, S>(&mut make_service, accepted).await;
                drop(crate::spawn(connection(io, service, pending::<()>())));
            }
        })
    }
}

impl<L: fmt::Debug, M, S> fmt::Debug for Serve<L, M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// A server that will end. See [`Serve::with_graceful_shutdown`].
#[must_use = "a server does nothing unless awaited, or waited for"]
pub struct WithGracefulShutdown<L, M, S, F> {
    server: Serve<L, M, S>,
    signal: F,
}

impl<L: Listener, M, S, F> WithGracefulShutdown<L, M, S, F> {
    /// The address that it will serve at.
    ///
    /// # Errors
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<L::Addr> {
        self.server.local_addr()
    }
}

impl<L, M, S, F> IntoFuture for WithGracefulShutdown<L, M, S, F>
where
    L: Listener,
    M: for<'a> Service<IncomingStream<'a, L>, Error = Infallible, Response = S> + Send + 'static,
    for<'a> <M as Service<IncomingStream<'a, L>>>::Future: Send,
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    F: Future<Output = ()> + Send + 'static,
{
    type Output = io::Result<()>;
    type IntoFuture = BoxFuture<'static, io::Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        let WithGracefulShutdown { server, signal } = self;
        let Serve { mut listener, mut make_service, .. } = server;
        Box::pin(async move {
            let (stop, open) = (CancelToken::new(), WaitGroup::new());
            let mut signal = pin!(signal);
            while let Either::Right((accepted, _)) =
                select(signal.as_mut(), pin!(listener.accept())).await
            {
                let (io, service) = make::<L, M, S>(&mut make_service, accepted).await;
                let stop = stop.clone();
                let stopped = async move { stop.cancelled().await };
                drop(open.spawn(connection(io, service, stopped)));
            }
            drop(listener);
            stop.cancel();
            (&open).await;
            Ok(())
        })
    }
}

impl<L: fmt::Debug, M, S, F> fmt::Debug for WithGracefulShutdown<L, M, S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("WithGracefulShutdown");
        f.field("listener", &self.server.listener).finish_non_exhaustive()
    }
}

/// A connection and its service.
async fn make<L, M, S>(make_service: &mut M, (io, remote_addr): (L::Io, L::Addr)) -> (L::Io, S)
where
    L: Listener,
    M: for<'a> Service<IncomingStream<'a, L>, Error = Infallible, Response = S>,
{
    let Ok(()) = poll_fn(|cx| make_service.poll_ready(cx)).await;
    let Ok(service) = make_service.call(IncomingStream { io: &io, remote_addr }).await;
    (io, service)
}

/// Serves one connection to its end, which comes soon once `stop` is ready.
async fn connection<I, S>(io: I, service: S, stop: impl Future)
where
    I: Read + Write + Unpin + Send + 'static,
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let service = service_fn(move |request: ::hyper::Request<Incoming>| {
        let mut service = service.clone();
        async move {
            poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(request.map(Body::new)).await
        }
    });
    let mut builder = auto::Builder::new(GortExecutor);
    builder.http1().timer(GortTimer);
    builder.http2().timer(GortTimer).enable_connect_protocol(); // as axum does, for WebSockets
    let mut connection = pin!(builder.serve_connection_with_upgrades(io, service));
    // A failed connection has told its peer what there was to tell; nobody else wants to know.
    if let Either::Left(_) = select(pin!(stop), connection.as_mut()).await {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// A new connection, as make-services see it.
#[derive(Debug)]
pub struct IncomingStream<'a, L: Listener> {
    io: &'a L::Io,
    remote_addr: L::Addr,
}

impl<L: Listener> IncomingStream<'_, L> {
    /// The connection.
    #[must_use]
    pub fn io(&self) -> &L::Io {
        self.io
    }

    /// The address of its other end.
    #[must_use]
    pub fn remote_addr(&self) -> &L::Addr {
        &self.remote_addr
    }
}

/// Every connection gets the same router.
impl<L: Listener> Service<IncomingStream<'_, L>> for Router<()> {
    type Response = Router<()>;
    type Error = Infallible;
    type Future = Ready<Result<Router<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: IncomingStream<'_, L>) -> Self::Future {
        // With its state a router is put together once, not for each request.
        ready(Ok(self.clone().with_state(())))
    }
}

/// Every connection gets the same routes.
impl<L: Listener> Service<IncomingStream<'_, L>> for MethodRouter<()> {
    type Response = MethodRouter<()>;
    type Error = Infallible;
    type Future = Ready<Result<MethodRouter<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: IncomingStream<'_, L>) -> Self::Future {
        ready(Ok(self.clone().with_state(())))
    }
}

/// Makes the client's address known to the handlers of `service`, which take it as [`ConnectInfo`].
///
/// # Examples
/// ```
/// use axum::{Router, routing::get};
/// use gort::compat::axum::{ConnectInfo, serve, with_connect_info};
/// use std::net::SocketAddr;
///
/// let who = async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string();
/// let app = Router::new().route("/who", get(who));
/// # gort::block_on(async {
/// let listener = gort::net::TcpListener::bind("127.0.0.1:0").await?;
/// let server = serve(listener, with_connect_info(app));
/// # drop(server); Ok::<(), std::io::Error>(()) }).unwrap();
/// ```
pub fn with_connect_info<S>(service: S) -> WithConnectInfo<S> {
    WithConnectInfo { service }
}

/// A make-service. See [`with_connect_info`].
#[derive(Debug, Clone)]
pub struct WithConnectInfo<S> {
    service: S,
}

impl<S: Clone, L: Listener<Addr: Clone + Sync + 'static>> Service<IncomingStream<'_, L>>
    for WithConnectInfo<S>
{
    type Response = AddExtension<S, ConnectInfo<L::Addr>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, stream: IncomingStream<'_, L>) -> Self::Future {
        let info = Extension(ConnectInfo(stream.remote_addr));
        ready(Ok(info.layer(self.service.clone())))
    }
}

/// An extractor: the address of the client, where the server was made [`with_connect_info`]. axum's
/// own `ConnectInfo` exists only with its feature `tokio`.
#[derive(Debug, Clone, Copy)]
pub struct ConnectInfo<A>(pub A);

impl<A, T> FromRequestParts<T> for ConnectInfo<A>
where
    A: Clone + Send + Sync + 'static,
    T: Send + Sync,
{
    type Rejection = <Extension<ConnectInfo<A>> as FromRequestParts<T>>::Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &T) -> Result<Self, Self::Rejection> {
        let Extension(info) = Extension::from_request_parts(parts, state).await?;
        Ok(info)
    }
}
