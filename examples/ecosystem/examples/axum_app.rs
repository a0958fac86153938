//! axum 0.8 on gort, without axum's feature `tokio`: the application of axum's README, with
//! extractors, state and a middleware beside.
//!
//! ```sh
//! cargo run --release -p gort-ecosystem --example axum_app -- 127.0.0.1:3000
//! cargo run -p gort-ecosystem --example axum_app -- --once    # asks itself, and ends
//! ```

use std::env;
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::extract::{Form, MatchedPath, Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::{AsyncReadExt, AsyncWriteExt};
use gort::compat::axum::serve;
use gort::net::{TcpListener, TcpStream};
use gort::sync::oneshot;
use serde::{Deserialize, Serialize};

/// What the handlers share.
#[derive(Default)]
struct App {
    users: AtomicU64,
}

#[derive(Deserialize)]
struct CreateUser {
    username: String,
}

#[derive(Serialize)]
struct User {
    id: u64,
    username: String,
}

#[derive(Deserialize)]
struct Sum {
    a: i64,
    b: i64,
}

async fn root() -> &'static str {
    "Hello, World!"
}

async fn create_user(
    State(app): State<Arc<App>>,
    Json(user): Json<CreateUser>,
) -> (StatusCode, Json<User>) {
    let id = app.users.fetch_add(1, Relaxed) + 1; // a number, which orders nothing
    (StatusCode::CREATED, Json(User { id, username: user.username }))
}

async fn greet(Path(name): Path<String>) -> String {
    format!("Hello, {name}!")
}

async fn sum(Query(Sum { a, b }): Query<Sum>) -> Response {
    match a.checked_add(b) {
        Some(sum) => sum.to_string().into_response(),
        None => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
    }
}

async fn sign_up(Form(user): Form<CreateUser>) -> Redirect {
    Redirect::to(&format!("/hello/{}", user.username))
}

/// A middleware: says which route has answered.
async fn name_route(path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(path) = path.and_then(|path| HeaderValue::from_str(path.as_str()).ok()) {
        response.headers_mut().insert("x-route", path);
    }
    response
}

pub(crate) fn app() -> Router {
    Router::new()
        .route("/", get(root))
        .route("/users", post(create_user))
        .route("/hello/{name}", get(greet))
        .route("/sum", get(sum))
        .route("/sign-up", post(sign_up))
        .route_layer(from_fn(name_route))
        .fallback(async || (StatusCode::NOT_FOUND, "no such page"))
        .with_state(Arc::new(App::default()))
}

/// What `request` is answered with, on a connection of its own.
async fn ask(addr: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[gort::main]
async fn main() -> io::Result<()> {
    let at = env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let listener = TcpListener::bind(at.as_deref().unwrap_or("127.0.0.1:0")).await?;
    let addr = listener.local_addr()?;
    println!("listening at http://{addr}");
    if !gort_ecosystem::once() {
        return serve(listener, app()).await;
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let server = serve(listener, app()).with_graceful_shutdown(async { _ = stopped.await });
    let server = gort::spawn(server.into_future());
    for path in ["/hello/gort", "/sum?a=2&b=40"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: me\r\nconnection: close\r\n\r\n");
        println!("{}", ask(addr, &request).await?);
    }
    drop(stop);
    server.await?
}
