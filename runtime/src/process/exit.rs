//! How the end of a child is noticed.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::process::{Child, ExitStatus};
use std::task::{Context, Poll, ready};
use std::thread;

use futures::channel::oneshot;
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

#[cfg(target_os = "linux")]
use {
    crate::net::{AsyncFd, Direction},
    std::os::fd::OwnedFd,
};

/// What is watched. Made at the first wait, and kept for the next ones.
pub(super) enum Exit {
    /// The child's descriptor, in the netpoller.
    #[cfg(target_os = "linux")]
    Pidfd(AsyncFd<OwnedFd>),
    /// A thread that waits in the kernel.
    Thread(oneshot::Receiver<()>),
}

impl Exit {
    pub(super) fn watch(child: &Child) -> io::Result<Exit> {
        #[cfg(target_os = "linux")]
        if let Ok(pidfd) = pidfd(child) {
            return Ok(Exit::Pidfd(pidfd));
        }
        Exit::on_thread(child.id())
    }

    /// The thread is no task, so it holds up the end of no runtime.
    fn on_thread(pid: u32) -> io::Result<Exit> {
        let (ended, exit) = oneshot::channel();
        thread::Builder::new().name("gort-child".into()).spawn(move || {
            wait_in_kernel(pid);
            let _ = ended.send(()); // whoever waited may have gone
        })?;
        Ok(Exit::Thread(exit))
    }

    /// Waits for the end of `child`, for which this was made, and reaps it.
    pub(super) async fn of(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        poll_fn(|cx| self.poll(child, cx)).await
    }

    fn poll(&mut self, child: &mut Child, cx: &mut Context<'_>) -> Poll<io::Result<ExitStatus>> {
        match self {
            #[cfg(target_os = "linux")]
            Exit::Pidfd(pidfd) => pidfd.poll_io(Direction::Read, cx, |_| reap(child)),
            Exit::Thread(exit) => {
                // An error would be the thread's panic; and there is nothing in it that could.
                let _ = ready!(Pin::new(exit).poll(cx));
                Poll::Ready(child.wait()) // at once
            }
        }
    }
}

/// WouldBlock: it runs.
#[cfg(target_os = "linux")]
fn reap(child: &mut Child) -> io::Result<ExitStatus> {
    child.try_wait()?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
}

/// Waits until the child `pid` has ended, and leaves it there. An error, too, means that there is
/// nothing to wait for: it has been reaped. (If the number has a new owner by then, which is our
/// child as well, this waits for that one's end, to no effect.)
fn wait_in_kernel(pid: u32) {
    let Some(pid) = Pid::from_raw(pid.cast_signed()) else { return };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(pid), options).is_err_and(|e| e == Errno::INTR) {}
}

/// A descriptor that is readable when `child` has ended, which has not been reaped: so the number is
/// still its own.
#[cfg(target_os = "linux")]
fn pidfd(child: &Child) -> io::Result<AsyncFd<OwnedFd>> {
    let pid = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
    AsyncFd::new(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?)
}
