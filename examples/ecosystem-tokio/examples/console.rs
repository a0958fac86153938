//! gort's tasks and goroutines in tokio-console.
//!
//! ```text
//! cargo run -p gort-ecosystem-tokio --example console    # and elsewhere: tokio-console
//! cargo run -p gort-ecosystem-tokio --example console -- --once    # looks at itself, and ends
//! ```
//! With its feature `tracing` gort makes the spans that `console_subscriber` knows from tokio. The
//! server that tokio-console asks for them needs tokio's runtime, and gets one on a thread of its own,
//! where nothing else runs.
//!
//! Some tasks and goroutines are idle most of the time, some are busy, one computes for half a second
//! at a time, and one yields and yields.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use async_compat::Compat;
use console_api::field::{Name, Value};
use console_api::instrument::instrument_client::InstrumentClient;
use console_api::instrument::{InstrumentRequest, Update};
use console_api::tasks::{Stats, Task};
use console_subscriber::{ConsoleLayer, Server, ServerParts};
use gort::prelude::*;
use gort::{chan, task, time};
use gort_ecosystem::once;
use tonic::transport::server::TcpIncoming;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Where tokio-console looks.
const PORT: u16 = 6669;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[gort::main]
async fn main() -> Fallible<()> {
    let server = serve_console(if once() { 0 } else { PORT })?;
    let _work = start_work()?;
    if once() {
        return look(&server.to_string()).await;
    }
    println!("listening at {server}; now run `tokio-console`");
    std::future::pending().await
}

/// Installs the subscriber, and starts its server on a thread of its own.
fn serve_console(port: u16) -> Fallible<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let pace = Duration::from_millis(if once() { 50 } else { 1000 });
    let (layer, server) = ConsoleLayer::builder().publish_interval(pace).build();
    // Of all that libraries trace, only this is for the console.
    let wanted = Targets::new().with_target("tokio", LevelFilter::TRACE);
    tracing_subscriber::registry().with(layer.with_filter(wanted)).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("console".to_owned()).spawn(move || {
        if let Err(error) = runtime.block_on(serve(server, listener)) {
            eprintln!("the console's server has ended: {error}");
        }
    })?;
    Ok(addr)
}

async fn serve(server: Server, listener: TcpListener) -> Fallible<()> {
    let ServerParts { instrument_server, aggregator, .. } = server.into_parts();
    let aggregator = tokio::spawn(aggregator.run());
    let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener)?);
    let router = tonic::transport::Server::builder().add_service(instrument_server);
    router.serve_with_incoming(incoming).await?;
    aggregator.abort();
    Ok(())
}

/// Starts what there is to see. The blocking task ends when the sender is dropped.
fn start_work() -> io::Result<mpsc::Sender<()>> {
    let named = |name: &str| task::Builder::new().name(name);
    let (tx, rx) = chan::bounded::<u64>(16);
    drop(named("idle").spawn(std::future::pending::<()>())?);
    drop(named("ticker").spawn(async {
        let mut ticks = time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
        }
    })?);
    drop(named("yielder").spawn(async {
        loop {
            compute(Duration::from_micros(100));
            gort::yield_now().await;
        }
    })?);
    drop(named("producer").go(move || {
        (0..).try_for_each(|n| {
            time::sleep(Duration::from_millis(5)).wait();
            tx.send(n).wait()
        })
    })?);
    for _ in 0..2 {
        let rx = rx.clone();
        let work = move || rx.iter().for_each(|_| compute(Duration::from_millis(1)));
        drop(named("worker").go(work)?);
    }
    drop(named("hog").go(|| {
        loop {
            compute(Duration::from_millis(500));
            time::sleep(Duration::from_millis(500)).wait();
        }
    })?);
    let (stop, stopped) = mpsc::channel();
    drop(gort::spawn_blocking(move || stopped.recv()));
    Ok(stop)
}

fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// What a console knows of a task.
#[derive(Default)]
struct Row {
    task: Task,
    stats: Stats,
}

/// Does what tokio-console does, until there is enough to see, and prints it.
async fn look(server: &str) -> Fallible<()> {
    let url = format!("http://{server}");
    let ask = async {
        let mut client = InstrumentClient::connect(url).await?;
        let updates = client.watch_updates(InstrumentRequest {}).await?;
        Ok::<_, Box<dyn Error + Send + Sync>>(updates.into_inner())
    };
    let mut updates = Compat::new(ask).await?;
    let mut rows = HashMap::new();
    while !is_enough(&rows) {
        let update = Compat::new(updates.message()).await?.ok_or("the server has hung up")?;
        note(&mut rows, update);
    }
    print(&rows);
    Ok(())
}

fn note(rows: &mut HashMap<u64, Row>, update: Update) {
    let Some(update) = update.task_update else { return };
    for task in update.new_tasks {
        let id = task.id.map_or(0, |id| id.id);
        rows.entry(id).or_default().task = task;
    }
    for (id, stats) in update.stats_update {
        rows.entry(id).or_default().stats = stats;
    }
}

/// Whether each kind has been seen, and everybody at work.
fn is_enough(rows: &HashMap<u64, Row>) -> bool {
    let has = |field: &str, value: &str, polls| {
        rows.values().any(|row| row.field(field) == value && row.polls() >= polls)
    };
    let kinds = ["task", "goroutine", "blocking"].iter().all(|kind| has("kind", kind, 0));
    let names = [("idle", 1), ("ticker", 5), ("yielder", 100), ("producer", 5), ("worker", 5)];
    kinds && names.iter().all(|(name, polls)| has("task.name", name, *polls))
}

fn print(rows: &HashMap<u64, Row>) {
    let mut rows: Vec<_> = rows.values().collect();
    rows.sort_by_key(|row| row.field("task.id").parse::<u64>().unwrap_or(0));
    for row in &rows {
        let [id, kind, name] = ["task.id", "kind", "task.name"].map(|field| row.field(field));
        let (polls, wakes) = (row.polls(), row.stats.wakes);
        println!("{id:>3} {kind:9} {name:8} {polls:6} polls {wakes:6} wakes");
    }
    println!("the console has seen {} tasks and goroutines", rows.len());
}

impl Row {
    fn polls(&self) -> u64 {
        self.stats.poll_stats.as_ref().map_or(0, |stats| stats.polls)
    }

    fn field(&self, name: &str) -> String {
        let is_it = |found: &Option<Name>| *found == Some(Name::StrName(name.to_owned()));
        let field = self.task.fields.iter().find(|field| is_it(&field.name));
        match field.and_then(|field| field.value.clone()) {
            Some(Value::DebugVal(text) | Value::StrVal(text)) => text,
            Some(Value::U64Val(number)) => number.to_string(),
            _ => String::new(),
        }
    }
}
