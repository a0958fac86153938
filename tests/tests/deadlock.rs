//! How a process ends that cannot go on, and that none ends that can. Go: crash_test.go.
//!
//! The programs are in `src/bin/testprog.rs`: a test's own process has threads of the harness,
//! which count as foreign ones.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;

use gort_tests::BOUND;

const DEADLOCK: &str = "fatal error: all goroutines are asleep - deadlock!\n";

/// A program that runs.
struct Program(Child);

/// How it ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn start(name: &str, env: &[(&str, &str)]) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testprog"));
    command.arg(name).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("RUST_BACKTRACE", "0").env_remove("GORT_TRACEBACK").env_remove("GORT_DEBUG");
    command.envs(env.iter().copied());
    // A shell starts what runs in its background with SIGQUIT ignored, and that is inherited.
    // SAFETY: async-signal-safe, and takes no memory.
    unsafe { command.pre_exec(default_sigquit) };
    Program(command.spawn().expect("the program starts"))
}

fn default_sigquit() -> std::io::Result<()> {
    // SAFETY: the default disposition is no code of anybody's.
    unsafe { libc::signal(libc::SIGQUIT, libc::SIG_DFL) };
    Ok(())
}

impl Program {
    /// Its next line on stdout.
    fn line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.0.stdout.as_mut().unwrap();
        while !line.ends_with('\n') {
            let mut byte = [0];
            assert_eq!(stdout.read(&mut byte).unwrap(), 1, "the program ended");
            line.push(byte[0].into());
        }
        line.pop();
        line
    }

    fn quit(&self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::QUIT).unwrap();
    }

    #[track_caller]
    fn end(self) -> Ended {
        let (send, receive) = mpsc::channel();
        thread::spawn(move || send.send(self.0.wait_with_output()));
        let output = receive.recv_timeout(BOUND).expect("the program ends");
        let Output { status, stdout, stderr } = output.unwrap();
        Ended {
            code: status.code(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

/// Runs a program that must deadlock, and returns the dump.
#[track_caller]
fn deadlock(name: &str) -> String {
    let Ended { code, stderr, .. } = start(name, &[]).end();
    assert_eq!(code, Some(2), "{name}: {stderr}");
    let dump = stderr.strip_prefix(DEADLOCK);
    dump.unwrap_or_else(|| panic!("{name}: {stderr}")).to_owned()
}

#[test]
fn test_simple_deadlock() {
    let dump = deadlock("SimpleDeadlock");
    assert!(dump.starts_with("\ngoroutine 1 [waiting]:\ntestprog::simple_deadlock"), "{dump}");
    assert!(dump.contains("\ncreated at "), "{dump}");
}

#[test]
fn test_init_deadlock() {
    deadlock("InitDeadlock");
}

#[test]
fn test_locked_deadlock() {
    let dump = deadlock("LockedDeadlock");
    assert!(dump.contains("goroutine 1 [waiting, locked to thread]:"), "{dump}");
    deadlock("LockedDeadlock2");
}

#[test]
fn tasks() {
    let dump = deadlock("AsyncDeadlock");
    assert!(dump.contains("task 1 [chan receive]:\n"), "{dump}");
    deadlock("LocalDeadlock");
}

#[test]
fn locks_groups_coroutines() {
    let dump = deadlock("MutexDeadlock");
    assert!(dump.contains("goroutine 1 [sync.Mutex.Lock]:\n"), "{dump}");
    let dump = deadlock("WaitGroupDeadlock");
    assert!(dump.contains("goroutine 1 [sync.WaitGroup.Wait]:\n"), "{dump}");
    let dump = deadlock("CoroutineDeadlock");
    assert!(dump.contains("testprog::coroutine_deadlock"), "{dump}");
}

#[test]
fn after_something_else() {
    deadlock("PausedDeadlock");
    deadlock("RunDeadlock");
    deadlock("ForeignEnds");
    let dump = deadlock("TwoRuntimesDeadlock");
    assert_eq!(dump.matches("goroutine 1 [").count(), 2, "one of each runtime: {dump}");
}

#[test]
fn off_where_it_is_off() {
    for name in ["Embedded", "Off"] {
        let Ended { code, stderr, .. } = start(name, &[]).end();
        assert_eq!((code, stderr.as_str()), (None, ""), "{name} ends by its alarm");
    }
}

#[test]
fn no_false_alarm() {
    for name in ["Timer", "Blocking", "Syscall", "Foreign", "OtherRuntime"] {
        let Ended { code, stdout, stderr } = start(name, &[]).end();
        assert_eq!((code, stdout.as_str()), (Some(0), "done\n"), "{name}: {stderr}");
    }
}

#[test]
fn test_netpoll_deadlock() {
    let mut program = start("NetpollDeadlock", &[]);
    let port: u16 = program.line().parse().unwrap();
    // The pace of a false alarm, not a synchronisation.
    thread::sleep(std::time::Duration::from_millis(300));
    let _stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let Ended { code, stdout, stderr } = program.end();
    assert_eq!((code, stdout.as_str()), (Some(0), "done\n"), "{stderr}");
}

#[test]
fn test_main_goroutine_id() {
    let Ended { code, stderr, .. } = start("MainGoroutineID", &[]).end();
    assert_eq!(code, Some(101), "{stderr}");
    let dump = deadlock("SimpleDeadlock");
    assert!(dump.contains("goroutine 1 ["), "{dump}");
}

#[test]
fn levels_of_traceback() {
    let run = |level| start("SimpleDeadlock", &[("GORT_TRACEBACK", level)]).end();
    for level in ["none", "0"] {
        let Ended { code, stderr, .. } = run(level);
        assert_eq!((code, stderr.as_str()), (Some(2), DEADLOCK));
    }
    for level in ["single", "all", "1"] {
        let Ended { code, stderr, .. } = run(level);
        assert!(code == Some(2) && stderr.contains("goroutine 1 ["), "{stderr}");
        assert!(!stderr.contains("gort::task::goroutine") && !stderr.contains("M0: "), "{stderr}");
    }
    for (level, end) in [("system", Some(2)), ("2", Some(2)), ("crash", None)] {
        let Ended { code, stderr, .. } = run(level);
        assert!(code == end && stderr.contains("gort::task::goroutine"), "{stderr}");
        assert!(stderr.contains("\nP0: status=idle") && stderr.contains("\nM0: p=nil"), "{stderr}");
    }
}

/// SIGQUIT prints everybody, and ends the process with 2.
#[test]
fn sigquit() {
    let mut program = start("Parked", &[]);
    assert_eq!(program.line(), "ready");
    program.quit();
    let Ended { code, stderr, .. } = program.end();
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.starts_with("SIGQUIT: quit\n\ngoroutine 1 ["), "{stderr}");
    assert!(stderr.contains("]: receiver\n"), "{stderr}");
    assert!(stderr.contains("\ntask "), "{stderr}");
}

/// Also when every thread is busy for good.
#[test]
fn sigquit_beside_hogs() {
    let mut program = start("Hogs", &[]);
    assert_eq!(program.line(), "ready");
    program.quit();
    let Ended { code, stderr, .. } = program.end();
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains(" [running]:\n\tgoroutine running on other thread"), "{stderr}");
}

/// The report of an overflow is followed by the others.
#[test]
fn overflow() {
    let Ended { code, stderr, .. } = start("Overflow", &[]).end();
    assert_eq!(code, Some(2), "{stderr}");
    let (report, dump) = stderr.split_once("\n\n").expect(&stderr);
    assert!(report.starts_with("fatal error: goroutine 1 stack overflow (stack_size"), "{stderr}");
    assert!(dump.contains("goroutine 1 [running]:\n"), "{stderr}");
    assert!(dump.contains("]: receiver\n"), "{stderr}");
}

/// `GORT_DEBUG=schedtrace=5`: lines that Go's tools read.
#[test]
fn schedtrace() {
    let Ended { code, stderr, .. } = start("Timer", &[("GORT_DEBUG", "schedtrace=5")]).end();
    assert_eq!(code, Some(0), "{stderr}");
    let lines: Vec<_> = BufReader::new(stderr.as_bytes()).lines().map(Result::unwrap).collect();
    assert!(lines.len() > 5, "{stderr}");
    for line in lines {
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!(words[0], "SCHED", "{line}");
        assert!(words[1].strip_suffix("ms:").unwrap().parse::<u32>().is_ok(), "{line}");
        let names = [
            "gomaxprocs=",
            "idleprocs=",
            "threads=",
            "spinningthreads=",
            "needspinning=",
            "idlethreads=",
            "runqueue=",
        ];
        for (word, name) in words[2..].iter().zip(names) {
            assert!(word.strip_prefix(name).is_some_and(|n| n.parse::<u32>().is_ok()), "{line}");
        }
        assert!(line.contains(" [ ") && line.contains("] schedticks=[ "), "{line}");
    }
}

#[test]
fn scheddetail() {
    let env = [("GORT_DEBUG", "schedtrace=5,scheddetail=1")];
    let Ended { code, stderr, .. } = start("Timer", &env).end();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("\n  P0: status="), "{stderr}");
    assert!(stderr.contains("\n  M0: p="), "{stderr}");
    assert!(stderr.contains("\n  G1: status=4(sleep) m=nil\n"), "{stderr}");
    let Ended { code, stderr, .. } = start("Timer", &[("GORT_DEBUG", "schedtrace=x")]).end();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("GORT_DEBUG: \"schedtrace=x\" is not a number"), "{stderr}");
}
