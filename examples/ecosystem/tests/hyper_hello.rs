//! hyper 1 on gort: server and client, HTTP/1 and HTTP/2, each connection a task or a goroutine.

mod web;

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, join_all, select};
use futures::{AsyncReadExt, AsyncWriteExt};
use gort::Runtime;
use gort::compat::hyper::{GortExecutor, GortIo, GortLocalExecutor, GortTimer};
use gort::net::TcpStream;
use gort::sync::{Barrier, CancelToken};
use gort_tests::{Counts, Rng, alone, eventually, fds};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn as client;
use hyper::header::{CONNECTION, UPGRADE};
use hyper::server::conn as server;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, upgrade};

use web::{Kind, Server, for_kinds, for_procs};

type Body = Full<Bytes>;

/// Answers with the request's body.
async fn echo(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    Ok(Response::new(Full::new(request.into_body().collect().await?.to_bytes())))
}

async fn serve_http1(stream: TcpStream) {
    let mut http = server::http1::Builder::new();
    let _ = http.timer(GortTimer).serve_connection(stream, service_fn(echo)).await;
}

/// A client's connection, which runs beside.
async fn connect(addr: SocketAddr) -> client::http1::SendRequest<Body> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (requests, connection) = client::http1::handshake(stream).await.unwrap();
    drop(gort::spawn(connection.with_upgrades()));
    requests
}

fn post(text: String) -> Request<Body> {
    Request::post("/").header("host", "localhost").body(Full::new(text.into())).unwrap()
}

