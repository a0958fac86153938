//! A test that runs itself anew, as a process whose end can be looked at.

use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::BOUND;

const MARK: &str = "GORT_TEST_CHILD";

/// Whether this is the process that [`Child::run`] has started.
#[must_use]
pub fn is_child() -> bool {
    std::env::var_os(MARK).is_some()
}

/// One test of this file, about to be run in a process of its own.
#[derive(Debug)]
pub struct Child(Command);

/// How a [`Child`] ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; None: killed by a signal.
    pub code: Option<i32>,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Child {
    /// The test with this name, which finds itself to be a child ([`is_child`]).
    ///
    /// # Panics
    /// If the name of the own program is not known.
    #[must_use]
    pub fn of(test: &str) -> Child {
        let mut command = Command::new(std::env::current_exe().expect("the own program"));
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
        command.env(MARK, "1").env("RUST_BACKTRACE", "0").env_remove("GORT_PROCS");
        // In a debug build the names for a dump take a second.
        command.env("GORT_TRACEBACK", "none");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Child(command)
    }

    /// Sets an environment variable of the child.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Child {
        self.0.env(name, value);
        self
    }

    /// Runs the child to its end.
    ///
    /// # Panics
    /// If it does not start, or does not end within [`BOUND`].
    #[track_caller]
    pub fn run(mut self) -> Ended {
        let child = self.0.spawn().expect("the child starts");
        let (send, receive) = mpsc::channel();
        thread::spawn(move || send.send(child.wait_with_output()));
        let output = receive.recv_timeout(BOUND).expect("the child ends");
        let Output { status, stderr, .. } = output.expect("the child's output");
        Ended { code: status.code(), stderr: String::from_utf8_lossy(&stderr).into_owned() }
    }
}
