//! Reproducible pseudo-random numbers for fault injection.

/// The SplitMix64 generator: small, and good enough to scatter faults.
#[derive(Clone, Debug)]
pub(in crate::disk) struct Random(u64);

impl Random {
    pub(in crate::disk) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(in crate::disk) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
