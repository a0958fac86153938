//! Closing a file while others hold its descriptor.
//!
//! A number that is closed may be given to the next file at once, and whoever still uses it would
//! read that one (T15). Go counts the users of each descriptor, and the last one closes it. Here the
//! borrow checker counts them, but then nobody can close before they are gone. So the *number* stays
//! theirs, and the file behind it goes: `dup3` puts a dead file in its place, atomically. System calls
//! that are under way hold the old file until they return; later ones get `EBADF`.
//!
//! The dead file is one for the whole process, made at the first close. On Linux it is the root
//! directory, opened as a path only: such a descriptor has no state, and no operation but to be
//! copied and closed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::OnceLock;

/// Closes the file behind `fd`. What `fd` names from then on can be closed, and nothing else.
///
/// # Errors
/// Those of making the dead file: `EMFILE`, `ENFILE`, `ENOMEM`; and `EBADF` if the process's limit has
/// been lowered to less than the number. Then nothing has been done.
pub(super) fn close_file(fd: BorrowedFd<'_>) -> io::Result<()> {
    let dead = dead()?;
    while !replace(fd, dead) {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}

fn dead() -> io::Result<BorrowedFd<'static>> {
    static DEAD: OnceLock<File> = OnceLock::new();
    if DEAD.get().is_none() {
        let _ = DEAD.set(open()?); // another thread was faster
    }
    Ok(DEAD.get().expect("set above").as_fd())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn open() -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().read(true).custom_flags(libc::O_PATH).open("/")
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn replace(fd: BorrowedFd<'_>, dead: BorrowedFd<'_>) -> bool {
    // SAFETY: both numbers are open, as they are borrowed, and stay so: the call closes no number, it
    // changes what one of them names. That is the caller's socket, which asks for it.
    unsafe { libc::dup3(dead.as_raw_fd(), fd.as_raw_fd(), libc::O_CLOEXEC) >= 0 }
}

/// Reading finds the end; writing fails.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn open() -> io::Result<File> {
    File::open("/dev/null")
}

/// Between the two calls a child process may inherit the dead file, which does not matter.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn replace(fd: BorrowedFd<'_>, dead: BorrowedFd<'_>) -> bool {
    // SAFETY: both numbers are open, as they are borrowed, and stay so: the calls close no number,
    // the first changes what one of them names. That is the caller's socket, which asks for it.
    unsafe {
        libc::dup2(dead.as_raw_fd(), fd.as_raw_fd()) >= 0
            && libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) >= 0
    }
}
