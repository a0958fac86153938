//! smol: async-executor with P threads, async-io for timers and sockets.
//!
//! `smol::spawn` itself does the same: threads that run one global executor inside `async_io::block_on`. The executor is a
//! [`StaticExecutor`], the fastest form the crate offers: an `Executor` also keeps each live task in a locked slab.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use async_executor::{StaticExecutor, Task};

use super::Rt;
use crate::echo;

/// The executor behind [`Smol`], for programs that spawn onto it themselves.
pub static EXECUTOR: StaticExecutor = StaticExecutor::new();

/// async-executor and async-io.
#[derive(Debug)]
pub enum Smol {}

/// A receiver that panics if its sender is gone.
#[derive(Debug)]
pub struct Receiver<T>(futures::channel::oneshot::Receiver<T>);

impl<T> Future for Receiver<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx).map(|r| r.expect("the sender is there"))
    }
}

impl Rt for Smol {
    const NAME: &'static str = "smol";
    type JoinHandle<T: Send + 'static> = Task<T>;
    type Handle = ();

    type Mutex = smol::lock::Mutex<u64>;
    type Sender<T: Send + 'static> = futures::channel::oneshot::Sender<T>;
    type Receiver<T: Send + 'static> = Receiver<T>;

    async fn count(mutex: &Self::Mutex) {
        *mutex.lock().await += 1;
    }

    fn counted(mutex: &mut Self::Mutex) -> u64 {
        *mutex.get_mut()
    }

    fn oneshot<T: Send + 'static>() -> (futures::channel::oneshot::Sender<T>, Receiver<T>) {
        let (send, receive) = futures::channel::oneshot::channel();
        (send, Receiver(receive))
    }

    fn send<T: Send + 'static>(sender: futures::channel::oneshot::Sender<T>, value: T) {
        sender.send(value).ok().expect("the receiver is there");
    }

    fn with<T>(procs: usize, f: impl FnOnce(&Self::Handle) -> T) -> T {
        let (stop, stopped) = smol::channel::bounded::<()>(1);
        let worker = || {
            let stopped = stopped.clone();
            thread::spawn(move || smol::block_on(EXECUTOR.run(stopped.recv())))
        };
        let workers: Vec<_> = (0..procs).map(|_| worker()).collect();
        let result = f(&());
        drop(stop);
        for worker in workers {
            // `recv` fails because the channel closes: that is the signal to stop.
            let _closed = worker.join().expect("a worker of async-executor panicked");
        }
        result
    }

    fn spawn_on<F>((): &(), future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        EXECUTOR.spawn(future)
    }

    fn spawn<F>(future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        EXECUTOR.spawn(future)
    }

    fn detach<F>(future: F)
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        EXECUTOR.spawn(future).detach();
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        smol::future::yield_now()
    }

    async fn sleep(duration: Duration) {
        smol::Timer::after(duration).await;
    }

    async fn timeout<F>(duration: Duration, future: F) -> Option<F::Output>
    where
        F: Future<Output: Send> + Send,
    {
        // Made before the future is polled, as by tokio and Go: the time counts from the call.
        let timer = smol::Timer::after(duration);
        let late = async {
            timer.await;
            None
        };
        smol::future::or(async { Some(future.await) }, late).await
    }

    async fn accept_one() {
        let listener = smol::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        drop(listener.accept().await);
    }

    fn echo_one(
        announce: impl FnOnce(SocketAddr) + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        echo::smol::serve_one(announce)
    }
}
