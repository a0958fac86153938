//! tungstenite in goroutines: many of them on few threads, and face to face with tasks.

#[allow(dead_code)] // the example's main, and its clients
#[path = "../examples/ws_echo.rs"]
mod ws_echo;

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_tungstenite::{accept_async, client_async};
use futures::StreamExt;
use futures::io::{AsyncRead, AsyncWrite};
use futures_rustls::{TlsAcceptor, TlsConnector};
use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;
use gort::sync::{Barrier, Semaphore};
use gort::time::{Duration, Instant};
use gort_ecosystem::{raise_fd_limit, tls};
use gort_tests::{BOUND, Watchdog, alone, for_procs, runtime, threads};
use rustls::{ClientConfig, ServerConfig};
use tungstenite::{HandshakeError, Message, WebSocket};

use ws_echo::{connect, connect_tls, echo, finish, secured, serve};

/// Passes before the other side does anything.
const SHORT: Duration = Duration::from_millis(20);

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").wait().unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let (server, client) = tls::self_made();
    (Arc::new(server), Arc::new(client))
}

/// Messages of several lengths, from nothing to more than a frame's short header can say.
fn messages() -> impl Iterator<Item = Message> {
    [0, 1, 125, 126, 70_000].into_iter().map(|len| Message::binary(vec![len as u8; len]))
}

fn talk<S: Read + Write>(mut socket: WebSocket<S>) {
    for message in messages() {
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
    finish(socket);
}

/// Both ends of 5,000 connections are goroutines of this process.
#[test]
fn thousands_of_goroutines_need_few_threads() {
    let _machine = alone();
    let wanted = 5000;
    let possible = (raise_fd_limit().saturating_sub(100) / 2).min(wanted);
    if possible < wanted {
        println!(
            "{possible} connections instead of {wanted}: that is all the descriptors there are"
        );
    }
    let rt = runtime(4);
    let watchdog = Watchdog::start(rt.handle());
    let handle = rt.handle();
    let most = rt.run(move || {
        let (listener, addr) = listen();
        let server = gort::go(move || serve(&listener, echo));
        let everybody = Barrier::new(possible);
        let knocking = Semaphore::new(500); // fewer than the listener's backlog
        let most = AtomicUsize::new(0);
        gort::scope(|s| {
            for i in 0..possible {
                let (everybody, knocking, most, handle) = (&everybody, &knocking, &most, &handle);
                s.go(move || {
                    let permit = knocking.acquire().wait();
                    let mut socket = connect(addr).unwrap();
                    drop(permit);
                    let message = Message::text(format!("client {i}"));
                    let mut talk = || {
                        socket.send(message.clone()).unwrap();
                        assert_eq!(socket.read().unwrap(), message);
                    };
                    talk();
                    if everybody.wait().is_leader() {
                        assert!(handle.metrics().goroutines > 2 * possible);
                        most.fetch_max(threads(), Ordering::Relaxed);
                    }
                    talk();
                    if everybody.wait().is_leader() {
                        most.fetch_max(threads(), Ordering::Relaxed);
                    }
                    finish(socket);
                });
            }
        });
        server.abort();
        most.into_inner()
    });
    println!("{possible} connections, {most} threads");
    assert!(most < 20, "{most} threads");
    drop(watchdog);
    assert!(rt.shutdown_timeout(BOUND));
}

#[test]
fn ws_and_wss_from_goroutine_to_goroutine() {
    let (server_config, client_config) = configs();
    for_procs(|rt| {
        let (server_config, client_config) = (server_config.clone(), client_config.clone());
        rt.run(move || {
            let ((plain, plain_addr), (secret, secret_addr)) = (listen(), listen());
            let handle = move |stream| echo(secured(stream, &server_config)?);
            let servers =
                [gort::go(move || serve(&plain, echo)), gort::go(move || serve(&secret, handle))];
            gort::scope(|s| {
                for _ in 0..20 {
                    s.go(|| talk(connect(plain_addr).unwrap()));
                    s.go(|| talk(connect_tls(secret_addr, &client_config).unwrap()));
                }
            });
            servers.iter().for_each(|server| server.abort());
        });
    });
}

/// The same server as tasks, over the I/O traits of `futures`.
async fn serve_as_tasks(listener: TcpListener, tls: Option<TlsAcceptor>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let tls = tls.clone();
        drop(gort::spawn(async move {
            match tls {
                None => echo_as_task(stream).await,
                Some(tls) => echo_as_task(tls.accept(stream).await?).await,
            }
        }));
    }
}

