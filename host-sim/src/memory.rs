//! The guest's physical memory, shared by every host end.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use thiserror::Error;
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap, GuestMemoryRegion, VolatileSlice,
};

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
            return Err(not_pages(size));
        }
        Self::from_ranges(&[(0, size)])
    }

    /// Maps `size` bytes of zeroed RAM from guest-physical address 0 on, leaving out the addresses of `hole`: what does
    /// not fit below it goes above.
    ///
    /// # Errors
    /// As for [`new`](Self::new); also if the hole is empty or not made of whole pages.
    pub fn with_hole(size: u64, hole: Range<u64>) -> std::io::Result<Self> {
        let whole_pages = |bytes: u64| bytes != 0 && bytes.is_multiple_of(PAGE_SIZE);
        if hole.is_empty() || !whole_pages(hole.start) || !whole_pages(hole.end) {
            return Err(std::io::Error::other(format!(
                "{hole:#x?} is no hole of whole pages in guest memory"
            )));
        }
        if size <= hole.start {
            return Self::new(size);
        }
        if !whole_pages(size) {
            return Err(not_pages(size));
        }
        Self::from_ranges(&[(0, hole.start), (hole.end, size - hole.start)])
    }

    fn from_ranges(ranges: &[(u64, u64)]) -> std::io::Result<Self> {
        let ranges = ranges
            .iter()
            .map(|&(start, size)| Ok((GuestAddress(start), usize::try_from(size)?)))
            .collect::<Result<Vec<_>, std::num::TryFromIntError>>()
            .map_err(std::io::Error::other)?;
        let inner = GuestMemoryMmap::from_ranges(&ranges).map_err(std::io::Error::other)?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Makes all RAM zero again, and gives the host back what was in use. No virtual processor and no device may be at
    /// work: what they write meanwhile may stay.
    ///
    /// # Errors
    /// The host refuses; memory is then unspecified.
    pub fn clear(&self) -> std::io::Result<()> {
        for region in self.inner.iter() {
            let length = usize::try_from(region.len()).map_err(std::io::Error::other)?;
            let start = region.as_ptr().cast::<libc::c_void>();
            // SAFETY: the range is one private anonymous mapping that lives as long as `self`. Its pages become zero,
            // which is a write like any that guests do at any time.
            if unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) } != 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    }

    /// The regions as `vm-memory` knows them, for the KVM memory slots and image loaders.
    #[must_use]
    pub fn regions(&self) -> &GuestMemoryMmap {
        &self.inner
    }

    /// Bytes of RAM.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.inner.iter().map(GuestMemoryRegion::len).sum()
    }

    /// First address above all RAM.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.inner.last_addr().0 + 1
    }

    /// Where RAM is, by ascending address.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.inner.iter().map(|region| {
            let start = region.start_addr().0;
            start..start + region.len()
        })
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

fn not_pages(size: u64) -> std::io::Error {
    std::io::Error::other(format!(
        "guest memory of {size} bytes is not a positive number of 4096-byte pages"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_round_a_hole() {
        let hole = 4 * PAGE_SIZE..16 * PAGE_SIZE;
        let small = GuestMemory::with_hole(4 * PAGE_SIZE, hole.clone()).unwrap();
        assert_eq!((small.size(), small.end()), (4 * PAGE_SIZE, 4 * PAGE_SIZE));
        let memory = GuestMemory::with_hole(6 * PAGE_SIZE, hole.clone()).unwrap();
        assert_eq!(memory.size(), 6 * PAGE_SIZE);
        assert_eq!(memory.end(), 18 * PAGE_SIZE);
        let ranges: Vec<_> = memory.ranges().collect();
        assert_eq!(ranges, [0..4 * PAGE_SIZE, 16 * PAGE_SIZE..18 * PAGE_SIZE]);
        for frame in 0..20 {
            let is_ram = frame < 4 || (16..18).contains(&frame);
            assert_eq!(memory.is_ram_page(frame), is_ram, "{frame}");
        }
        assert!(memory.write(4 * PAGE_SIZE - 1, &[1, 2]).is_err());
        assert!(GuestMemory::with_hole(6 * PAGE_SIZE + 1, hole.clone()).is_err());
        assert!(GuestMemory::with_hole(0, hole.clone()).is_err());
        for bad in [0..PAGE_SIZE, PAGE_SIZE..PAGE_SIZE, 1..PAGE_SIZE] {
            assert!(GuestMemory::with_hole(6 * PAGE_SIZE, bad).is_err());
        }
    }

    #[test]
    fn cleared_memory_is_zero() {
        let memory = GuestMemory::with_hole(6 * PAGE_SIZE, PAGE_SIZE..2 * PAGE_SIZE).unwrap();
        for range in memory.ranges() {
            memory.write(range.end - 1, &[7]).unwrap();
        }
        memory.clear().unwrap();
        for range in memory.ranges() {
            let mut byte = [1];
            memory.read(range.end - 1, &mut byte).unwrap();
            assert_eq!(byte, [0]);
        }
    }

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
