//! How the process ends when there is no way to go on. Go: throw.

use std::fmt::Arguments;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The last step.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// Exit code 2, as in Go.
    Exit,
    /// SIGABRT.
    Abort,
}

/// What prints the dump.
static DUMP: OnceLock<fn() -> End> = OnceLock::new();

/// Has `dump` called by all that is fatal from now on, after the message. The first one counts.
pub(crate) fn on_death(dump: fn() -> End) {
    DUMP.get_or_init(|| dump);
}

/// Prints `lead` and then `fatal error: ` and `text`, each as a line, and a dump, and ends the
/// process with exit code 2, as Go does. No destructor runs, nothing is flushed, nobody can catch
/// it.
#[cold]
pub(crate) fn throw(lead: Arguments<'_>, text: Arguments<'_>) -> ! {
    let lead = format!("{lead}\n");
    die(format_args!("{}fatal error: {text}\n", lead.trim_start()))
}

/// As `throw`, with the message as it is.
#[cold]
pub(crate) fn die(message: Arguments<'_>) -> ! {
    /// Who dies: an address on its stack tells threads apart well enough.
    static DYING: AtomicU64 = AtomicU64::new(0);
    let me = thread_number();
    // Relaxed: one of several wins, whichever.
    match DYING.compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => {}
        Err(other) if other == me => exit(End::Exit), // the dump has failed in turn
        Err(_) => loop {
            std::thread::sleep(Duration::from_secs(1)); // somebody else's message comes first
        },
    }
    // One write, so that two threads that die together do not mix their words.
    let _ = Stderr.write_all(message.to_string().as_bytes()); // there is nobody left to tell
    exit(DUMP.get().map_or(End::Exit, |dump| dump()))
}

/// A number that no other thread has.
fn thread_number() -> u64 {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.try_with(|here| std::ptr::from_ref(here).addr() as u64).unwrap_or(1)
}

fn exit(end: End) -> ! {
    match end {
        // SAFETY: ends the process; takes no pointers.
        End::Exit => unsafe { libc::_exit(2) },
        End::Abort => std::process::abort(),
    }
}

/// The standard error stream without the lock of `std`'s, which somebody may hold for good.
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // SAFETY: the text is valid for its length.
        let written = unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
