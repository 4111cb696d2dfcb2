//! Guest memory that a device uses for longer than one packet: a buffer that its guest has lent by a GPADL.
//!
//! As long as a [`LentMemory`] lives, the guest's teardown of that GPADL is not answered, so the guest cannot take
//! the pages back while a device reads or writes them. A device drops it when its protocol says that the guest wants
//! the buffer back, and at the latest when the channel is closed.

use std::fmt;
use std::sync::Arc;

use vmbus_core::protocol::GpadlId;

use super::gpadl::Gpadl;
use crate::memory::{GuestMemory, NotRam, PAGE_SIZE};

/// Finds the GPADLs of one channel.
///
/// For [`VspChannel::poll`](super::vsp::VspChannel::poll) and threads of the device; not for
/// [`Vsp::open`](super::vsp::Vsp::open), during which the server is locked.
#[derive(Clone)]
pub struct GpadlLookup(Arc<dyn Fn(GpadlId) -> Option<LentMemory> + Send + Sync>);

impl GpadlLookup {
    /// A lookup that asks `find`.
    #[must_use]
    pub fn new(find: impl Fn(GpadlId) -> Option<LentMemory> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }

    /// Takes the memory of a complete GPADL of this channel into use; `None` if there is no such one, or if the guest
    /// is already taking it back.
    #[must_use]
    pub fn lend(&self, id: GpadlId) -> Option<LentMemory> {
        (self.0)(id)
    }
}

impl fmt::Debug for GpadlLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GpadlLookup")
    }
}

/// The memory of one GPADL with a single range, in use.
pub struct LentMemory {
    memory: GuestMemory,
    /// Dropped before `_end`, so that whoever is told finds one user fewer.
    gpadl: Arc<Gpadl>,
    _end: End,
}

/// Tells the server that a use has ended.
struct End(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Drop for End {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

/// A range of bytes does not lie within the memory that was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes at {offset:#x} are not within the {size:#x} bytes that the guest lent")]
pub struct OutsideLent {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Bytes of the memory.
    pub size: u64,
}

impl LentMemory {
    /// Takes a GPADL into use; `end` is called when the last reference of this use has been dropped, and must not
    /// block. Several ranges are taken as one after the other, which is only sound for users that check
    /// [`is_whole_pages`](Self::is_whole_pages) first.
    #[must_use]
    pub fn new(
        memory: GuestMemory,
        gpadl: Arc<Gpadl>,
        end: impl FnOnce() + Send + Sync + 'static,
    ) -> Self {
        Self {
            memory,
            gpadl,
            _end: End(Some(Box::new(end))),
        }
    }

    /// Whether the memory is one range of whole pages, from the beginning of the first.
    #[must_use]
    pub fn is_whole_pages(&self) -> bool {
        matches!(
            self.gpadl.ranges.as_slice(),
            [range] if range.byte_offset == 0 && u64::from(range.byte_count).is_multiple_of(PAGE_SIZE)
        )
    }

    /// Bytes in the first range.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.gpadl
            .ranges
            .first()
            .map_or(0, |range| range.byte_count.into())
    }

    /// Calls `act` for each piece within a page, with its guest-physical address, its position in the range and its
    /// length.
    fn pieces(
        &self,
        offset: u64,
        length: usize,
        mut act: impl FnMut(u64, usize, usize) -> Result<(), NotRam>,
    ) -> Result<(), OutsideLent> {
        let outside = OutsideLent {
            offset,
            length: length as u64,
            size: self.size(),
        };
        let Some(range) = self.gpadl.ranges.first() else {
            return Err(outside);
        };
        let end = offset.checked_add(length as u64);
        if end.is_none_or(|end| end > range.byte_count.into()) {
            return Err(outside);
        }
        let mut at = offset + u64::from(range.byte_offset);
        let mut done = 0;
        while done < length {
            let within = at % PAGE_SIZE;
            let count = (length - done).min((PAGE_SIZE - within) as usize);
            // The frames were counted and found to be RAM when the GPADL was made.
            let frame = usize::try_from(at / PAGE_SIZE)
                .ok()
                .and_then(|page| range.page_frames.get(page));
            let address = frame.ok_or(outside)? * PAGE_SIZE + within;
            act(address, done, count).map_err(|_| outside)?;
            at += count as u64;
            done += count;
        }
        Ok(())
    }

    /// Calls `each` with the guest-physical address and the length of each piece of a range that lies within one
    /// page, in order. The addresses are RAM, and the guest's to give back only after this use.
    ///
    /// # Errors
    /// The range does not lie within the memory; nothing is called then.
    pub fn addresses(
        &self,
        offset: u64,
        length: usize,
        mut each: impl FnMut(u64, usize),
    ) -> Result<(), OutsideLent> {
        self.pieces(offset, length, |address, _, count| {
            each(address, count);
            Ok(())
        })
    }

    /// Copies bytes out, from `offset` on.
    ///
    /// # Errors
    /// The range does not lie within the memory; `into` is then unspecified.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), OutsideLent> {
        self.pieces(offset, into.len(), |address, at, count| {
            self.memory.read(address, &mut into[at..at + count])
        })
    }

    /// Copies bytes in, from `offset` on.
    ///
    /// # Errors
    /// The range does not lie within the memory; nothing is then written.
    pub fn write(&self, offset: u64, from: &[u8]) -> Result<(), OutsideLent> {
        self.pieces(offset, from.len(), |address, at, count| {
            self.memory.write(address, &from[at..at + count])
        })
    }
}

