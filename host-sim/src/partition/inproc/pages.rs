//! Free pages of guest memory, for guest code that runs in process.

use std::collections::BTreeMap;

/// Runs of free page frames, kept sorted and merged.
#[derive(Debug)]
pub(super) struct FreePages {
    /// First frame of each run and its length in pages.
    runs: BTreeMap<u64, u64>,
    free: u64,
}

impl FreePages {
    /// The frames from `first` up to, not including, `end` are free.
    pub(super) fn new(first: u64, end: u64) -> Self {
        let free = end.saturating_sub(first);
        let mut runs = BTreeMap::new();
        if free > 0 {
            runs.insert(first, free);
        }
        Self { runs, free }
    }

    /// Takes `count` contiguous pages out of the first run that has them.
    pub(super) fn take(&mut self, count: u64) -> Option<u64> {
        if count == 0 {
            return None;
        }
        let (&first, &length) = self.runs.iter().find(|&(_, &length)| length >= count)?;
        self.runs.remove(&first);
        if length > count {
            self.runs.insert(first + count, length - count);
        }
        self.free -= count;
        Some(first)
    }

    /// Gives back pages that were taken.
    ///
    /// # Panics
    /// If any of them is free already: that is a double free in guest code.
    pub(super) fn give_back(&mut self, first: u64, count: u64) {
        let end = first + count;
        let before = self.runs.range(..end).next_back().map(|(&f, &l)| (f, l));
        if let Some((other, length)) = before {
            assert!(
                other + length <= first,
                "page frames {first:#x}..{end:#x} are freed twice"
            );
        }
        self.free += count;
        let mut merged = (first, count);
        if let Some((other, length)) = before
            && other + length == first
        {
            self.runs.remove(&other);
            merged = (other, length + count);
        }
        if let Some(after) = self.runs.remove(&end) {
            merged.1 += after;
        }
        self.runs.insert(merged.0, merged.1);
    }

    /// Number of free pages.
    pub(super) fn free(&self) -> u64 {
        self.free
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn runs_merge_in_every_order() {
        let mut pages = FreePages::new(10, 20);
        let a = pages.take(3).unwrap();
        let b = pages.take(3).unwrap();
        let c = pages.take(4).unwrap();
        assert_eq!((a, b, c), (10, 13, 16));
        assert_eq!(pages.take(1), None);
        pages.give_back(a, 3);
        pages.give_back(c, 4);
        pages.give_back(b, 3);
        assert_eq!(pages.runs, BTreeMap::from([(10, 10)]));
        assert_eq!(pages.take(0), None);
        assert_eq!(FreePages::new(5, 5).take(1), None);
    }

    #[test]
    #[should_panic(expected = "freed twice")]
    fn a_double_free_is_caught() {
        let mut pages = FreePages::new(0, 10);
        let first = pages.take(4).unwrap();
        pages.give_back(first, 4);
        pages.give_back(first + 1, 1);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_given_twice(sizes in prop::collection::vec(1_u64..9, 1..40)) {
            let mut pages = FreePages::new(3, 103);
            let mut held: Vec<(u64, u64)> = Vec::new();
            for (step, size) in sizes.into_iter().enumerate() {
                if step % 3 == 2 && !held.is_empty() {
                    let (first, count) = held.swap_remove(step % held.len());
                    pages.give_back(first, count);
                } else if let Some(first) = pages.take(size) {
                    prop_assert!(first >= 3 && first + size <= 103);
                    for &(other, count) in &held {
                        prop_assert!(first + size <= other || other + count <= first);
                    }
                    held.push((first, size));
                }
                let taken: u64 = held.iter().map(|&(_, count)| count).sum();
                prop_assert_eq!(pages.free(), 100 - taken);
            }
            for (first, count) in held {
                pages.give_back(first, count);
            }
            prop_assert_eq!(pages.take(100), Some(3));
        }
    }
}
