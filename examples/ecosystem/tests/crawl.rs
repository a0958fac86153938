//! ureq in goroutines: unmodified, announced, and over gort's sockets.

#[allow(dead_code)] // the example's main
#[path = "../examples/crawl.rs"]
mod crawl;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use gort::Metrics;
use gort::net::TcpListener;
use gort::prelude::*;
use gort_ecosystem::http::{BODY, serve_slowly};
use gort_ecosystem::transport;
use gort_tests::{BOUND, alone, for_procs, runtime, threads};
use ureq::{Agent, Timeout};

use crawl::fetch;

const REQUESTS: usize = 200;
const DELAY: Duration = Duration::from_millis(200);

/// What one request after the other would take.
fn sum() -> Duration {
    DELAY * REQUESTS as u32
}

/// Runs `crawl` on `procs` Ps against a server on a runtime of its own, as if it were far away: the
/// clients' blocked threads should not be the server's neighbours. How long it took, and what gort
/// counted.
fn timed(procs: usize, crawl: impl FnOnce(&str) + Send + 'static) -> (Duration, Metrics) {
    let (rt, far_away) = (runtime(procs), runtime(1));
    let url = far_away.run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").wait().unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(gort::go(move || serve_slowly(&listener, DELAY)));
        url
    });
    let handle = rt.handle();
    let result = rt.run(move || {
        let start = Instant::now();
        crawl(&url);
        (start.elapsed(), handle.metrics())
    });
    assert!(rt.shutdown_timeout(BOUND));
    assert!(far_away.shutdown_timeout(BOUND));
    result
}

fn retakes(metrics: &Metrics) -> u64 {
    metrics.per_proc.iter().map(|p| p.retakes).sum()
}

/// An agent that opens a connection for each request.
fn plain_agent() -> Agent {
    Agent::config_builder().max_idle_connections(0).build().new_agent()
}

/// Nobody tells gort that ureq blocks its thread: it finds out, and hands the Ps over.
#[test]
fn unmodified() {
    let _machine = alone();
    let (took, metrics) = timed(2, |url| crawl::crawl(REQUESTS, &plain_agent(), url, fetch));
    println!("{took:?} instead of {:?}, {} hand-overs", sum(), retakes(&metrics));
    assert!(took < sum() / 2);
    assert_eq!(metrics.procs, 2);
    assert!(retakes(&metrics) > 0);
}

#[test]
fn announced() {
    let _machine = alone();
    let (took, metrics) = timed(2, |url| {
        crawl::crawl(REQUESTS, &plain_agent(), url, |agent, url| {
            gort::blocking(|| fetch(agent, url))
        });
    });
    println!("{took:?} instead of {:?}, {} threads", sum(), metrics.threads);
    assert!(took < sum() / 8);
    assert_eq!(metrics.procs, 2);
}

#[test]
fn over_gort_sockets() {
    let _machine = alone();
    for procs in [1, 2, 4] {
        let (took, metrics) = timed(procs, |url| {
            let agent = transport::agent(Agent::config_builder().build());
            // The second time over the connections of the first, as far as the agent keeps them.
            crawl::crawl(REQUESTS, &agent, url, fetch);
            crawl::crawl(REQUESTS, &agent, url, fetch);
            assert!(threads() < 20, "{} threads", threads());
        });
        println!("{took:?} instead of {:?}", 2 * sum());
        assert!(took < sum() / 4);
        assert_eq!(metrics.procs, procs);
    }
}

#[test]
fn deadlines_are_timeouts_of_ureq() {
    for_procs(|rt| {
        rt.run(|| {
            let listener = TcpListener::bind("127.0.0.1:0").wait().unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            let server = gort::go(move || serve_slowly(&listener, 2 * BOUND));
            let short = Some(Duration::from_millis(20));
            let config = Agent::config_builder().timeout_recv_response(short).build();
            let error = fetch(&transport::agent(config), &url).unwrap_err();
            assert!(matches!(error, ureq::Error::Timeout(Timeout::RecvResponse)), "{error}");
            let config = Agent::config_builder().timeout_global(short).build();
            let error = fetch(&transport::agent(config), &url).unwrap_err();
            assert!(matches!(error, ureq::Error::Timeout(Timeout::Global)), "{error}");
            server.abort();
        });
    });
}

/// A pooled connection that the server has closed meanwhile is not used again.
#[test]
fn closed_connections_are_found_out() {
    for_procs(|rt| {
        rt.run(|| {
            let listener = TcpListener::bind("127.0.0.1:0").wait().unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            let server = gort::go(move || -> io::Result<()> {
                loop {
                    let (mut stream, _) = listener.accept().wait()?;
                    let length = BODY.len();
                    // It promises to keep the connection, and closes it.
                    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{BODY}")?;
                    stream.shutdown(std::net::Shutdown::Write)?;
                    io::copy(&mut stream, &mut io::sink())?;
                }
            });
            let agent = transport::agent(Agent::config_builder().build());
            for _ in 0..3 {
                assert_eq!(fetch(&agent, &url).unwrap(), BODY);
            }
            server.abort();
        });
    });
}
