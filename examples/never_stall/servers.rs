//! The same server three times: on goroutines, on tasks, and on tokio.
//!
//! Each connection is served by one of them, and each request by one more, as frameworks do it.
//! The handlers ([`Handlers`]) are the same code, called in place, without `spawn_blocking`,
//! `block_in_place` or the like.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::handlers::Handlers;

mod goroutines;
mod tasks;
mod tokio;

const ADDRESS: &str = "127.0.0.1:0";
const BUFFER: usize = 4096;

/// On what a server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    Goroutines,
    /// Goroutines that may go on on another thread after a wait, as in Go.
    Migrating,
    Tasks,
    Tokio,
}

impl Runtime {
    pub const ALL: [Runtime; 4] =
        [Runtime::Goroutines, Runtime::Migrating, Runtime::Tasks, Runtime::Tokio];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Runtime::Goroutines => "goroutines",
            Runtime::Migrating => "migrating",
            Runtime::Tasks => "tasks",
            Runtime::Tokio => "tokio",
        }
    }

    /// Its name in tables.
    pub fn title(self) -> &'static str {
        match self {
            Runtime::Goroutines => "gort, goroutines",
            Runtime::Migrating => "gort, goroutines that migrate",
            Runtime::Tasks => "gort, tasks",
            Runtime::Tokio => "tokio, tasks",
        }
    }
}

/// Serves until standard input ends.
pub fn serve(runtime: Runtime, procs: usize, file: &Path) -> io::Result<()> {
    thread::spawn(|| {
        let _ended = io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let handlers = Arc::new(Handlers::new(file));
    let builder = gort::Builder::new().procs(procs);
    match runtime {
        Runtime::Goroutines => builder.build()?.run(move || goroutines::serve(&handlers)),
        Runtime::Migrating => {
            // SAFETY: while they wait, the goroutines below hold nothing that is bound to a thread.
            let builder = unsafe { builder.migrate_goroutines() };
            builder.build()?.run(move || goroutines::serve(&handlers))
        }
        Runtime::Tasks => {
            let runtime = builder.build()?;
            runtime.block_on(runtime.spawn(tasks::serve(handlers)))?
        }
        Runtime::Tokio => {
            let mut builder = ::tokio::runtime::Builder::new_multi_thread();
            let runtime = builder.worker_threads(procs).enable_all().build()?;
            runtime.block_on(runtime.spawn(tokio::serve(handlers)))?
        }
    }
}

/// Tells the parent where the server listens.
fn announce(address: SocketAddr) -> io::Result<()> {
    println!("{address}");
    io::stdout().flush()
}
