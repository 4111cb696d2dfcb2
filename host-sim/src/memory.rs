//! The guest's physical memory, shared by every host end.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap, VolatileSlice};

/// Bytes in a page of every Hyper-V interface, whatever the guest's own page size.
pub const PAGE_SIZE: u64 = 4096;

/// Guest RAM: a cheap handle onto mapped memory.
///
/// The guest writes this memory at any time. What is read from it is copied once and validated; it is
/// never borrowed as a Rust slice.
#[derive(Clone, Debug)]
pub struct GuestMemory {
    inner: Arc<GuestMemoryMmap>,
}

/// A guest-physical range that is not, or not wholly, guest RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("guest-physical range {address:#x}+{length:#x} is not in guest RAM")]
pub struct NotRam {
    /// First byte of the range.
    pub address: u64,
    /// Length of the range in bytes.
    pub length: u64,
}

impl GuestMemory {
    /// Maps `size` bytes of zeroed RAM starting at guest-physical address 0.
    ///
    /// # Errors
    /// The host refuses the mapping, or `size` is zero or not a whole number of pages.
    pub fn new(size: u64) -> std::io::Result<Self> {
        if size == 0 || !size.is_multiple_of(PAGE_SIZE) {
            return Err(std::io::Error::other(format!(
                "guest memory of {size} bytes is not a positive number of 4096-byte pages"
            )));
        }
        let length = usize::try_from(size).map_err(std::io::Error::other)?;
        let inner = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), length)])
            .map_err(std::io::Error::other)?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The regions as `vm-memory` knows them, for the KVM memory slots and image loaders.
    #[must_use]
    pub fn regions(&self) -> &GuestMemoryMmap {
        &self.inner
    }

    /// Bytes of RAM.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.inner.last_addr().0 + 1
    }

    /// The range as one volatile slice of host memory.
    ///
    /// # Errors
    /// [`NotRam`] unless the whole range is RAM.
    pub fn slice(&self, address: u64, length: usize) -> Result<VolatileSlice<'_>, NotRam> {
        self.inner
            .get_slice(GuestAddress(address), length)
            .map_err(|_| NotRam {
                address,
                length: length as u64,
            })
    }

    /// Copies guest memory out.
    ///
    /// # Errors
    /// [`NotRam`] unless the whole range is RAM; `into` is then unspecified.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), NotRam> {
        let length = into.len() as u64;
        self.inner
            .read_slice(into, GuestAddress(address))
            .map_err(|_| NotRam { address, length })
    }

    /// Copies bytes into guest memory.
    ///
    /// # Errors
    /// [`NotRam`] unless the whole range is RAM; nothing is then written.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), NotRam> {
        self.slice(address, from.len())?.copy_from(from);
        Ok(())
    }

    /// Whether the page with this frame number is RAM.
    #[must_use]
    pub fn is_ram_page(&self, page_frame: u64) -> bool {
        page_frame.checked_mul(PAGE_SIZE).is_some_and(|address| {
            self.inner
                .get_slice(GuestAddress(address), PAGE_SIZE as usize)
                .is_ok()
        })
    }

    /// Host address of a RAM page, valid as long as any clone of `self` lives.
    ///
    /// # Errors
    /// [`NotRam`] if the frame is not RAM.
    pub fn page_pointer(&self, page_frame: u64) -> Result<std::ptr::NonNull<u8>, NotRam> {
        let address = page_frame.checked_mul(PAGE_SIZE);
        address
            .and_then(|address| {
                let slice = self
                    .inner
                    .get_slice(GuestAddress(address), PAGE_SIZE as usize)
                    .ok()?;
                std::ptr::NonNull::new(slice.ptr_guard_mut().as_ptr())
            })
            .ok_or(NotRam {
                address: address.unwrap_or(u64::MAX),
                length: PAGE_SIZE,
            })
    }

    /// An aligned 32-bit word of guest memory as an atomic.
    ///
    /// # Errors
    /// [`NotRam`] if the word is not RAM or not aligned to 4 bytes.
    pub fn atomic_u32(&self, address: u64) -> Result<&AtomicU32, NotRam> {
        let unusable = NotRam { address, length: 4 };
        let word = self
            .slice(address, 4)?
            .ptr_guard_mut()
            .as_ptr()
            .cast::<u32>();
        if !word.is_aligned() {
            return Err(unusable);
        }
        // SAFETY: `slice` has checked that the four bytes are mapped RAM, the mapping lives as long as
        // `self`, the address is aligned, and guest memory is only ever touched through atomics,
        // volatile copies or the kernel.
        Ok(unsafe { AtomicU32::from_ptr(word) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_outside_ram_are_refused() {
        let memory = GuestMemory::new(8 * PAGE_SIZE).unwrap();
        assert!(memory.slice(7 * PAGE_SIZE, 4096).is_ok());
        for (address, length) in [(8 * PAGE_SIZE, 1), (7 * PAGE_SIZE + 1, 4096), (u64::MAX, 2)] {
            assert_eq!(
                memory.write(address, &vec![0; length]),
                Err(NotRam {
                    address,
                    length: length as u64
                })
            );
        }
        assert!(memory.page_pointer(7).is_ok());
        assert!(memory.page_pointer(8).is_err());
        assert!(memory.page_pointer(u64::MAX / 2).is_err());
        assert!(!memory.is_ram_page(u64::MAX));
        assert!(memory.atomic_u32(2).is_err());
    }
}
