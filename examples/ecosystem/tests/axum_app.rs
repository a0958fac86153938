//! axum 0.8 on gort, without its feature `tokio`.

#[allow(dead_code)] // its main
#[path = "../examples/axum_app.rs"]
mod axum_app;
mod web;

use std::convert::Infallible;
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{MethodRouter, any, get};
use futures::future::join_all;
use futures::{AsyncReadExt, AsyncWriteExt};
use gort::compat::axum::{ConnectInfo, IncomingStream, Listener, serve, with_connect_info};
use gort::compat::hyper::GortExecutor;
use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;
use gort::sync::oneshot;
use gort::{JoinHandle, Runtime};
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, Version, client};
use tower_service::Service;

use web::for_procs;

type Response = hyper::Response<hyper::body::Incoming>;
type Body = Full<bytes::Bytes>;

/// A server and the way to end it.
struct Running {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<io::Result<()>>,
}

impl Running {
    fn start<M, S>(rt: &Runtime, make_service: M) -> Running
    where
        M: for<'a> Service<IncomingStream<'a, TcpListener>, Error = Infallible, Response = S>,
        M: Send + 'static,
        for<'a> <M as Service<IncomingStream<'a, TcpListener>>>::Future: Send,
        S: Service<axum::extract::Request, Response = axum::response::Response>,
        S: Service<axum::extract::Request, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let listener = rt.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = serve(listener, make_service).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        let addr = server.local_addr().unwrap();
        Running { addr, stop, server: rt.spawn(server.into_future()) }
    }

    /// Returns when all connections are closed.
    fn stop(self, rt: &Runtime) {
        drop(self.stop);
        rt.block_on(self.server).unwrap().unwrap();
    }
}

/// Asks over a connection of its own.
async fn ask(addr: SocketAddr, request: Request<Body>) -> hyper::Result<Response> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut requests, connection) = client::conn::http1::handshake(stream).await?;
    drop(gort::spawn(connection));
    requests.send_request(request).await
}

async fn text(answer: Response) -> String {
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}

fn get_request(path: &str) -> Request<Body> {
    Request::get(path).header("host", "me").body(Body::default()).unwrap()
}

#[test]
fn the_application_answers() {
    let table = [
        ("GET", "/", "", "", 200, "Hello, World!"),
        ("GET", "/hello/gort", "", "", 200, "Hello, gort!"),
        ("GET", "/sum?a=2&b=40", "", "", 200, "42"),
        ("GET", "/sum?a=9223372036854775807&b=1", "", "", 422, ""),
        ("GET", "/nothing", "", "", 404, "no such page"),
        ("POST", "/", "", "", 405, ""),
        ("POST", "/sign-up", "application/x-www-form-urlencoded", "username=ada", 303, ""),
        (
            "POST",
            "/users",
            "application/json",
            r#"{"username":"ada"}"#,
            201,
            r#"{"id":1,"username":"ada"}"#,
        ),
        (
            "POST",
            "/users",
            "application/json",
            r#"{"username":"bob"}"#,
            201,
            r#"{"id":2,"username":"bob"}"#,
        ),
    ];
    for_procs(|rt| {
        let running = Running::start(rt, axum_app::app());
        for (method, path, kind, body, status, said) in table {
            let request = Request::builder().method(method).uri(path).header("host", "me");
            let request = request.header("content-type", kind).body(Body::from(body)).unwrap();
            rt.block_on(async {
                let answer = ask(running.addr, request).await.unwrap();
                assert_eq!(answer.status(), status, "{method} {path}");
                assert_eq!(text(answer).await, said, "{method} {path}");
            });
        }
        running.stop(rt);
    });
}