async fn echo_as_task<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> tungstenite::Result<()> {
    let mut socket = accept_async(stream).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

async fn talk_as_task<S: AsyncRead + AsyncWrite + Unpin>(url: &str, stream: S) {
    let (mut socket, _) = client_async(url, stream).await.unwrap();
    for message in messages() {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
}

#[test]
fn goroutines_talk_to_tasks() {
    let (server_config, client_config) = configs();
    for_procs(|rt| {
        let acceptor = TlsAcceptor::from(server_config.clone());
        let client_config = client_config.clone();
        rt.run(move || {
            let ((plain, plain_addr), (secret, secret_addr)) = (listen(), listen());
            let servers = [
                gort::spawn(serve_as_tasks(plain, None)),
                gort::spawn(serve_as_tasks(secret, Some(acceptor))),
            ];
            gort::scope(|s| {
                for _ in 0..20 {
                    s.go(|| talk(connect(plain_addr).unwrap()));
                    s.go(|| talk(connect_tls(secret_addr, &client_config).unwrap()));
                }
            });
            servers.iter().for_each(|server| server.abort());
        });
    });
}

#[test]
fn tasks_talk_to_goroutines() {
    let (server_config, client_config) = configs();
    for_procs(|rt| {
        let server_config = server_config.clone();
        let connector = TlsConnector::from(client_config.clone());
        rt.run(move || {
            let ((plain, plain_addr), (secret, secret_addr)) = (listen(), listen());
            let handle = move |stream| echo(secured(stream, &server_config)?);
            let servers =
                [gort::go(move || serve(&plain, echo)), gort::go(move || serve(&secret, handle))];
            let clients: Vec<_> = (0..20)
                .map(|_| {
                    let connector = connector.clone();
                    gort::spawn(async move {
                        let stream = TcpStream::connect(plain_addr).await.unwrap();
                        talk_as_task("ws://localhost/", stream).await;
                        let stream = TcpStream::connect(secret_addr).await.unwrap();
                        let name = "localhost".try_into().unwrap();
                        let stream = connector.connect(name, stream).await.unwrap();
                        talk_as_task("wss://localhost/", stream).await;
                    })
                })
                .collect();
            for client in clients {
                client.wait().unwrap();
            }
            servers.iter().for_each(|server| server.abort());
        });
    });
}

/// The deadline of a socket passes while tungstenite reads: that is an I/O error of kind
/// `TimedOut`, and what tungstenite had read until then is not lost.
#[test]
fn a_deadline_is_a_timeout_to_tungstenite() {
    for_procs(|rt| {
        rt.run(|| {
            let (listener, addr) = listen();
            let server = gort::go(move || {
                let (stream, _) = listener.accept().wait().unwrap();
                stream.set_read_deadline(Some(Instant::now() + SHORT));
                // The client says nothing: the handshake fails.
                match tungstenite::accept(stream) {
                    Err(HandshakeError::Failure(error)) => assert!(is_timeout(&error), "{error}"),
                    other => panic!("{other:?}"),
                }

                let (stream, _) = listener.accept().wait().unwrap();
                let mut socket = tungstenite::accept(stream).unwrap();
                assert_eq!(socket.read().unwrap(), Message::text("one"));
                socket.get_ref().set_read_deadline(Some(Instant::now() + SHORT));
                for _ in 0..2 {
                    let error = socket.read().unwrap_err();
                    assert!(is_timeout(&error), "{error}");
                }
                // Half a frame has come meanwhile; a later deadline lets the rest in.
                socket.send(Message::text("go on")).unwrap();
                socket.get_ref().set_read_deadline(Some(Instant::now() + BOUND));
                assert_eq!(socket.read().unwrap(), Message::text("two"));
            });

            let silent = TcpStream::connect(addr).wait().unwrap();
            let mut socket = connect(addr).unwrap();
            socket.send(Message::text("one")).unwrap();
            // A text of three bytes, masked with zeros (RFC 6455, 5.2).
            let frame = [0x81, 0x83, 0, 0, 0, 0, b't', b'w', b'o'];
            socket.get_mut().write_all(&frame[..7]).unwrap();
            assert_eq!(socket.read().unwrap(), Message::text("go on"));
            socket.get_mut().write_all(&frame[7..]).unwrap();
            server.wait().unwrap();
            drop(silent);
        });
    });
}

fn is_timeout(error: &tungstenite::Error) -> bool {
    matches!(error, tungstenite::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut)
}