async fn ask(requests: &mut client::http1::SendRequest<Body>, text: String) -> Bytes {
    requests.ready().await.unwrap();
    let answer = requests.send_request(post(text)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer.into_body().collect().await.unwrap().to_bytes()
}

/// Whether the server still answers.
fn still_answers(rt: &Runtime, server: &Server) {
    let addr = server.addr;
    let answer = rt.block_on(async move { ask(&mut connect(addr).await, "there?".into()).await });
    assert_eq!(answer, "there?");
}

#[test]
fn two_hundred_connections_that_are_kept() {
    const CONNECTIONS: usize = 200;
    for_kinds(|rt, kind| {
        let requests = if kind == Kind::Task { 50 } else { 10 };
        let server = Server::start(rt, kind, serve_http1);
        let addr = server.addr;
        let clients = (0..CONNECTIONS).map(|c| {
            rt.spawn(async move {
                let mut connection = connect(addr).await;
                for r in 0..requests {
                    let text = format!("connection {c}, request {r}");
                    assert_eq!(ask(&mut connection, text.clone()).await, text);
                }
            })
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().for_each(|client| rt.block_on(client).unwrap());
        server.stop(rt);
    });
}

/// A client that is silent in the middle of a head, and one that sends a byte now and then.
#[test]
fn a_slow_head_ends_its_connection() {
    for_kinds(|rt, kind| {
        let server = Server::start(rt, kind, async |stream| {
            let mut http = server::http1::Builder::new();
            http.timer(GortTimer).header_read_timeout(Duration::from_millis(50));
            let ended = http.serve_connection(stream, service_fn(echo)).await;
            assert!(ended.unwrap_err().is_timeout());
        });
        let addr = server.addr;
        rt.block_on(async {
            for drips in [false, true] {
                let stream = TcpStream::connect(addr).await.unwrap();
                let send = async {
                    (&stream).write_all(b"POST / HTTP/1.1\r\nx-slow: ").await.unwrap();
                    while drips && (&stream).write_all(b"o").await.is_ok() {
                        gort::time::sleep(Duration::from_millis(5)).await;
                    }
                    std::future::pending::<()>().await;
                };
                let end = async {
                    let mut all = Vec::new();
                    // A byte that came too late is answered with a reset.
                    let _ = (&stream).read_to_end(&mut all).await;
                };
                match select(std::pin::pin!(send), std::pin::pin!(end)).await {
                    Either::Left(_) => unreachable!("it sends for ever"),
                    Either::Right(_) => {}
                }
            }
        });
        server.stop(rt);
    });
}

/// All of a thousand streams are open at one time: no handler answers before all of them are there.
#[test]
fn a_thousand_streams_on_one_connection() {
    const STREAMS: usize = 1_000;
    for_kinds(|rt, kind| {
        let all_here = Arc::new(Barrier::new(STREAMS));
        let server = Server::start(rt, kind, move |stream| {
            let all_here = all_here.clone();
            let answer = service_fn(move |request: Request<Incoming>| {
                let all_here = all_here.clone();
                async move {
                    (&*all_here).await;
                    echo(request).await
                }
            });
            async move {
                let mut http = server::http2::Builder::new(GortExecutor);
                http.timer(GortTimer).max_concurrent_streams(STREAMS as u32);
                let _ = http.serve_connection(stream, answer).await;
            }
        });
        let addr = server.addr;
        rt.block_on(async {
            let stream = TcpStream::connect(addr).await.unwrap();
            let mut http = client::http2::Builder::new(GortExecutor);
            http.timer(GortTimer).initial_max_send_streams(STREAMS);
            let (requests, connection) = http.handshake(stream).await.unwrap();
            let connection = gort::spawn(connection);
            let answers = (0..STREAMS).map(|i| {
                let mut requests = requests.clone();
                gort::spawn(async move {
                    let text = format!("stream {i}").repeat(10);
                    let request = Request::post("http://localhost/");
                    let request = request.body(Full::<Bytes>::from(text.clone())).unwrap();
                    let answer = requests.send_request(request).await.unwrap();
                    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), text);
                })
            });
            join_all(answers).await.into_iter().for_each(Result::unwrap);
            drop(requests);
            connection.await.unwrap().unwrap();
        });
        server.stop(rt);
    });
}

/// After an upgrade the stream is the server's own again: it echoes to the end of what the client
/// says, which closes only its direction.
#[test]
fn an_upgrade_and_a_half_close() {
    async fn echo_stream(request: Request<Incoming>) {
        let upgraded = upgrade::on(request).await.unwrap();
        let parts = upgraded.downcast::<TcpStream>().unwrap();
        let mut stream = parts.io;
        stream.write_all(&parts.read_buf).await.unwrap();
        futures::io::copy(&stream, &mut &stream).await.unwrap();
        stream.close().await.unwrap();
    }
    async fn switch(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
        drop(gort::spawn(echo_stream(request)));
        let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        Ok(answer.header(UPGRADE, "echo").body(Empty::new()).unwrap())
    }
    for_kinds(|rt, kind| {
        let server = Server::start(rt, kind, async |stream| {
            let http = server::http1::Builder::new();
            http.serve_connection(stream, service_fn(switch)).with_upgrades().await.unwrap();
        });
        let addr = server.addr;
        rt.block_on(async {
            let mut requests = connect(addr).await;
            let request = Request::get("/").header(CONNECTION, "upgrade").header(UPGRADE, "echo");
            let request = request.body(Full::default()).unwrap();
            let answer = requests.send_request(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
            let upgraded = upgrade::on(answer).await.unwrap();
            let parts = upgraded.downcast::<TcpStream>().unwrap();
            assert!(parts.read_buf.is_empty());
            let mut stream = parts.io;
            let text: Vec<u8> = (0..=255).cycle().take(200_000).collect();
            let write = async {
                (&stream).write_all(&text).await.unwrap();
                (&stream).close().await.unwrap();
            };
            let mut back = Vec::new();
            let read = async { (&stream).read_to_end(&mut back).await.unwrap() };
            futures::join!(write, read);
            assert_eq!(back, text);
            stream.close().await.unwrap();
        });
        server.stop(rt);
    });
}

/// An idle connection closes at once, one that is being answered when it has been.
#[test]
fn a_graceful_end() {
    for_kinds(|rt, kind| {
        let (end, here) = (CancelToken::new(), Arc::new(Barrier::new(2)));
        let (ending, arrived) = (end.clone(), here.clone());
        let server = Server::start(rt, kind, move |stream| {
            let (end, here) = (ending.clone(), arrived.clone());
            let at_end = end.clone();
            let answer = service_fn(move |request: Request<Incoming>| {
                let (end, here) = (end.clone(), here.clone());
                async move {
                    if request.method() == "POST" {
                        (&*here).await;
                        end.cancelled().await;
                    }
                    echo(request).await
                }
            });
            async move {
                let http = server::http1::Builder::new();
                let mut connection = std::pin::pin!(http.serve_connection(stream, answer));
                match select(std::pin::pin!(at_end.cancelled()), connection.as_mut()).await {
                    Either::Left(_) => connection.as_mut().graceful_shutdown(),
                    Either::Right(_) => panic!("it closed before its end"),
                }
                connection.await.unwrap();
            }
        });
        let addr = server.addr;
        rt.block_on(async {
            let mut idle = connect(addr).await;
            let hello = Request::get("/").header("host", "me").body(Full::default()).unwrap();
            assert!(idle.send_request(hello).await.unwrap().status().is_success());
            let busy = gort::spawn(async move {
                let mut requests = connect(addr).await;
                ask(&mut requests, "the last one".into()).await
            });
            (&*here).await;
            end.cancel();
            assert_eq!(busy.await.unwrap(), "the last one");
            // The client notices that its idle connection has ended.
            assert!(
                idle.ready().await.is_err() || idle.send_request(post("x".into())).await.is_err()
            );
        });
        server.stop(rt);
    });
}

/// Whatever comes over the wire, at any moment the client may be gone, with a reset: the server
/// answers others, and keeps nothing.
#[test]
fn garbage_and_resets() {
    let _alone = alone();
    let (before, rng) = (Counts::now(), Rng::from_env());
    web::for_kinds_alone(|rt, kind| {
        let mut rng = rng.clone();
        let server = Server::start(rt, kind, serve_http1);
        let addr = server.addr;
        still_answers(rt, &server);
        let open = fds();
        for i in 0..100 {
            let mut rng = rng.split();
            rt.block_on(async move {
                let mut stream = TcpStream::connect(addr).await.unwrap();
                let start: &[u8] = match rng.below(4) {
                    0 => b"",
                    1 => b"GET / HTTP/1.1\r\nhost: me\r\n\r\n",
                    2 => b"POST / HTTP/1.1\r\ncontent-length: 99\r\n\r\n",
                    _ => b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
                };
                let mut bytes = start.to_vec();
                bytes.extend((0..rng.below(2_000)).map(|_| rng.below(256) as u8));
                // The server may have hung up on the first bytes.
                let _ = stream.write_all(&bytes).await;
                if rng.one_in(2) {
                    stream.set_linger(Some(Duration::ZERO)).unwrap();
                } else {
                    let _ = stream.close().await;
                    let mut answer = Vec::new();
                    match stream.read_to_end(&mut answer).await {
                        Ok(_) => {}
                        Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset, "client {i}"),
                    }
                }
            });
        }
        still_answers(rt, &server);
        eventually("every connection is closed", || fds() <= open);
        server.stop(rt);
    });
    before.assert_restored();
}

/// A service that is not `Send`, on the thread that asks.
#[test]
fn a_local_service() {
    use std::cell::Cell;
    use std::rc::Rc;
    for_procs(|rt| {
        let (near, far) = rt.block_on(web::pair());
        rt.block_on(async {
            let count = Rc::new(Cell::new(0));
            let counted = count.clone();
            let answer = service_fn(move |_: Request<Incoming>| {
                counted.set(counted.get() + 1);
                let n = counted.get().to_string();
                async move { Ok::<_, Infallible>(Response::new(n)) }
            });
            let server = gort::spawn_local(async move {
                let http = server::http2::Builder::new(GortLocalExecutor);
                http.serve_connection(near, answer).await
            });
            let io = GortIo::new(far);
            let (mut requests, connection) =
                client::http2::handshake(GortExecutor, io).await.unwrap();
            drop(gort::spawn(connection));
            for i in 1..=3 {
                let request = Request::get("http://localhost/").body(Body::default()).unwrap();
                let answer = requests.send_request(request).await.unwrap();
                let text = answer.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(text, i.to_string());
            }
            drop(requests);
            server.await.unwrap().unwrap();
            assert_eq!(count.get(), 3);
        });
    });
}
