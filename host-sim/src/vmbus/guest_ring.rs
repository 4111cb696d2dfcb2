//! A ring in the guest's pages.

use std::ptr::NonNull;

use thiserror::Error;
use vmbus_core::ring::{ControlPage, RingMemory};
use vmbus_core::shared::{copy_from_shared, copy_to_shared};

use crate::memory::{GuestMemory, PAGE_SIZE};

/// Most pages in a ring: a data area of 2 GiB and its control page.
const MAX_PAGES: usize = 0x8_0001;

/// Why pages cannot hold a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GuestRingError {
    /// A ring has a control page and at least one data page, and at most 2 GiB of data.
    #[error("{pages} pages are no ring")]
    PageCount {
        /// Number of pages given.
        pages: usize,
    },
    /// A page isn't guest RAM.
    #[error("page frame {page_frame:#x} of the ring is not guest RAM")]
    NotRam {
        /// Its frame number.
        page_frame: u64,
    },
}

/// A ring in guest RAM, named by the frames of its pages: the control page, then the data pages in order.
///
/// The guest may name any frames: the same one twice, its other ring's, the ring's own control page. Every
/// access is race-safe, so such a guest confuses only itself.
#[derive(Debug)]
pub struct GuestRing {
    control: NonNull<u8>,
    data: DataPages,
    data_size: u32,
    /// Keeps the pages mapped.
    _memory: GuestMemory,
}

/// Where the data area lies in the host's address space.
#[derive(Debug)]
enum DataPages {
    /// In one piece: what a guest with physically contiguous rings has.
    Contiguous(NonNull<u8>),
    /// Page by page.
    Scattered(Box<[NonNull<u8>]>),
}

// SAFETY: the pointers refer to mapped guest memory, which `_memory` keeps alive wherever the value goes, and
// all accesses are atomics or race-safe copies, which any thread may do.
unsafe impl Send for GuestRing {}
// SAFETY: as above; no method keeps unsynchronised state.
unsafe impl Sync for GuestRing {}

impl GuestRing {
    /// The ring in these pages.
    ///
    /// # Errors
    /// [`GuestRingError`] if there are too few or too many pages, or one isn't RAM.
    pub fn new(memory: &GuestMemory, page_frames: &[u64]) -> Result<Self, GuestRingError> {
        let pages = page_frames.len();
        let (Some((&control, data)), 2..=MAX_PAGES) = (page_frames.split_first(), pages) else {
            return Err(GuestRingError::PageCount { pages });
        };
        let pointer = |page_frame| {
            memory
                .page_pointer(page_frame)
                .map_err(|_| GuestRingError::NotRam { page_frame })
        };
        let control = pointer(control)?;
        let data = data
            .iter()
            .map(|&frame| pointer(frame))
            .collect::<Result<Box<[_]>, _>>()?;
        let contiguous = data.windows(2).all(|pair| {
            pair[0].addr().get().checked_add(PAGE_SIZE as usize) == Some(pair[1].addr().get())
        });
        // At most 2 GiB, by the check of the number of pages.
        let data_size = data.len() as u32 * PAGE_SIZE as u32;
        Ok(Self {
            control,
            data: if contiguous {
                DataPages::Contiguous(data[0])
            } else {
                DataPages::Scattered(data)
            },
            data_size,
            _memory: memory.clone(),
        })
    }

    /// Calls `act` for each piece of the data area's range that is contiguous in memory, in order, with the
    /// piece's pointer, its position in the range and its length.
    fn pieces(&self, offset: u32, length: usize, mut act: impl FnMut(NonNull<u8>, usize, usize)) {
        let end = (offset as usize).saturating_add(length);
        if end > self.data_size as usize {
            // The ring never asks for that; doing nothing keeps a mistake from becoming an access.
            return;
        }
        match &self.data {
            DataPages::Contiguous(base) => {
                // SAFETY: the offset lies within the data area, which is mapped in one piece.
                act(unsafe { base.add(offset as usize) }, 0, length);
            }
            DataPages::Scattered(pages) => {
                let mut at = offset as usize;
                while at < end {
                    let page = pages[at / PAGE_SIZE as usize];
                    let within = at % PAGE_SIZE as usize;
                    let count = (PAGE_SIZE as usize - within).min(end - at);
                    // SAFETY: `within` is less than a page.
                    act(unsafe { page.add(within) }, at - offset as usize, count);
                    at += count;
                }
            }
        }
    }
}

// SAFETY: the size is fixed at creation, a positive multiple of a page and at most 2 GiB; the control page is
// always the same; `contiguous` gives pointers into the very pages that `read` and `write` use, which are page
// aligned, stay mapped as `_memory` lives, and are never referenced from Rust other than as atomics; copies are
// those of `vmbus_core::shared`.
unsafe impl RingMemory for GuestRing {
    #[inline]
    fn data_size(&self) -> u32 {
        self.data_size
    }

    #[inline]
    fn control(&self) -> &ControlPage {
        // SAFETY: the page is mapped and aligned as long as `self` lives, and `ControlPage` is a page of
        // atomics.
        unsafe { self.control.cast::<ControlPage>().as_ref() }
    }

