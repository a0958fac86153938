//! `gort::fs`: what it does, and that nobody stands still meanwhile.

mod go_modes;

use std::future::pending;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use futures::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, TryStreamExt};
use gort::Runtime;
use gort::fs::{self, File, OpenOptions};
use gort::prelude::*;
use gort_tests::{Child, Counts, Rng, alone, beside_others, is_child, threads};

use go_modes::{Mode, for_modes};

/// A directory of its own, which goes with this.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("gort-fs-{}-{}", std::process::id(), NEXT.fetch_add(1, SeqCst));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Dir(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Runs `body` as a task, in goroutines with and without neighbours on their thread, on plain
/// threads, and on a foreign executor.
fn everywhere<F>(rt: &Runtime, mode: Mode, body: impl Fn() -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    rt.spawn(body()).wait().unwrap();
    let (alone, beside) = (body.clone(), body.clone());
    rt.go(move || alone().wait()).wait().unwrap();
    at_home(rt, mode, move || {
        let _neighbour = neighbour();
        beside().wait();
    });
    rt.block_on(body());
    body().wait();
    futures::executor::block_on(body());
}

/// Runs `body` where local tasks may live: in a goroutine, or, if those migrate, in a `block_on`.
fn at_home(rt: &Runtime, mode: Mode, body: impl FnOnce() + Send + 'static) {
    match mode {
        Mode::Home => rt.go(body).wait().unwrap(),
        Mode::Migrate => rt.block_on(async { body() }),
    }
}

/// Something that lives on this thread while the result is kept.
fn neighbour() -> impl Drop {
    struct Neighbour(Option<gort::JoinHandle<()>>);
    impl Drop for Neighbour {
        fn drop(&mut self) {
            self.0.take().unwrap().abort();
        }
    }
    Neighbour(Some(gort::spawn_local(pending())))
}

fn mkfifo(path: &Path) {
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a path that lives long enough.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0, "{}", io::Error::last_os_error());
}

/// Both ends of a FIFO in one file, so that no open waits.
async fn fifo(dir: &Dir) -> File {
    let path = dir.path("fifo");
    mkfifo(&path);
    OpenOptions::new().read(true).write(true).open(path).await.unwrap()
}

#[test]
fn the_functions_that_take_a_path() {
    async fn body() {
        let dir = Dir::new();
        let [a, b, c] = ["a", "b", "c"].map(|name| dir.path(name));
        assert!(!fs::exists(&a).await.unwrap());
        fs::write(&a, "pear").await.unwrap();
        assert_eq!(fs::read(&a).await.unwrap(), b"pear");
        assert_eq!(fs::copy(&a, &b).await.unwrap(), 4);
        fs::write(&a, b"fig").await.unwrap();
        assert_eq!(fs::read_to_string(&a).await.unwrap(), "fig");
        assert_eq!(fs::read_to_string(&b).await.unwrap(), "pear");
        fs::rename(&a, &b).await.unwrap();
        assert_eq!(fs::read(&b).await.unwrap(), b"fig");
        assert!(!fs::exists(&a).await.unwrap());

        fs::hard_link(&b, &a).await.unwrap();
        assert_eq!(fs::read(&a).await.unwrap(), b"fig");
        fs::symlink("b", &c).await.unwrap();
        assert_eq!(fs::read_link(&c).await.unwrap(), Path::new("b"));
        let real = fs::canonicalize(&c).await.unwrap();
        assert_eq!(real, fs::canonicalize(&b).await.unwrap());
        assert!(fs::metadata(&c).await.unwrap().is_file());
        assert!(fs::symlink_metadata(&c).await.unwrap().is_symlink());
        fs::set_permissions(&b, fs::Permissions::from_mode(0o400)).await.unwrap();
        assert_eq!(fs::metadata(&a).await.unwrap().permissions().mode() & 0o777, 0o400);

        let deep = dir.path("x/y/z");
        fs::create_dir_all(&deep).await.unwrap();
        fs::create_dir(deep.join("1")).await.unwrap();
        fs::remove_dir(deep.join("1")).await.unwrap();
        fs::remove_dir_all(dir.path("x")).await.unwrap();
        assert!(!fs::exists(&deep).await.unwrap());
        fs::remove_file(&a).await.unwrap();
        assert!(fs::exists(&b).await.unwrap());
    }
    for_modes(|rt, mode| everywhere(rt, mode, body));
}

