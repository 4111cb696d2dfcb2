//! A set of interrupt vectors, collected under a lock and raised after it is released.

/// Vectors 0 to 255. Two edges on one vector are one, as in a local APIC's request register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VectorSet {
    words: [u64; 4],
}

impl VectorSet {
    /// Adds a vector; returns whether it was new.
    pub fn insert(&mut self, vector: u8) -> bool {
        let (word, bit) = place(vector);
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        new
    }

    /// Whether a vector is in the set.
    #[must_use]
    pub fn contains(&self, vector: u8) -> bool {
        let (word, bit) = place(vector);
        self.words[word] & bit != 0
    }

    /// Whether no vector is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words == [0; 4]
    }

    /// Number of vectors in the set.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Adds every vector of `other`.
    pub fn merge(&mut self, other: Self) {
        for (word, more) in self.words.iter_mut().zip(other.words) {
            *word |= more;
        }
    }

    /// Takes out the highest vector, the one that a local APIC would serve first.
    pub fn take_highest(&mut self) -> Option<u8> {
        for (index, word) in self.words.iter_mut().enumerate().rev() {
            if let Some(bit) = word.checked_ilog2() {
                *word &= !(1 << bit);
                return u8::try_from(index * 64 + bit as usize).ok();
            }
        }
        None
    }
}

fn place(vector: u8) -> (usize, u64) {
    (usize::from(vector >> 6), 1 << (vector & 63))
}

/// The vectors from the highest to the lowest.
impl IntoIterator for VectorSet {
    type Item = u8;
    type IntoIter = Descending;

    fn into_iter(self) -> Descending {
        Descending(self)
    }
}

/// Iterator over a [`VectorSet`], highest vector first.
#[derive(Clone, Debug)]
pub struct Descending(VectorSet);

impl Iterator for Descending {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        self.0.take_highest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_come_out_once_and_highest_first() {
        let mut set = VectorSet::default();
        assert!(set.is_empty());
        for vector in [0xf3, 0x10, 0xff, 0, 0x40, 0x3f] {
            assert!(set.insert(vector));
            assert!(!set.insert(vector));
            assert!(set.contains(vector));
        }
        let all: Vec<u8> = set.into_iter().collect();
        assert_eq!(all, [0xff, 0xf3, 0x40, 0x3f, 0x10, 0]);
        let mut other = VectorSet::default();
        other.insert(1);
        set.merge(other);
        assert_eq!(set.into_iter().count(), 7);
    }
}
