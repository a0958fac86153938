//! The command line of `peers`.

/// What `peers` shall do.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often each cell is repeated.
    pub rounds: usize,
    /// Smaller sizes, fewer rounds.
    pub quick: bool,
    /// Run only cells whose name contains one of these; all if empty.
    pub only: Vec<String>,
    /// Run the servers, of echo and of HTTP.
    pub echo: bool,
    /// Run Go where it is found.
    pub go: bool,
    /// Write `RESULTS.md`.
    pub write: bool,
}

const USAGE: &str =
    "usage: peers [--rounds N] [--quick] [--only NAME,NAME..] [--no-echo] [--no-go] [--write]

--rounds N   repeat each cell N times (3; with --quick 1)
--quick      small sizes: a first look in a few minutes
--only LIST  only cells whose name contains one of the words
--no-echo    without the servers, of echo and of HTTP
--no-go      without Go, even where it is installed
--write      write RESULTS.md, which else only a complete run does";

impl Options {
    /// Reads the arguments.
    ///
    /// # Errors
    /// The usage text, if they make no sense.
    pub fn parse(args: &[String]) -> Result<Self, String> {
        let mut options =
            Self { rounds: 0, quick: false, only: Vec::new(), echo: true, go: true, write: false };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            options.take(arg, &mut args)?;
        }
        if options.rounds == 0 {
            options.rounds = if options.quick { 1 } else { 3 };
        }
        options.write |= options.is_complete();
        Ok(options)
    }

    fn take<'a>(
        &mut self,
        arg: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), String> {
        match arg {
            "--rounds" => {
                let rounds = rest.next().and_then(|n| n.parse().ok()).filter(|&n| n > 0);
                self.rounds = rounds.ok_or(USAGE)?;
            }
            "--only" => {
                let names = rest.next().ok_or(USAGE)?;
                self.only.extend(names.split(',').map(str::to_owned));
            }
            "--quick" => self.quick = true,
            "--no-echo" => self.echo = false,
            "--no-go" => self.go = false,
            "--write" => self.write = true,
            _ => return Err(USAGE.to_owned()),
        }
        Ok(())
    }

    /// Whether nothing was left out or made smaller.
    pub fn is_complete(&self) -> bool {
        self.only.is_empty() && self.echo && self.go && !self.quick
    }

    /// Factor on the sizes of the workloads.
    pub fn scale(&self) -> f64 {
        if self.quick { 0.1 } else { 1.0 }
    }

    /// Seconds that a load on an echo server is measured.
    pub fn echo_seconds(&self) -> f64 {
        if self.quick { 0.5 } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&args)
    }

    #[test]
    fn only_a_complete_run_writes_by_itself() {
        assert!(parse("").unwrap().write);
        assert!(!parse("--quick").unwrap().write);
        assert!(!parse("--only yield,pp").unwrap().write);
        assert!(parse("--only yield --write").unwrap().write);
    }

    #[test]
    fn nonsense_is_answered_with_the_usage() {
        for line in ["--rounds", "--rounds 0", "--rounds x", "--fast", "--only"] {
            assert_eq!(parse(line).unwrap_err(), USAGE, "{line}");
        }
    }
}
