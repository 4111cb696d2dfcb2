//! How targets read their input: as steps, each a byte that says what to do and then its arguments.
//!
//! Whatever the bytes are they can be read; past their end everything is zero. Small changes of the input make
//! small changes of what is done, which is what a fuzzer needs.

use arbitrary::Unstructured;

/// Most steps of one run, so that no input takes long.
const STEPS: usize = 400;

pub(crate) struct Input<'a> {
    rest: Unstructured<'a>,
    steps: usize,
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: Unstructured::new(bytes),
            steps: 0,
        }
    }

    /// What to do next; `None` at the end.
    pub(crate) fn step(&mut self) -> Option<u8> {
        if self.rest.is_empty() || self.steps == STEPS {
            return None;
        }
        self.steps += 1;
        Some(self.u8())
    }

    fn fill<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        // Zeros once the input has ended.
        let _ = self.rest.fill_buffer(&mut bytes);
        bytes
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.fill::<1>()[0]
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.fill())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.fill())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.fill())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        self.fill()
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.u8() & 1 != 0
    }

    /// A number below `limit`, which is at most 256 and not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::from(self.u8()) % limit
    }

    /// One of `items`, of which there is at least one.
    pub(crate) fn choose<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Up to 255 bytes, after a byte with their number.
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.u8());
        self.take(length)
    }

    /// Up to 65,535 bytes, after two with their number.
    pub(crate) fn long_bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.u16());
        self.take(length)
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let length = length.min(self.rest.len());
        self.rest.bytes(length).unwrap_or_default()
    }
}
