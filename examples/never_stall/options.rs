//! What can be said on the command line.

use std::path::PathBuf;
use std::time::Duration;

use super::servers::Runtime;

pub const HELP: &str = "\
A web server under load whose handlers hold up their threads, on gort and on tokio.

Usage: never_stall [OPTIONS]

  --procs N       tasks that may run at once, 1 to 64 (2)
  --only LIST     some of goroutines,migrating,tasks,tokio (all)
  --quick         short phases, to see that every request is answered
  --svg FILE      draw the latencies into FILE
  --help          print this and exit
";

#[derive(Debug, PartialEq)]
pub enum Command {
    Run(Options),
    /// What the program tells its children to do.
    Serve {
        runtime: Runtime,
        procs: usize,
        file: PathBuf,
    },
    Help,
}

#[derive(Debug, PartialEq)]
pub struct Options {
    pub procs: usize,
    pub runtimes: Vec<Runtime>,
    /// The length of a phase.
    pub phase: Duration,
    pub svg: Option<PathBuf>,
}

const PHASE: Duration = Duration::from_millis(1000);
const QUICK_PHASE: Duration = Duration::from_millis(100);

/// Reads the arguments that follow the program's name.
pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Command, String> {
    let runtimes = Runtime::ALL.to_vec();
    let mut options = Options { procs: 2, runtimes, phase: PHASE, svg: None };
    let mut serve = None;
    let mut file = None;
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
        match arg.as_str() {
            "--procs" => options.procs = procs(&value()?)?,
            "--only" => {
                options.runtimes = value()?.split(',').map(runtime).collect::<Result<_, _>>()?
            }
            "--quick" => options.phase = QUICK_PHASE,
            "--svg" => options.svg = Some(value()?.into()),
            "--serve" => serve = Some(runtime(&value()?)?),
            "--file" => file = Some(value()?.into()),
            "--help" | "-h" => return Ok(Command::Help),
            _ => return Err(format!("unknown argument `{arg}`")),
        }
    }
    match (serve, file) {
        (None, None) => Ok(Command::Run(options)),
        (Some(runtime), Some(file)) => Ok(Command::Serve { runtime, procs: options.procs, file }),
        _ => Err("--serve and --file go together".to_owned()),
    }
}

fn procs(value: &str) -> Result<usize, String> {
    let number = value.parse().ok().filter(|n| (1..=64).contains(n));
    number.ok_or_else(|| format!("--procs: `{value}` is not a number from 1 to 64"))
}

fn runtime(name: &str) -> Result<Runtime, String> {
    let found = Runtime::ALL.into_iter().find(|runtime| runtime.name() == name);
    found.ok_or_else(|| format!("`{name}` is none of goroutines, migrating, tasks, tokio"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn good_arguments() {
        let runtimes = Runtime::ALL.to_vec();
        let defaults = Options { procs: 2, runtimes, phase: PHASE, svg: None };
        assert_eq!(parsed(""), Ok(Command::Run(defaults)));
        let runtimes = vec![Runtime::Tokio, Runtime::Tasks];
        let all = Options { procs: 1, runtimes, phase: QUICK_PHASE, svg: Some("a.svg".into()) };
        let line = "--only tokio,tasks --procs 1 --quick --svg a.svg";
        assert_eq!(parsed(line), Ok(Command::Run(all)));
        let serve = Command::Serve { runtime: Runtime::Migrating, procs: 4, file: "big".into() };
        assert_eq!(parsed("--serve migrating --procs 4 --file big"), Ok(serve));
        assert_eq!(parsed("--procs 1 --help"), Ok(Command::Help));
    }

    #[test]
    fn bad_arguments() {
        for (line, error) in [
            ("--fast", "unknown argument `--fast`"),
            ("--procs", "--procs wants a value"),
            ("--procs 0", "--procs: `0` is not a number from 1 to 64"),
            ("--only smol", "`smol` is none of goroutines, migrating, tasks, tokio"),
            ("--serve tokio", "--serve and --file go together"),
        ] {
            assert_eq!(parsed(line), Err(error.to_owned()), "{line}");
        }
    }
}
