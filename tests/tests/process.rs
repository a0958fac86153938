//! `gort::process`: children, their ends and their pipes.

mod go_modes;

use std::io::{self, ErrorKind};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures::future::{join, join_all, try_join};
use futures::{AsyncReadExt, AsyncWriteExt};
use gort::Runtime;
use gort::prelude::*;
use gort::process::{Child, Command, Stdio};
use gort::time::timeout;
use gort_tests::{Child as Own, Counts, alone, eventually, is_child, runtime};

use go_modes::Mode;

/// A shell that runs `script`, with pipes.
fn sh(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `body` as a task, a goroutine, the root of a `block_on`, and on a foreign executor.
fn everywhere<F>(rt: &Runtime, body: impl Fn() -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (task, in_goroutine) = (rt.spawn(body()), body.clone());
    let goroutine = rt.go(move || in_goroutine().wait());
    rt.block_on(body());
    let entered = rt.enter();
    futures::executor::block_on(body());
    drop(entered);
    task.wait().unwrap();
    goroutine.wait().unwrap();
}

/// As `go_modes::for_modes`, but for what is run twice in any case: see `pidfds_are_refused`.
fn for_modes(test: impl Fn(&Runtime, Mode)) {
    if is_child() {
        return go_modes::check(Mode::Home, 2, test);
    }
    go_modes::for_modes(test);
}

/// Whether the process is there, running or not yet reaped.
fn exists(pid: u32) -> bool {
    // SAFETY: a call without pointers, and the signal 0 is none.
    unsafe { libc::kill(pid.cast_signed(), 0) == 0 }
}

#[test]
fn an_echo_through_cat() {
    async fn by_futures() {
        let mut cat = Command::new("cat");
        let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut stdin, mut stdout) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
        for word in ["pear", "figs"] {
            stdin.write_all(word.as_bytes()).await.unwrap();
            let mut back = [0; 4];
            stdout.read_exact(&mut back).await.unwrap();
            assert_eq!(back, word.as_bytes());
        }
        stdin.close().await.unwrap();
        assert_eq!(stdin.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(stdout.read(&mut [0]).await.unwrap(), 0);
        assert!(cat.wait().await.unwrap().success());
    }
    fn by_std() {
        let mut cat = sh("cat; cat >&2").spawn().unwrap();
        let (mut stdin, mut stdout) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
        io::Write::write_all(&mut stdin, b"pear").unwrap();
        let mut back = [0; 4];
        io::Read::read_exact(&mut stdout, &mut back).unwrap();
        assert_eq!(&back, b"pear");
        drop(stdin);
        assert_eq!(io::read_to_string(stdout).unwrap(), "");
        assert_eq!(io::read_to_string(cat.stderr.take().unwrap()).unwrap(), "");
        assert!(cat.wait().wait().unwrap().success());
    }
    for_modes(|rt, _| {
        everywhere(rt, by_futures);
        rt.go(by_std).wait().unwrap();
        let _entered = rt.enter();
        by_std();
    });
}

#[test]
fn how_it_ended() {
    async fn body() {
        for code in [0, 1, 42, 255] {
            let status = sh(&format!("exit {code}")).status().await.unwrap();
            assert_eq!(status.code(), Some(code));
        }
        let status = sh("kill -TERM $$").status().await.unwrap();
        assert_eq!((status.code(), status.signal()), (None, Some(libc::SIGTERM)));
        let error = Command::new("/no/such/program").spawn().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = Command::new("/dev/null").status().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    }
    for_modes(|rt, _| everywhere(rt, body));
}

#[test]
fn what_it_is_given() {
    async fn body() {
        let mut command = Command::new("/bin/sh");
        command.arg0("name").args(["-c", "echo $0 $A $B$C; pwd; echo bad >&2"]);
        command.env_clear().envs([("A", "1"), ("B", "2"), ("C", "3")]).env_remove("C");
        let output = command.arg("zero").current_dir("/").output().await.unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "zero 1 2\n/\n");
        assert_eq!(output.stderr, b"bad\n");
        // Chosen streams stay; and input is none.
        let mut command = Command::new("cat");
        command.stdout(Stdio::null());
        assert_eq!(command.output().await.unwrap().stdout, b"");
        let mut leader = sh("kill -TERM 0");
        assert_eq!(leader.process_group(0).status().await.unwrap().signal(), Some(libc::SIGTERM));
    }
    for_modes(|rt, _| everywhere(rt, body));
}

#[test]
fn wait_twice_and_look() {
    async fn body() {
        let mut child = sh("read line; exit 3").spawn().unwrap();
        let pid = child.id().unwrap();
        assert_eq!(child.try_wait().unwrap(), None);
        for _ in 0..3 {
            // `wait` would close its input.
            let mut stdin = child.stdin.take();
            assert!(timeout(Duration::from_micros(100), child.wait()).await.is_err());
            std::mem::swap(&mut child.stdin, &mut stdin);
        }
        assert!(exists(pid));
        assert_eq!(child.wait().await.unwrap().code(), Some(3));
        assert!(!exists(pid));
        assert_eq!(child.id(), None);
        assert_eq!(child.wait().await.unwrap().code(), Some(3));
        assert_eq!(child.try_wait().unwrap().and_then(|s| s.code()), Some(3));
        child.start_kill().unwrap(); // no more than a no-op
    }
    for_modes(|rt, _| everywhere(rt, body));
}

