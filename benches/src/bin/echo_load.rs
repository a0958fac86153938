//! The load generator for the echo servers, and for HTTP/1: `echo_load ADDRESS CONNECTIONS BYTES|http SECONDS SERVER_PID`.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use gort_benches::echo::load::{Load, run};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let Some(load) = parse(&args) else {
        eprintln!("usage: echo_load ADDRESS CONNECTIONS BYTES|http SECONDS SERVER_PID");
        return ExitCode::FAILURE;
    };
    match run(&load) {
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

fn parse(args: &[String]) -> Option<Load> {
    let [address, connections, bytes, seconds, server] = args else {
        return None;
    };
    Some(Load {
        address: address.parse().ok()?,
        connections: connections.parse().ok()?,
        bytes: if bytes == "http" { None } else { Some(bytes.parse().ok()?) },
        duration: Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?,
        server: server.parse().ok()?,
    })
}