/// Whatever is not a `Router`: a method router, a make-service, with and without the client's
/// address.
#[test]
fn what_can_be_served() {
    async fn who(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
        peer.to_string()
    }
    for_procs(|rt| {
        let method_router: MethodRouter = any("any");
        let running = Running::start(rt, method_router);
        let answer = rt.block_on(ask(running.addr, get_request("/some/where"))).unwrap();
        assert_eq!(rt.block_on(text(answer)), "any");
        running.stop(rt);

        let running = Running::start(rt, Router::new().route("/", get("made")).into_make_service());
        let answer = rt.block_on(ask(running.addr, get_request("/"))).unwrap();
        assert_eq!(rt.block_on(text(answer)), "made");
        running.stop(rt);

        let running = Running::start(rt, with_connect_info(Router::new().route("/", get(who))));
        rt.block_on(async {
            let mut stream = TcpStream::connect(running.addr).await.unwrap();
            let request = b"GET / HTTP/1.1\r\nhost: me\r\nconnection: close\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with(&stream.local_addr().unwrap().to_string()), "{answer}");
        });
        running.stop(rt);

        let running = Running::start(rt, Router::new().route("/", get(who)));
        let answer = rt.block_on(ask(running.addr, get_request("/"))).unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR, "nobody has told it");
        running.stop(rt);
    });
}

#[test]
fn over_http2() {
    for_procs(|rt| {
        let running = Running::start(rt, axum_app::app());
        rt.block_on(async {
            let stream = TcpStream::connect(running.addr).await.unwrap();
            let (requests, connection) =
                client::conn::http2::handshake(GortExecutor, stream).await.unwrap();
            let connection = gort::spawn(connection);
            let asked = (0..100).map(|i| {
                let mut requests = requests.clone();
                gort::spawn(async move {
                    let request = get_request(&format!("http://me/hello/{i}"));
                    let answer = requests.send_request(request).await.unwrap();
                    assert_eq!(answer.version(), Version::HTTP_2);
                    assert_eq!(text(answer).await, format!("Hello, {i}!"));
                })
            });
            join_all(asked).await.into_iter().for_each(Result::unwrap);
            drop(requests);
            connection.await.unwrap().unwrap();
        });
        running.stop(rt);
    });
}

/// A server in a goroutine, which waits for it; a handler that waits in a goroutine of its own.
#[test]
fn in_goroutines() {
    for_procs(|rt| {
        let (stop, stopped) = oneshot::channel::<()>();
        let (send, addr) = oneshot::channel();
        let server = rt.go(move || {
            let listener = TcpListener::bind("127.0.0.1:0").wait()?;
            send.send(listener.local_addr()?).unwrap();
            let answer = async || gort::go(|| async { "from a goroutine" }.wait()).await.unwrap();
            let app = Router::new().route("/", get(answer));
            serve(listener, app).with_graceful_shutdown(async { _ = stopped.await }).wait()
        });
        let addr = rt.block_on(addr).unwrap();
        let answer = rt.block_on(ask(addr, get_request("/"))).unwrap();
        assert_eq!(rt.block_on(text(answer)), "from a goroutine");
        drop(stop);
        rt.block_on(server).unwrap().unwrap();
    });
}

