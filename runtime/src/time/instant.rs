//! `Instant`: a reading of the monotonic clock.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

use crate::rt;
use crate::sched::paused::is_tested;
use crate::util::clock;

/// A point in time, as [`std::time::Instant`], in 8 bytes.
///
/// It counts nanoseconds from the process's first reading, so it spans 584 years; arithmetic
/// beyond that saturates. It converts from and into the standard one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    nanos: u64,
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

impl Instant {
    /// Now; on a [paused](super::pause) clock, if that is the one of the current runtime.
    #[must_use]
    pub fn now() -> Instant {
        Instant { nanos: if is_tested() { rt::now() } else { clock::now() } }
    }

    pub(crate) fn from_nanos(nanos: u64) -> Instant {
        Instant { nanos }
    }

    pub(crate) fn nanos(self) -> u64 {
        self.nanos
    }

    /// The time since `earlier`; zero if that is later.
    #[must_use]
    pub fn duration_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }

    /// The time since `earlier`, or None if that is later.
    #[must_use]
    pub fn checked_duration_since(self, earlier: Instant) -> Option<Duration> {
        self.nanos.checked_sub(earlier.nanos).map(Duration::from_nanos)
    }

    /// The time since then; zero if it lies ahead.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Instant::now().duration_since(self)
    }

    /// The instant `d` later, or None if the clock does not reach that far.
    #[must_use]
    pub fn checked_add(self, d: Duration) -> Option<Instant> {
        let nanos = self.nanos.checked_add(u64::try_from(d.as_nanos()).ok()?)?;
        Some(Instant { nanos })
    }

    /// The instant `d` earlier, or None if that is before the clock began.
    #[must_use]
    pub fn checked_sub(self, d: Duration) -> Option<Instant> {
        let nanos = self.nanos.checked_sub(u64::try_from(d.as_nanos()).ok()?)?;
        Some(Instant { nanos })
    }

    /// As the standard type. Instants beyond what that can hold become ones 30 years ahead.
    #[must_use]
    pub fn into_std(self) -> std::time::Instant {
        clock::instant(self.nanos)
    }
}

impl From<std::time::Instant> for Instant {
    /// Instants before the process's first reading become that reading.
    fn from(t: std::time::Instant) -> Instant {
        Instant { nanos: clock::nanos(t) }
    }
}

impl From<Instant> for std::time::Instant {
    fn from(t: Instant) -> std::time::Instant {
        t.into_std()
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, d: Duration) -> Instant {
        Instant { nanos: self.nanos.saturating_add(nanos(d)) }
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, d: Duration) {
        *self = *self + d;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, d: Duration) -> Instant {
        Instant { nanos: self.nanos.saturating_sub(nanos(d)) }
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, d: Duration) {
        *self = *self - d;
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instant({:?})", Duration::from_nanos(self.nanos))
    }
}
