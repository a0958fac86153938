//! The functions that take a path. Each is std's function of that name.

use std::io;
use std::path::{Path, PathBuf};

use super::place::short;
use super::{Metadata, Permissions};
use crate::blocking;

/// Reads a whole file.
///
/// # Errors
/// As [`std::fs::read`].
pub async fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    short(|| std::fs::read(path))
}

/// Reads a whole file of text.
///
/// # Errors
/// As [`std::fs::read_to_string`]; `InvalidData` if it is not UTF-8.
pub async fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let path = path.as_ref();
    short(|| std::fs::read_to_string(path))
}

/// Writes a whole file: makes it, or replaces what is in it.
///
/// # Errors
/// As [`std::fs::write`].
pub async fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> io::Result<()> {
    let (path, contents) = (path.as_ref(), contents.as_ref());
    short(|| std::fs::write(path, contents))
}

/// Copies the contents and the permissions of a file, and gives the number of bytes.
///
/// # Errors
/// As [`std::fs::copy`].
pub async fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
    let (from, to) = (from.as_ref(), to.as_ref());
    blocking(|| std::fs::copy(from, to))
}

/// Gives a file another name, and replaces what has that name.
///
/// # Errors
/// As [`std::fs::rename`].
pub async fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    short(|| std::fs::rename(from, to))
}

/// Gives a file one more name.
///
/// # Errors
/// As [`std::fs::hard_link`].
pub async fn hard_link(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    let (original, link) = (original.as_ref(), link.as_ref());
    short(|| std::fs::hard_link(original, link))
}

/// Makes a symbolic link to `original`, which need not exist.
///
/// # Errors
/// As [`std::os::unix::fs::symlink`].
#[cfg(unix)]
pub async fn symlink(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    let (original, link) = (original.as_ref(), link.as_ref());
    short(|| std::os::unix::fs::symlink(original, link))
}

/// Where a symbolic link leads.
///
/// # Errors
/// As [`std::fs::read_link`].
pub async fn read_link(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = path.as_ref();
    short(|| std::fs::read_link(path))
}

/// The absolute path, without links and dots.
///
/// # Errors
/// As [`std::fs::canonicalize`].
pub async fn canonicalize(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = path.as_ref();
    short(|| std::fs::canonicalize(path))
}

/// Size, times, kind and permissions; links are followed.
///
/// # Errors
/// As [`std::fs::metadata`].
pub async fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = path.as_ref();
    short(|| std::fs::metadata(path))
}

/// As [`metadata`], of a link itself.
///
/// # Errors
/// As [`std::fs::symlink_metadata`].
pub async fn symlink_metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = path.as_ref();
    short(|| std::fs::symlink_metadata(path))
}

/// Whether there is anything at this path; links are followed.
///
/// # Errors
/// As [`std::fs::exists`]: when that cannot be told.
pub async fn exists(path: impl AsRef<Path>) -> io::Result<bool> {
    let path = path.as_ref();
    short(|| std::fs::exists(path))
}

/// Changes the permissions.
///
/// # Errors
/// As [`std::fs::set_permissions`].
pub async fn set_permissions(path: impl AsRef<Path>, to: Permissions) -> io::Result<()> {
    let path = path.as_ref();
    short(|| std::fs::set_permissions(path, to))
}

/// Makes a directory.
///
/// # Errors
/// As [`std::fs::create_dir`].
pub async fn create_dir(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    short(|| std::fs::create_dir(path))
}

/// Makes a directory, and those above it that are missing.
///
/// # Errors
/// As [`std::fs::create_dir_all`].
pub async fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    short(|| std::fs::create_dir_all(path))
}

/// Removes a file.
///
/// # Errors
/// As [`std::fs::remove_file`].
pub async fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    short(|| std::fs::remove_file(path))
}

/// Removes an empty directory.
///
/// # Errors
/// As [`std::fs::remove_dir`].
pub async fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    short(|| std::fs::remove_dir(path))
}

/// Removes a directory with all that is in it.
///
/// # Errors
/// As [`std::fs::remove_dir_all`].
pub async fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| std::fs::remove_dir_all(path))
}
