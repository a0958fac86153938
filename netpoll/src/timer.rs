//! The deadline of a sleep.
//!
//! On Linux a timerfd, registered in the poll edge-triggered. Setting it starts over, whether or
//! not an earlier expiry was read: so it is never read. Each write costs a syscall, so it is written
//! only if the sleeper would otherwise oversleep. A time that is too early stays armed (the common
//! case: the timeout of an operation that has long succeeded) and costs one return for nothing when
//! it comes. Elsewhere the deadline is the timeout of the poll.

use std::time::{Duration, Instant};

use crate::handshake::NEVER;

/// Instants as nanoseconds since the poller was made, so that they fit an atomic.
#[derive(Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock(Instant::now())
    }

    /// An instant before the poller was made is 0; one 584 years after it is as good as any later.
    pub(crate) fn nanos(&self, when: Instant) -> u64 {
        let since = when.saturating_duration_since(self.0).as_nanos();
        u64::try_from(since).unwrap_or(NEVER).min(NEVER - 1)
    }

    pub(crate) fn now(&self) -> u64 {
        self.nanos(Instant::now())
    }

    /// How long until `until`; `None` if there is no deadline.
    pub(crate) fn left(&self, until: u64) -> Option<Duration> {
        (until != NEVER).then(|| Duration::from_nanos(until.saturating_sub(self.now())))
    }
}

pub(crate) use os::Timer;

#[cfg(target_os = "linux")]
mod os {
    use std::{
        io,
        os::fd::{AsRawFd, OwnedFd},
        sync::{Mutex, PoisonError},
        time::Duration,
    };

    use mio::{Interest, Registry, Token, unix::SourceFd};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    use super::Clock;
    use crate::handshake::{Handshake, NEVER};

    /// A timerfd, and what it is set for.
    #[derive(Debug)]
    pub(crate) struct Timer {
        fd: OwnedFd,
        /// When the timerfd expires or expired, by the poller's clock. Never later than the kernel
        /// has it.
        armed: Mutex<u64>,
    }

    impl Timer {
        pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Timer> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Timer { fd, armed: Mutex::new(0) })
        }

        /// For the sleeper: how long may the poll last? It need not count the deadline; that is
        /// armed. `until` may come forward at any time.
        pub(crate) fn timeout(
            &self,
            clock: &Clock,
            handshake: &Handshake,
        ) -> io::Result<Option<Duration>> {
            let left = clock.left(handshake.until());
            if left == Some(Duration::ZERO) {
                return Ok(left);
            }
            self.arm(clock, handshake)?;
            Ok(None)
        }

        /// For others: the deadline has come forward. `true`: the sleeper will be up in time.
        pub(crate) fn bring_forward(&self, clock: &Clock, handshake: &Handshake) -> bool {
            self.arm(clock, handshake).is_ok()
        }

        /// Sees to it that the timer expires no later than `until`.
        fn arm(&self, clock: &Clock, handshake: &Handshake) -> io::Result<()> {
            let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
            // Read under the lock: the last one to arm has seen all who brought it forward.
            let until = handshake.until();
            let now = clock.now();
            // What was armed for a time already past has fired, or fires late.
            let in_time = now < *armed && *armed <= until;
            if until == NEVER || in_time {
                return Ok(());
            }
            self.set(until.saturating_sub(now))?;
            *armed = until;
            Ok(())
        }

        fn set(&self, nanos: u64) -> io::Result<()> {
            // Zero would disarm.
            let left = Duration::from_nanos(nanos.max(1));
            let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
            let value = Timespec {
                tv_sec: left.as_secs() as _,       // at most 584 years
                tv_nsec: left.subsec_nanos() as _, // below 1e9
            };
            let spec = Itimerspec { it_interval: zero, it_value: value };
            timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &spec)?;
            Ok(())
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    use std::{io, time::Duration};

    use mio::{Registry, Token};

    use super::Clock;
    use crate::handshake::Handshake;

    /// No timer of its own: the deadline is the poll's timeout, which mio rounds up.
    #[derive(Debug)]
    pub(crate) struct Timer;

    impl Timer {
        pub(crate) fn new(_: &Registry, _: Token) -> io::Result<Timer> {
            Ok(Timer)
        }

        /// For the sleeper: how long may the poll last?
        pub(crate) fn timeout(
            &self,
            clock: &Clock,
            handshake: &Handshake,
        ) -> io::Result<Option<Duration>> {
            Ok(clock.left(handshake.until()))
        }

        /// For others: the poll may have its timeout already, so the sleeper must be broken.
        pub(crate) fn bring_forward(&self, _: &Clock, _: &Handshake) -> bool {
            false
        }
    }
}
