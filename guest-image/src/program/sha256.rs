//! SHA-256 in as few instructions as plain ones can do it, for processors that are interpreted.
//!
//! A KVM that only emulates runs a few million instructions a second, whatever they are, so what counts is their
//! number: rotations are nested, `maj` reuses half of the last round's, and a block of zeros, of which disks are full,
//! needs no message schedule. Everywhere else the `sha2` crate with the processor's own instructions is far faster.

/// Fractional parts of the cube roots of the first 64 primes.
const K: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

/// Bytes of a block.
const BLOCK: usize = 64;

/// A hash under way. All but the last piece of data must be whole blocks.
pub struct Sha256 {
    state: [u32; 8],
    length: u64,
    rest: ([u8; BLOCK], usize),
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl Sha256 {
    /// A hash of nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: [
                0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab,
                0x5be0cd19,
            ],
            length: 0,
            rest: ([0; BLOCK], 0),
        }
    }

    /// Takes more data.
    pub fn update(&mut self, mut data: &[u8]) {
        self.length = self.length.wrapping_add(data.len() as u64);
        if self.rest.1 > 0 {
            let taken = data.len().min(BLOCK - self.rest.1);
            self.rest.0[self.rest.1..self.rest.1 + taken].copy_from_slice(&data[..taken]);
            self.rest.1 += taken;
            data = &data[taken..];
            if self.rest.1 < BLOCK {
                return;
            }
            let block = self.rest.0;
            compress(&mut self.state, &block);
            self.rest.1 = 0;
        }
        let (blocks, rest) = data.as_chunks::<BLOCK>();
        for block in blocks {
            compress(&mut self.state, block);
        }
        self.rest.0[..rest.len()].copy_from_slice(rest);
        self.rest.1 = rest.len();
    }

    /// The digest.
    #[must_use]
    pub fn finalize(mut self) -> [u8; 32] {
        let bits = self.length.wrapping_mul(8);
        let padding = if self.rest.1 < 56 {
            56 - self.rest.1
        } else {
            120 - self.rest.1
        };
        let mut end = [0; BLOCK + 8];
        end[0] = 0x80;
        end[padding..padding + 8].copy_from_slice(&bits.to_be_bytes());
        self.update(&end[..padding + 8]);
        let mut digest = [0; 32];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }
}

/// One round; the caller renames the variables instead of moving them.
macro_rules! round {
    ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident $bc:ident, $k:expr) => {
        $h = $h.wrapping_add($k);
        $h = $h.wrapping_add((($f ^ $g) & $e) ^ $g);
        $h = $h.wrapping_add((($e.rotate_right(14) ^ $e).rotate_right(5) ^ $e).rotate_right(6));
        $d = $d.wrapping_add($h);
        // maj(a, b, c) = b ^ ((a ^ b) & (b ^ c)), and b ^ c was a ^ b a round ago.
        let ab = $a ^ $b;
        $h = $h.wrapping_add(($bc & ab) ^ $b);
        $bc = ab;
        $h = $h.wrapping_add((($a.rotate_right(9) ^ $a).rotate_right(11) ^ $a).rotate_right(2));
    };
}

/// Eight rounds, after which every variable has its own name again.
macro_rules! rounds {
    ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident $bc:ident, $add:expr, $at:expr) => {
        round!($a $b $c $d $e $f $g $h $bc, $add($at));
        round!($h $a $b $c $d $e $f $g $bc, $add($at + 1));
        round!($g $h $a $b $c $d $e $f $bc, $add($at + 2));
        round!($f $g $h $a $b $c $d $e $bc, $add($at + 3));
        round!($e $f $g $h $a $b $c $d $bc, $add($at + 4));
        round!($d $e $f $g $h $a $b $c $bc, $add($at + 5));
        round!($c $d $e $f $g $h $a $b $bc, $add($at + 6));
        round!($b $c $d $e $f $g $h $a $bc, $add($at + 7));
    };
}

/// All rounds; `add` gives what round `i` adds, the constant and the schedule's word together.
#[inline(always)]
#[allow(
    unused_assignments,
    reason = "the last round prepares one that does not come"
)]
fn all_rounds(state: &mut [u32; 8], mut add: impl FnMut(usize) -> u32) {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    let mut bc = b ^ c;
    rounds!(a b c d e f g h bc, add, 0);
    rounds!(a b c d e f g h bc, add, 8);
    rounds!(a b c d e f g h bc, add, 16);
    rounds!(a b c d e f g h bc, add, 24);
    rounds!(a b c d e f g h bc, add, 32);
    rounds!(a b c d e f g h bc, add, 40);
    rounds!(a b c d e f g h bc, add, 48);
    rounds!(a b c d e f g h bc, add, 56);
    for (word, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(new);
    }
}

fn compress(state: &mut [u32; 8], block: &[u8; BLOCK]) {
    let (words, _) = block.as_chunks::<8>();
    if words
        .iter()
        .fold(0, |any, word| any | u64::from_ne_bytes(*word))
        == 0
    {
        // Zeros make a schedule of zeros.
        return all_rounds(state, |i| K[i]);
    }
    let mut w = [0u32; 16];
    for (word, bytes) in w.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    all_rounds(state, |i| {
        if i >= 16 {
            let (x, y) = (w[(i + 1) % 16], w[(i + 14) % 16]);
            let s0 = (x.rotate_right(11) ^ x).rotate_right(7) ^ (x >> 3);
            let s1 = (y.rotate_right(2) ^ y).rotate_right(17) ^ (y >> 10);
            w[i % 16] = w[i % 16]
                .wrapping_add(s0)
                .wrapping_add(w[(i + 9) % 16])
                .wrapping_add(s1);
        }
        w[i % 16].wrapping_add(K[i])
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use sha2::Digest;

    #[test]
    fn digests_are_those_of_the_sha2_crate() {
        let mut data: Vec<u8> = (0..5000u32)
            .map(|at| (at.wrapping_mul(0x9E37_79B9) >> 11) as u8)
            .collect();
        // Blocks of zeros among the others.
        data[1024..2048].fill(0);
        for length in (0..200).chain([1000, 1024, 2048, 3000, 4096, 5000]) {
            for cut in [0, 1, 63, 64, 65, length / 2] {
                let cut = cut.min(length);
                let mut hash = Sha256::new();
                hash.update(&data[..cut]);
                hash.update(&data[cut..length]);
                let expected: [u8; 32] = sha2::Sha256::digest(&data[..length]).into();
                assert_eq!(hash.finalize(), expected, "{length} bytes cut at {cut}");
            }
        }
    }
}
