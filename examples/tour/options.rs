//! What can be said on the command line.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

pub const HELP: &str = "\
An echo server on gort, and the clients that keep it busy, in one process.

Usage: tour [OPTIONS]

  --seconds N      how long to run, 1 to 3600 (8)
  --connections N  clients at once, 1 to 20000 (1000)
  --size N         bytes per message, 1 to 65536 (64)
  --mode MODE      how the server is written: async or goroutine (async)
  --procs N        tasks that may run at once, 1 to 4096 (one per CPU, or GORT_PROCS)
  --help           print this and exit
";

#[derive(Debug, PartialEq)]
pub enum Command {
    Run(Options),
    Help,
}

/// The style of the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Futures.
    Async,
    /// Goroutines.
    Goroutine,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Async => "async",
            Mode::Goroutine => "goroutine",
        }
    }
}

#[derive(Debug, PartialEq)]
pub struct Options {
    pub seconds: u64,
    pub connections: usize,
    pub size: usize,
    pub procs: Option<usize>,
    pub mode: Mode,
}

/// Reads the arguments that follow the program's name; both `--size 64` and `--size=64` will do.
pub fn parse(args: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut args = args;
    let mut options =
        Options { seconds: 8, connections: 1000, size: 64, procs: None, mode: Mode::Async };
    while let Some(arg) = args.next() {
        let (name, mut value) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        let mut value = || value.take().or_else(|| args.next());
        match name {
            // 20,000 connections leave room among the 28,000 ports that clients get on Linux.
            "--connections" => options.connections = number(name, value(), 1..=20_000)?,
            "--mode" => options.mode = mode(value())?,
            "--procs" => options.procs = Some(number(name, value(), 1..=4096)?),
            "--seconds" => options.seconds = number(name, value(), 1..=3600)?,
            // A client writes all of a message before it reads, so it must fit the socket buffers.
            "--size" => options.size = number(name, value(), 1..=65_536)?,
            "--help" | "-h" => return Ok(Command::Help),
            _ => return Err(format!("unknown argument `{arg}`")),
        }
    }
    Ok(Command::Run(options))
}

fn mode(value: Option<String>) -> Result<Mode, String> {
    let mut modes = [Mode::Async, Mode::Goroutine].into_iter();
    let found = modes.find(|mode| value.as_deref() == Some(mode.name()));
    found.ok_or_else(|| "--mode wants `async` or `goroutine`".to_owned())
}

fn number<T: FromStr + PartialOrd + Display>(
    name: &str,
    value: Option<String>,
    range: RangeInclusive<T>,
) -> Result<T, String> {
    let (least, most) = (range.start(), range.end());
    let value = value.ok_or_else(|| format!("{name} wants a number, {least} to {most}"))?;
    let number = value.parse().ok().filter(|n| range.contains(n));
    number.ok_or_else(|| format!("{name}: `{value}` is not a number from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn good_arguments() {
        let defaults =
            Options { seconds: 8, connections: 1000, size: 64, procs: None, mode: Mode::Async };
        assert_eq!(parsed(""), Ok(Command::Run(defaults)));
        let all = Options {
            seconds: 3,
            connections: 10,
            size: 4096,
            procs: Some(1),
            mode: Mode::Goroutine,
        };
        let line = "--seconds 3 --connections=10 --size 4096 --procs=1 --mode goroutine";
        assert_eq!(parsed(line), Ok(Command::Run(all)));
        assert_eq!(parsed("--procs 1 --help"), Ok(Command::Help));
    }

    #[test]
    fn bad_arguments() {
        for (line, error) in [
            ("--sizes 1", "unknown argument `--sizes`"),
            ("8", "unknown argument `8`"),
            ("--seconds", "--seconds wants a number, 1 to 3600"),
            ("--seconds 0", "--seconds: `0` is not a number from 1 to 3600"),
            ("--seconds=", "--seconds: `` is not a number from 1 to 3600"),
            ("--mode", "--mode wants `async` or `goroutine`"),
            ("--mode=thread", "--mode wants `async` or `goroutine`"),
            ("--procs -1", "--procs: `-1` is not a number from 1 to 4096"),
            ("--size 1e3", "--size: `1e3` is not a number from 1 to 65536"),
        ] {
            assert_eq!(parsed(line), Err(error.to_owned()), "{line}");
        }
    }
}
