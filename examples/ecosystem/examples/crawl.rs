//! Two hundred requests at once to a server that takes half a second for each, with ureq, which
//! blocks its thread.
//!
//! ```text
//! cargo run --release -p gort-ecosystem --example crawl
//! ```
//! 1. As it is, in goroutines: gort finds that threads are blocked, and gives their Ps to others,
//!    10 ms after each began.
//! 2. Each request in `gort::blocking`, which says so beforehand: all at once, each on a thread.
//! 3. Over gort's sockets (`transport.rs`, outside of what ureq promises to keep): all at once, and
//!    no thread is blocked.

use std::error::Error;
use std::time::{Duration, Instant};

use gort::net::TcpListener;
use gort_ecosystem::http::{BODY, serve_slowly};
use gort_ecosystem::transport;
use ureq::{Agent, config::Config};

const REQUESTS: usize = 200;
const DELAY: Duration = Duration::from_millis(500);

#[gort::main(procs = 2)]
fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    // On a runtime of its own, as if it were far away.
    let servers = gort::Builder::new().procs(1).thread_name("far-away").build()?;
    let listener = servers.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let url = format!("http://{}/", listener.local_addr()?);
    drop(servers.go(move || serve_slowly(&listener, DELAY)));
    println!("one after the other they would take {:?}", DELAY * REQUESTS as u32);

    let agent = Agent::config_builder().max_idle_connections(0).build().new_agent();
    report("over gort's sockets", || crawl(REQUESTS, &transport::agent(config()), &url, fetch));
    report("as it is", || crawl(REQUESTS, &agent, &url, fetch));
    report("announced", || {
        crawl(REQUESTS, &agent, &url, |agent, url| gort::blocking(|| fetch(agent, url)))
    });
    Ok(())
}

fn config() -> Config {
    Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).build()
}

/// Starts all requests at once, each in a goroutine.
pub(crate) fn crawl(
    requests: usize,
    agent: &Agent,
    url: &str,
    fetch: impl Fn(&Agent, &str) -> Result<String, ureq::Error> + Send + Sync,
) {
    let fetch = &fetch;
    gort::scope(|s| {
        for _ in 0..requests {
            s.go(move || assert_eq!(fetch(agent, url).expect("an answer"), BODY));
        }
    });
}

/// This is all that ureq is asked.
pub(crate) fn fetch(agent: &Agent, url: &str) -> Result<String, ureq::Error> {
    agent.get(url).call()?.body_mut().read_to_string()
}

fn report(what: &str, crawl: impl FnOnce()) {
    let start = Instant::now();
    crawl();
    let threads = gort::Handle::current().metrics().threads;
    println!("{what:>20}: {:>6.2?}, {threads} threads so far", start.elapsed());
}
