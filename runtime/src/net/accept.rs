//! Accepting connections: what is passed over, and what is waited out.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use gort_netpoll::Direction;
use mio::event;

use super::source::Source;
use crate::time::sleep;

/// The wait after the first failure for want of descriptors or memory, and the longest one.
/// Go's net/http waits the same.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Accepts a connection by `accept` and makes something of it by `make`. While the system is out of
/// something that both need, the connection waits in the backlog (or is lost, if it fails `make`), and
/// a close or a deadline is noticed at the next attempt.
pub(super) async fn accept<S: event::Source, C, T>(
    source: &Source<S>,
    accept: impl Fn(&S) -> io::Result<C>,
    make: impl Fn(C) -> io::Result<T>,
) -> io::Result<T> {
    let unless_reset = |listener: &S| loop {
        match accept(listener) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
            done => return done,
        }
    };
    let mut wait = BACKOFF.0;
    loop {
        let accepted = poll_fn(|cx| source.poll_io(Direction::Read, cx, unless_reset)).await;
        match accepted.and_then(&make) {
            Err(e) if is_exhausted(&e) => {
                sleep(wait).await;
                wait = (2 * wait).min(BACKOFF.1);
            }
            done => return done,
        }
    }
}

/// Out of something that others may give back.
fn is_exhausted(e: &io::Error) -> bool {
    #[cfg(unix)]
    let codes = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    #[cfg(not(unix))]
    let codes = [10024, 10055]; // WSAEMFILE, WSAENOBUFS
    e.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// The stream of a listener's connections.
macro_rules! incoming {
    ($incoming:ident, $listener:ident, $stream:ty, $peer:ty) => {
        #[doc = concat!("See [`", stringify!($listener), "::incoming`].")]
        #[must_use = "streams do nothing unless polled"]
        pub struct $incoming<'a> {
            listener: &'a $listener,
            next: Option<futures::future::BoxFuture<'a, std::io::Result<($stream, $peer)>>>,
        }

        const _: () = {
            use std::fmt;
            use std::pin::Pin;
            use std::task::{Context, Poll, ready};

            impl futures::Stream for $incoming<'_> {
                type Item = std::io::Result<$stream>;

                fn poll_next(
                    mut self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                ) -> Poll<Option<Self::Item>> {
                    let listener = self.listener;
                    let next = self.next.get_or_insert_with(|| Box::pin(listener.accept()));
                    let accepted = ready!(next.as_mut().poll(cx));
                    self.next = None;
                    Poll::Ready(Some(accepted.map(|(stream, _)| stream)))
                }
            }

            impl fmt::Debug for $incoming<'_> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.debug_tuple(stringify!($incoming)).field(self.listener).finish()
                }
            }
        };

        impl $listener {
            /// The connections as a stream that never ends. Errors are those of
            #[doc = concat!("[`accept`](", stringify!($listener), "::accept).")]
            pub fn incoming(&self) -> $incoming<'_> {
                $incoming { listener: self, next: None }
            }
        }
    };
}

pub(super) use incoming;
