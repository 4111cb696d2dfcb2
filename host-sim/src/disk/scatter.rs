//! A part of a list of memory slices, cut at any byte without allocation.

use vm_memory::VolatileSlice;

/// Bytes that zero fills copy at a time.
static ZEROS: [u8; 4096] = [0; 4096];

/// A view of `length` bytes in a list of slices, from a byte position on.
#[derive(Clone, Copy, Debug)]
pub struct Scatter<'a> {
    /// First slice is the one that holds the view's first byte (or the list is empty).
    slices: &'a [VolatileSlice<'a>],
    /// Bytes of the first slice that precede the view.
    skip: usize,
    /// Bytes in the view; at most what the slices hold after `skip`.
    length: u64,
}

impl<'a> Scatter<'a> {
    /// All bytes of `slices`.
    #[must_use]
    pub fn new(slices: &'a [VolatileSlice<'a>]) -> Self {
        let length = slices
            .iter()
            .fold(0u64, |sum, slice| sum.saturating_add(slice.len() as u64));
        Self {
            slices,
            skip: 0,
            length,
        }
    }

    /// Bytes in the view.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether the view holds no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The view's first `middle` bytes (all of them if it has fewer), and the rest.
    #[must_use]
    pub fn split_at(self, middle: u64) -> (Self, Self) {
        let middle = middle.min(self.length);
        let head = Self {
            length: middle,
            ..self
        };
        let mut rest = self;
        rest.length -= middle;
        // The position in the slice list, in bytes from the first slice's start.
        let mut position = middle.saturating_add(self.skip as u64);
        while let Some((first, others)) = rest.slices.split_first() {
            let size = first.len() as u64;
            if position < size {
                break;
            }
            position -= size;
            rest.slices = others;
        }
        rest.skip = usize::try_from(position).unwrap_or(0);
        (head, rest)
    }

    /// The view's pieces in order, none of them empty.
    pub fn pieces(&self) -> impl Iterator<Item = VolatileSlice<'a>> + use<'a> {
        let mut skip = self.skip;
        let mut left = self.length;
        self.slices
            .iter()
            .map_while(move |slice| {
                if left == 0 {
                    return None;
                }
                let room = slice.len().saturating_sub(skip);
                let count = usize::try_from(left).map_or(room, |left| left.min(room));
                let piece = slice.subslice(skip, count).ok()?;
                skip = 0;
                left -= count as u64;
                Some(piece)
            })
            .filter(|piece| !piece.is_empty())
    }

    /// Fills the view with zeros.
    pub fn zero(&self) {
        for piece in self.pieces() {
            let mut done = 0;
            while let Ok(rest) = piece.offset(done) {
                if rest.is_empty() {
                    break;
                }
                rest.copy_from(&ZEROS);
                done += rest.len().min(ZEROS.len());
            }
        }
    }

    /// Copies the view's bytes out; as many as fit.
    pub fn copy_to(&self, mut into: &mut [u8]) {
        for piece in self.pieces() {
            let count = piece.copy_to(into);
            into = into.split_at_mut(count).1;
        }
    }

    /// Fills the view from bytes; as many as there are.
    pub fn copy_from(&self, mut from: &[u8]) {
        for piece in self.pieces() {
            let count = piece.len().min(from.len());
            piece.copy_from(from);
            from = from.split_at(count).1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_of_odd_slices_keeps_the_bytes() {
        let mut a = *b"abc";
        let mut b = *b"";
        let mut c = *b"defgh";
        let mut d = *b"i";
        let slices = [
            VolatileSlice::from(a.as_mut_slice()),
            VolatileSlice::from(b.as_mut_slice()),
            VolatileSlice::from(c.as_mut_slice()),
            VolatileSlice::from(d.as_mut_slice()),
        ];
        let whole = Scatter::new(&slices);
        let text = b"abcdefghi";
        for first in 0..=9u64 {
            for second in 0..=9 - first {
                let (head, rest) = whole.split_at(first);
                let (middle, tail) = rest.split_at(second);
                let mut bytes = Vec::new();
                for view in [head, middle, tail] {
                    let mut part = vec![0; usize::try_from(view.len()).unwrap()];
                    view.copy_to(&mut part);
                    bytes.extend_from_slice(&part);
                    assert!(view.pieces().all(|piece| !piece.is_empty()));
                }
                assert_eq!(bytes, text);
                assert_eq!(middle.len(), second);
            }
        }
        whole.split_at(2).1.split_at(4).0.zero();
        let mut bytes = [1; 9];
        whole.copy_to(&mut bytes);
        assert_eq!(&bytes, b"ab\0\0\0\0ghi");
        whole.split_at(2).1.copy_from(b"XYZ");
        whole.copy_to(&mut bytes);
        assert_eq!(&bytes, b"abXYZ\0ghi");
    }
}