#[test]
fn a_file_by_the_traits_of_futures() {
    async fn body() {
        let dir = Dir::new();
        let path = dir.path("file");
        let mut file = File::create_new(&path).await.unwrap();
        file.write_all(b"0123456789").await.unwrap();
        let both = [IoSlice::new(b"ab"), IoSlice::new(b"cd")];
        assert_eq!(file.write_vectored(&both).await.unwrap(), 4);
        file.flush().await.unwrap();
        file.sync_data().await.unwrap();
        file.sync_all().await.unwrap();
        assert_eq!(file.seek(SeekFrom::Start(8)).await.unwrap(), 8);
        let mut text = String::new();
        file.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "89abcd");
        assert_eq!(file.seek(SeekFrom::End(-2)).await.unwrap(), 12);

        // By offset, from which the position does not move.
        assert_eq!(file.write_at(b"XY", 2).await.unwrap(), 2);
        let mut four = [0; 4];
        assert_eq!(file.read_at(&mut four, 1).await.unwrap(), 4);
        assert_eq!(&four, b"1XY4");
        assert_eq!(file.read_at(&mut four, 100).await.unwrap(), 0);
        assert!(file.read_at(&mut four, u64::MAX).await.is_err());
        let (mut one, mut rest) = ([0; 1], [0; 8]);
        let mut bufs = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut rest)];
        assert_eq!(file.read_vectored(&mut bufs).await.unwrap(), 2);
        assert_eq!((one, &rest[..1]), (*b"c", &b"d"[..]));

        file.set_len(3).await.unwrap();
        assert_eq!(file.metadata().await.unwrap().len(), 3);
        file.close().await.unwrap();
        drop(file);
        let mut more = OpenOptions::new().append(true).open(&path).await.unwrap();
        more.write_all(b"!").await.unwrap();
        (&more).write_all(b"?").await.unwrap();
        assert_eq!(fs::read_to_string(&path).await.unwrap(), "01X!?");
        drop(File::create(&path).await.unwrap());
        assert_eq!(fs::metadata(&path).await.unwrap().len(), 0);
    }
    for_modes(|rt, mode| everywhere(rt, mode, body));
}

#[test]
fn a_file_by_the_traits_of_std() {
    fn body() {
        let dir = Dir::new();
        let mut file = File::create_new(dir.path("file")).wait().unwrap();
        io::Write::write_all(&mut file, b"0123456789").unwrap();
        let both = [IoSlice::new(b"ab"), IoSlice::new(b"cd")];
        assert_eq!(io::Write::write_vectored(&mut file, &both).unwrap(), 4);
        io::Write::flush(&mut file).unwrap();
        assert_eq!(io::Seek::seek(&mut &file, SeekFrom::Start(8)).unwrap(), 8);
        let other = file.try_clone().unwrap();
        let mut text = String::new();
        io::Read::read_to_string(&mut file, &mut text).unwrap();
        assert_eq!(text, "89abcd");
        let mut at_its_end = [0; 1];
        assert_eq!(io::Read::read(&mut &other, &mut at_its_end).unwrap(), 0);
        io::Seek::rewind(&mut file).unwrap();
        assert_eq!(io::copy(&mut &file, &mut io::sink()).unwrap(), 14);
        let mut std = file.into_std();
        io::Seek::rewind(&mut std).unwrap();
        assert_eq!(io::read_to_string(File::from_std(std)).unwrap(), "0123456789abcd");
    }
    for_modes(|rt, mode| {
        rt.go(body).wait().unwrap();
        at_home(rt, mode, || {
            let _neighbour = neighbour();
            body();
        });
        rt.spawn(async { body() }).wait().unwrap();
        body();
    });
}

