//! Copies to and from memory that another party may write at the same moment.
//!
//! A plain `memcpy` of such memory is a data race: the compiler may read a byte twice or assume that it
//! has not changed. The copies here read (or write) every byte of shared memory exactly once, by relaxed
//! atomic accesses or by string instructions that the compiler cannot look into. What is copied while
//! the peer writes may be torn; it is never undefined behaviour. Order against other accesses is the
//! business of the caller, who publishes with a release and consumes with an acquire.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Up to this many bytes, word by word beats the start-up cost of a string instruction.
const SHORT: usize = 128;

/// Copies `dst.len()` bytes of shared memory into private memory.
///
/// # Safety
/// `src` must be valid for reads of `dst.len()` bytes and stay mapped during the call. The bytes may be
/// written concurrently by anyone; no Rust reference other than to atomics may exist to them.
#[inline]
pub unsafe fn copy_from_shared(src: *const u8, dst: &mut [u8]) {
    if dst.len() <= SHORT && src.cast::<u64>().is_aligned() {
        // SAFETY: the caller vouches for the range, and it is aligned to a word.
        unsafe { load_words(src, dst) }
    } else {
        // SAFETY: the caller vouches for the range; `dst` is private, so it does not overlap.
        unsafe { load_bulk(src, dst) }
    }
}

/// Copies `src.len()` bytes of private memory into shared memory.
///
/// # Safety
/// `dst` must be valid for writes of `src.len()` bytes and stay mapped during the call. The bytes may be
/// read and written concurrently by anyone; no Rust reference other than to atomics may exist to them.
#[inline]
pub unsafe fn copy_to_shared(dst: *mut u8, src: &[u8]) {
    if src.len() <= SHORT && dst.cast::<u64>().is_aligned() {
        // SAFETY: the caller vouches for the range, and it is aligned to a word.
        unsafe { store_words(dst, src) }
    } else {
        // SAFETY: the caller vouches for the range; `src` is private, so it does not overlap.
        unsafe { store_bulk(dst, src) }
    }
}

/// # Safety
/// As [`copy_from_shared`], and `src` is aligned to 8 bytes.
#[inline]
unsafe fn load_words(src: *const u8, dst: &mut [u8]) {
    let mut at = src;
    let (words, tail) = dst.as_chunks_mut::<8>();
    for word in words {
        // SAFETY: `at` stays inside the caller's range and a multiple of 8 bytes from its aligned start.
        unsafe {
            *word = (*at.cast::<AtomicU64>())
                .load(Ordering::Relaxed)
                .to_ne_bytes();
            at = at.add(8);
        }
    }
    for byte in tail {
        // SAFETY: `at` stays inside the caller's range.
        unsafe {
            *byte = (*at.cast::<AtomicU8>()).load(Ordering::Relaxed);
            at = at.add(1);
        }
    }
}

/// # Safety
/// As [`copy_to_shared`], and `dst` is aligned to 8 bytes.
#[inline]
unsafe fn store_words(dst: *mut u8, src: &[u8]) {
    let mut at = dst;
    let (words, tail) = src.as_chunks::<8>();
    for word in words {
        // SAFETY: `at` stays inside the caller's range and a multiple of 8 bytes from its aligned start.
        unsafe {
            (*at.cast::<AtomicU64>()).store(u64::from_ne_bytes(*word), Ordering::Relaxed);
            at = at.add(8);
        }
    }
    for byte in tail {
        // SAFETY: `at` stays inside the caller's range.
        unsafe {
            (*at.cast::<AtomicU8>()).store(*byte, Ordering::Relaxed);
            at = at.add(1);
        }
    }
}

/// # Safety
/// As [`copy_from_shared`].
#[inline]
unsafe fn load_bulk(src: *const u8, dst: &mut [u8]) {
    // SAFETY: both ranges are valid for `dst.len()` bytes, and a private one cannot overlap a shared one.
    unsafe { bulk(dst.as_mut_ptr(), src, dst.len()) }
}

/// # Safety
/// As [`copy_to_shared`].
#[inline]
unsafe fn store_bulk(dst: *mut u8, src: &[u8]) {
    // SAFETY: both ranges are valid for `src.len()` bytes, and a private one cannot overlap a shared one.
    unsafe { bulk(dst, src.as_ptr(), src.len()) }
}

/// Copies by the processor's string move: opaque to the compiler, without vector registers (kernels
/// without floating point may use it), and fast in microcode from about a hundred bytes on.
///
/// # Safety
/// `src` must be valid for reads and `dst` for writes of `length` bytes; the ranges must not overlap.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
unsafe fn bulk(dst: *mut u8, src: *const u8, length: usize) {
    // SAFETY: the caller vouches for both ranges; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!(
            "rep movsb",
            inout("rcx") length => _,
            inout("rdi") dst => _,
            inout("rsi") src => _,
            options(nostack, preserves_flags),
        );
    }
}

/// # Safety
/// `src` must be valid for reads and `dst` for writes of `length` bytes; the ranges must not overlap.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
unsafe fn bulk(dst: *mut u8, src: *const u8, length: usize) {
    let mut done = 0;
    let words = src.cast::<u64>().is_aligned() && dst.cast::<u64>().is_aligned();
    while words && length - done >= 8 {
        // SAFETY: `done + 8 <= length`, and both pointers are aligned to words. Either side may be the
        // shared one, so both are accessed atomically.
        unsafe {
            let word = (*src.add(done).cast::<AtomicU64>()).load(Ordering::Relaxed);
            (*dst.add(done).cast::<AtomicU64>()).store(word, Ordering::Relaxed);
        }
        done += 8;
    }
    while done < length {
        // SAFETY: `done < length`.
        unsafe {
            let byte = (*src.add(done).cast::<AtomicU8>()).load(Ordering::Relaxed);
            (*dst.add(done).cast::<AtomicU8>()).store(byte, Ordering::Relaxed);
        }
        done += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    /// Every length up to past two bulk thresholds, at every alignment of the shared side.
    #[test]
    fn copies_exactly_the_range() {
        for length in 0..300usize {
            for shift in 0..8usize {
                let private: Vec<u8> = (0..length).map(|i| (i * 7 + 1) as u8).collect();
                let mut shared = vec![0xEEu64; 48];
                let base = shared.as_mut_ptr().cast::<u8>();
                // SAFETY: 8 + shift + length < 48 * 8, and nobody else touches the vector.
                unsafe { copy_to_shared(base.add(8 + shift), &private) };
                let mut back = vec![0u8; length];
                // SAFETY: as above.
                unsafe { copy_from_shared(base.add(8 + shift), &mut back) };
                assert_eq!(back, private, "{length} bytes at {shift}");
                let mut whole = vec![0u8; 48 * 8];
                // SAFETY: the whole vector.
                unsafe { copy_from_shared(base, &mut whole) };
                let fresh = 0xEEu64.to_ne_bytes();
                for (at, byte) in whole.iter().enumerate() {
                    if !(8 + shift..8 + shift + length).contains(&at) {
                        assert_eq!(*byte, fresh[at % 8], "byte {at} of {length} at {shift}");
                    }
                }
            }
        }
    }
}
