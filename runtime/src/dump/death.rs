//! The dump of a process that dies, or is asked for one by SIGQUIT. Go: dopanic_m, sighandler.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Dump;
use crate::sched::Sched;
use crate::sched::dead::note_helper;
use crate::stack::fault;
use crate::util::fatal;
use crate::util::note::Note;

/// How much `GORT_TRACEBACK` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    None,
    /// Go prints the goroutine that has failed; what gort calls fatal is everybody's.
    Single,
    All,
    /// With threads and Ps, and gort's own frames.
    System,
    /// The same, and the process ends by SIGABRT, for a core file.
    Crash,
}

fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| match std::env::var("GORT_TRACEBACK").as_deref() {
        Ok("none" | "0") => Level::None,
        Ok("all" | "1") => Level::All,
        Ok("system" | "2") => Level::System,
        Ok("crash") => Level::Crash,
        _ => Level::Single,
    })
}

/// From now on fatal errors are followed by a dump.
pub(crate) fn install() {
    level();
    fatal::on_death(print_all);
}

/// Prints what everybody is doing, and says how the process should end.
fn print_all() -> fatal::End {
    let level = level();
    let mut stderr = io::LineWriter::with_capacity(1 << 16, fatal::Stderr);
    if level > Level::None {
        for sched in Sched::all() {
            let dump = Dump::of(&sched, true);
            let printed = match level {
                Level::System | Level::Crash => write!(stderr, "\n{dump:#}"),
                _ => write!(stderr, "\n{dump}"),
            };
            std::mem::forget(sched); // nothing ends here any more
            if printed.is_err() {
                break; // there is nobody left to tell
            }
        }
    }
    let _ = stderr.flush(); // as above
    if level == Level::Crash { fatal::End::Abort } else { fatal::End::Exit }
}

/// Where the thread that prints sleeps.
static QUIT: Note = Note::new();
/// A stack has overflowed, and the handler of that has said so already.
static OVERFLOWED: AtomicBool = AtomicBool::new(false);
/// A thread that has overflowed in the middle of `malloc` leaves that locked: then there is no dump.
const PATIENCE_SECONDS: u32 = 10;

/// The program listens for SIGQUIT itself, from now on. (Its handler would call ours, too.)
#[cfg(feature = "signal")]
pub(crate) fn leave_sigquit() {
    LISTENED.store(true, Ordering::Relaxed); // Relaxed: before the listener is installed
}

/// See `leave_sigquit`.
static LISTENED: AtomicBool = AtomicBool::new(false);

/// From now on SIGQUIT (`kill -QUIT`, or Ctrl-\ in a terminal) prints a dump of all runtimes of the
/// process to stderr and ends it with exit code 2, as in Go. `#[gort::main]` calls this. The second
/// call does nothing.
///
/// The report of a stack overflow is then followed by a dump, too.
///
/// It takes a thread of its own, which sleeps until the signal comes: the dump comes also when all
/// others are stuck. A process that ignores the signal, or handles it itself
/// (also later, by a listener of gort's `signal`), is left as it is.
///
/// # Errors
/// What the system says when it gives no thread.
pub fn dump_on_sigquit() -> io::Result<()> {
    static DONE: AtomicBool = AtomicBool::new(false);
    // Relaxed: a flag of its own.
    if DONE.swap(true, Ordering::Relaxed) || !is_default(libc::SIGQUIT) {
        return Ok(());
    }
    install();
    std::thread::Builder::new().name("gort-sigquit".into()).spawn(|| {
        note_helper();
        QUIT.sleep();
        // Acquire: pairs with the Release in `on_overflow`.
        let lead = if OVERFLOWED.load(Ordering::Acquire) { "" } else { "SIGQUIT: quit\n" };
        fatal::die(format_args!("{lead}"))
    })?;
    fault::set_aftermath(on_overflow);
    set_handler(libc::SIGQUIT)
}

/// In the handler of a fault: has the thread print, and leaves it the time to.
fn on_overflow() {
    OVERFLOWED.store(true, Ordering::Release); // Release: before the wake
    QUIT.wake();
    // SAFETY: no preconditions.
    unsafe { libc::sleep(PATIENCE_SECONDS) };
}

fn is_default(signal: i32) -> bool {
    let mut old = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only asks; the struct is ours.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), old.as_mut_ptr()) };
    // SAFETY: filled in by the call; and zeros are a valid one.
    asked == 0 && unsafe { old.assume_init() }.sa_sigaction == libc::SIG_DFL
}

/// Wakes the thread: a swap and a system call, which is all that a handler may do.
extern "C" fn on_signal(_: i32) {
    // Relaxed: see `leave_sigquit`.
    if !LISTENED.load(Ordering::Relaxed) {
        QUIT.wake();
    }
}

fn set_handler(signal: i32) -> io::Result<()> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    let handler: extern "C" fn(i32) = on_signal;
    // SAFETY: zeros are a valid action: no flags, an empty mask.
    unsafe {
        let action = action.assume_init_mut();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    }
    // SAFETY: the action is valid, and its handler async-signal-safe.
    match unsafe { libc::sigaction(signal, action.as_ptr(), std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