/// Reads and writes of all sizes at random, against a vector: what the kernel has in memory and what
/// it has not must fit together, at one position.
#[test]
fn it_is_what_was_written() {
    const SIZE: usize = 400_000;
    async fn body(mut rng: Rng) {
        let dir = Dir::new();
        let mut below = |n: usize| rng.below(n as u64) as usize;
        let mut model: Vec<u8> = (0..SIZE).map(|_| below(256) as u8).collect();
        fs::write(dir.path("file"), &model).await.unwrap();
        let options = OpenOptions::new().read(true).write(true).clone();
        let mut file = options.open(dir.path("file")).await.unwrap();
        let mut position = 0;
        for _ in 0..150 {
            let largest = [10, 5_000, 200_000][below(3)];
            let len = below(largest);
            match below(4) {
                0 => {
                    position = below(SIZE + 1_000);
                    file.seek(SeekFrom::Start(position as u64)).await.unwrap();
                }
                1 => {
                    let at = below(SIZE);
                    let mut buf = vec![0; len];
                    let n = file.read_at(&mut buf, at as u64).await.unwrap();
                    assert_eq!(buf[..n], model[at..at + n]);
                }
                2 if position + len <= SIZE => {
                    let byte = below(256) as u8;
                    file.write_all(&vec![byte; len]).await.unwrap();
                    model[position..position + len].fill(byte);
                    position += len;
                }
                _ => {
                    let mut buf = vec![0; len];
                    let n = file.read(&mut buf).await.unwrap();
                    assert_eq!(n == 0, len == 0 || position >= SIZE);
                    assert_eq!(buf[..n], model[position.min(SIZE)..][..n]);
                    position += n;
                }
            }
        }
        assert_eq!(fs::read(dir.path("file")).await.unwrap(), model);
    }
    let rng = Mutex::new(Rng::from_env());
    for_modes(|rt, mode| {
        let rng = Arc::new(Mutex::new(rng.lock().unwrap().split()));
        everywhere(rt, mode, move || body(rng.lock().unwrap().split()));
    });
}

#[test]
fn errors() {
    fn kind<T>(result: io::Result<T>) -> ErrorKind {
        result.err().expect("an error").kind()
    }
    async fn body() {
        let dir = Dir::new();
        let none = dir.path("none");
        assert_eq!(kind(File::open(&none).await), ErrorKind::NotFound);
        assert_eq!(kind(fs::read(&none).await), ErrorKind::NotFound);
        assert_eq!(kind(fs::remove_file(&none).await), ErrorKind::NotFound);
        assert_eq!(kind(fs::metadata(&none).await), ErrorKind::NotFound);
        assert_eq!(kind(fs::read_dir(&none).await), ErrorKind::NotFound);
        assert_eq!(kind(fs::read(&dir.0).await), ErrorKind::IsADirectory);
        assert_eq!(kind(fs::remove_dir(dir.0.join("..")).await), ErrorKind::DirectoryNotEmpty);
        let file = dir.path("file");
        fs::write(&file, [0xff]).await.unwrap();
        assert_eq!(kind(fs::read_to_string(&file).await), ErrorKind::InvalidData);
        assert_eq!(kind(File::create_new(&file).await), ErrorKind::AlreadyExists);
        assert_eq!(kind(fs::create_dir(&file).await), ErrorKind::AlreadyExists);
        assert_eq!(kind(OpenOptions::new().open(&file).await), ErrorKind::InvalidInput);
        let mut reader = File::open(&file).await.unwrap();
        assert!(reader.write(b"x").await.is_err());
        assert!(reader.set_len(0).await.is_err());
        assert_eq!(kind(reader.seek(SeekFrom::Current(-1)).await), ErrorKind::InvalidInput);
        let mut writer = File::create(&file).await.unwrap();
        assert!(writer.read(&mut [0]).await.is_err());
        assert!(writer.read_at(&mut [0], 0).await.is_err());
    }
    for_modes(|rt, mode| everywhere(rt, mode, body));
}

