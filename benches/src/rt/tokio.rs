//! tokio: the multi-thread runtime with `worker_threads(P)`, all drivers on, everything else at its default.
//!
//! Its own knobs (`global_queue_interval`, `event_interval`) trade one row for another, none of them wins; the defaults are
//! what its authors chose. At P = 1 it is still the multi-thread runtime: `current_thread` cannot be spawned onto from
//! elsewhere while it runs.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::Rt;
use crate::echo;

/// tokio's multi-thread runtime.
#[derive(Debug)]
pub enum Tokio {}

/// A join handle that panics if its task did.
#[derive(Debug)]
pub struct Join<T>(tokio::task::JoinHandle<T>);

impl<T> Future for Join<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx).map(|r| r.expect("a benchmark's task panicked"))
    }
}

/// A receiver that panics if its sender is gone.
#[derive(Debug)]
pub struct Receiver<T>(tokio::sync::oneshot::Receiver<T>);

impl<T> Future for Receiver<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx).map(|r| r.expect("the sender is there"))
    }
}

impl Rt for Tokio {
    const NAME: &'static str = "tokio";
    type JoinHandle<T: Send + 'static> = Join<T>;
    type Handle = tokio::runtime::Handle;

    type Mutex = tokio::sync::Mutex<u64>;
    type Sender<T: Send + 'static> = tokio::sync::oneshot::Sender<T>;
    type Receiver<T: Send + 'static> = Receiver<T>;

    async fn count(mutex: &Self::Mutex) {
        *mutex.lock().await += 1;
    }

    fn counted(mutex: &mut Self::Mutex) -> u64 {
        *mutex.get_mut()
    }

    fn oneshot<T: Send + 'static>() -> (tokio::sync::oneshot::Sender<T>, Receiver<T>) {
        let (send, receive) = tokio::sync::oneshot::channel();
        (send, Receiver(receive))
    }

    fn send<T: Send + 'static>(sender: tokio::sync::oneshot::Sender<T>, value: T) {
        sender.send(value).ok().expect("the receiver is there");
    }

    fn with<T>(procs: usize, f: impl FnOnce(&Self::Handle) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(procs)
            .enable_all()
            .build()
            .expect("tokio starts");
        let result = f(runtime.handle());
        runtime.shutdown_background();
        result
    }

    fn spawn_on<F>(handle: &Self::Handle, future: F) -> Join<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        Join(handle.spawn(future))
    }

    fn spawn<F>(future: F) -> Join<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        Join(tokio::spawn(future))
    }

    fn detach<F>(future: F)
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        drop(tokio::spawn(future));
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        tokio::task::yield_now()
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(duration)
    }

    async fn timeout<F>(duration: Duration, future: F) -> Option<F::Output>
    where
        F: Future<Output: Send> + Send,
    {
        tokio::time::timeout(duration, future).await.ok()
    }

    async fn accept_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        drop(listener.accept().await);
    }

    fn echo_one(
        announce: impl FnOnce(SocketAddr) + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        echo::tokio::serve_one(announce)
    }
}
