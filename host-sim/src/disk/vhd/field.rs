//! Big-endian fields of fixed-size structures, and their checksum.

/// The `N` bytes at `at`, which the caller knows to be inside.
pub(super) fn bytes<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&from[at..at + N]);
    field
}

/// The 32-bit number at `at`.
pub(super) fn u32_at(from: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes(from, at))
}

/// The 64-bit number at `at`.
pub(super) fn u64_at(from: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes(from, at))
}

/// Stores a field at `at`.
pub(super) fn put<const N: usize>(into: &mut [u8], at: usize, field: [u8; N]) {
    into[at..at + N].copy_from_slice(&field);
}

/// The VHD checksum: the complement of the sum of all bytes outside the checksum field at `at`.
pub(super) fn checksum(structure: &[u8], at: usize) -> u32 {
    let sum = |part: &[u8]| {
        part.iter()
            .fold(0u32, |sum, &byte| sum.wrapping_add(byte.into()))
    };
    !sum(&structure[..at]).wrapping_add(sum(&structure[at + 4..]))
}
