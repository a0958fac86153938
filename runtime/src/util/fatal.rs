//! How the process ends when there is no way to go on. Go: throw.

use std::fmt::Arguments;
use std::io::Write;

/// Prints `lead` and then `fatal error: ` and `text`, each as a line, and ends the process with
/// exit code 2, as Go does. No destructor runs, nothing is flushed, nobody can catch it.
#[cold]
pub(crate) fn throw(lead: Arguments<'_>, text: Arguments<'_>) -> ! {
    // One write, so that two threads that die together do not mix their words.
    let mut message = format!("{lead}\n").trim_start().to_owned();
    message.push_str(&format!("fatal error: {text}\n"));
    let _ = std::io::stderr().write_all(message.as_bytes()); // there is nobody left to tell
    // SAFETY: ends the process; takes no pointers.
    unsafe { libc::_exit(2) }
}
