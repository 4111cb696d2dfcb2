//! A numbered log of what has changed, for any number of viewers who each look when they like.

use std::collections::VecDeque;

use super::rectangle::Rectangle;

/// Changes that are remembered one by one.
const MAX_ENTRIES: usize = 64;

/// The last changes of a picture.
#[derive(Clone, Debug, Default)]
pub struct DamageLog {
    sequence: u64,
    entries: VecDeque<(u64, Rectangle)>,
    /// Number of the newest change that is forgotten.
    forgotten: u64,
}

impl DamageLog {
    /// Number of the last change; 0 before the first.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Notes a change.
    pub fn add(&mut self, rectangle: Rectangle) {
        if rectangle.is_empty() {
            return;
        }
        self.sequence += 1;
        // What a newer change covers need not be remembered: whoever hasn't seen it gets the newer one.
        self.entries.retain(|(_, older)| !rectangle.contains(older));
        self.entries.push_back((self.sequence, rectangle));
        if self.entries.len() > MAX_ENTRIES
            && let Some((sequence, _)) = self.entries.pop_front()
        {
            self.forgotten = sequence;
        }
    }

    /// What has changed after number `seen`, or `None` if that is not remembered: everything may have.
    #[must_use]
    pub fn since(&self, seen: u64) -> Option<Vec<Rectangle>> {
        if seen < self.forgotten || seen > self.sequence {
            return None;
        }
        Some(
            self.entries
                .iter()
                .filter(|(sequence, _)| *sequence > seen)
                .map(|(_, rectangle)| *rectangle)
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewers_get_what_they_have_not_seen() {
        let mut log = DamageLog::default();
        assert_eq!(log.since(0), Some(vec![]));
        let (one, other) = (Rectangle::new(0, 0, 2, 2), Rectangle::new(4, 4, 5, 6));
        log.add(one);
        log.add(Rectangle::new(3, 3, 3, 9));
        log.add(other);
        assert_eq!(log.sequence(), 2, "an empty rectangle is no change");
        assert_eq!(log.since(0), Some(vec![one, other]));
        assert_eq!(log.since(1), Some(vec![other]));
        assert_eq!(log.since(2), Some(vec![]));
        assert_eq!(log.since(3), None, "from another log");
        let all = Rectangle::sized(9, 9);
        log.add(all);
        assert_eq!(log.since(0), Some(vec![all]));
    }

    #[test]
    fn memory_is_bounded() {
        let mut log = DamageLog::default();
        for at in 0..1000 {
            log.add(Rectangle::new(at, 0, at + 1, 1));
        }
        assert_eq!(log.since(0), None);
        assert_eq!(log.since(999).unwrap().len(), 1);
        assert_eq!(
            log.since(1000 - MAX_ENTRIES as u64).unwrap().len(),
            MAX_ENTRIES
        );
        assert_eq!(log.since(999 - MAX_ENTRIES as u64), None);
    }
}
