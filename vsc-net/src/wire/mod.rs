//! The formats of synthetic networking as they lie in packets and shared buffers.
//!
//! All integers are little-endian and unaligned.

pub mod ndis;
pub mod nvsp;
pub mod rndis;

/// Reads a structure from the front of `bytes`; `None` if there are too few.
pub(crate) fn read_prefix<T: zerocopy::FromBytes>(bytes: &[u8]) -> Option<T> {
    T::read_from_prefix(bytes).ok().map(|(value, _)| value)
}

/// The part of `bytes` from `offset` of `length` bytes; `None` if it does not lie within.
pub(crate) fn window(bytes: &[u8], offset: u32, length: u32) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    bytes.get(start..end)
}

/// Copies `from` to the front of `into`; what does not fit is cut. Returns the bytes copied.
pub(crate) fn copy_prefix(into: &mut [u8], from: &[u8]) -> usize {
    let length = into.len().min(from.len());
    if let (Some(into), Some(from)) = (into.get_mut(..length), from.get(..length)) {
        into.copy_from_slice(from);
    }
    length
}