    #[inline]
    fn read(&self, offset: u32, into: &mut [u8]) {
        let length = into.len();
        self.pieces(offset, length, |from, at, count| {
            if let Some(into) = into.get_mut(at..at + count) {
                // SAFETY: `pieces` gives pointers valid for `count` bytes of guest memory.
                unsafe { copy_from_shared(from.as_ptr(), into) }
            }
        });
    }

    #[inline]
    fn write(&self, offset: u32, from: &[u8]) {
        self.pieces(offset, from.len(), |to, at, count| {
            if let Some(from) = from.get(at..at + count) {
                // SAFETY: `pieces` gives pointers valid for `count` bytes of guest memory.
                unsafe { copy_to_shared(to.as_ptr(), from) }
            }
        });
    }

    #[inline]
    fn contiguous(&self, offset: u32) -> Option<(NonNull<u8>, u32)> {
        match &self.data {
            DataPages::Contiguous(base) => {
                let length = self.data_size.checked_sub(offset)?;
                // SAFETY: the offset is at most the length of the data area, which is mapped in one piece.
                Some((unsafe { base.add(offset as usize) }, length))
            }
            DataPages::Scattered(pages) => {
                let page = pages.get((offset / PAGE_SIZE as u32) as usize)?;
                let within = offset % PAGE_SIZE as u32;
                // SAFETY: `within` is less than a page.
                let at = unsafe { page.add(within as usize) };
                Some((at, PAGE_SIZE as u32 - within))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use vmbus_core::packet::{OutgoingKind, OutgoingPacket};
    use vmbus_core::ring::{IncomingRing, OutgoingRing, WriteError};

    use super::*;

    fn memory() -> GuestMemory {
        GuestMemory::new(32 * PAGE_SIZE).unwrap()
    }

    #[test]
    fn fault_37_ring_pages_outside_ram_are_refused() {
        let memory = memory();
        for page_frame in [32, 33, u64::MAX, u64::MAX / PAGE_SIZE] {
            for frames in [[page_frame, 1, 2], [1, page_frame, 2], [1, 2, page_frame]] {
                assert_eq!(
                    GuestRing::new(&memory, &frames).unwrap_err(),
                    GuestRingError::NotRam { page_frame }
                );
            }
        }
        for pages in [0, 1] {
            assert_eq!(
                GuestRing::new(&memory, &vec![1; pages]).unwrap_err(),
                GuestRingError::PageCount { pages }
            );
        }
    }

    /// Packets of every size pass, whatever the order of the pages.
    #[test]
    fn pages_in_any_order_carry_packets() {
        for frames in [
            [5, 6, 7, 8].as_slice(),
            &[8, 7, 6, 5],
            &[1, 4, 2, 3],
            &[9, 4],
        ] {
            let memory = memory();
            let ring = || GuestRing::new(&memory, frames).unwrap();
            let mut outgoing = OutgoingRing::initialise(ring());
            let mut incoming = IncomingRing::attach(ring()).unwrap();
            let mut buffer = vec![0; 4096];
            for round in 0..400usize {
                let payload = vec![round as u8; round * 8 % 2000];
                let signal = outgoing
                    .send(&OutgoingPacket {
                        transaction_id: round as u64,
                        completion_requested: true,
                        kind: OutgoingKind::InBand,
                        payload: &[&payload],
                    })
                    .unwrap();
                assert!(signal.is_needed());
                let mut batch = incoming.batch().unwrap();
                let packet = batch.next(&mut buffer).unwrap().unwrap();
                assert_eq!(packet.transaction_id, round as u64);
                assert_eq!(packet.payload, payload);
                let _ = batch.commit();
            }
        }
    }

    /// The guest may name one page several times, even the control page: nothing but its own packets suffers.
    #[test]
    fn fault_38_overlapping_ring_pages_hurt_only_the_guest() {
        for frames in [[3, 3, 3].as_slice(), &[3, 4, 4], &[3, 4, 3, 4, 5]] {
            let memory = memory();
            let ring = || GuestRing::new(&memory, frames).unwrap();
            let mut outgoing = OutgoingRing::initialise(ring());
            let mut buffer = vec![0; 4096];
            for round in 0..200u64 {
                let payload = [0xFF; 640];
                let sent = outgoing.send(&OutgoingPacket {
                    transaction_id: round,
                    completion_requested: false,
                    kind: OutgoingKind::InBand,
                    payload: &[&payload],
                });
                if let Err(WriteError::Ring(_)) = sent {
                    break;
                }
                let Ok(mut incoming) = IncomingRing::attach(ring()) else {
                    break;
                };
                if let Ok(mut batch) = incoming.batch() {
                    while let Ok(Some(_)) = batch.next(&mut buffer) {}
                    let _ = batch.commit();
                }
            }
            let mut outside = [0u8; 4096];
            memory.read(6 * PAGE_SIZE, &mut outside).unwrap();
            assert_eq!(outside, [0; 4096]);
        }
    }
}
