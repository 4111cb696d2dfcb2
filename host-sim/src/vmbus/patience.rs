//! How long a worker looks for packets by itself before it asks the guest for a signal.
//!
//! A guest that answers at once then costs neither its hypercall nor the host's wake-up. Looking takes a
//! processor, so the time adapts: it grows while sleeps turn out to be shorter than looking could have been,
//! and shrinks to nothing while they are longer, as they are with an idle guest or on a busy machine.

use std::time::{Duration, Instant};

/// Longest that a worker looks.
const MOST: Duration = Duration::from_micros(50);
/// Where growth begins.
const LEAST: Duration = Duration::from_micros(6);

/// Time that a worker looks for packets before it sleeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    limit: Duration,
}

impl Patience {
    /// Never looks.
    pub(super) const NONE: Self = Self {
        limit: Duration::ZERO,
    };

    pub(super) const fn new() -> Self {
        Self { limit: LEAST }
    }

    /// Asks `look` until it says yes or fails, or patience is at its end.
    pub(super) fn look<E>(&self, mut look: impl FnMut() -> Result<bool, E>) -> Result<bool, E> {
        if self.limit.is_zero() {
            return Ok(false);
        }
        let begun = Instant::now();
        loop {
            if look()? {
                return Ok(true);
            }
            if begun.elapsed() >= self.limit {
                return Ok(false);
            }
            std::hint::spin_loop();
        }
    }

    /// Learns how long the worker slept after it had looked in vain.
    pub(super) fn slept(&mut self, time: Duration) {
        self.limit = if time <= MOST {
            (self.limit * 2).clamp(LEAST, MOST)
        } else if self.limit > LEAST {
            self.limit / 2
        } else {
            Duration::ZERO
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_sleeps_make_it_grow_and_long_ones_shrink() {
        let mut patience = Patience::new();
        for _ in 0..10 {
            patience.slept(Duration::from_micros(20));
        }
        assert_eq!(patience.limit, MOST);
        for _ in 0..10 {
            patience.slept(Duration::from_millis(1));
        }
        assert_eq!(patience.limit, Duration::ZERO);
        patience.slept(Duration::from_micros(1));
        assert_eq!(patience.limit, LEAST);
    }

    #[test]
    fn it_looks_until_there_is_something() {
        let mut left = 3;
        let found = Patience {
            limit: MOST * 1_000_000,
        }
        .look(|| {
            left -= 1;
            Ok::<_, ()>(left == 0)
        });
        assert_eq!((found, left), (Ok(true), 0));
        assert_eq!(Patience::new().look(|| Err(7)), Err::<bool, _>(7));
        assert_eq!(Patience::new().look(|| Ok::<_, ()>(false)), Ok(false));
        assert_eq!(Patience::NONE.look(|| Ok::<_, ()>(true)), Ok(false));
    }
}