/// A panic is the affair of its own connection; a client that goes is, too.
#[test]
fn what_a_server_survives() {
    for_procs(|rt| {
        let app =
            Router::new().route("/panic", get(async || -> &'static str { panic!("on purpose") }));
        let running = Running::start(rt, app.route("/", get("well")));
        let addr = running.addr;
        rt.block_on(async {
            assert!(ask(addr, get_request("/panic")).await.is_err(), "the connection closes");
            for _ in 0..20 {
                let mut gone = TcpStream::connect(addr).await.unwrap();
                gone.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
                gone.set_linger(Some(Duration::ZERO)).unwrap();
            }
            let answer = ask(addr, get_request("/")).await.unwrap();
            assert_eq!(text(answer).await, "well");
        });
        running.stop(rt);
    });
}

/// A listener of one's own, which turns every other connection away.
#[test]
fn a_listener_of_ones_own() {
    struct Every2nd(TcpListener, usize);

    impl Listener for Every2nd {
        type Io = TcpStream;
        type Addr = usize;

        async fn accept(&mut self) -> (TcpStream, usize) {
            loop {
                let (stream, _) = self.0.accept().await.unwrap();
                self.1 += 1;
                if self.1.is_multiple_of(2) {
                    return (stream, self.1);
                }
            }
        }

        fn local_addr(&self) -> io::Result<usize> {
            Ok(self.1)
        }
    }

    for_procs(|rt| {
        let listener = rt.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let number = async |ConnectInfo(n): ConnectInfo<usize>| n.to_string();
        let app = with_connect_info(Router::new().route("/", get(number)));
        let server = rt.spawn(serve(Every2nd(listener, 0), app).into_future());
        rt.block_on(async {
            assert!(ask(addr, get_request("/")).await.is_err());
            assert_eq!(text(ask(addr, get_request("/")).await.unwrap()).await, "2");
        });
        server.abort();
        assert!(rt.block_on(server).unwrap_err().is_cancelled());
    });
}

#[cfg(unix)]
#[test]
fn over_a_unix_socket() {
    use gort::net::{UnixListener, UnixStream};

    let path = std::env::temp_dir().join(format!("gort-axum-{}", std::process::id()));
    for_procs(|rt| {
        let listener = rt.block_on(async { UnixListener::bind(&path) }).unwrap();
        listener.set_unlink_on_close(true);
        let server = rt.spawn(serve(listener, axum_app::app()).into_future());
        rt.block_on(async {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            let request = b"GET /hello/unix HTTP/1.1\r\nhost: me\r\nconnection: close\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with("\r\n\r\nHello, unix!"), "{answer}");
        });
        server.abort();
        assert!(rt.block_on(server).unwrap_err().is_cancelled());
    });
}

/// One request is being answered and one connection is idle when the end comes: the one is
/// answered to the end, the other is closed, and nobody gets in any more.
#[test]
fn a_graceful_end() {
    for_procs(|rt| {
        let (arrived, here) = gort::chan::bounded(1);
        let (go_on, may_answer) = gort::chan::bounded::<()>(1);
        let slow = get(async move || {
            arrived.send(()).await.unwrap();
            let _ = may_answer.recv().await;
            "to the end"
        });
        let running = Running::start(rt, Router::new().route("/slow", slow).route("/", get("now")));
        let addr = running.addr;
        rt.block_on(async {
            let busy =
                gort::spawn(
                    async move { text(ask(addr, get_request("/slow")).await.unwrap()).await },
                );
            here.recv().await.unwrap();
            let mut idle = TcpStream::connect(addr).await.unwrap();
            idle.write_all(b"GET / HTTP/1.1\r\nhost: me\r\n\r\n").await.unwrap();
            assert!(idle.read(&mut [0; 500]).await.unwrap() > 0);
            drop(running.stop);
            assert_eq!(idle.read(&mut [0; 500]).await.unwrap(), 0);
            assert!(!running.server.is_finished(), "one is still busy");
            assert!(TcpStream::connect(addr).await.is_err(), "nobody listens");
            drop(go_on);
            assert_eq!(busy.await.unwrap(), "to the end");
            running.server.await.unwrap().unwrap();
        });
    });
}

/// A handler blocks its thread, again and again, for 200 ms, and says nothing about it. The others
/// do not wait for it: nine of ten are answered long before it is.
#[test]
fn a_handler_that_sleeps_on_its_thread() {
    const NAP: Duration = Duration::from_millis(200);
    for_procs(|rt| {
        let nap = get(async || {
            std::thread::sleep(NAP);
            "slept"
        });
        let app = Router::new().route("/", get("quick")).route("/nap", nap);
        let running = Running::start(rt, app);
        let addr = running.addr;
        let mut took = rt.block_on(async {
            let (done, mut end) = oneshot::channel::<()>();
            let napper = gort::spawn(async move {
                while end.try_recv() == Err(oneshot::TryRecvError::Empty) {
                    let answer = ask(addr, get_request("/nap")).await.unwrap();
                    assert_eq!(text(answer).await, "slept");
                }
            });
            let quick = (0..10).map(|_| {
                gort::spawn(async move {
                    let mut took = Vec::new();
                    for _ in 0..100 {
                        let start = Instant::now();
                        let answer = ask(addr, get_request("/")).await.unwrap();
                        assert_eq!(text(answer).await, "quick");
                        took.push(start.elapsed());
                    }
                    took
                })
            });
            let took: Vec<_> = join_all(quick).await.into_iter().flat_map(Result::unwrap).collect();
            drop(done);
            napper.await.unwrap();
            took
        });
        took.sort_unstable();
        let [median, p90, p99] = [50, 90, 99].map(|p| took[took.len() * p / 100]);
        eprintln!("median {median:?}, p90 {p90:?}, p99 {p99:?}");
        assert!(p90 < NAP / 2, "p90 {p90:?}");
        running.stop(rt);
    });
}
