//! Places in a dynamic VHD that belong to no block.

use std::collections::BTreeMap;
use std::ops::Range;

/// Ranges of the file, none touching another. As many at most as there are blocks, and one.
#[derive(Debug, Default)]
pub(super) struct FreeRanges(BTreeMap<u64, u64>);

impl FreeRanges {
    /// Adds a range, joining it with its neighbours.
    pub(super) fn insert(&mut self, mut range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        if let Some((&start, &end)) = self.0.range(..=range.start).next_back()
            && end >= range.start
        {
            range = start..end.max(range.end);
        }
        while let Some((&start, &end)) = self.0.range(range.start..).next()
            && start <= range.end
        {
            self.0.remove(&start);
            range.end = range.end.max(end);
        }
        self.0.insert(range.start, range.end);
    }

    /// Takes the first `length` bytes of the first range that has as many.
    pub(super) fn take(&mut self, length: u64) -> Option<u64> {
        let (start, end) = self
            .0
            .iter()
            .map(|(&start, &end)| (start, end))
            .find(|(start, end)| end - start >= length)?;
        self.0.remove(&start);
        self.insert(start + length..end);
        Some(start)
    }

    /// Takes the range that ends at `end` and returns where it starts.
    pub(super) fn take_last(&mut self, end: u64) -> Option<u64> {
        let (&start, &last_end) = self.0.last_key_value()?;
        (last_end == end).then(|| {
            self.0.remove(&start);
            start
        })
    }

    /// Moves everything to another list.
    pub(super) fn move_to(&mut self, other: &mut Self) {
        for (start, end) in std::mem::take(&mut self.0) {
            other.insert(start..end);
        }
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a range ends there.
    pub(super) fn ends_at(&self, end: u64) -> bool {
        self.0
            .last_key_value()
            .is_some_and(|(_, &last_end)| last_end == end)
    }
}

/// What lies where behind the tables.
#[derive(Debug)]
pub(super) struct Space {
    /// File offset of the footer, where the file grows.
    pub(super) end: u64,
    /// Places to which no table entry leads, not even after a power cut.
    pub(super) free: FreeRanges,
    /// Places that were given up since the last flush: after a power cut, a table entry may still lead there.
    pub(super) given_up: FreeRanges,
}

impl Space {
    /// The space between these blocks, given by their first bytes in any order, and behind them up to the footer.
    /// `first` is where the first block may lie; without it, what precedes the first block is left alone.
    pub(super) fn between(
        mut blocks: Vec<u64>,
        span: u64,
        first: Option<u64>,
        footer: u64,
    ) -> Self {
        blocks.sort_unstable();
        let mut free = FreeRanges::default();
        let mut end = first;
        for start in blocks.into_iter().chain([footer]) {
            // Less than a block is of no use.
            if let Some(end) = end
                && start.saturating_sub(end) >= span
            {
                free.insert(end..start);
            }
            end = Some(start + span);
        }
        Self {
            end: footer,
            free,
            given_up: FreeRanges::default(),
        }
    }

    /// Everything written so far is durable: what was given up is free.
    pub(super) fn flushed(&mut self) {
        self.given_up.move_to(&mut self.free);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(free: &FreeRanges) -> Vec<(u64, u64)> {
        free.0.iter().map(|(&start, &end)| (start, end)).collect()
    }

    #[test]
    fn neighbours_are_joined() {
        let mut free = FreeRanges::default();
        for range in [10..20, 30..40, 50..60, 0..0] {
            free.insert(range);
        }
        assert_eq!(ranges(&free), [(10, 20), (30, 40), (50, 60)]);
        free.insert(20..30);
        assert_eq!(ranges(&free), [(10, 40), (50, 60)]);
        free.insert(35..55);
        assert_eq!(ranges(&free), [(10, 60)]);
        free.insert(0..10);
        assert_eq!(ranges(&free), [(0, 60)]);
    }

    #[test]
    fn the_first_place_that_suffices_is_taken() {
        let mut free = FreeRanges::default();
        free.insert(0..4);
        free.insert(10..18);
        free.insert(20..30);
        assert_eq!(free.take(5), Some(10));
        assert_eq!(free.take(5), Some(20));
        assert_eq!(ranges(&free), [(0, 4), (15, 18), (25, 30)]);
        assert_eq!(free.take(6), None);
        assert!(free.ends_at(30) && !free.ends_at(18));
        assert_eq!(free.take_last(18), None);
        assert_eq!(free.take_last(30), Some(25));
        assert_eq!(free.take(4), Some(0));
        assert_eq!(free.take(3), Some(15));
        assert!(free.is_empty());
    }

    #[test]
    fn space_is_found_between_blocks() {
        let space = |blocks: &[u64], first| Space::between(blocks.to_vec(), 20, first, 600).free;
        assert_eq!(
            ranges(&space(&[500, 100, 120], Some(40))),
            [(40, 100), (140, 500), (520, 600)]
        );
        assert_eq!(
            ranges(&space(&[500, 100, 120], None)),
            [(140, 500), (520, 600)]
        );
        assert_eq!(ranges(&space(&[], Some(40))), [(40, 600)]);
        assert!(space(&[], None).is_empty());
        // Less than a block is none.
        assert!(space(&[59, 98, 117, 561], Some(40)).ends_at(561));
    }
}
