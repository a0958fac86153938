//! `gort::signal`. Signals are the whole process's, so each test is a process of its own.

mod go_modes;

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{join_all, select};
use gort::Runtime;
use gort::prelude::*;
use gort::signal::ctrl_c;
use gort::signal::unix::{Signal, SignalKind, signal};
use gort::sync::CancelToken;
use gort_tests::{Child, Counts, Rng, eventually, is_child, runtime};

use go_modes::{Mode, for_modes};

/// Runs `test` in a child, which must end by itself.
#[track_caller]
fn in_child(name: &str, test: impl FnOnce()) {
    if is_child() {
        return test();
    }
    let ended = Child::of(name).run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

fn raise(kind: SignalKind) {
    // SAFETY: a call without pointers.
    let result = unsafe { libc::kill(libc::getpid(), kind.as_raw_value()) };
    assert_eq!(result, 0);
}

const USR1: SignalKind = SignalKind::user_defined1();
const USR2: SignalKind = SignalKind::user_defined2();

/// Whether the listener has nothing to tell.
fn is_quiet(signal: &mut Signal) -> bool {
    signal.poll_recv(&mut Context::from_waker(Waker::noop())).is_pending()
}

/// Runs `body` as a task, a goroutine, the root of a `block_on`, and on a plain thread.
fn everywhere<F>(rt: &Runtime, body: impl Fn() -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    rt.spawn(body()).wait().unwrap();
    let in_goroutine = body.clone();
    rt.go(move || in_goroutine().wait()).wait().unwrap();
    rt.block_on(body());
    let _entered = rt.enter();
    futures::executor::block_on(body());
}

#[test]
fn a_signal_is_received() {
    in_child("a_signal_is_received", || {
        async fn body() {
            let mut one = signal(USR1).unwrap();
            let mut two = signal(USR1).unwrap();
            let mut other = signal(USR2).unwrap();
            for _ in 0..3 {
                raise(USR1);
                assert_eq!(one.recv().await, Some(()));
                assert_eq!(two.next().await, Some(()));
                assert!(is_quiet(&mut other));
            }
            let waits = gort::spawn(async move { other.recv().await });
            gort::yield_now().await;
            raise(USR2);
            assert_eq!(waits.await.unwrap(), Some(()));
        }
        for_modes(|rt, _| everywhere(rt, body));
    });
}

/// Of a thousand one is told, at least, and none twice.
#[test]
fn signals_coalesce() {
    in_child("signals_coalesce", || {
        async fn body() {
            let mut listener = signal(USR1).unwrap();
            (0..1_000).for_each(|_| raise(USR1));
            assert_eq!(listener.recv().await, Some(()));
            while !is_quiet(&mut listener) {} // one that was still on its way
            raise(USR1);
            assert_eq!(listener.recv().await, Some(()));
        }
        for_modes(|rt, _| everywhere(rt, body));
    });
}

#[test]
fn many_listeners_in_many_runtimes() {
    in_child("many_listeners_in_many_runtimes", || {
        let runtimes = [1, 2, 4].map(runtime);
        gort::block_on(async {}); // the default one is there, too
        let before = Counts::now();
        let ready = Arc::new(AtomicUsize::new(0));
        let mut waits = Vec::new();
        for rt in &runtimes {
            for i in 0..60 {
                let is_ready = ready.clone();
                let listen = async move {
                    let mut listener = signal(USR1).unwrap();
                    is_ready.fetch_add(1, SeqCst);
                    listener.recv().await
                };
                waits.push(if i % 2 == 0 { rt.spawn(listen) } else { rt.go(|| listen.wait()) });
            }
        }
        eventually("all listen", || ready.load(SeqCst) == waits.len());
        raise(USR1);
        assert!(join_all(waits).wait().into_iter().all(|seen| seen.unwrap() == Some(())));
        Counts { threads: usize::MAX, ..before }.assert_restored();
    });
}

/// A listener has a runtime's netpoller and holds up nothing: the runtime ends, and says so.
#[test]
fn a_runtime_ends_under_its_listeners() {
    in_child("a_runtime_ends_under_its_listeners", || {
        let rt = runtime(2);
        let listen = rt.spawn(async { signal(USR1).unwrap().recv().await });
        let mut kept = rt.block_on(async { signal(USR1) }).unwrap();
        drop(rt);
        assert!(listen.wait().unwrap_err().is_cancelled());
        raise(USR1);
        assert_eq!(kept.recv().wait(), None);
    });
}

#[test]
fn what_cannot_be_listened_for() {
    in_child("what_cannot_be_listened_for", || {
        let faults = [libc::SIGILL, libc::SIGFPE, libc::SIGSEGV, libc::SIGBUS];
        for number in faults.into_iter().chain([libc::SIGKILL, libc::SIGSTOP, -1, 0, 10_000]) {
            let error = signal(SignalKind::from_raw(number)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{number}: {error}");
        }
        assert_eq!(i32::from(SignalKind::from(libc::SIGHUP)), SignalKind::hangup().as_raw_value());
    });
}

/// The default effect stays until somebody listens, and does not come back.
#[test]
fn the_default_effect() {
    if !is_child() {
        assert_eq!(Child::of("the_default_effect").run().code, None);
        assert_eq!(Child::of("the_default_effect").env("LISTENS", "1").run().code, Some(0));
        return;
    }
    if std::env::var_os("LISTENS").is_some() {
        runtime(1).block_on(async { drop(signal(SignalKind::terminate()).unwrap()) });
    }
    raise(SignalKind::terminate());
}

/// Who listens for SIGQUIT gets no dump.
#[test]
fn quit() {
    in_child("quit", || {
        gort::dump_on_sigquit().unwrap();
        let rt = runtime(2);
        let mut listener = rt.block_on(async { signal(SignalKind::quit()) }).unwrap();
        for _ in 0..3 {
            raise(SignalKind::quit());
            assert_eq!(rt.block_on(listener.recv()), Some(()));
        }
    });
}

/// `ctrl_c` listens from its first poll, and can be waited for again.
#[test]
fn ctrl_c_again_and_again() {
    in_child("ctrl_c_again_and_again", || {
        for_modes(|rt, _| {
            everywhere(rt, || async {
                for _ in 0..3 {
                    let mut waits = Box::pin(ctrl_c());
                    assert!(matches!(futures::poll!(&mut waits), Poll::Pending));
                    raise(SignalKind::interrupt());
                    waits.await.unwrap();
                }
            });
        });
    });
}

/// A server that serves until Ctrl-C or SIGTERM, and then lets its requests end.
#[test]
fn graceful_shutdown() {
    in_child("graceful_shutdown", || {
        for_modes(|rt, mode| {
            for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
                let (stop, served) = (CancelToken::new(), Arc::new(AtomicUsize::new(0)));
                let requests: Vec<_> = (0..20)
                    .map(|i| {
                        let (stop, served) = (stop.clone(), served.clone());
                        let request = async move {
                            stop.cancelled().await;
                            gort::yield_now().await;
                            served.fetch_add(1, SeqCst);
                        };
                        if i % 2 == 0 { rt.spawn(request) } else { rt.go(|| request.wait()) }
                    })
                    .collect();
                let (listens, is_listening) = gort::sync::oneshot::channel();
                let shutdown = async move {
                    let mut terminate = signal(SignalKind::terminate()).unwrap();
                    let mut interrupt = signal(SignalKind::interrupt()).unwrap();
                    listens.send(()).unwrap();
                    let (one, two) = (Box::pin(terminate.recv()), Box::pin(interrupt.recv()));
                    select(one, two).await;
                    stop.cancel();
                };
                let shutdown = match mode {
                    Mode::Home => rt.spawn(shutdown),
                    Mode::Migrate => rt.go(|| shutdown.wait()),
                };
                is_listening.wait().unwrap();
                raise(kind);
                shutdown.wait().unwrap();
                join_all(requests).wait().into_iter().for_each(Result::unwrap);
                assert_eq!(served.load(SeqCst), 20);
            }
        });
    });
}

/// Go: os/signal, `TestStress`: signals all the time, while others compute and wait.
#[test]
fn stress() {
    in_child("stress", || {
        for_modes(|rt, _| {
            let done = Arc::<AtomicBool>::default();
            let mut listener = rt.block_on(async { signal(USR1) }).unwrap();
            let receiver = rt.spawn(async move {
                for _ in 0..200 {
                    listener.recv().await.unwrap();
                }
            });
            let stop = done.clone();
            let sender = rt.go(move || {
                while !stop.load(SeqCst) {
                    raise(USR1);
                    gort::yield_now().wait();
                }
            });
            let waiters: Vec<_> = (0..8)
                .map(|_| {
                    rt.go(|| {
                        for _ in 0..5 {
                            gort::time::sleep(Duration::from_micros(50)).wait();
                            gort::blocking(|| std::thread::sleep(Duration::from_micros(50)));
                        }
                    })
                })
                .collect();
            receiver.wait().unwrap();
            join_all(waiters).wait().into_iter().for_each(Result::unwrap);
            done.store(true, SeqCst);
            sender.wait().unwrap();
        });
    });
}

/// Go: os/signal, `TestAtomicStop`: listeners come and go while signals come in. Each that is
/// there when one is raised is told; and none is left over.
#[test]
fn atomic_stop() {
    in_child("atomic_stop", || {
        let rng = Mutex::new(Rng::from_env());
        gort::block_on(async {}); // the default runtime's descriptors are there
        for_modes(|rt, _| {
            let before = Counts::now();
            let tasks: Vec<_> = (0..8)
                .map(|_| {
                    let mut rng = rng.lock().unwrap().split();
                    rt.go(move || {
                        for _ in 0..30 {
                            let mut listener = signal(USR1).unwrap();
                            for _ in 0..rng.below(3) {
                                raise(USR1);
                                listener.recv().wait().unwrap();
                            }
                            raise(USR1);
                        }
                    })
                })
                .collect();
            join_all(tasks).wait().into_iter().for_each(Result::unwrap);
            assert!(Counts::now().fds <= before.fds);
        });
    });
}

/// Go: os/signal, `TestNotifyContext`: a token that a signal cancels, or something else before it.
#[test]
fn notify_context() {
    in_child("notify_context", || {
        for_modes(|rt, _| {
            everywhere(rt, || async {
                for by_signal in [true, false] {
                    let token = CancelToken::new();
                    let mut listener = signal(USR1).unwrap();
                    let cancels = token.clone();
                    let notify = gort::spawn(async move {
                        listener.recv().await;
                        cancels.cancel();
                    });
                    if by_signal {
                        raise(USR1);
                    } else {
                        token.cancel();
                    }
                    token.cancelled().await;
                    notify.abort();
                    drop(notify.await);
                }
            });
        });
    });
}
