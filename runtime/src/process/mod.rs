//! Child processes, whose ends and pipes are waited for like sockets.
//!
//! [`Command`] is std's, with a [`spawn`](Command::spawn) that gives a [`Child`] of this module.
//! On Linux the end of a child is an event of a descriptor that stands for it (`pidfd_open`, Linux
//! 5.3), which the netpoller watches from the first wait on. Where there is none, because the
//! system has no such call or refuses it, a thread per child waits in the kernel, and leaves the
//! child to be reaped by who asked (`waitid` with `WNOWAIT`). There is no handler of `SIGCHLD`, and
//! children that are not ours are never touched.
//!
//! **Who reaps.** A child that has ended remains in the system's table until its status is taken.
//! `wait` and `try_wait` take it. A [`Child`] that is dropped before goes on by itself (but for
//! [`kill_on_drop`](Command::kill_on_drop)) and is put on a list, which is looked through whenever a
//! child is started, is dropped or has been waited for. So what has ended is taken away at the next
//! such occasion, and those left behind never add up.
//!
//! **Fork.** What runs between `fork` and `exec` is std's code, and what
//! [`pre_exec`](Command::pre_exec) is given. A process that forks without `exec` must not use gort
//! in the child. All descriptors of gort are closed by `exec`.
//!
//! # Examples
//! ```
//! use gort::process::Command;
//! # gort::block_on(async {
//! let output = Command::new("echo").arg("pear").output().await?;
//! assert!(output.status.success());
//! assert_eq!(output.stdout, b"pear\n");
//! # Ok::<(), std::io::Error>(()) }).unwrap();
//! ```
//! In a goroutine:
//! ```
//! use gort::prelude::*;
//! use gort::process::{Command, Stdio};
//! use std::io::{Read, Write};
//! # gort::go(|| -> std::io::Result<()> {
//! let mut sort = Command::new("sort").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
//! sort.stdin.take().unwrap().write_all(b"pear\nfig\n")?; // and its drop closes the pipe
//! let mut sorted = String::new();
//! sort.stdout.take().unwrap().read_to_string(&mut sorted)?;
//! assert_eq!(sorted, "fig\npear\n");
//! assert!(sort.wait().wait()?.success());
//! # Ok(()) }).wait().unwrap().unwrap();
//! ```

mod child;
mod command;
mod exit;
mod orphans;
mod pipes;

pub use child::Child;
pub use command::Command;
pub use pipes::{ChildStderr, ChildStdin, ChildStdout};
pub use std::process::{ExitStatus, Output, Stdio};
