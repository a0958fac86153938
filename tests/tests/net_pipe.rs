//! Pipes. From Go's os/pipe_test.go, os/timeout_test.go and net/write_unix_test.go: EPIPE,
//! ClosedPipeRaceRead, ClosedPipeRaceWrite, ReadNonblockingFd, NonpollableDeadline, EndlessWrite. Not
//! here: StdPipe (a process that dies by SIGPIPE; Rust ignores it), FdReadRace (`Fd` sets a file to
//! blocking mode; ours does not), CloseWithBlockingReadByFd and ByNewFile (the same).

mod net_modes;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use gort::net::AsyncFd;
use gort::net::unix::pipe::{OpenOptions, Receiver, Sender, pipe};
use gort::prelude::*;
use gort::time::{Duration, Instant};
use gort_tests::{Counts, Rng, alone, for_procs_alone};

use net_modes::{everywhere, for_modes};

#[test]
fn there_and_the_end() {
    everywhere(|| async {
        let (mut sender, mut receiver) = pipe().unwrap();
        assert!(AsyncReadExt::read(&mut receiver, &mut [0; 8]).now_or_never().is_none());
        AsyncWriteExt::write_all(&mut sender, b"hello").await.unwrap();
        let mut buf = [0; 5];
        AsyncReadExt::read_exact(&mut receiver, &mut buf).await.unwrap();
        assert_eq!(&buf, b"hello");
        AsyncWriteExt::write_all(&mut sender, b"and the end").await.unwrap();
        sender.close().await.unwrap();
        let mut rest = String::new();
        AsyncReadExt::read_to_string(&mut receiver, &mut rest).await.unwrap();
        assert_eq!(rest, "and the end");
        // Not only the half: a pipe has one direction.
        let error = AsyncWriteExt::write(&mut sender, b"x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    });
}

/// Go: TestEPIPE. Nobody reads.
#[test]
fn epipe() {
    everywhere(|| async {
        let (mut sender, receiver) = pipe().unwrap();
        drop(receiver);
        for _ in 0..3 {
            let error = AsyncWriteExt::write(&mut sender, b"hi").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        }
    });
}

/// Who waits for room learns that nobody reads.
#[test]
fn the_last_reader_goes() {
    for_modes(|rt, _| {
        let (mut sender, receiver) = rt.run(|| pipe().unwrap());
        let writer = rt.go(move || {
            loop {
                if let Err(error) = Write::write_all(&mut sender, &[0; 1000]) {
                    break error.kind();
                }
            }
        });
        let mut receiver = receiver;
        rt.block_on(AsyncReadExt::read_exact(&mut receiver, &mut [0; 1000])).unwrap();
        drop(receiver);
        assert_eq!(writer.wait().unwrap(), ErrorKind::BrokenPipe);
    });
}

/// A checksum that knows the order: the position is mixed in.
fn checksum(block: &[u8], seed: u64) -> u64 {
    let words = block.as_chunks::<8>().0.iter();
    words.fold(seed, |sum, word| (sum ^ u64::from_le_bytes(*word)).rotate_left(7))
}

const BYTES: usize = if cfg!(debug_assertions) { 64 << 20 } else { 1 << 30 };

/// Writes that many bytes, in blocks of random length; returns their checksum.
fn send_all(mut rng: Rng, mut write: impl FnMut(&[u8])) -> u64 {
    let mut block = vec![0; 1 << 20];
    let (mut left, mut sum) = (BYTES, 0);
    while left > 0 {
        let n = left.min(8 * (1 + rng.below(1 << 17) as usize));
        block[..8].copy_from_slice(&(left as u64).to_le_bytes());
        sum = checksum(&block[..n], sum);
        write(&block[..n]);
        left -= n;
    }
    sum
}

/// 1 GiB through a pipe (1/16 in a debug build), with a checksum, and blocks of random length.
#[test]
fn a_gibibyte() {
    let mut rng = Rng::from_env();
    let _machine = alone();
    for mode in net_modes::MODES {
        let theirs = rng.split();
        net_modes::check(mode, 2, |rt, _| {
            let (mut sender, mut receiver) = rt.run(|| pipe().unwrap());
            let rng = theirs.clone();
            let writer =
                rt.go(move || send_all(rng, |block| Write::write_all(&mut sender, block).unwrap()));
            let reader = rt.spawn(async move {
                let mut block = vec![0; 64 << 10];
                let (mut total, mut sum) = (0, 0);
                while total < BYTES {
                    let n = (BYTES - total).min(block.len());
                    AsyncReadExt::read_exact(&mut receiver, &mut block[..n]).await.unwrap();
                    sum = checksum(&block[..n], sum);
                    total += n;
                }
                assert_eq!(AsyncReadExt::read(&mut receiver, &mut block).await.unwrap(), 0);
                sum
            });
            assert_eq!(writer.wait().unwrap(), reader.wait().unwrap());
        });
    }
}

/// Go: TestEndlessWrite. One side writes until it is told that nobody reads.
#[test]
fn endless_write() {
    for_modes(|rt, _| {
        let (sender, mut receiver) = rt.run(|| pipe().unwrap());
        let writer = rt.spawn(async move {
            let (mut sender, block, mut total) = (sender, vec![7; 64 << 10], 0);
            loop {
                match AsyncWriteExt::write(&mut sender, &block).await {
                    Ok(n) => total += n,
                    Err(error) => break (error.kind(), total),
                }
            }
        });
        let read = rt.run(move || {
            let (mut block, mut total) = (vec![0; 64 << 10], 0);
            while total < 2 << 20 {
                total += Read::read(&mut receiver, &mut block).unwrap();
            }
            total
        });
        let (error, written) = writer.wait().unwrap();
        assert_eq!(error, ErrorKind::BrokenPipe);
        assert!(written >= read);
    });
}

/// Go: TestClosedPipeRaceRead, TestClosedPipeRaceWrite: a close while somebody waits, or is about to.
#[test]
fn closed_pipe_races() {
    for_modes(|rt, _| {
        for round in 0..20 {
            let (sender, receiver) = rt.run(|| pipe().unwrap());
            let receiver = Arc::new(receiver);
            let theirs = receiver.clone();
            let reader = rt.go(move || Read::read(&mut &*theirs, &mut [0; 8]));
            if round % 2 == 0 {
                rt.block_on(gort::yield_now());
            }
            receiver.close_now().unwrap();
            let error = reader.wait().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotConnected);
            assert_eq!(sender.try_write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);

            let (sender, mut receiver) = rt.run(|| pipe().unwrap());
            let sender = Arc::new(sender);
            let theirs = sender.clone();
            let writer = rt.spawn(async move {
                let block = vec![1; 1 << 20];
                AsyncWriteExt::write_all(&mut &*theirs, &block).await
            });
            if round % 2 == 0 {
                rt.block_on(gort::yield_now());
            }
            sender.close_now().unwrap();
            let error = writer.wait().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotConnected);
            let mut rest = Vec::new();
            rt.block_on(AsyncReadExt::read_to_end(&mut receiver, &mut rest)).unwrap();
        }
    });
}

/// Deadlines as Go's os/timeout_test.go has them for pipes.
#[test]
fn deadlines() {
    everywhere(|| async {
        let (mut sender, mut receiver) = pipe().unwrap();
        let mut buf = [0; 8];
        receiver.set_read_deadline(Some(Instant::now() + Duration::from_millis(2)));
        let error = AsyncReadExt::read(&mut receiver, &mut buf).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        AsyncWriteExt::write_all(&mut sender, b"x").await.unwrap();
        assert_eq!(receiver.try_read(&mut buf).unwrap_err().kind(), ErrorKind::TimedOut);
        receiver.set_read_deadline(None);
        assert_eq!(receiver.try_read(&mut buf).unwrap(), 1);
        sender.set_write_deadline(Some(Instant::now() + Duration::from_millis(5)));
        let block = vec![0; 1 << 20];
        let error = AsyncWriteExt::write_all(&mut sender, &block).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

/// Go: TestNonpollableDeadline. What cannot be polled cannot be a pipe nor an `AsyncFd`, which alone
/// have deadlines.
#[test]
fn nonpollable() {
    everywhere(|| async {
        let file = || File::open("Cargo.toml").unwrap();
        assert_eq!(AsyncFd::new(file()).unwrap_err().kind(), ErrorKind::Unsupported);
        let error = Receiver::from_owned_fd(file().into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = Sender::from_owned_fd(file().into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

/// Go: TestReadNonblockingFd, and back.
#[test]
fn blocking_and_not() {
    everywhere(|| async {
        let (std_reader, std_writer) = std::io::pipe().unwrap();
        let sender = Sender::from_owned_fd(OwnedFd::from(std_writer)).unwrap();
        let receiver = Receiver::from_owned_fd(OwnedFd::from(std_reader)).unwrap();
        assert_eq!(receiver.try_read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        sender.writable().await.unwrap();
        sender.try_write(b"ab").unwrap();
        receiver.readable().await.unwrap();
        assert_eq!(receiver.try_read(&mut [0; 1]).unwrap(), 1);

        let mut file = File::from(receiver.into_nonblocking_fd().unwrap());
        assert_eq!(Read::read(&mut file, &mut [0; 8]).unwrap(), 1);
        assert_eq!(Read::read(&mut file, &mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let receiver = Receiver::from_owned_fd(file.into()).unwrap();
        let mut file = File::from(receiver.into_blocking_fd().unwrap());
        let reader = std::thread::spawn(move || Read::read(&mut file, &mut [0; 8]).unwrap());
        let mut file = File::from(sender.into_blocking_fd().unwrap());
        Write::write_all(&mut file, b"late").unwrap();
        assert_eq!(reader.join().unwrap(), 4);
    });
}

struct Fifo(PathBuf);

impl Fifo {
    fn new(name: &str) -> Fifo {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let path = std::env::temp_dir().join(format!("gort-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        Fifo(path)
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn with_a_path() {
    everywhere(|| async {
        let fifo = Fifo::new("fifo");
        let error = OpenOptions::new().open_sender(&fifo.0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENXIO), "nobody reads");
        let mut receiver = OpenOptions::new().open_receiver(&fifo.0).unwrap();
        let mut sender = OpenOptions::new().open_sender(&fifo.0).unwrap();
        AsyncWriteExt::write_all(&mut sender, b"x").await.unwrap();
        assert_eq!(AsyncReadExt::read(&mut receiver, &mut [0; 8]).await.unwrap(), 1);
        drop(sender);
        assert_eq!(AsyncReadExt::read(&mut receiver, &mut [0; 8]).await.unwrap(), 0);
        drop(receiver);
        let sender = OpenOptions::new().read_write(true).open_sender(&fifo.0).unwrap();
        sender.try_write(b"for nobody yet").unwrap();
        let error = OpenOptions::new().open_receiver("Cargo.toml").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

/// Many writers at one pipe: what is no longer than PIPE_BUF stays together.
#[test]
fn many_writers() {
    for_modes(|rt, _| {
        let (sender, mut receiver) = rt.run(|| pipe().unwrap());
        let sender = Arc::new(sender);
        let writers: Vec<_> = (0..50u8)
            .map(|i| {
                let sender = sender.clone();
                rt.go(move || {
                    for _ in 0..20 {
                        Write::write_all(&mut &*sender, &[i; 512]).unwrap();
                    }
                })
            })
            .collect();
        drop(sender);
        let mut counts = [0; 50];
        rt.run(move || {
            let mut block = [0; 512];
            while Read::read(&mut receiver, &mut block[..1]).unwrap() == 1 {
                Read::read_exact(&mut receiver, &mut block[1..]).unwrap();
                assert!(block.iter().all(|byte| *byte == block[0]));
                counts[usize::from(block[0])] += 1;
            }
            assert_eq!(counts, [20; 50]);
        });
        writers.into_iter().for_each(|writer| writer.wait().unwrap());
    });
}

#[test]
fn descriptors_are_given_back() {
    let _machine = alone();
    // The first close makes a file that stands in for all closed ones.
    gort_tests::runtime(1).run(|| pipe().unwrap().0.close_now().unwrap());
    let before = Counts::now();
    for_procs_alone(|rt| {
        let work = rt.spawn(async {
            for _ in 0..100 {
                let (mut sender, mut receiver) = pipe().unwrap();
                AsyncWriteExt::write_all(&mut sender, b"x").await.unwrap();
                AsyncReadExt::read(&mut receiver, &mut [0]).await.unwrap();
                sender.close_now().unwrap();
                drop(receiver.into_blocking_fd().unwrap());
            }
        });
        rt.block_on(work).unwrap();
    });
    before.assert_restored();
}
