//! One synthetic timer: its registers and when it expires. No clock, no thread: time is an argument.

use hypercall::msr::StimerConfig;

/// Most periods by which a timer that is not lazy lags behind; what is older is left out.
const CATCH_UP_PERIODS: u64 = 8;

/// A synthetic timer of a virtual processor.
#[derive(Debug, Default)]
pub(super) struct Timer {
    config: StimerConfig,
    count: u64,
    deadline: Option<u64>,
    /// Whether its one message is waiting for a free slot.
    pub(super) message_waits: bool,
}

/// A timer has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expiry {
    /// How it shows.
    pub(super) means: ExpiryMeans,
    /// Reference time at which it was due.
    pub(super) due: u64,
    /// Periods that were left out because the host is late.
    pub(super) skipped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExpiryMeans {
    /// An interrupt at once.
    Interrupt { vector: u8 },
    /// A message to a SINT.
    Message { sint: u8 },
}

impl Timer {
    pub(super) fn config(&self) -> StimerConfig {
        self.config
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// A write of the configuration register; also while enabled, which sets the timer up anew.
    pub(super) fn write_config(&mut self, config: StimerConfig, now: u64, shortest_period: u64) {
        self.config = config.normalised();
        self.arm(now, shortest_period);
    }

    /// A write of the count register: 0 stops the timer, another value starts it if it is enabled or auto-enabled.
    pub(super) fn write_count(&mut self, count: u64, now: u64, shortest_period: u64) {
        self.count = count;
        if count == 0 {
            self.config = self.config.with_enabled(false);
        } else if self.config.is_auto_enable() {
            self.config = self.config.with_enabled(true).normalised();
        }
        self.arm(now, shortest_period);
    }

    fn arm(&mut self, now: u64, shortest_period: u64) {
        self.deadline = if !self.config.is_enabled() || self.count == 0 {
            None
        } else if self.config.is_periodic() {
            Some(now.saturating_add(self.period(shortest_period)))
        } else {
            Some(self.count)
        };
    }

    fn period(&self, shortest: u64) -> u64 {
        self.count.max(shortest).max(1)
    }

    /// Takes one expiry that is due at `now`. A timer that is not lazy may have more of them.
    pub(super) fn expire(&mut self, now: u64, shortest_period: u64) -> Option<Expiry> {
        let due = self.deadline.filter(|&due| due <= now)?;
        let mut skipped = 0;
        if self.config.is_periodic() {
            let period = self.period(shortest_period);
            let late = (now - due) / period;
            skipped = if self.config.is_lazy() {
                late
            } else {
                late.saturating_sub(CATCH_UP_PERIODS)
            };
            // From the previous deadline rather than from now, so that the period does not drift. `late` periods after
            // `due` is at most `now`, so only the last addition can overflow.
            self.deadline = Some((due + skipped * period).saturating_add(period));
        } else {
            self.deadline = None;
            self.config = self.config.with_enabled(false);
        }
        let means = if self.config.is_direct() {
            ExpiryMeans::Interrupt {
                vector: self.config.vector(),
            }
        } else {
            ExpiryMeans::Message {
                sint: self.config.sint(),
            }
        };
        Some(Expiry {
            means,
            due,
            skipped,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypercall::msr::SintIndex;

    const SHORTEST: u64 = 100;

    fn direct() -> StimerConfig {
        StimerConfig::OFF.with_direct(0xed)
    }

    #[test]
    fn a_one_shot_expires_once_and_clears_enable() {
        let mut timer = Timer::default();
        timer.write_config(direct().with_auto_enable(true), 0, SHORTEST);
        timer.write_count(500, 0, SHORTEST);
        assert!(timer.config().is_enabled());
        assert_eq!(timer.expire(499, SHORTEST), None);
        let expiry = timer.expire(600, SHORTEST).unwrap();
        assert_eq!(expiry.means, ExpiryMeans::Interrupt { vector: 0xed });
        assert_eq!((expiry.due, expiry.skipped), (500, 0));
        assert!(!timer.config().is_enabled());
        assert_eq!(timer.expire(u64::MAX, SHORTEST), None);
        assert_eq!(timer.count(), 500);
    }

    #[test]
    fn a_lazy_timer_leaves_out_what_it_missed() {
        let mut timer = Timer::default();
        let config = direct().with_periodic(true).with_lazy(true);
        timer.write_count(1000, 0, SHORTEST);
        timer.write_config(config.with_enabled(true), 0, SHORTEST);
        let expiry = timer.expire(5500, SHORTEST).unwrap();
        assert_eq!(expiry.skipped, 4);
        assert_eq!(timer.deadline(), Some(6000));
    }

    #[test]
    fn a_strict_timer_catches_up_within_bounds_and_does_not_drift() {
        let mut timer = Timer::default();
        let config = direct().with_periodic(true).with_enabled(true);
        timer.write_count(1000, 0, SHORTEST);
        timer.write_config(config, 0, SHORTEST);
        let now = 1_000_500;
        let mut delivered = 0;
        let mut skipped = 0;
        while let Some(expiry) = timer.expire(now, SHORTEST) {
            delivered += 1;
            skipped += expiry.skipped;
        }
        assert_eq!(delivered, CATCH_UP_PERIODS + 1);
        assert_eq!(delivered + skipped, 1000);
        assert_eq!(timer.deadline(), Some(1_001_000));
    }

    #[test]
    fn message_mode_without_a_sint_does_not_become_enabled() {
        let mut timer = Timer::default();
        timer.write_config(StimerConfig::OFF.with_enabled(true), 0, SHORTEST);
        assert!(!timer.config().is_enabled());
        timer.write_config(StimerConfig::OFF.with_auto_enable(true), 0, SHORTEST);
        timer.write_count(5, 0, SHORTEST);
        assert!(!timer.config().is_enabled());
        let sint = StimerConfig::OFF.with_message(SintIndex::VMBUS);
        timer.write_config(sint.with_enabled(true), 0, SHORTEST);
        assert!(timer.config().is_enabled());
        assert_eq!(
            timer.expire(5, SHORTEST).unwrap().means,
            ExpiryMeans::Message { sint: 2 }
        );
    }
}
