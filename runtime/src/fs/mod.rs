//! Files, without a stalled neighbour.
//!
//! The kernel has no readiness for files: a read takes a microsecond when the page is in memory,
//! and milliseconds when it is on a disk. So every call here is std's plain system call, and the
//! question is only where it runs:
//!
//! * **In place**, announced as by [`syscall`](crate::syscall), where nothing else lives on the
//!   thread: in tasks on most workers, in a goroutine that is alone on its thread, outside of a
//!   runtime. It is as fast as std; if it takes longer than a millisecond, others get the P.
//! * **On another thread**, as by [`blocking`](crate::blocking), where goroutines or local tasks
//!   live that would have to wait. That costs some 20 us, so reads ask the kernel first for what
//!   it has in memory (`RWF_NOWAIT`, Linux), which is nearly always the answer; and writes of at
//!   most 64 KiB to a regular file, which are copies to memory, stay in place. What may wait for
//!   long, such as [`File::sync_all`] and [`copy`], and what cannot be asked, such as a read of a
//!   FIFO or a lookup of a path, goes to the other thread.
//!
//! Nobody else is delayed then. What is joined inside the same future waits, as it does for a
//! computation; and a call that has begun cannot be cancelled. Where both matter, and for a thousand
//! slow files at a time, there is [`spawn_blocking`](crate::spawn_blocking). Who knows a path to be
//! in memory, and counts microseconds, writes `gort::syscall(|| std::fs::metadata(path))`.
//!
//! Every function here gives a future: `.await` it, or [`.wait()`](crate::Wait) in a goroutine.
//! Nothing happens before. A [`File`] reads, writes and seeks by the traits of `std::io` in
//! goroutines and on plain threads, and by those of the `futures` crate in tasks.
//!
//! # Examples
//! ```
//! use gort::fs;
//! # gort::block_on(async {
//! let path = std::env::temp_dir().join(format!("gort-fs-{}", std::process::id()));
//! fs::write(&path, "pear\nfig\n").await?;
//! assert_eq!(fs::read_to_string(&path).await?.lines().count(), 2);
//! fs::remove_file(&path).await?;
//! # Ok::<(), std::io::Error>(()) }).unwrap();
//! ```

mod dir;
mod file;
mod io;
mod options;
mod paths;
mod place;

pub use dir::{DirEntry, Entries, ReadDir, read_dir};
pub use file::File;
pub use options::OpenOptions;
#[cfg(unix)]
pub use paths::symlink;
pub use paths::{
    canonicalize, copy, create_dir, create_dir_all, exists, hard_link, metadata, read, read_link,
    read_to_string, remove_dir, remove_dir_all, remove_file, rename, set_permissions,
    symlink_metadata, write,
};
pub use std::fs::{FileType, Metadata, Permissions};
