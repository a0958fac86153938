//! What the server does for a request: plain code that knows of no runtime.
//!
//! `/echo` is light. The others are hogs: before they echo, they hold up their thread for a good
//! part of a second, each in its own way, and tell nobody.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::http::{self, Message};

/// How long a hog computes or sleeps.
const LONG: Duration = Duration::from_millis(200);
/// How long a hog keeps the lock. They come in pairs, so the other one waits as long.
const HELD: Duration = Duration::from_millis(100);
/// Enough to take a tenth of a second even from memory.
const FILE_SIZE: u64 = 512 << 20;

/// What the handlers share.
pub struct Handlers {
    lock: Mutex<()>,
    file: PathBuf,
}

impl Handlers {
    pub fn new(file: &Path) -> Handlers {
        Handlers { lock: Mutex::new(()), file: file.to_owned() }
    }

    /// The response to a request.
    pub fn answer(&self, request: &Message) -> Vec<u8> {
        match request.what() {
            "/echo" => {}
            "/compute" => compute(LONG),
            "/sleep" => thread::sleep(LONG),
            "/lock" => {
                let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
                thread::sleep(HELD);
            }
            "/file" => {
                if let Err(error) = read_all(&self.file) {
                    return http::response("500 Oh", error.to_string().as_bytes());
                }
            }
            _ => return http::response("404 Not Found", b""),
        }
        http::response("200 OK", &request.body)
    }
}

fn compute(duration: Duration) {
    let start = Instant::now();
    let mut x = 1_u64;
    while start.elapsed() < duration {
        for _ in 0..1000 {
            x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}

fn read_all(path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 << 10];
    while file.read(&mut buffer)? > 0 {
        black_box(&buffer);
    }
    Ok(())
}

/// A big file that is removed in the end. It has no blocks on the disk; reading it costs the system
/// calls and the copying.
pub struct BigFile {
    path: PathBuf,
}

impl BigFile {
    pub fn create() -> io::Result<BigFile> {
        let path = std::env::temp_dir().join(format!("never_stall-{}", std::process::id()));
        let file = BigFile { path };
        File::create_new(&file.path)?.set_len(FILE_SIZE)?;
        Ok(file)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BigFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // somebody else was quicker
    }
}
