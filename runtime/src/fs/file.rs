//! `File`.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::place::{IN_PLACE, has_neighbours, short, uninterrupted};
use super::{Metadata, OpenOptions, Permissions};
use crate::{blocking, syscall};

/// An open file.
///
/// It reads, writes and seeks by the traits of `std::io` and by those of the `futures` crate, on the
/// file or on `&` of it; both go through to the system each time, so wrap it in a `BufReader` or
/// `BufWriter` of either where the pieces are small. Where a call runs is told [above](super). A
/// future of these traits is never pending but for the end of a time slice, and dropping it
/// loses nothing.
///
/// Dropping the file closes it, and says nothing of errors; [`sync_all`](File::sync_all) does.
///
/// # Examples
/// ```
/// use gort::fs::File;
/// use gort::prelude::*;
/// use std::io::{BufRead, BufReader};
///
/// # fn main() -> std::io::Result<()> {
/// let file = File::open("Cargo.toml").wait()?; // in a goroutine or on a plain thread
/// let lines = BufReader::new(file).lines().count();
/// assert!(lines > 10);
/// # Ok(()) }
/// ```
pub struct File {
    std: std::fs::File,
    /// A short write is a copy to the kernel's memory.
    buffered: bool,
}

impl File {
    /// Opens a file to read it.
    ///
    /// # Errors
    /// As [`std::fs::File::open`].
    pub async fn open(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).open(path).await
    }

    /// Opens a file to write it, and makes it if there is none, or else empties it.
    ///
    /// # Errors
    /// As [`std::fs::File::create`].
    pub async fn create(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path).await
    }

    /// Makes a file to read and write it, that must not be there yet.
    ///
    /// # Errors
    /// As [`std::fs::File::create_new`].
    pub async fn create_new(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path).await
    }

    /// See [`OpenOptions`].
    #[must_use]
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Takes over an open file of std's.
    #[must_use]
    pub fn from_std(std: std::fs::File) -> File {
        let buffered = is_buffered(&std);
        File { std, buffered }
    }

    /// Gives it back as std's type.
    #[must_use]
    pub fn into_std(self) -> std::fs::File {
        self.std
    }

    /// One more descriptor of the same open file, with the same position. Never waits.
    ///
    /// # Errors
    /// Those of the system.
    pub fn try_clone(&self) -> io::Result<File> {
        Ok(File { std: self.std.try_clone()?, buffered: self.buffered })
    }

    /// Waits until contents and metadata have reached the disk.
    ///
    /// # Errors
    /// Those of the system, also of earlier writes.
    pub async fn sync_all(&self) -> io::Result<()> {
        blocking(|| self.std.sync_all())
    }

    /// As [`sync_all`](File::sync_all), of the contents only.
    ///
    /// # Errors
    /// Those of the system, also of earlier writes.
    pub async fn sync_data(&self) -> io::Result<()> {
        blocking(|| self.std.sync_data())
    }

    /// Cuts the file off at `size`, or fills it up with zeros.
    ///
    /// # Errors
    /// As [`std::fs::File::set_len`].
    pub async fn set_len(&self, size: u64) -> io::Result<()> {
        blocking(|| self.std.set_len(size))
    }

    /// Size, times, kind and permissions.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn metadata(&self) -> io::Result<Metadata> {
        short(|| self.std.metadata())
    }

    /// Changes the permissions.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn set_permissions(&self, to: Permissions) -> io::Result<()> {
        short(|| self.std.set_permissions(to))
    }

    /// Reads at `offset`, whatever the position, which stays. Fewer bytes than fit may come; none
    /// at the end.
    ///
    /// # Errors
    /// As [`std::os::unix::fs::FileExt::read_at`].
    #[cfg(unix)]
    pub async fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let at = Some(offset);
        self.reading(
            buf,
            |buf| self.cached(&mut [IoSliceMut::new(buf)], at),
            |buf| self.std.read_at(buf, offset),
        )
    }

    /// Writes at `offset`, whatever the position, which stays. Fewer bytes may be taken.
    ///
    /// # Errors
    /// As [`std::os::unix::fs::FileExt::write_at`].
    #[cfg(unix)]
    pub async fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        self.writing(buf.len(), || self.std.write_at(buf, offset))
    }

    pub(super) fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.reading(
            buf,
            |buf| self.cached(&mut [IoSliceMut::new(buf)], None),
            |buf| (&self.std).read(buf),
        )
    }

    pub(super) fn read_vectored_now(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.reading(bufs, |bufs| self.cached(bufs, None), |bufs| (&self.std).read_vectored(bufs))
    }

    pub(super) fn write_now(&self, buf: &[u8]) -> io::Result<usize> {
        self.writing(buf.len(), || (&self.std).write(buf))
    }

    pub(super) fn write_vectored_now(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let len = bufs.iter().map(|b| b.len()).sum();
        self.writing(len, || (&self.std).write_vectored(bufs))
    }

    pub(super) fn seek_now(&self, to: SeekFrom) -> io::Result<u64> {
        syscall(|| (&self.std).seek(to))
    }

    /// Reads where nobody is delayed: here, if the kernel has something `cached` at least.
    fn reading<B: ?Sized + Send>(
        &self,
        bufs: &mut B,
        cached: impl FnOnce(&mut B) -> Option<usize>,
        read: impl Fn(&mut B) -> io::Result<usize> + Sync,
    ) -> io::Result<usize> {
        if !has_neighbours() {
            return syscall(|| uninterrupted(|| read(bufs)));
        }
        match syscall(|| cached(bufs)) {
            Some(n) => Ok(n),
            None => blocking(|| uninterrupted(|| read(bufs))),
        }
    }

    /// Writes `len` bytes where nobody is delayed.
    fn writing(
        &self,
        len: usize,
        write: impl Fn() -> io::Result<usize> + Sync,
    ) -> io::Result<usize> {
        if self.buffered && len <= IN_PLACE || !has_neighbours() {
            syscall(|| uninterrupted(write))
        } else {
            blocking(|| uninterrupted(&write))
        }
    }

    /// Reads what is in memory, at the position (which moves) or elsewhere. None: nothing is, or
    /// it is the end (Linux 5.9 and 5.10 say so wrongly), or cannot be told, or is much.
    #[cfg(target_os = "linux")]
    fn cached(&self, bufs: &mut [IoSliceMut<'_>], at: Option<u64>) -> Option<usize> {
        use rustix::io::{ReadWriteFlags, preadv2};
        /// Where `preadv2` reads at the position. As an offset it is an error.
        const POSITION: u64 = u64::MAX;
        if bufs.iter().map(|b| b.len()).sum::<usize>() > IN_PLACE || at == Some(POSITION) {
            return None;
        }
        let at = at.unwrap_or(POSITION);
        preadv2(&self.std, bufs, at, ReadWriteFlags::NOWAIT).ok().filter(|&n| n > 0)
    }

    #[cfg(not(target_os = "linux"))]
    fn cached(&self, _: &mut [IoSliceMut<'_>], _: Option<u64>) -> Option<usize> {
        None
    }
}

/// Whether a write to `file` ends in the kernel's memory: that of a FIFO waits for a reader, and
/// that of a file opened with `O_SYNC` for the disk.
#[cfg(unix)]
fn is_buffered(file: &std::fs::File) -> bool {
    use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
    let mut direct = OFlags::SYNC | OFlags::DSYNC;
    #[cfg(target_os = "linux")]
    direct.insert(OFlags::DIRECT);
    fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
        && fcntl_getfl(file).is_ok_and(|flags| !flags.intersects(direct))
}

#[cfg(not(unix))]
fn is_buffered(file: &std::fs::File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file())
}

impl From<std::fs::File> for File {
    fn from(std: std::fs::File) -> File {
        File::from_std(std)
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.std.fmt(f)
    }
}

#[cfg(unix)]
mod fd {
    use super::File;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

    impl AsRawFd for File {
        fn as_raw_fd(&self) -> RawFd {
            self.std.as_raw_fd()
        }
    }

    impl AsFd for File {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.std.as_fd()
        }
    }

    impl From<OwnedFd> for File {
        fn from(fd: OwnedFd) -> File {
            File::from_std(fd.into())
        }
    }

    impl From<File> for OwnedFd {
        fn from(file: File) -> OwnedFd {
            file.std.into()
        }
    }
}