#[test]
fn directories() {
    const FILES: usize = 300; // more than a batch
    async fn body() {
        let dir = Dir::new();
        for i in 0..FILES {
            std::fs::write(dir.path(&format!("{i:03}")), [0; 7]).unwrap();
        }
        let mut names = Vec::new();
        let mut entries = fs::read_dir(&dir.0).await.unwrap();
        while let Some(entry) = entries.next_entry().await.unwrap() {
            assert_eq!(entry.path(), dir.0.join(entry.file_name()));
            names.push(entry.file_name().into_string().unwrap());
        }
        assert!(entries.next_entry().await.unwrap().is_none());
        names.sort();
        assert!(names.into_iter().eq((0..FILES).map(|i| format!("{i:03}"))));

        let entries = fs::read_dir(&dir.0).await.unwrap();
        let sizes = entries.and_then(|entry| async move {
            assert!(entry.file_type().await?.is_file());
            Ok(entry.metadata().await?.len())
        });
        assert_eq!(sizes.try_fold(0, async |sum, n| Ok(sum + n)).await.unwrap(), 7 * 300);
        assert_eq!(fs::read_dir(&dir.0).await.unwrap().into_iter().count(), FILES);
        let empty = dir.path("empty");
        fs::create_dir(&empty).await.unwrap();
        assert!(fs::read_dir(empty).await.unwrap().next_entry().await.unwrap().is_none());
    }
    for_modes(|rt, mode| everywhere(rt, mode, body));
}

/// Steps ten times, each time after a wait, and then writes what the reader waits for.
async fn tick_then_write(fifo: File) {
    for _ in 0..10 {
        gort::time::sleep(std::time::Duration::from_millis(1)).await;
        gort::yield_now().await;
    }
    (&fifo).write_all(b"at last").await.unwrap();
}

/// The one who reads waits for the one who ticks: also at P = 1, and also where both live on the
/// same thread.
#[test]
fn a_slow_read_stalls_nobody() {
    fn read(mut fifo: &File) {
        let mut buf = [0; 7];
        io::Read::read_exact(&mut fifo, &mut buf).unwrap();
        assert_eq!(&buf, b"at last");
    }
    for_modes(|rt, mode| {
        let places: [fn(File, File); 5] = [
            |reads, writes| {
                let ticker = gort::spawn(tick_then_write(writes));
                read(&reads);
                ticker.wait().unwrap();
            },
            |reads, writes| {
                let ticker = gort::go(|| tick_then_write(writes).wait());
                read(&reads);
                ticker.wait().unwrap();
            },
            |reads, writes| {
                let ticker = gort::spawn_local(tick_then_write(writes));
                read(&reads);
                ticker.wait().unwrap();
            },
            |mut reads, writes| {
                let ticker = gort::go(|| tick_then_write(writes).wait());
                let reader = gort::spawn(async move {
                    AsyncReadExt::read_exact(&mut reads, &mut [0; 7]).await.unwrap();
                });
                ticker.wait().unwrap();
                reader.wait().unwrap();
            },
            |mut reads, writes| {
                let ticker = gort::spawn_local(tick_then_write(writes));
                let reader = gort::spawn_local(async move {
                    AsyncReadExt::read_exact(&mut reads, &mut [0; 7]).await.unwrap();
                });
                reader.wait().unwrap();
                ticker.wait().unwrap();
            },
        ];
        for place in places {
            at_home(rt, mode, move || {
                let fifo = fifo(&Dir::new()).wait();
                let writes = fifo.try_clone().unwrap();
                place(fifo, writes);
            });
        }
    });
}

