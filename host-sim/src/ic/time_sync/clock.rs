//! The host's clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use ic_services::time_sync::wire::from_unix_nanoseconds;

/// A clock that tells the time of day.
pub trait WallClock: Send + Sync {
    /// Now, in units of 100 ns since 1601-01-01 UTC.
    fn now(&self) -> u64;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemWallClock;

impl WallClock for SystemWallClock {
    fn now(&self) -> u64 {
        let nanoseconds = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
            Err(before) => {
                i128::try_from(before.duration().as_nanos()).map_or(i128::MIN, |time| -time)
            }
        };
        from_unix_nanoseconds(nanoseconds).unwrap_or_default()
    }
}

/// A clock that somebody sets.
#[derive(Debug, Default)]
pub struct ManualWallClock(AtomicU64);

impl ManualWallClock {
    /// A clock that shows `now`.
    #[must_use]
    pub const fn new(now: u64) -> Self {
        Self(AtomicU64::new(now))
    }

    /// Sets it.
    pub fn set(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
    }
}

impl WallClock for ManualWallClock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
