//! What the tests share.

#![allow(dead_code)] // each test file uses its part of it

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use gort_netpoll::{Desc, Direction, Netpoll, Readiness};
use mio::net::{TcpListener, TcpStream};

/// Far beyond what anything here takes: a test that waits this long has failed.
pub(crate) const LONG: Duration = Duration::from_secs(10);

/// A task that counts how often it is woken.
#[derive(Clone)]
pub(crate) struct Task {
    count: Arc<Count>,
    waker: Waker,
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Task {
    pub(crate) fn new() -> Task {
        let count = Arc::new(Count::default());
        Task { count: count.clone(), waker: Waker::from(count) }
    }

    pub(crate) fn wakes(&self) -> usize {
        self.count.0.load(SeqCst)
    }

    pub(crate) fn poll(&self, desc: &Desc, direction: Direction) -> Poll<io::Result<Readiness>> {
        desc.poll_ready(direction, &mut Context::from_waker(&self.waker))
    }
}

/// A listener and both ends of a connection to it.
pub(crate) fn connection() -> (TcpListener, TcpStream, TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    for socket in [&near, &far] {
        socket.set_nonblocking(true).unwrap();
        socket.set_nodelay(true).unwrap();
    }
    listener.set_nonblocking(true).unwrap();
    (TcpListener::from_std(listener), TcpStream::from_std(near), TcpStream::from_std(far))
}

/// One poll without blocking; returns how many were woken.
pub(crate) fn poll(netpoll: &Netpoll) -> usize {
    netpoll.try_poll(&mut Waker::wake).expect("nobody else polls")
}

/// Polls until `done`, or fails.
pub(crate) fn poll_until(netpoll: &Netpoll, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LONG, "nothing happens");
        let mut blocker = netpoll.blocker().expect("nobody else polls");
        blocker.prepare(Some(Instant::now() + Duration::from_millis(1)));
        blocker.block(&mut Waker::wake).unwrap();
    }
}
