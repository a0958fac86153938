//! A receiver as a stream, a sender as a sink.
//!
//! Both keep a wait between polls. It is allocated on first use and stays with its handle.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::stream::FusedStream;
use futures::{Sink, Stream};

use super::error::{SendError, TrySendError};
use super::recv::RecvWait;
use super::send::SendWait;
use super::{Receiver, Sender};

impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = self.get_mut();
        let mut stream = this.stream.take().unwrap_or_else(|| Box::pin(RecvWait::new()));
        let polled = stream.as_mut().poll(this.hchan(), cx);
        if polled.is_ready() {
            stream.set(RecvWait::new());
        }
        this.stream = Some(stream);
        polled.map(Result::ok)
    }
}

impl<T> FusedStream for Receiver<T> {
    fn is_terminated(&self) -> bool {
        let handed = self.stream.as_ref().is_some_and(|stream| stream.is_enlisted());
        self.is_closed() && self.is_empty() && !handed
    }
}

impl<T> Receiver<T> {
    pub(super) fn end_stream(&mut self) {
        if let Some(stream) = self.stream.take()
            && stream.is_enlisted()
        {
            stream.cancel(self.hchan());
        }
    }
}

impl<T> Sink<T> for Sender<T> {
    type Error = SendError<T>;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError<T>>> {
        self.poll_flush(cx)
    }

    /// Sends the item, or puts it into this handle, where a flush, or the next `poll_ready`, finds
    /// it.
    ///
    /// # Panics
    /// If there is one already: `poll_ready` was not ready before.
    fn start_send(self: Pin<&mut Self>, item: T) -> Result<(), SendError<T>> {
        let this = self.get_mut();
        assert!(this.unsent.is_none(), "`start_send` without a `poll_ready` that was ready");
        match this.try_send(item) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(item)) => Err(SendError(item)),
            Err(TrySendError::Full(item)) => {
                this.unsent = Some(Box::pin(SendWait::new(item)));
                Ok(())
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError<T>>> {
        let this = self.get_mut();
        let Some(mut unsent) = this.unsent.take() else { return Poll::Ready(Ok(())) };
        let polled = unsent.as_mut().poll(this.hchan(), cx);
        if polled.is_pending() {
            this.unsent = Some(unsent);
        }
        polled
    }

    /// Flushes. The channel stays open for its other senders, and for this one.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError<T>>> {
        ready!(self.poll_flush(cx))?;
        Poll::Ready(Ok(()))
    }
}

impl<T> Sender<T> {
    pub(super) fn drop_unsent(&mut self) {
        if let Some(unsent) = self.unsent.take() {
            drop(unsent.cancel(self.hchan()));
        }
    }
}
