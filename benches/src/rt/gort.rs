//! gort as users get it: `Builder::procs(P)`, everything else at its default.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use gort::Wait as _;

use super::Rt;
use crate::echo;
use crate::work::TICK;

/// gort itself.
#[derive(Debug)]
pub enum Gort {}

/// A join handle that panics if its task did.
pub struct Join<T>(gort::JoinHandle<T>);

impl<T> Future for Join<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx).map(|r| r.expect("a benchmark's task panicked"))
    }
}

/// A receiver that panics if its sender is gone.
#[derive(Debug)]
pub struct Receiver<T>(gort::sync::oneshot::Receiver<T>);

impl<T> Future for Receiver<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx).map(|r| r.expect("the sender is there"))
    }
}

impl Rt for Gort {
    const NAME: &'static str = "gort";
    type JoinHandle<T: Send + 'static> = Join<T>;
    type Handle = gort::Handle;

    type Mutex = gort::sync::Mutex<u64>;
    type Sender<T: Send + 'static> = gort::sync::oneshot::Sender<T>;
    type Receiver<T: Send + 'static> = Receiver<T>;

    async fn count(mutex: &Self::Mutex) {
        *mutex.lock().await += 1;
    }

    fn counted(mutex: &mut Self::Mutex) -> u64 {
        *mutex.get_mut()
    }

    fn oneshot<T: Send + 'static>() -> (gort::sync::oneshot::Sender<T>, Receiver<T>) {
        let (send, receive) = gort::sync::oneshot::channel();
        (send, Receiver(receive))
    }

    fn send<T: Send + 'static>(sender: gort::sync::oneshot::Sender<T>, value: T) {
        sender.send(value).ok().expect("the receiver is there");
    }

    fn with<T>(procs: usize, f: impl FnOnce(&Self::Handle) -> T) -> T {
        let runtime = gort::Builder::new().procs(procs).build().expect("gort starts");
        f(&runtime.handle())
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
        Join(gort::spawn(future))
    }

    fn detach<F>(future: F)
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        drop(gort::spawn(future));
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        gort::yield_now()
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send {
        gort::time::sleep(duration)
    }

    async fn timeout<F>(duration: Duration, future: F) -> Option<F::Output>
    where
        F: Future<Output: Send> + Send,
    {
        gort::time::timeout(duration, future).await.ok()
    }

    async fn accept_one() {
        let listener = gort::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        drop(listener.accept().await);
    }

    fn echo_one(
        announce: impl FnOnce(SocketAddr) + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        echo::gort::serve_one(announce)
    }

    fn tick_in_coroutine(handle: &gort::Handle, mut tick: impl FnMut() -> bool + Send + 'static) {
        drop(handle.go(move || {
            while tick() {
                gort::time::sleep(TICK).wait();
            }
        }));
    }
}
