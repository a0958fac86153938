//! What asks the HTTP servers: `http_load http2 ADDRESS STREAMS SECONDS SERVER_PID`, `http_load nap ADDRESS`. HTTP/1 is asked
//! by `echo_load`.

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use gort_benches::Report;
use gort_benches::http::load;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Result<Report, Box<dyn Error + Send + Sync>> {
    match args {
        ["http2", address, streams, seconds, server] => {
            let duration = Duration::try_from_secs_f64(seconds.parse()?)?;
            load::http2(address.parse()?, streams.parse()?, duration, server.parse()?)
        }
        ["nap", address] => Ok(load::nap(address.parse()?)?),
        _ => Err("usage: http_load http2 ADDRESS STREAMS SECONDS SERVER_PID | nap ADDRESS".into()),
    }
}
