//! `Child`.

use std::fmt;
use std::io;
use std::process::{ExitStatus, Output};

use futures::future::try_join3;
use futures::io::{AsyncRead, AsyncReadExt};

use super::exit::Exit;
use super::orphans;
use super::pipes::{ChildStderr, ChildStdin, ChildStdout};

/// What a pipe holds on Linux, in bytes.
const PIPE: usize = 64 << 10;

/// A process that has been started by [`Command::spawn`](super::Command::spawn).
///
/// Dropping it leaves the process to itself, or kills it with
/// [`kill_on_drop`](super::Command::kill_on_drop); its pipes that are still in here are closed.
#[must_use = "a child that is dropped runs on by itself, or is killed"]
pub struct Child {
    /// The writing end of its standard input, if that is a pipe.
    pub stdin: Option<ChildStdin>,
    /// The reading end of its standard output, if that is a pipe.
    pub stdout: Option<ChildStdout>,
    /// The reading end of its standard error, if that is a pipe.
    pub stderr: Option<ChildStderr>,
    process: Process,
}

impl Child {
    pub(super) fn new(mut std: std::process::Child, kill_on_drop: bool) -> io::Result<Child> {
        let (stdin, stdout, stderr) = (std.stdin.take(), std.stdout.take(), std.stderr.take());
        let process = Process { std: Some(std), exit: None, reaped: false, kill_on_drop };
        Ok(Child {
            stdin: stdin.map(ChildStdin::from_std).transpose()?,
            stdout: stdout.map(ChildStdout::from_std).transpose()?,
            stderr: stderr.map(ChildStderr::from_std).transpose()?,
            process,
        })
    }

    /// The number of the process. None once its status has been taken: then the number is the
    /// system's to give to another.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        (!self.process.reaped).then(|| self.process.std().id())
    }

    /// Waits for the end. Closes `stdin` first, if that is still in here, so that a child that reads
    /// to the end of its input gets there. Cancel-safe; afterwards it gives the same status again.
    ///
    /// A child whose output nobody reads waits for that when a pipe is full (64 KiB): see
    /// [`wait_with_output`](Child::wait_with_output).
    ///
    /// # Errors
    /// Those of the system, and an error if the runtime of the first wait has ended.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        self.process.wait().await
    }

    /// How it has ended; None: it runs.
    ///
    /// # Errors
    /// Those of the system.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Waits for the end, and reads what it writes until then to those pipes that are still in here.
    /// Dropping the future drops the child.
    ///
    /// # Errors
    /// As [`wait`](Child::wait), and those of the reads.
    pub async fn wait_with_output(mut self) -> io::Result<Output> {
        drop(self.stdin.take());
        let (stdout, stderr) = (read_all(self.stdout.take()), read_all(self.stderr.take()));
        let (status, stdout, stderr) = try_join3(self.process.wait(), stdout, stderr).await?;
        Ok(Output { status, stdout, stderr })
    }

    /// Sends `SIGKILL`; does not wait. No error if it has ended already.
    ///
    /// # Errors
    /// Those of the system.
    pub fn start_kill(&mut self) -> io::Result<()> {
        self.process.kill()
    }

    /// Sends `SIGKILL`, and waits for the end.
    ///
    /// # Errors
    /// As [`wait`](Child::wait).
    pub async fn kill(&mut self) -> io::Result<()> {
        self.start_kill()?;
        self.wait().await.map(drop)
    }
}

/// Reads to the end. (`read_to_end` of the `futures` crate clears what is free in the vector before
/// each read, which for pieces of a pipe's size takes time in the square of the whole.)
async fn read_all(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let Some(mut pipe) = pipe else { return Ok(all) };
    let mut piece = vec![0; PIPE];
    loop {
        match pipe.read(&mut piece).await? {
            0 => return Ok(all),
            n => all.extend_from_slice(&piece[..n]),
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// The process behind a `Child`.
struct Process {
    /// None only in the drop.
    std: Option<std::process::Child>,
    exit: Option<Exit>,
    reaped: bool,
    kill_on_drop: bool,
}

impl Process {
    fn std(&self) -> &std::process::Child {
        self.std.as_ref().expect("taken by the drop")
    }

    async fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.try_wait()? {
            return Ok(status);
        }
        let std = self.std.as_mut().expect("taken by the drop");
        let exit = match &mut self.exit {
            Some(exit) => exit,
            none => none.insert(Exit::watch(std)?),
        };
        let status = exit.of(std).await?;
        self.note_end();
        Ok(status)
    }

    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.std.as_mut().expect("taken by the drop").try_wait()?;
        if status.is_some() && !self.reaped {
            self.note_end();
        }
        Ok(status)
    }

    fn note_end(&mut self) {
        self.reaped = true;
        self.exit = None;
        orphans::reap();
    }

    fn kill(&mut self) -> io::Result<()> {
        self.std.as_mut().expect("taken by the drop").kill()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        if self.kill_on_drop {
            let _ = self.kill(); // it may have ended
        }
        self.std.take().into_iter().for_each(orphans::adopt);
    }
}
