//! Servers for the tests: an accept loop whose connections are tasks or goroutines.

#![allow(dead_code)] // each test file uses some of it

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use gort::net::{TcpListener, TcpStream};
use gort::prelude::*;
use gort::{JoinHandle, Runtime};
use gort_tests::{BOUND, Watchdog, beside_others, runtime};

/// What serves a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Task,
    Goroutine,
}

/// Runs `test` with 1, 2 and 8 Ps, under a watchdog.
#[track_caller]
pub(crate) fn for_procs(test: impl Fn(&Runtime)) {
    let _machine = beside_others();
    for_procs_alone(test);
}

#[track_caller]
pub(crate) fn for_procs_alone(test: impl Fn(&Runtime)) {
    for procs in [1, 2, 8] {
        eprintln!("procs = {procs}");
        let rt = runtime(procs);
        let watchdog = Watchdog::start(rt.handle());
        test(&rt);
        drop(watchdog);
        assert!(rt.shutdown_timeout(BOUND), "the runtime did not end");
    }
}

/// As `for_procs`, for both kinds.
#[track_caller]
pub(crate) fn for_kinds(test: impl Fn(&Runtime, Kind)) {
    let _machine = beside_others();
    for_kinds_alone(test);
}

#[track_caller]
pub(crate) fn for_kinds_alone(test: impl Fn(&Runtime, Kind)) {
    for kind in [Kind::Task, Kind::Goroutine] {
        eprintln!("{kind:?}s");
        for_procs_alone(|rt| test(rt, kind));
    }
}

/// Two ends of a connection.
pub(crate) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (listener.accept().await.unwrap().0, far)
}

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    accepting: JoinHandle<()>,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Server {
    /// Serves each connection with `serve`, in a task or a goroutine of its own.
    pub(crate) fn start<F>(
        rt: &Runtime,
        kind: Kind,
        mut serve: impl FnMut(TcpStream) -> F + Send + 'static,
    ) -> Server
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = rt.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let started = connections.clone();
        let accepting = rt.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let served = serve(stream);
                started.lock().unwrap().push(match kind {
                    Kind::Task => gort::spawn(served),
                    Kind::Goroutine => gort::go(move || served.wait()),
                });
            }
        });
        Server { addr, accepting, connections }
    }

    /// Accepts no more, and waits until every connection has ended, which is the clients' affair.
    /// None of them may have panicked.
    pub(crate) fn stop(self, rt: &Runtime) {
        self.accepting.abort();
        assert!(rt.block_on(self.accepting).unwrap_err().is_cancelled());
        let connections = std::mem::take(&mut *self.connections.lock().unwrap());
        connections.into_iter().for_each(|connection| rt.block_on(connection).unwrap());
    }
}
