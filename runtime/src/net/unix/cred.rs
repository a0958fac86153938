//! Who is at the other end of a Unix stream.
//!
//! By hand, since rustix takes the process's number for one that is not zero, which it is if that
//! process lives in another namespace.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The user, group and process that connected or listened, as they were then. See
/// [`UnixStream::peer_cred`](super::UnixStream::peer_cred).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UCred {
    uid: u32,
    gid: u32,
    pid: Option<i32>,
}

impl UCred {
    /// The effective user.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The effective group.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// The process, where the system tells: on Linux, if we share its namespace.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn peer(socket: BorrowedFd<'_>) -> io::Result<UCred> {
    let mut cred = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    // SAFETY: the descriptor is open, as it is borrowed. The kernel writes no more than `len` bytes to
    // `cred`, which has that many, and any integers are a `ucred`.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut cred).cast(), &raw mut len)
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(UCred { uid: cred.uid, gid: cred.gid, pid: (cred.pid != 0).then_some(cred.pid) })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn peer(socket: BorrowedFd<'_>) -> io::Result<UCred> {
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: the descriptor is open, as it is borrowed; the call writes to the two integers.
    if unsafe { libc::getpeereid(socket.as_raw_fd(), &raw mut uid, &raw mut gid) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(UCred { uid, gid, pid: None })
}
