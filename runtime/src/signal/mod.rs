//! Signals of the system, as something to wait for.
//!
//! A signal handler may do nearly nothing. The one installed here (by the `signal-hook` crate, at
//! the first use of each signal) writes a byte to the pipe of each listener, and the listener reads
//! its pipe through the netpoller, like a socket. So a signal wakes whoever waits on any runtime,
//! however many there are; there is no thread and no task behind it; and nothing is installed in a
//! program that asks for nothing. A listener costs two descriptors.
//!
//! Rejected: one pipe for the process and a task that passes its signals on, as tokio has it. It
//! spares descriptors, of which a program needs two or three pairs, and costs a registry and a home
//! for that task, in some runtime that may end before the others.

pub mod unix;

/// Waits for Ctrl-C (`SIGINT`), once.
///
/// From the first poll on Ctrl-C does not end the process any more, also when this future has been
/// dropped or is ready: who wants a second one to do so waits for it and exits. Of one between two
/// calls nothing remains; [`unix::signal`] keeps it.
///
/// # Errors
/// Those of [`unix::signal`], and an error if the runtime has ended.
///
/// # Examples
/// ```no_run
/// # gort::block_on(async {
/// gort::signal::ctrl_c().await?;
/// println!("goodbye");
/// # Ok::<(), std::io::Error>(()) }).unwrap();
/// ```
pub async fn ctrl_c() -> std::io::Result<()> {
    let mut signal = unix::signal(unix::SignalKind::interrupt())?;
    signal.recv().await.ok_or_else(|| std::io::Error::other("the runtime has ended"))
}