#[test]
fn kill() {
    async fn body() {
        let mut child = sh("read line").spawn().unwrap();
        let stdin = child.stdin.take();
        child.kill().await.unwrap();
        assert_eq!(child.wait().await.unwrap().signal(), Some(libc::SIGKILL));
        child.kill().await.unwrap();
        drop(stdin);
    }
    for_modes(|rt, _| everywhere(rt, body));
}

/// A dropped child is killed, or runs on; in either case it is reaped when others come and go.
#[test]
fn dropped_children() {
    async fn body() {
        let mut read = sh("read line");
        let mut killed = read.kill_on_drop(true).spawn().unwrap();
        let (pid, _stdin) = (killed.id().unwrap(), killed.stdin.take());
        drop(killed);
        let mut left = read.kill_on_drop(false).spawn().unwrap();
        let (other, stdin) = (left.id().unwrap(), left.stdin.take());
        drop(left);
        eventually("it is reaped", || {
            sh("").spawn().unwrap().wait().wait().unwrap();
            !exists(pid)
        });
        assert!(exists(other));
        drop(stdin);
        eventually("it is reaped", || {
            drop(sh("").spawn().unwrap());
            !exists(other)
        });
        // A future that is dropped drops its child.
        let mut sleeps = Command::new("sleep");
        let mut waiting = Box::pin(sleeps.arg("1000").kill_on_drop(true).output());
        assert!(timeout(Duration::from_millis(1), &mut waiting).await.is_err());
        drop(waiting);
    }
    for_modes(|rt, _| everywhere(rt, body));
}

#[test]
fn megabytes_through_all_pipes() {
    const BYTES: usize = 3 << 20;
    async fn body() {
        let mut child = sh("tee /dev/stderr").spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let data = b"0123456789abcde".repeat(BYTES / 15);
        let write = async {
            stdin.write_all(&data).await?;
            stdin.close().await
        };
        let ((), output) = try_join(write, child.wait_with_output()).await.unwrap();
        assert!(output.status.success());
        assert!(output.stdout == data && output.stderr == data);
    }
    for_modes(|rt, _| everywhere(rt, body));
}

/// The output of one is the input of the next.
#[test]
fn a_pipeline() {
    async fn body() {
        let mut first = sh("printf 'pear\\nfig\\n'").spawn().unwrap();
        let between = Stdio::try_from(first.stdout.take().unwrap()).unwrap();
        let second = Command::new("sort").stdin(between).output().await.unwrap();
        assert_eq!(second.stdout, b"fig\npear\n");
        assert!(first.wait().await.unwrap().success());
    }
    for_modes(|rt, _| everywhere(rt, body));
}

/// One who waits for a child delays nobody, on any number of Ps.
#[test]
fn others_go_on_meanwhile() {
    for_modes(|rt, _| {
        rt.go(|| {
            let mut child = sh("read line; exit 7").spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let ticker = gort::go(move || {
                for _ in 0..10 {
                    gort::time::sleep(Duration::from_millis(1)).wait();
                }
                io::Write::write_all(&mut stdin, b"line\n").unwrap();
            });
            assert_eq!(child.wait().wait().unwrap().code(), Some(7));
            ticker.wait().unwrap();
        })
        .wait()
        .unwrap();
    });
}

/// A child that runs does not keep its runtime from ending.
#[test]
fn a_runtime_ends_before_its_children() {
    let rt = runtime(2);
    let (mut child, stdin) = rt.block_on(async {
        let mut child = sh("read line; exit 7").spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        assert!(timeout(Duration::from_millis(1), child.wait()).await.is_err());
        (child, stdin)
    });
    drop(rt);
    drop(stdin);
    eventually("the status", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().wait().unwrap().code(), Some(7));
}

/// Go: os/exec, `TestConcurrentExec`: a hundred at a time, half of them killed.
#[test]
fn concurrent_exec() {
    async fn one(i: usize) -> ExitStatus {
        let mut child = sh("read line; exit 5").spawn().unwrap();
        if i.is_multiple_of(2) {
            let stdin = child.stdin.take();
            gort::yield_now().await;
            child.start_kill().unwrap();
            let status = child.wait().await.unwrap();
            drop(stdin);
            status
        } else {
            child.wait().await.unwrap()
        }
    }
    let _machine = alone();
    gort::block_on(async {}); // the default runtime's descriptors are there
    for (mode, procs) in [(Mode::Home, 1), (Mode::Migrate, 2), (Mode::Home, 4)] {
        go_modes::check(mode, procs, |rt, _| {
            let before = Counts::now();
            let children: Vec<_> = (0..100)
                .map(|i| match i % 4 < 2 {
                    true => rt.spawn(one(i)),
                    false => rt.go(move || one(i).wait()),
                })
                .collect();
            for (i, status) in join_all(children).wait().into_iter().enumerate() {
                let status = status.unwrap();
                match i % 2 == 0 {
                    true => assert_eq!(status.signal(), Some(libc::SIGKILL)),
                    false => assert_eq!(status.code(), Some(5)),
                }
            }
            assert!(Counts::now().fds <= before.fds);
        });
    }
}

