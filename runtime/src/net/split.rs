//! The two halves of a stream.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::TcpStream;
use super::io_traits::{Stream, reads, writes};
use super::source::Source;

reads!(OwnedReadHalf<TcpStream>);
writes!(OwnedWriteHalf<TcpStream>);

/// What has halves. Sealed.
#[allow(private_bounds, reason = "sealed")]
pub trait Halves: Stream {}

impl Halves for TcpStream {}

/// The reading half of a stream. See [`TcpStream::into_split`].
#[derive(Debug)]
pub struct OwnedReadHalf<S: Halves = TcpStream>(Arc<S>);

/// The writing half of a stream. Dropping it ends that direction. See [`TcpStream::into_split`].
#[derive(Debug)]
pub struct OwnedWriteHalf<S: Halves = TcpStream> {
    stream: Option<Arc<S>>,
}

pub(super) fn into_split<S: Halves>(stream: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    let stream = Arc::new(stream);
    (OwnedReadHalf(stream.clone()), OwnedWriteHalf { stream: Some(stream) })
}

impl<S: Halves> OwnedReadHalf<S> {
    /// Makes the two halves one stream again.
    ///
    /// # Errors
    /// Gives the halves back if they are not of the same stream.
    pub fn reunite(self, mut write: OwnedWriteHalf<S>) -> Result<S, ReuniteError<S>> {
        if !Arc::ptr_eq(&self.0, write.inner()) {
            return Err(ReuniteError(self, write));
        }
        drop(write.stream.take()); // without ending the direction
        Ok(Arc::into_inner(self.0).expect("a stream has two halves"))
    }

    /// The stream, for its addresses and options.
    #[must_use]
    pub fn as_stream(&self) -> &S {
        &self.0
    }
}

impl<S: Halves> OwnedWriteHalf<S> {
    fn inner(&self) -> &Arc<S> {
        self.stream.as_ref().expect("only `reunite` takes it out, and consumes the half")
    }

    /// The stream, for its addresses and options.
    #[must_use]
    pub fn as_stream(&self) -> &S {
        self.inner()
    }
}

impl<S: Halves> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            // A connection that is gone already needs no end.
            let _ = stream.end();
        }
    }
}

impl<S: Halves> Stream for OwnedReadHalf<S> {
    type Io = S::Io;
    const SHORT_IS_EMPTY: bool = S::SHORT_IS_EMPTY;

    fn source(&self) -> &Source<S::Io> {
        self.0.source()
    }

    fn end(&self) -> io::Result<()> {
        self.0.end()
    }
}

impl<S: Halves> Stream for OwnedWriteHalf<S> {
    type Io = S::Io;

    fn source(&self) -> &Source<S::Io> {
        self.inner().source()
    }

    fn end(&self) -> io::Result<()> {
        self.inner().end()
    }
}

/// The halves were of two streams; here they are again.
#[derive(Debug)]
pub struct ReuniteError<S: Halves = TcpStream>(pub OwnedReadHalf<S>, pub OwnedWriteHalf<S>);

impl<S: Halves> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the two halves are not of the same stream")
    }
}

impl<S: Halves + fmt::Debug> std::error::Error for ReuniteError<S> {}
