//! Open files: the tour holds both ends of every connection, and the system counts them.

use std::io;

/// What the process needs besides connections: its streams, the poller, the listener.
const OTHERS: u64 = 32;

/// Makes room for the files of `connections`, and gives the number that there is room for: all, or
/// fewer, after saying so.
#[cfg(unix)]
pub fn make_room_for(connections: usize) -> io::Result<usize> {
    let wanted = 2 * connections as u64 + OTHERS;
    let limit = raise_limit(wanted);
    if wanted <= limit {
        return Ok(connections);
    }
    let possible = limit.saturating_sub(OTHERS) as usize / 2;
    if possible == 0 {
        return Err(io::Error::other(format!("{limit} open files are too few: see `ulimit -n`")));
    }
    eprintln!(
        "tour: {connections} connections need {wanted} open files, and the limit is {limit}: \
         going on with {possible} (after `ulimit -n {wanted}` there is room for all)"
    );
    Ok(possible)
}

/// Raises the process's limit to `wanted`, or as far as it may. Gives what it is now.
#[cfg(unix)]
fn raise_limit(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current.unwrap_or(u64::MAX); // None is no limit
    let raised = wanted.min(maximum.unwrap_or(u64::MAX));
    if raised <= current {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }) {
        Ok(()) => raised,
        Err(_) => current,
    }
}

/// Systems without such a limit have room for all.
#[cfg(not(unix))]
pub fn make_room_for(connections: usize) -> io::Result<usize> {
    let _ = OTHERS;
    Ok(connections)
}
