//! `AsyncFd`: readiness of what gort does not know, and files that lie about themselves.

mod net_modes;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures::FutureExt;
use futures::future::{join_all, poll_fn};
use gort::net::{AsyncFd, Direction, UdpSocket};
use gort_tests::{Counts, alone, for_procs, for_procs_alone};
use rustix::event::{EventfdFlags, eventfd};

use net_modes::everywhere;

/// One end watched, the other one plain.
fn pair() -> (AsyncFd<UnixStream>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (AsyncFd::new(ours).unwrap(), theirs)
}

fn counter() -> AsyncFd<OwnedFd> {
    AsyncFd::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap()).unwrap()
}

fn add(fd: impl AsFd, n: u64) {
    assert_eq!(rustix::io::write(fd, &n.to_ne_bytes()).unwrap(), 8);
}

fn take(fd: &OwnedFd) -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::io::read(fd, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

#[test]
fn an_eventfd() {
    everywhere(|| async {
        let fd = Arc::new(counter());
        let theirs = fd.clone();
        let adder = gort::spawn(async move {
            for _ in 0..100 {
                add(theirs.get_ref(), 1);
                gort::yield_now().await;
            }
        });
        let mut sum = 0;
        while sum < 100 {
            sum += fd.async_io(Direction::Read, take).await.unwrap();
        }
        assert_eq!(sum, 100);
        adder.await.unwrap();
    });
}

/// The guard: an attempt that finds nothing waits for the next event, one that finds something
/// leaves the readiness as it is.
#[test]
fn guards() {
    everywhere(|| async {
        let (ours, mut theirs) = pair();
        assert!(ours.readable().now_or_never().is_none());
        theirs.write_all(b"ab").unwrap();
        for letter in b"ab" {
            let mut guard = ours.readable().await.unwrap();
            let mut buf = [0];
            assert_eq!(guard.try_io(|fd| fd.get_ref().read(&mut buf)).unwrap().unwrap(), 1);
            assert_eq!(buf, [*letter]);
        }
        // Still thought to be ready.
        let mut guard = ours.readable().now_or_never().unwrap().unwrap();
        assert!(guard.try_io(|fd| fd.get_ref().read(&mut [0])).is_err());
        drop(guard);
        assert!(ours.readable().now_or_never().is_none());
        theirs.write_all(b"c").unwrap();
        let mut guard = ours.readable().await.unwrap();
        assert_eq!(guard.get_inner().read(&mut [0; 2]).unwrap(), 1);
        guard.clear_ready();
        assert!(ours.readable().now_or_never().is_none());
        assert!(ours.writable().now_or_never().is_some());
    });
}

/// A guard takes back the readiness that it was made for, and none that came later.
#[test]
fn an_old_guard_does_not_clear_a_new_event() {
    everywhere(|| async {
        let (ours, mut theirs) = pair();
        theirs.write_all(b"x").unwrap();
        let mut old = ours.readable().await.unwrap();
        assert_eq!(ours.get_ref().read(&mut [0; 2]).unwrap(), 1);
        let mut new = ours.readable().await.unwrap();
        assert!(new.try_io(|fd| fd.get_ref().read(&mut [0])).is_err());
        theirs.write_all(b"y").unwrap();
        ours.readable().await.unwrap().retain_ready();
        old.clear_ready();
        assert!(ours.readable().now_or_never().is_some());
        assert_eq!(ours.get_ref().read(&mut [0; 2]).unwrap(), 1);
    });
}

#[test]
fn the_end_is_always_ready() {
    everywhere(|| async {
        let (ours, theirs) = pair();
        drop(theirs);
        for _ in 0..3 {
            let mut guard = ours.readable().await.unwrap();
            assert_eq!(guard.try_io(|fd| fd.get_ref().read(&mut [0])).unwrap().unwrap(), 0);
            guard.clear_ready();
            assert!(guard.is_closed());
        }
    });
}

/// Writes fill the buffer, and go on when the peer has read.
#[test]
fn writable() {
    everywhere(|| async {
        let (ours, mut theirs) = pair();
        let block = vec![7; 64 << 10];
        let mut written = 0;
        while let Ok(n) = ours.try_io(Direction::Write, |mut io| io.write(&block)) {
            written += n;
        }
        assert!(ours.writable().now_or_never().is_none());
        let reader = std::thread::spawn(move || {
            let mut all = vec![0; written];
            theirs.read_exact(&mut all).unwrap();
            theirs
        });
        let mut guard = ours.writable().await.unwrap();
        while guard.try_io(|fd| fd.get_ref().write(b"more")).is_err() {
            guard = ours.writable().await.unwrap();
        }
        let mut rest = [0; 4];
        reader.join().unwrap().read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"more");
    });
}

