//! Pipes: one direction, between two programs or inside one.
//!
//! [`pipe`] makes an anonymous one. [`OpenOptions`] opens one that has a path (a FIFO). A writer whose
//! readers have all gone gets `BrokenPipe`; a reader whose writers have all gone reads the end.
//!
//! Both ends are in non-blocking mode, which belongs to the pipe's end and not to the descriptor: a
//! child process that is to inherit one gets it by [`Sender::into_blocking_fd`] and
//! [`Receiver::into_blocking_fd`].

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use mio::unix::pipe as mio_pipe;

use crate::net::io_traits::{Stream, reads, writes};
use crate::net::options::{attempts, deadlines, has_fd, readiness};
use crate::net::source::Source;

/// Makes a pipe.
///
/// # Errors
/// Those of the system, `EMFILE` for example.
///
/// # Examples
/// ```
/// use gort::net::unix::pipe::pipe;
/// use gort::prelude::*;
/// use std::io::{Read, Write};
///
/// #[gort::main]
/// fn main() -> std::io::Result<()> {
///     let (mut sender, mut receiver) = pipe()?;
///     let writer = gort::go(move || sender.write_all(&[7; 1_000_000]));
///     let mut all = Vec::new();
///     receiver.read_to_end(&mut all)?;
///     assert_eq!(all.len(), 1_000_000);
///     writer.wait()?
/// }
/// ```
pub fn pipe() -> io::Result<(Sender, Receiver)> {
    let (sender, receiver) = mio_pipe::new()?;
    Ok((Sender { source: Source::new(sender)? }, Receiver { source: Source::new(receiver)? }))
}

/// The writing end of a pipe. Writing is by the traits of std in goroutines, and by those of the
/// `futures` crate in tasks. `close` of the latter closes the pipe.
///
/// A write of up to 4096 bytes (`PIPE_BUF`) is not mingled with those of others.
#[derive(Debug)]
pub struct Sender {
    source: Source<mio_pipe::Sender>,
}

/// The reading end of a pipe. Reading is by the traits of std in goroutines, and by those of the
/// `futures` crate in tasks.
#[derive(Debug)]
pub struct Receiver {
    source: Source<mio_pipe::Receiver>,
}

impl Sender {
    /// Takes over the writing end of a pipe, which is made non-blocking, for all who share it.
    ///
    /// # Errors
    /// `InvalidInput` if it is no pipe, and those of the system.
    pub fn from_owned_fd(fd: OwnedFd) -> io::Result<Sender> {
        let sender = mio_pipe::Sender::from(check(fd)?);
        sender.set_nonblocking(true)?;
        Ok(Sender { source: Source::new(sender)? })
    }

    /// Gives the descriptor back, in non-blocking mode.
    ///
    /// # Errors
    /// If it cannot be taken out of the netpoller.
    pub fn into_nonblocking_fd(self) -> io::Result<OwnedFd> {
        self.source.into_std()
    }

    /// Gives the descriptor back, in blocking mode.
    ///
    /// # Errors
    /// If it cannot be taken out of the netpoller.
    pub fn into_blocking_fd(self) -> io::Result<OwnedFd> {
        let sender = mio_pipe::Sender::from(self.into_nonblocking_fd()?);
        sender.set_nonblocking(false)?;
        Ok(sender.into())
    }

    readiness!();
    attempts!(try_write: Write, |mut io, buf: &[u8]| io.write(buf));
    deadlines!(close_now);
}

impl Receiver {
    /// Takes over the reading end of a pipe, which is made non-blocking, for all who share it.
    ///
    /// # Errors
    /// `InvalidInput` if it is no pipe, and those of the system.
    pub fn from_owned_fd(fd: OwnedFd) -> io::Result<Receiver> {
        let receiver = mio_pipe::Receiver::from(check(fd)?);
        receiver.set_nonblocking(true)?;
        Ok(Receiver { source: Source::new(receiver)? })
    }

    /// Gives the descriptor back, in non-blocking mode.
    ///
    /// # Errors
    /// If it cannot be taken out of the netpoller.
    pub fn into_nonblocking_fd(self) -> io::Result<OwnedFd> {
        self.source.into_std()
    }

    /// Gives the descriptor back, in blocking mode.
    ///
    /// # Errors
    /// If it cannot be taken out of the netpoller.
    pub fn into_blocking_fd(self) -> io::Result<OwnedFd> {
        let receiver = mio_pipe::Receiver::from(self.into_nonblocking_fd()?);
        receiver.set_nonblocking(false)?;
        Ok(receiver.into())
    }

    readiness!();
    attempts!(try_read: Read, |mut io, buf: &mut [u8]| io.read(buf));
    deadlines!(close_now);
}

/// How to open a pipe that has a path.
///
/// # Examples
/// ```no_run
/// use gort::net::unix::pipe::OpenOptions;
///
/// # gort::block_on(async {
/// let receiver = OpenOptions::new().open_receiver("/run/commands")?; // made by `mkfifo`
/// receiver.readable().await?;
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    read_write: bool,
}

impl OpenOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> OpenOptions {
        OpenOptions::default()
    }

    /// Opens the end for the other direction, too, as Linux allows: then a sender need not wait for a
    /// reader to be there, and a receiver never reads the end. False at first.
    pub fn read_write(&mut self, on: bool) -> &mut OpenOptions {
        self.read_write = on;
        self
    }

    /// Opens the reading end. Nobody need be at the other one: until somebody has been, reads wait.
    ///
    /// # Errors
    /// `InvalidInput` if there is no pipe, and those of the system.
    pub fn open_receiver(&self, path: impl AsRef<Path>) -> io::Result<Receiver> {
        Receiver::from_owned_fd(self.open(path.as_ref(), true)?)
    }

    /// Opens the writing end.
    ///
    /// # Errors
    /// `ENXIO` if nobody reads, `InvalidInput` if there is no pipe, and those of the system.
    pub fn open_sender(&self, path: impl AsRef<Path>) -> io::Result<Sender> {
        Sender::from_owned_fd(self.open(path.as_ref(), false)?)
    }

    fn open(&self, path: &Path, read: bool) -> io::Result<OwnedFd> {
        let mut options = fs::OpenOptions::new();
        options.read(read || self.read_write).write(!read || self.read_write);
        // Or the opening would block until somebody opens the other end.
        Ok(options.custom_flags(libc::O_NONBLOCK).open(path)?.into())
    }
}

/// `fd`, if it is a pipe.
fn check(fd: OwnedFd) -> io::Result<OwnedFd> {
    let file = File::from(fd);
    if !file.metadata()?.file_type().is_fifo() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a pipe"));
    }
    Ok(file.into())
}

impl Stream for Sender {
    type Io = mio_pipe::Sender;

    fn source(&self) -> &Source<mio_pipe::Sender> {
        &self.source
    }

    /// A pipe has one direction: its end is that of the pipe.
    fn end(&self) -> io::Result<()> {
        self.source.close()
    }
}

impl Stream for Receiver {
    type Io = mio_pipe::Receiver;

    /// A pipe of packets (`O_DIRECT`) gives one at a time.
    const SHORT_IS_EMPTY: bool = false;

    fn source(&self) -> &Source<mio_pipe::Receiver> {
        &self.source
    }

    fn end(&self) -> io::Result<()> {
        self.source.close()
    }
}

writes!(Sender);
reads!(Receiver);
has_fd!(Sender, Receiver);
