//! The signals of Unix.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, PipeReader, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use signal_hook::SigId;
use signal_hook::consts::FORBIDDEN;
use signal_hook::low_level;

use crate::dump::leave_sigquit;
use crate::net::{AsyncFd, Direction};

/// Which signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SignalKind(libc::c_int);

macro_rules! kinds {
    ($($name:ident $value:ident $what:literal)*) => {$(
        #[doc = concat!("`", stringify!($value), "`: ", $what)]
        #[must_use]
        pub const fn $name() -> SignalKind {
            SignalKind(libc::$value)
        }
    )*};
}

impl SignalKind {
    /// The signal with this number.
    #[must_use]
    pub const fn from_raw(number: i32) -> SignalKind {
        SignalKind(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_raw_value(self) -> i32 {
        self.0
    }

    kinds! {
        alarm SIGALRM "a timer of the system has expired."
        child SIGCHLD "a child has ended or stopped."
        hangup SIGHUP "the terminal has gone; to a daemon: read your configuration anew."
        interrupt SIGINT "Ctrl-C."
        io SIGIO "a descriptor has become ready."
        pipe SIGPIPE "a write to a pipe that nobody reads. Rust programs ignore it."
        quit SIGQUIT "Ctrl-\\."
        terminate SIGTERM "please end."
        user_defined1 SIGUSR1 "yours."
        user_defined2 SIGUSR2 "yours."
        window_change SIGWINCH "the terminal has another size."
    }
}

impl From<i32> for SignalKind {
    fn from(number: i32) -> SignalKind {
        SignalKind(number)
    }
}

impl From<SignalKind> for i32 {
    fn from(kind: SignalKind) -> i32 {
        kind.0
    }
}

/// Listens for a signal, from now on.
///
/// The first listener takes its default effect from the signal for the rest of the process, also
/// when no listener is left; handlers that were installed before are called as well, but for
/// [`dump_on_sigquit`](crate::dump_on_sigquit), which gives way. The listener
/// belongs to the netpoller of the [current](crate::Handle::current) runtime.
///
/// # Errors
/// `InvalidInput` for those that cannot or must not be handled: `SIGKILL`, `SIGSTOP`, and the
/// faults `SIGILL`, `SIGFPE`, `SIGSEGV`, `SIGBUS`. Those of the system: there is no such signal, or
/// no descriptor is left.
///
/// # Examples
/// ```
/// use gort::signal::unix::{SignalKind, signal};
/// # gort::block_on(async {
/// let mut hangup = signal(SignalKind::hangup())?;
/// gort::spawn(async move {
///     while hangup.recv().await.is_some() {
///         println!("reading the configuration anew");
///     }
/// });
/// # Ok::<(), std::io::Error>(()) }).unwrap();
/// ```
pub fn signal(kind: SignalKind) -> io::Result<Signal> {
    // gort's own handler of SIGBUS reports stack overflows, as that of SIGSEGV.
    if FORBIDDEN.contains(&kind.0) || kind.0 == libc::SIGBUS {
        let text = format!("signal {} cannot be listened for", kind.0);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    if kind == SignalKind::quit() {
        leave_sigquit();
    }
    let (pipe, bell) = io::pipe()?;
    rustix::io::ioctl_fionbio(&pipe, true)?;
    let pipe = AsyncFd::new(pipe)?;
    Ok(Signal { id: low_level::pipe::register(kind.0, bell)?, kind, pipe })
}

/// A listener, made by [`signal`].
///
/// Signals that come while nobody waits are remembered as one: between two that it tells of there
/// may have been more. Each listener is told, so two of the same signal do not share them.
#[must_use = "a signal that nobody waits for has no effect"]
pub struct Signal {
    kind: SignalKind,
    id: SigId,
    pipe: AsyncFd<PipeReader>,
}

impl Signal {
    /// Waits for the signal. None: the runtime in which the listener was made has ended.
    /// Cancel-safe.
    pub async fn recv(&mut self) -> Option<()> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Signal::recv), for use inside of other futures.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        let seen = ready!(self.pipe.poll_io(Direction::Read, cx, |mut pipe| drain(&mut pipe)));
        Poll::Ready(seen.ok())
    }
}

/// Empties the pipe. WouldBlock: it was empty.
fn drain(pipe: &mut impl Read) -> io::Result<()> {
    let mut bytes = [0; 64];
    let mut n = pipe.read(&mut bytes)?;
    while n == bytes.len() {
        n = pipe.read(&mut bytes).unwrap_or(0);
    }
    Ok(())
}

impl Drop for Signal {
    fn drop(&mut self) {
        low_level::unregister(self.id); // waits for handlers that run, and closes their end
    }
}

impl Stream for Signal {
    type Item = ();

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<()>> {
        self.poll_recv(cx)
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal").field("kind", &self.kind).finish_non_exhaustive()
    }
}