impl fmt::Debug for LentMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LentMemory")
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use vmbus_core::protocol::ChannelId;

    use super::*;
    use crate::vmbus::gpadl::GpadlRange;

    fn gpadl(byte_count: u32, byte_offset: u32, frames: &[u64]) -> Arc<Gpadl> {
        Arc::new(Gpadl {
            channel_id: ChannelId(1),
            ranges: vec![GpadlRange {
                byte_count,
                byte_offset,
                page_frames: frames.into(),
            }],
        })
    }

    #[test]
    fn pages_in_any_order_are_one_buffer() {
        let memory = GuestMemory::new(16 * PAGE_SIZE).unwrap();
        let lent = LentMemory::new(memory.clone(), gpadl(3 * 4096, 0, &[9, 3, 7]), || {});
        assert!(lent.is_whole_pages());
        let bytes: Vec<u8> = (0..6000u32).map(|byte| (byte * 7) as u8).collect();
        lent.write(4000, &bytes).unwrap();
        let mut back = vec![0; 6000];
        lent.read(4000, &mut back).unwrap();
        assert_eq!(back, bytes);
        let mut page = [0; 4096];
        memory.read(3 * PAGE_SIZE, &mut page).unwrap();
        assert_eq!(page, bytes[96..96 + 4096]);
        memory.read(7 * PAGE_SIZE, &mut page).unwrap();
        assert_eq!(page[..6000 - 96 - 4096], bytes[96 + 4096..]);
    }

    #[test]
    fn nothing_outside_is_touched() {
        let memory = GuestMemory::new(16 * PAGE_SIZE).unwrap();
        let lent = LentMemory::new(memory.clone(), gpadl(100, 4000, &[2, 3]), || {});
        assert!(!lent.is_whole_pages());
        for (offset, length) in [(0, 101), (100, 1), (u64::MAX, 1), (1, usize::MAX >> 40)] {
            assert!(lent.write(offset, &vec![1; length]).is_err(), "{offset}");
        }
        lent.write(0, &[5; 100]).unwrap();
        let mut both = [0; 8192];
        memory.read(2 * PAGE_SIZE, &mut both).unwrap();
        let touched = both.iter().filter(|byte| **byte == 5).count();
        assert_eq!((touched, &both[4000..4100]), (100, [5; 100].as_slice()));
    }

    /// Whoever is told of the end no longer counts the use that has ended.
    #[test]
    fn the_end_is_told_after_it() {
        let memory = GuestMemory::new(16 * PAGE_SIZE).unwrap();
        let gpadl = gpadl(4096, 0, &[1]);
        let users = Arc::new(AtomicUsize::new(0));
        let (weak, seen) = (Arc::downgrade(&gpadl), Arc::clone(&users));
        let lent = LentMemory::new(memory, Arc::clone(&gpadl), move || {
            seen.store(weak.strong_count(), Ordering::Relaxed);
        });
        assert_eq!(Arc::strong_count(&gpadl), 2);
        drop(lent);
        assert_eq!(users.load(Ordering::Relaxed), 1);
    }
}