/// A writer whose FIFO is full, and the reader beside it, perhaps on the same thread.
#[test]
fn a_slow_write_stalls_nobody() {
    const BYTES: usize = 1 << 20; // the kernel holds 64 KiB
    for_modes(|rt, mode| {
        at_home(rt, mode, || {
            let fifo = fifo(&Dir::new()).wait();
            let mut writes = fifo.try_clone().unwrap();
            let writer = gort::go(move || io::Write::write_all(&mut writes, &[7; BYTES]).unwrap());
            let local = fifo.try_clone().unwrap();
            let reader = gort::spawn_local(async move {
                let mut all = vec![0; BYTES];
                (&local).read_exact(&mut all).await.unwrap();
                all.iter().all(|&byte| byte == 7)
            });
            assert!(reader.wait().unwrap());
            writer.wait().unwrap();
        });
    });
}

/// The open of a FIFO waits for that of the other end.
#[test]
fn a_slow_open_stalls_nobody() {
    for_modes(|rt, mode| {
        at_home(rt, mode, || {
            let dir = Dir::new();
            let path = dir.path("fifo");
            mkfifo(&path);
            let other = path.clone();
            let writer = gort::spawn_local(async move {
                let mut file = OpenOptions::new().write(true).open(other).await.unwrap();
                file.write_all(b"x").await.unwrap();
            });
            assert_eq!(fs::read(path).wait().unwrap(), b"x");
            writer.wait().unwrap();
        });
    });
}

/// Who reads all the time gives way at the end of its slice, to those on the same thread as well.
#[test]
fn a_reader_takes_turns() {
    /// Sets the flag that ends the reader, when it is its turn.
    fn other(done: &Arc<AtomicBool>) -> impl Future<Output = ()> + use<> {
        let done = done.clone();
        async move {
            gort::yield_now().await;
            done.store(true, SeqCst);
        }
    }
    let _machine = beside_others();
    for procs in [1, 2] {
        go_modes::check(Mode::Home, procs, |rt, _| {
            rt.go(|| {
                let done = Arc::<AtomicBool>::default();
                let mut zeros = File::open("/dev/zero").wait().unwrap();
                drop(gort::spawn_local(other(&done)));
                while !done.load(SeqCst) {
                    io::Read::read_exact(&mut zeros, &mut [0; 64]).unwrap();
                }
            })
            .wait()
            .unwrap();
            rt.block_on(async {
                let done = Arc::<AtomicBool>::default();
                let mut zeros = File::open("/dev/zero").await.unwrap();
                drop(gort::spawn_local(other(&done)));
                while !done.load(SeqCst) {
                    zeros.read_exact(&mut [0; 64]).await.unwrap();
                }
            });
        });
    }
}

#[test]
fn nothing_is_left_open() {
    let _machine = alone();
    let before = Counts::now();
    for mode in go_modes::MODES {
        go_modes::check(mode, 2, |rt, mode| {
            everywhere(rt, mode, || async {
                let dir = Dir::new();
                let path = dir.path("file");
                for _ in 0..20 {
                    let file = File::create(&path).await.unwrap();
                    let _other = file.try_clone().unwrap();
                    drop(fs::read_dir(&dir.0).await.unwrap());
                    let _: std::os::fd::OwnedFd = file.into();
                }
            });
        });
    }
    before.assert_restored();
}

/// Without a runtime these are std's calls: no thread is started.
#[test]
fn it_needs_no_runtime() {
    if !is_child() {
        assert_eq!(Child::of("it_needs_no_runtime").run().code, Some(0));
        return;
    }
    let dir = Dir::new();
    futures::executor::block_on(async {
        fs::write(dir.path("file"), b"pear").await.unwrap();
        let mut file = File::open(dir.path("file")).await.unwrap();
        let mut text = String::new();
        io::Read::read_to_string(&mut file, &mut text).unwrap();
        file.seek(SeekFrom::Start(1)).await.unwrap();
        AsyncReadExt::read_to_string(&mut file, &mut text).await.unwrap();
        assert_eq!(text, "pearear");
        assert_eq!(fs::read_dir(&dir.0).await.unwrap().into_iter().count(), 1);
    });
    assert_eq!(threads(), 0);
}
