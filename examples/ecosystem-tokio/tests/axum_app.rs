//! One axum application on gort and on tokio: the answers are the same, to the byte.

#[allow(dead_code)] // its main
#[path = "../../ecosystem/examples/axum_app.rs"]
mod axum_app;

use std::future::IntoFuture;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use axum::Router;
use axum::routing::get;
use gort_tests::for_procs;

/// The head's first line and headers (but for `date`), and the body, in the order sent.
fn ask(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let lines = answer.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("date: ")).collect()
}

fn requests() -> Vec<String> {
    let mut requests = Vec::new();
    let mut add = |method: &str, path: &str, kind: &str, body: &str| {
        let length = body.len();
        requests.push(format!(
            "{method} {path} HTTP/1.1\r\nhost: me\r\nconnection: close\r\ncontent-type: {kind}\r\n\
             content-length: {length}\r\n\r\n{body}"
        ));
    };
    let (json, form) = ("application/json", "application/x-www-form-urlencoded");
    for method in ["GET", "HEAD", "OPTIONS", "POST", "DELETE", "BREW"] {
        for path in ["/", "/hello/gort", "/hello/g%C3%B6rt", "/hello/", "/sum?a=1&b=2", "/sum?a=1"]
        {
            add(method, path, "", "");
        }
    }
    add("GET", "/sum?a=9223372036854775807&b=1", "", "");
    add("GET", "/sum?a=one&b=2", "", "");
    add("POST", "/users", json, r#"{"username":"ada"}"#);
    add("POST", "/users", json, r#"{"username":"bob","admin":true}"#);
    add("POST", "/users", json, r#"{"username":7}"#);
    add("POST", "/users", json, r#"{"username""#);
    add("POST", "/users", form, "username=ada");
    add("POST", "/sign-up", form, "username=ada");
    add("POST", "/sign-up", form, "name=ada");
    add("POST", "/sign-up", json, "{}");
    requests.push("GET / HTTP/1.0\r\n\r\n".into());
    requests.push("GET /\r\n\r\n".into());
    requests.push("nonsense\r\n\r\n".into());
    requests.push("GET / HTTP/1.1\r\nno colon\r\n\r\n".into());
    requests.push(format!("GET /{} HTTP/1.1\r\n\r\n", "long".repeat(20_000)));
    requests.push("POST /users HTTP/1.1\r\nconnection: close\r\ncontent-type: application/json\r\n\
                   transfer-encoding: chunked\r\n\r\n8\r\n{\"userna\r\n8\r\nme\":\"c\"}\r\n0\r\n\r\n".into());
    requests
}

#[test]
fn the_same_answers_as_on_tokio() {
    for_procs(|rt| {
        let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let theirs = tokio.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let their_addr = theirs.local_addr().unwrap();
        tokio.spawn(axum::serve(theirs, axum_app::app()).into_future());

        let ours = rt.block_on(gort::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let our_addr = ours.local_addr().unwrap();
        drop(rt.spawn(gort::compat::axum::serve(ours, axum_app::app()).into_future()));

        for request in requests() {
            assert_eq!(ask(our_addr, &request), ask(their_addr, &request), "{request}");
        }
    });
}

/// There is no runtime of tokio around a handler.
#[test]
fn tokio_is_not_there() {
    for_procs(|rt| {
        let look = async || tokio::runtime::Handle::try_current().is_err().to_string();
        let app = Router::new().route("/", get(look));
        let listener = rt.block_on(gort::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        drop(rt.spawn(gort::compat::axum::serve(listener, app).into_future()));
        let answer = ask(addr, "GET / HTTP/1.1\r\nhost: me\r\nconnection: close\r\n\r\n");
        assert!(answer.ends_with("\r\n\r\ntrue"), "{answer}");
    });
}
