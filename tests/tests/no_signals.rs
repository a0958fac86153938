//! A P is taken without a signal: user code's system calls are not interrupted, no handler is
//! installed, and a system that refuses `membarrier` is no obstacle.

mod go_modes;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use gort::prelude::*;
use gort::{Handle, Runtime};
use gort_tests::{Child, Machine, alone, is_child, runtime, spin, tick_until};

use go_modes::{MODES, check};

const LONG: Duration = Duration::from_millis(150);

fn retakes(handle: &Handle) -> u64 {
    handle.metrics().per_proc.iter().map(|p| p.retakes).sum()
}

/// What the process does with each signal: the handler's address and the flags.
fn dispositions() -> Vec<(i32, usize, i32)> {
    (1..=64)
        .filter(|signal| ![libc::SIGSEGV, libc::SIGBUS].contains(signal))
        .map(|signal| {
            // SAFETY: zeroes are a valid `sigaction`; it is only written to.
            let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: reads the disposition into memory of this frame.
            let done = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut now) };
            if done == 0 { (signal, now.sa_sigaction, now.sa_flags) } else { (signal, 0, 0) }
        })
        .collect()
}

/// The signals that a thread blocks.
fn mask() -> Vec<i32> {
    // SAFETY: zeroes are a valid set; it is only written to.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: a null new set only reads.
    let done = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut set) };
    assert_eq!(done, 0);
    // SAFETY: the set was written above.
    (1..=64).filter(|signal| unsafe { libc::sigismember(&raw const set, *signal) } == 1).collect()
}

/// Makes a call, again and again until a P has been taken during one of them: the machine may stand
/// still for as long as a call takes.
fn until_retaken(handle: &Handle, call: impl Fn()) {
    let (before, start) = (retakes(handle), Instant::now());
    while retakes(handle) == before {
        assert!(start.elapsed() < gort_tests::BOUND, "the P is not taken");
        call();
    }
}

/// Has two hogs lose their Ps. With an idle P nobody would want them.
fn hog(rt: &Runtime) {
    let until = |call: fn()| {
        let handle = rt.handle();
        move || if handle.metrics().procs == 1 { until_retaken(&handle, call) } else { call() }
    };
    let (spin, sleep) = (until(|| spin(LONG)), until(|| thread::sleep(LONG)));
    let hogs = [rt.go(spin), rt.spawn(async move { sleep() })];
    hogs.into_iter().for_each(|hog| hog.wait().unwrap());
}

/// In a process of its own: the harness and other tests have their handlers.
#[test]
fn no_signal_is_installed() {
    if is_child() {
        let (before, blocked) = (dispositions(), mask());
        let rt = runtime(1);
        let done = Arc::<AtomicBool>::default();
        let ticker = rt.spawn(tick_until(done.clone()));
        hog(&rt);
        assert_eq!(dispositions(), before);
        assert_eq!(rt.spawn(async { mask() }).wait().unwrap(), blocked, "in a task");
        assert_eq!(rt.go(mask).wait().unwrap(), blocked, "in a goroutine");
        done.store(true, SeqCst);
        ticker.wait().unwrap();
        drop(rt);
        assert_eq!(dispositions(), before);
        return;
    }
    let ended = Child::of("no_signal_is_installed").run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// Calls that a signal would interrupt: a read from a pipe, a long sleep, a poll. Each is made while
/// its P is taken.
#[test]
fn user_code_sees_no_eintr() {
    fn nanosleep(time: Duration) {
        let wanted = libc::timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
        // SAFETY: both point to this frame, or nowhere.
        let done = unsafe { libc::nanosleep(&raw const wanted, std::ptr::null_mut()) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }
    fn poll(time: Duration) {
        let millis = time.as_millis() as i32;
        // SAFETY: no descriptors.
        let ready = unsafe { libc::poll(std::ptr::null_mut(), 0, millis) };
        assert_eq!(ready, 0, "{}", std::io::Error::last_os_error());
    }
    fn read(time: Duration) {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let writer = thread::spawn(move || {
            thread::sleep(time);
            far.write_all(b"x").unwrap();
        });
        loop {
            match near.read(&mut [0]) {
                Ok(n) => break assert_eq!(n, 1),
                Err(error) => assert_ne!(error.kind(), ErrorKind::Interrupted),
            }
        }
        writer.join().unwrap();
    }
    let _machine = alone();
    for mode in MODES {
        check(mode, 1, |rt, _| {
            let done = Arc::<AtomicBool>::default();
            let ticker = rt.spawn(tick_until(done.clone()));
            for call in [nanosleep, poll, read] {
                let calls = || {
                    let handle = rt.handle();
                    move |call: &dyn Fn()| until_retaken(&handle, call)
                };
                let (task, plain, announced) = (calls(), calls(), calls());
                rt.spawn(async move { task(&|| call(LONG / 2)) }).wait().unwrap();
                rt.go(move || plain(&|| call(LONG / 2))).wait().unwrap();
                rt.go(move || announced(&|| gort::syscall(|| call(LONG / 2)))).wait().unwrap();
            }
            done.store(true, SeqCst);
            ticker.wait().unwrap();
        });
    }
}

/// Makes `membarrier` fail with EPERM, for this thread and those that it starts, as a container's
/// seccomp profile does.
fn deny_membarrier() {
    // BPF: load the number of the call; if it is membarrier, EPERM; else go on.
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let ret = libc::BPF_RET | libc::BPF_K;
    let line = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        line(load, 0, 0, 0),
        line(equal, 0, 1, libc::SYS_membarrier as u32),
        line(ret, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        line(ret, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes no pointers.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the program and its filter live in this frame; the kernel copies them.
    let done =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// The fallback, real fences on both sides: hand-off, stealing and wakes as ever.
#[test]
fn without_membarrier() {
    if is_child() {
        deny_membarrier();
        for mode in MODES {
            for procs in [1, 2] {
                let rt = mode.runtime(procs);
                assert!(!rt.handle().metrics().membarrier);
                let done = Arc::<AtomicBool>::default();
                let ticker = rt.spawn(tick_until(done.clone()));
                let machine = Machine::watch();
                hog(&rt);
                done.store(true, SeqCst);
                machine.judge(&[("the ticker", ticker.wait().unwrap())]);
                let sum: u64 = rt.block_on(async {
                    let all: Vec<_> = (0..1000)
                        .map(|i| {
                            gort::spawn(async move {
                                gort::yield_now().await;
                                if i % 50 == 0 {
                                    spin(Duration::from_micros(1500));
                                }
                                gort::go(move || i).await.unwrap()
                            })
                        })
                        .collect();
                    let mut sum = 0;
                    for one in all {
                        sum += one.await.unwrap();
                    }
                    sum
                });
                assert_eq!(sum, 999 * 500);
            }
        }
        return;
    }
    let _machine = alone();
    let ended = Child::of("without_membarrier").run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// Where it is allowed it is used. A container may deny it to this test as well.
#[test]
fn the_metrics_say_what_is_used() {
    // MEMBARRIER_CMD_QUERY
    // SAFETY: takes no pointers and changes nothing.
    let commands = unsafe { libc::syscall(libc::SYS_membarrier, 0, 0, 0) };
    let private = i64::from(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    let start = Instant::now();
    let rt = runtime(1);
    assert_eq!(rt.handle().metrics().membarrier, commands >= 0 && commands & private != 0);
    drop(rt);
    assert!(start.elapsed() < gort_tests::BOUND);
}
