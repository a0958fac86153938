//! Settings, good and bad, and the environment.

use std::io::ErrorKind;

use gort::{Builder, Runtime};
use gort_tests::{Child, is_child};

#[test]
fn zero_and_absurd_procs_are_refused() {
    for n in [0, 4097, usize::MAX] {
        let error = Builder::new().procs(n).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let text = error.to_string();
        assert!(text.contains("Builder::procs") && text.contains(&n.to_string()), "{text}");
    }
}

#[test]
fn a_nul_in_the_thread_name_is_refused() {
    let error = Builder::new().procs(1).thread_name("a\0b").build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("thread_name"), "{error}");
}

#[test]
fn threads_have_the_name() {
    let rt = Builder::new().procs(1).thread_name("blossom").build().unwrap();
    let name = rt.spawn(async { std::thread::current().name().map(str::to_owned) });
    let name = rt.block_on(name).unwrap().unwrap();
    assert!(name.starts_with("blossom"), "{name}");
}

#[test]
fn an_odd_thread_name_does_no_harm() {
    for name in ["", "a name that is longer than the fifteen bytes of the kernel", "ünïcödé"] {
        let rt = Builder::new().procs(1).thread_name(name).build().unwrap();
        assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    }
}

#[test]
fn metrics_tell_the_procs() {
    for procs in [1, 2, 3, 64] {
        let rt = Builder::new().procs(procs).build().unwrap();
        let m = rt.handle().metrics();
        assert_eq!((m.procs, m.per_proc.len()), (procs, procs));
        assert!(format!("{rt:?}").contains(&procs.to_string()));
    }
}

/// In a child whose `GORT_PROCS` is set: prints what a runtime is built with.
fn report() {
    match Runtime::new() {
        Ok(rt) => eprintln!("procs={};", rt.handle().metrics().procs),
        Err(error) => eprintln!("error={:?} {error};", error.kind()),
    }
    let explicit = Builder::new().procs(2).build().unwrap();
    eprintln!("explicit={};", explicit.handle().metrics().procs);
}

#[test]
fn gort_procs_is_read() {
    if is_child() {
        return report();
    }
    for (value, said) in [
        ("3", "procs=3;"),
        (" 5 ", "procs=5;"),
        ("1", "procs=1;"),
        ("0", "error=InvalidInput GORT_PROCS: 0 is not between 1 and 4096;"),
        ("99999", "error=InvalidInput GORT_PROCS: 99999 is not between 1 and 4096;"),
        ("many", "error=InvalidInput GORT_PROCS: \"many\" is not a number;"),
        ("-1", "error=InvalidInput GORT_PROCS: \"-1\" is not a number;"),
        ("", "error=InvalidInput GORT_PROCS: \"\" is not a number;"),
    ] {
        let ended = Child::of("gort_procs_is_read").env("GORT_PROCS", value).run();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stderr.contains(said), "{value:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("explicit=2;"), "Builder::procs wins: {}", ended.stderr);
    }
}

/// A bad `GORT_PROCS` is said once, in words, where nobody can look at a `Result`.
#[test]
fn a_bad_gort_procs_and_the_default_runtime() {
    if is_child() {
        assert_eq!(gort::block_on(async { 1 }), 1);
        return;
    }
    let ended = Child::of("a_bad_gort_procs_and_the_default_runtime").env("GORT_PROCS", "x").run();
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("cannot start the default runtime"), "{}", ended.stderr);
    assert!(ended.stderr.contains("GORT_PROCS: \"x\" is not a number"), "{}", ended.stderr);
}

#[test]
fn current_outside_any_runtime_panics_and_says_so() {
    assert!(gort::Handle::try_current().is_none());
    let payload = std::panic::catch_unwind(gort::Handle::current).unwrap_err();
    assert!(gort_tests::panic_text(&*payload).contains("outside of any gort runtime"));
}