/// Each event wakes all that wait.
#[test]
fn many_wait() {
    everywhere(|| async {
        let fd = Arc::new(counter());
        let woken = Arc::new(AtomicUsize::new(0));
        let waiters: Vec<_> = (0..100)
            .map(|_| {
                let (fd, woken) = (fd.clone(), woken.clone());
                gort::spawn(async move {
                    fd.readable().await.unwrap().retain_ready();
                    woken.fetch_add(1, SeqCst);
                })
            })
            .collect();
        gort::yield_now().await;
        assert_eq!(woken.load(SeqCst), 0);
        add(&*fd, 1);
        join_all(waiters).await.into_iter().for_each(Result::unwrap);
    });
}

#[test]
fn polling() {
    everywhere(|| async {
        let fd = counter();
        let mut guard = poll_fn(|cx| fd.poll_write_ready(cx)).await.unwrap();
        add(guard.get_ref(), 3);
        guard.retain_ready();
        let mut guard = poll_fn(|cx| fd.poll_read_ready(cx)).await.unwrap();
        assert_eq!(guard.try_io(|fd| take(fd.get_ref())).unwrap().unwrap(), 3);
        assert_eq!(guard.get_ref().as_raw_fd(), fd.as_raw_fd());
    });
}

#[test]
fn regular_files_are_refused() {
    everywhere(|| async {
        let error = AsyncFd::new(File::open("Cargo.toml").unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("regular file"));
        assert!(AsyncFd::new(File::open(".").unwrap()).is_err());
    });
}

/// One registration per descriptor and runtime.
#[test]
fn twice_is_an_error() {
    everywhere(|| async {
        let fd = counter();
        let error = AsyncFd::new(fd.as_fd()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        add(&fd, 1);
        fd.readable().await.unwrap().retain_ready();
    });
}

/// Out of the netpoller, and in again.
#[test]
fn into_inner() {
    everywhere(|| async {
        let mut fd = counter();
        for _ in 0..3 {
            let inner = fd.into_inner();
            add(&inner, 1);
            fd = AsyncFd::new(inner).unwrap();
            assert_eq!(fd.async_io(Direction::Read, take).await.unwrap(), 1);
        }
    });
}

/// The file is replaced, its number goes to a socket: that one's registration stays.
#[test]
fn a_replaced_file_takes_nobody_with_it() {
    for_procs(|rt| {
        let work = rt.spawn(async {
            for out in [false, true] {
                let (mut ours, theirs) = pair();
                let number = ours.as_raw_fd();
                let (other, _other) = UnixStream::pair().unwrap();
                let socket = socket_in_place_of(std::mem::replace(ours.get_mut(), other));
                assert_eq!(socket.as_raw_fd(), number);
                if out {
                    drop(ours.into_inner())
                } else {
                    drop(ours)
                }
                let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                assert!(socket.recv(&mut [0; 8]).now_or_never().is_none());
                client.send_to(b"hello", socket.local_addr().unwrap()).await.unwrap();
                assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 5);
                drop(theirs);
            }
        });
        rt.block_on(work).unwrap();
    });
}

/// A socket that takes the number of `file`, which is closed thereby, in one step.
fn socket_in_place_of(file: UnixStream) -> UdpSocket {
    let mut number = OwnedFd::from(file);
    let socket = net::UdpSocket::bind("127.0.0.1:0").unwrap();
    rustix::io::dup2(&socket, &mut number).unwrap();
    let socket = net::UdpSocket::from(number);
    socket.set_nonblocking(true).unwrap();
    UdpSocket::from_std(socket).unwrap()
}

/// A file that names another descriptor each time.
struct Liar([OwnedFd; 2], AtomicUsize);

impl AsFd for Liar {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0[self.1.fetch_add(1, SeqCst) % 2].as_fd()
    }
}

#[test]
fn liars_harm_nobody() {
    everywhere(|| async {
        for start in 0..2 {
            let fds = [counter().into_inner(), counter().into_inner()];
            let fd = AsyncFd::new(Liar(fds, AtomicUsize::new(start))).unwrap();
            assert!(fd.writable().now_or_never().is_some());
            drop(fd);
            let fds = [counter().into_inner(), counter().into_inner()];
            drop(AsyncFd::new(Liar(fds, AtomicUsize::new(start))).unwrap().into_inner());
        }
    });
}

/// A descriptor outlives its runtime; waiting is an error then.
#[test]
fn after_the_runtime() {
    let rt = gort_tests::runtime(2);
    let fd = rt.run(counter);
    drop(rt);
    assert!(futures::executor::block_on(fd.readable()).is_err());
    drop(fd.into_inner());
}

#[test]
fn descriptors_are_given_back() {
    let _machine = alone();
    let before = Counts::now();
    for_procs_alone(|rt| {
        let work = rt.spawn(async {
            for _ in 0..200 {
                let (ours, theirs) = pair();
                assert!(ours.readable().now_or_never().is_none());
                drop(theirs);
                drop(ours.into_inner());
            }
        });
        rt.block_on(work).unwrap();
    });
    before.assert_restored();
}
