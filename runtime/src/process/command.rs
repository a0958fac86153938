//! `Command`.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};

use super::child::Child;
use super::orphans;
use crate::{blocking, syscall};

/// What to start, and how: [`std::process::Command`], whose children are waited for without a
/// blocked thread.
///
/// # Examples
/// ```
/// use futures::AsyncReadExt;
/// use gort::process::{Command, Stdio};
/// # gort::block_on(async {
/// let mut child = Command::new("echo").arg("fig").stdout(Stdio::piped()).spawn()?;
/// let mut said = String::new();
/// child.stdout.take().unwrap().read_to_string(&mut said).await?;
/// assert_eq!(said, "fig\n");
/// assert_eq!(child.wait().await?.code(), Some(0));
/// # Ok::<(), std::io::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Command {
    std: std::process::Command,
    kill_on_drop: bool,
    /// Which of stdin, stdout and stderr have been chosen.
    chosen: [bool; 3],
    /// Code of the user's runs in the child, to which the thread that forks may matter.
    in_place: bool,
}

impl Command {
    /// The program at this path, or of this name in `PATH`; without arguments, in the current
    /// directory, with the environment and the standard streams of this process.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command::from(std::process::Command::new(program))
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.std.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.std.args(args);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.std.env(name, value);
        self
    }

    /// Sets variables of its environment.
    pub fn envs(
        &mut self,
        vars: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> &mut Self {
        self.std.envs(vars);
        self
    }

    /// Takes a variable out of its environment.
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.std.env_remove(name);
        self
    }

    /// Empties its environment.
    pub fn env_clear(&mut self) -> &mut Self {
        self.std.env_clear();
        self
    }

    /// Sets its current directory.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Self {
        self.std.current_dir(dir);
        self
    }

    /// Sets its standard input.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.chosen[0] = true;
        self.std.stdin(stdio);
        self
    }

    /// Sets its standard output.
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.chosen[1] = true;
        self.std.stdout(stdio);
        self
    }

    /// Sets its standard error.
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.chosen[2] = true;
        self.std.stderr(stdio);
        self
    }

    /// Whether a [`Child`] that is dropped before its end is killed. No, unless set.
    pub fn kill_on_drop(&mut self, on: bool) -> &mut Self {
        self.kill_on_drop = on;
        self
    }

    /// Sets its name for itself, the zeroth argument.
    pub fn arg0(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        std::os::unix::process::CommandExt::arg0(&mut self.std, name);
        self
    }

    /// Sets its user.
    pub fn uid(&mut self, id: u32) -> &mut Self {
        std::os::unix::process::CommandExt::uid(&mut self.std, id);
        self
    }

    /// Sets its group.
    pub fn gid(&mut self, id: u32) -> &mut Self {
        std::os::unix::process::CommandExt::gid(&mut self.std, id);
        self
    }

    /// Puts it into a process group; 0: one of its own, so that a Ctrl-C at the terminal is not
    /// for it.
    pub fn process_group(&mut self, group: i32) -> &mut Self {
        std::os::unix::process::CommandExt::process_group(&mut self.std, group);
        self
    }

    /// Runs `f` in the child between `fork` and `exec`. The child is then started by the thread that
    /// calls [`spawn`](Command::spawn) itself, which matters to `PR_SET_PDEATHSIG`: that means the
    /// death of this thread, so lock it ([`lock_os_thread`](crate::lock_os_thread)).
    ///
    /// # Safety
    /// `f` is called in a process of which only this thread has been copied: it may do what a signal
    /// handler may, so no memory may be allocated, no lock taken, and gort not be used. See
    /// [`std::os::unix::process::CommandExt::pre_exec`].
    #[allow(unsafe_code)] // passed on
    pub unsafe fn pre_exec<F>(&mut self, f: F) -> &mut Self
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static,
    {
        self.in_place = true;
        // SAFETY: the same contract, kept by the caller.
        unsafe { std::os::unix::process::CommandExt::pre_exec(&mut self.std, f) };
        self
    }

    /// The command, as std's.
    #[must_use]
    pub fn as_std(&self) -> &std::process::Command {
        &self.std
    }

    /// Gives it back as std's.
    #[must_use]
    pub fn into_std(self) -> std::process::Command {
        self.std
    }

    /// Starts the program. Returns when it has been started, a millisecond or so later; what lives
    /// on this thread goes on meanwhile (but see [`pre_exec`](Command::pre_exec)). Its pipes belong
    /// to the netpoller of the [current](crate::Handle::current) runtime.
    ///
    /// # Errors
    /// As [`std::process::Command::spawn`], for example `NotFound`.
    pub fn spawn(&mut self) -> io::Result<Child> {
        orphans::reap();
        let Command { std, in_place, .. } = self;
        let child = if *in_place { syscall(|| std.spawn()) } else { blocking(|| std.spawn()) };
        Child::new(child?, self.kill_on_drop)
    }

    /// Starts the program and waits for its end. Dropping the future drops the [`Child`].
    ///
    /// # Errors
    /// As [`spawn`](Command::spawn) and [`Child::wait`].
    pub async fn status(&mut self) -> io::Result<ExitStatus> {
        let mut child = self.spawn()?;
        child.stdout = None; // nobody would read them
        child.stderr = None;
        child.wait().await
    }

    /// Starts the program, and waits for its end and what it writes. Unless they have been chosen
    /// otherwise, output and error are pipes, and there is no input. Dropping the future drops the
    /// [`Child`].
    ///
    /// # Errors
    /// As [`spawn`](Command::spawn) and [`Child::wait_with_output`].
    pub async fn output(&mut self) -> io::Result<Output> {
        self.set_unchosen([Stdio::null(), Stdio::piped(), Stdio::piped()]);
        let child = self.spawn();
        self.set_unchosen([Stdio::inherit(), Stdio::inherit(), Stdio::inherit()]);
        child?.wait_with_output().await
    }

    fn set_unchosen(&mut self, [stdin, stdout, stderr]: [Stdio; 3]) {
        if !self.chosen[0] {
            self.std.stdin(stdin);
        }
        if !self.chosen[1] {
            self.std.stdout(stdout);
        }
        if !self.chosen[2] {
            self.std.stderr(stderr);
        }
    }
}

/// Which of its streams std's command has chosen is not known: [`Command::output`] replaces them.
impl From<std::process::Command> for Command {
    fn from(std: std::process::Command) -> Command {
        // Code that runs in the child may have been given to it.
        Command { std, kill_on_drop: false, chosen: [false; 3], in_place: true }
    }
}
