//! When a guest is told of its link.

/// Least time between two indications, 100 ns units: 1 s.
const INTERVAL: u64 = 10_000_000;

/// What a guest believes of its link, and since when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LinkTeller {
    /// What it was told last; `None` before it can be told anything.
    told: Option<bool>,
    last: Option<u64>,
    /// The network may be another one.
    has_changed: bool,
}

/// What to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Indication {
    Connect,
    Disconnect,
    NetworkChange,
}

impl LinkTeller {
    /// The guest begins, or asks and is answered: it knows this now.
    pub(super) fn know(&mut self, is_up: bool) {
        self.told = Some(is_up);
    }

    /// The guest cannot be told anything any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The network behind the link may be another one.
    pub(super) fn note_change(&mut self) {
        self.has_changed = true;
    }

    /// What there is to tell of a link in this state, whenever it may be.
    fn pending(&self, is_up: bool) -> Option<Indication> {
        match (self.told?, is_up) {
            (false, true) => Some(Indication::Connect),
            (true, false) => Some(Indication::Disconnect),
            (true, true) if self.has_changed => Some(Indication::NetworkChange),
            _ => None,
        }
    }

    /// What is to be told now.
    pub(super) fn due(&self, is_up: bool, now: u64) -> Option<Indication> {
        self.pending(is_up).filter(|_| {
            self.last
                .is_none_or(|last| now >= last.saturating_add(INTERVAL))
        })
    }

    /// When something is to be told that is held back for now.
    pub(super) fn deadline(&self, is_up: bool, now: u64) -> Option<u64> {
        let pending = self.pending(is_up)?;
        if self.due(is_up, now) == Some(pending) {
            return None;
        }
        self.last.map(|last| last.saturating_add(INTERVAL))
    }

    /// It was told.
    pub(super) fn tell(&mut self, indication: Indication, now: u64) {
        self.told = Some(indication != Indication::Disconnect);
        // A guest whose link comes up looks at its network anew anyway.
        self.has_changed = false;
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // H43
    #[test]
    fn fault_61_flaps_collapse() {
        let mut teller = LinkTeller::default();
        assert_eq!(teller.due(false, 0), None, "nobody to tell");
        teller.know(true);
        assert_eq!(teller.due(true, 0), None);
        assert_eq!(teller.due(false, 5), Some(Indication::Disconnect));
        teller.tell(Indication::Disconnect, 5);
        for (time, is_up) in [(6, true), (7, false), (8, true)] {
            assert_eq!(teller.due(is_up, time), None);
        }
        assert_eq!(teller.deadline(true, 8), Some(5 + INTERVAL));
        assert_eq!(teller.deadline(false, 8), None);
        assert_eq!(teller.due(false, 5 + INTERVAL), None, "back where it was");
        assert_eq!(teller.due(true, 5 + INTERVAL), Some(Indication::Connect));
        teller.tell(Indication::Connect, 5 + INTERVAL);
        teller.note_change();
        assert_eq!(teller.due(true, 6 + INTERVAL), None);
        assert_eq!(
            teller.due(true, 5 + 2 * INTERVAL),
            Some(Indication::NetworkChange)
        );
        teller.forget();
        assert_eq!(teller.due(false, u64::MAX), None);
    }
}
