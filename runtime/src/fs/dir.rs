//! `read_dir`.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;

use super::place::short;
use super::{FileType, Metadata};
use crate::sched::preempt::poll_slice;

/// Entries taken at a time: what one system call gives is about that many.
const BATCH: usize = 128;

/// Opens a directory, to read the names in it.
///
/// # Errors
/// As [`std::fs::read_dir`].
///
/// # Examples
/// ```
/// # gort::block_on(async {
/// let mut dir = gort::fs::read_dir(".").await?;
/// while let Some(entry) = dir.next_entry().await? {
///     println!("{}", entry.file_name().to_string_lossy());
/// }
/// # Ok::<(), std::io::Error>(()) }).unwrap();
/// ```
/// In a goroutine:
/// ```
/// use gort::prelude::*;
/// # fn main() -> std::io::Result<()> {
/// for entry in gort::fs::read_dir(".").wait()? {
///     println!("{}", entry?.file_name().to_string_lossy());
/// }
/// # Ok(()) }
/// ```
pub async fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    let path = path.as_ref();
    short(|| {
        let mut dir =
            ReadDir { std: std::fs::read_dir(path)?, next: VecDeque::new(), ended: false };
        dir.fill();
        Ok(dir)
    })
}

/// The entries of a directory, in no particular order: [`next_entry`](ReadDir::next_entry), or as a
/// `Stream`, or in a `for` loop of a goroutine. Of `.` and `..` nothing is said.
#[must_use = "streams do nothing unless polled"]
pub struct ReadDir {
    std: std::fs::ReadDir,
    next: VecDeque<io::Result<DirEntry>>,
    ended: bool,
}

impl ReadDir {
    /// The next entry; None at the end. Cancel-safe.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn next_entry(&mut self) -> io::Result<Option<DirEntry>> {
        self.take().transpose()
    }

    fn take(&mut self) -> Option<io::Result<DirEntry>> {
        if self.next.is_empty() && !self.ended {
            short(|| self.fill());
        }
        self.next.pop_front()
    }

    fn fill(&mut self) {
        let entries = self.std.by_ref().take(BATCH);
        self.next.extend(entries.map(|entry| entry.map(|std| DirEntry { std })));
        self.ended = self.next.len() < BATCH;
    }
}

impl Stream for ReadDir {
    type Item = io::Result<DirEntry>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        ready!(poll_slice(cx));
        Poll::Ready(self.take())
    }
}

impl IntoIterator for ReadDir {
    type Item = io::Result<DirEntry>;
    type IntoIter = Entries;

    fn into_iter(self) -> Entries {
        Entries(self)
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.std.fmt(f)
    }
}

/// The iterator of a [`ReadDir`], for goroutines.
#[derive(Debug)]
pub struct Entries(ReadDir);

impl Iterator for Entries {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take()
    }
}

/// A name in a directory.
pub struct DirEntry {
    std: std::fs::DirEntry,
}

impl DirEntry {
    /// The path: that of the directory, as it was given, and the name.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.std.path()
    }

    /// The name alone.
    #[must_use]
    pub fn file_name(&self) -> OsString {
        self.std.file_name()
    }

    /// Size, times, kind and permissions; links are not followed.
    ///
    /// # Errors
    /// As [`std::fs::DirEntry::metadata`].
    pub async fn metadata(&self) -> io::Result<Metadata> {
        short(|| self.std.metadata())
    }

    /// What it is; links are not followed. Most file systems have said so already.
    ///
    /// # Errors
    /// As [`std::fs::DirEntry::file_type`].
    pub async fn file_type(&self) -> io::Result<FileType> {
        short(|| self.std.file_type())
    }

    /// The number of its inode.
    #[cfg(unix)]
    #[must_use]
    pub fn ino(&self) -> u64 {
        std::os::unix::fs::DirEntryExt::ino(&self.std)
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.std.fmt(f)
    }
}
