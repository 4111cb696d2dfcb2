//! Memory for parameters of hypercalls.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use super::CallError;
use crate::PAGE_SIZE;
use crate::call::{ProcessorSet, VP_INDEX_LIMIT};

const WORDS: usize = PAGE_SIZE / 4;

/// A page for the input or output of hypercalls, shared with the hypervisor.
///
/// A call fills it and must be over before it is filled again, which `&mut`
/// sees to. An interrupt handler that makes hypercalls itself needs a page of
/// its own.
#[derive(Debug)]
pub struct ParameterPage {
    words: NonNull<[AtomicU32; WORDS]>,
    address: u64,
}

// SAFETY: the value owns the page, and atomics may be accessed by any thread.
unsafe impl Send for ParameterPage {}
// SAFETY: as for `Send`.
unsafe impl Sync for ParameterPage {}

impl ParameterPage {
    /// Takes a page; `None` unless both addresses are multiples of 4096.
    ///
    /// # Safety
    ///
    /// The page at virtual address `base` must be the caller's alone, have the
    /// guest physical address `address`, and stay allocated while the value
    /// lives.
    #[must_use]
    pub unsafe fn new(base: NonNull<u8>, address: u64) -> Option<Self> {
        let aligned = base.as_ptr().addr().is_multiple_of(PAGE_SIZE)
            && address.is_multiple_of(PAGE_SIZE as u64);
        aligned.then_some(Self {
            words: base.cast(),
            address,
        })
    }

    /// Guest physical address of the page.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.address
    }

    fn words(&self) -> &[AtomicU32; WORDS] {
        // SAFETY: `new` checked the alignment, and its caller vouched for the
        // memory. Atomics may be shared with the hypervisor.
        unsafe { self.words.as_ref() }
    }

    /// Fills the page from its front with one part after the other.
    pub(super) fn fill(&mut self, parts: &[&[u8]]) -> Result<(), CallError> {
        let mut words = self.words().iter();
        for part in parts {
            // All inputs are made of parts of whole 32-bit words.
            let (chunks, rest) = part.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(CallError::Parameters);
            }
            for chunk in chunks {
                words
                    .next()
                    .ok_or(CallError::Parameters)?
                    .store(u32::from_ne_bytes(*chunk), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Copies the front of the page.
    pub(super) fn copy_to(&self, bytes: &mut [u8]) {
        for (chunk, word) in bytes.chunks_mut(4).zip(self.words()) {
            let word = word.load(Ordering::Relaxed).to_ne_bytes();
            for (byte, value) in chunk.iter_mut().zip(word) {
                *byte = value;
            }
        }
    }
}

/// The banks of a processor set as they follow its header.
pub(super) struct Banks {
    bytes: [u8; VP_INDEX_LIMIT as usize / 8],
    length: usize,
}

impl Banks {
    pub(super) fn of(processors: &ProcessorSet) -> Result<Self, CallError> {
        let mut bytes = [0; VP_INDEX_LIMIT as usize / 8];
        let length = processors
            .emit_banks(&mut bytes)
            .map_err(|_| CallError::Parameters)?;
        Ok(Self { bytes, length })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }
}
