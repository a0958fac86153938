//! What the tests of goroutines share: each runs in both affinity modes, at P = 1, 2 and 4.

#![allow(dead_code, reason = "each test file uses its part")]

use gort::{Builder, Runtime};
use gort_tests::{BOUND, Watchdog, beside_others};

/// Where started goroutines may go on after a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// On their thread; the default.
    Home,
    /// Anywhere; [`Builder::migrate_goroutines`].
    Migrate,
}

/// Both of them.
pub(crate) const MODES: [Mode; 2] = [Mode::Home, Mode::Migrate];

impl Mode {
    /// A builder with `procs` Ps in this mode.
    pub(crate) fn builder(self, procs: usize) -> Builder {
        let builder = Builder::new().procs(procs);
        match self {
            Mode::Home => builder,
            // SAFETY: the goroutines of these tests keep nothing of their thread over a wait,
            // unless the test runs in the other mode only.
            Mode::Migrate => unsafe { builder.migrate_goroutines() },
        }
    }

    /// A runtime with `procs` Ps in this mode.
    #[track_caller]
    pub(crate) fn runtime(self, procs: usize) -> Runtime {
        self.builder(procs).build().expect("a runtime")
    }
}

/// Runs `test` on a fresh runtime in both modes with 1, 2 and 4 Ps, each under a [`Watchdog`], and
/// then ends the runtime, which must succeed.
#[track_caller]
pub(crate) fn for_modes(test: impl Fn(&Runtime, Mode)) {
    let _machine = beside_others();
    for mode in MODES {
        for procs in [1, 2, 4] {
            check(mode, procs, &test);
        }
    }
}

/// As [`for_modes`], in one mode with `procs` Ps.
#[track_caller]
pub(crate) fn check(mode: Mode, procs: usize, test: impl Fn(&Runtime, Mode)) {
    eprintln!("mode = {mode:?}, procs = {procs}");
    let rt = mode.runtime(procs);
    let watchdog = Watchdog::start(rt.handle());
    test(&rt, mode);
    drop(watchdog);
    assert!(rt.shutdown_timeout(BOUND), "the runtime did not end");
}