/// Go: os/exec, `TestStdinCloseRace`: the input is closed while the child is killed.
#[test]
fn stdin_close_race() {
    for_modes(|rt, _| {
        for _ in 0..5 {
            rt.go(|| {
                let mut child = sh("cat").spawn().unwrap();
                let mut stdin = child.stdin.take().unwrap();
                let closer = gort::go(move || {
                    // The child may be gone, and then the pipe is broken.
                    drop(io::Write::write_all(&mut stdin, b"unlikely to be read"));
                });
                child.start_kill().unwrap();
                closer.wait().unwrap();
                child.wait().wait().unwrap();
            })
            .wait()
            .unwrap();
        }
    });
}

/// Go: os/exec, `TestExtraFilesRace`: children that are started at the same time, beside sockets
/// and files that come and go, have their own three streams and nothing else.
#[test]
fn extra_files_race() {
    async fn opens() {
        for _ in 0..20 {
            let listener = gort::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let (one, two) = join(gort::net::TcpStream::connect(addr), listener.accept()).await;
            let _kept = (one.unwrap(), two.unwrap(), gort::fs::File::open("/").await.unwrap());
        }
    }
    async fn starts(i: usize, streams: usize) {
        let mut command = sh(&format!("echo {i}; ls /proc/self/fd | wc -l"));
        let child: Child = command.stdin(Stdio::null()).spawn().unwrap();
        let output = child.wait_with_output().await.unwrap();
        let words = String::from_utf8(output.stdout).unwrap();
        let open = streams + 1; // the directory that is read
        assert_eq!(words.split_whitespace().collect::<Vec<_>>(), [i.to_string(), open.to_string()]);
    }
    // The three, and what the one who has started this test wants to be passed on.
    let own = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let inherited = own.filter(|fd| {
        let number: i32 = fd.file_name().to_str().unwrap().parse().unwrap();
        // SAFETY: a call without pointers; -1 where it has been closed.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        flags >= 0 && flags & libc::FD_CLOEXEC == 0
    });
    let streams = inherited.count();
    assert!(streams >= 3);
    for_modes(|rt, _| {
        let mut tasks: Vec<_> = (0..6).map(|i| rt.spawn(starts(i, streams))).collect();
        tasks.extend((6..12).map(|i| rt.go(move || starts(i, streams).wait())));
        tasks.push(rt.spawn(opens()));
        join_all(tasks).wait().into_iter().for_each(Result::unwrap);
    });
}

/// What runs in the child before the program does.
#[test]
fn pre_exec() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let rt = runtime(1);
    let status = rt.block_on(async {
        let mut command = sh("umask");
        // SAFETY: the closure makes one system call, and stores to memory of its own.
        unsafe {
            command.pre_exec(|| {
                CALLS.fetch_add(1, SeqCst);
                libc::umask(0o123);
                Ok(())
            });
        }
        command.output().await.unwrap()
    });
    assert_eq!(status.stdout, b"0123\n");
    assert_eq!(CALLS.load(SeqCst), 0, "it ran in this process");
    let refused = rt.block_on(async {
        let mut command = sh("");
        // SAFETY: the closure does nothing.
        unsafe { command.pre_exec(|| Err(ErrorKind::Other.into())) };
        command.spawn().map(drop)
    });
    assert!(refused.is_err());
}

/// As the system of a container may: there is no `pidfd_open`.
fn refuse_pidfds() {
    let filter =
        |code: u32, k: u32, jump: u8| libc::sock_filter { code: code as u16, jt: 0, jf: jump, k };
    let refuse = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
    let mut filters = [
        filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0), // the number of the call
        filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_pidfd_open as u32, 1),
        filter(libc::BPF_RET | libc::BPF_K, refuse, 0),
        filter(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let program = libc::sock_fprog { len: filters.len() as u16, filter: filters.as_mut_ptr() };
    // SAFETY: the program lives as long as the calls, which copy it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program), 0);
        assert_eq!(libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0), -1);
    }
}

/// The same tests, without pidfds.
#[test]
fn pidfds_are_refused() {
    if !is_child() {
        let ended = Own::of("pidfds_are_refused").run();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        return;
    }
    refuse_pidfds();
    an_echo_through_cat();
    how_it_ended();
    wait_twice_and_look();
    kill();
    dropped_children();
    others_go_on_meanwhile();
    a_runtime_ends_before_its_children();
    concurrent_exec();
}
