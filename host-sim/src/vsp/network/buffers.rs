//! The buffers that a guest has lent.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::sections::SectionPool;
use super::{MAX_BUFFER, SEND_SECTION_SIZE, receive_section_size};
use crate::vmbus::vsp::LentMemory;

/// The receive buffer.
#[derive(Debug)]
pub(super) struct ReceiveBuffer {
    pub(super) memory: LentMemory,
    pub(super) section_size: u32,
    pub(super) section_count: u32,
    pool: Mutex<SectionPool>,
}

impl ReceiveBuffer {
    /// Divides the memory into sections for frames of up to `mtu` bytes; `None` if it cannot be.
    pub(super) fn new(memory: LentMemory, mtu: u32) -> Option<Self> {
        let section_size = receive_section_size(mtu);
        let section_count = sections(&memory, section_size)?;
        Some(Self {
            memory,
            section_size,
            section_count,
            pool: Mutex::new(SectionPool::new(section_count)?),
        })
    }

    pub(super) fn pool(&self) -> MutexGuard<'_, SectionPool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// First byte of a section in the buffer. Sections' numbers are less than their count, and the buffer is less
    /// than 4 GiB.
    pub(super) fn offset(&self, section: u32) -> u32 {
        section * self.section_size
    }
}

/// The send buffer.
#[derive(Debug)]
pub(super) struct SendBuffer {
    pub(super) memory: LentMemory,
    section_count: u32,
}

impl SendBuffer {
    /// Divides the memory into sections; `None` if it cannot be.
    pub(super) fn new(memory: LentMemory) -> Option<Self> {
        let section_count = sections(&memory, SEND_SECTION_SIZE)?;
        Some(Self {
            memory,
            section_count,
        })
    }

    /// First byte of a section, if it exists and has so many bytes.
    pub(super) fn offset(&self, section: u32, length: u32) -> Option<u64> {
        (section < self.section_count && length <= SEND_SECTION_SIZE)
            .then(|| u64::from(section) * u64::from(SEND_SECTION_SIZE))
    }
}

/// How many sections fit; `None` for none, or a buffer that no guest lends.
fn sections(memory: &LentMemory, section_size: u32) -> Option<u32> {
    let size = memory.size();
    if !memory.is_whole_pages() || size > MAX_BUFFER {
        return None;
    }
    u32::try_from(size / u64::from(section_size))
        .ok()
        .filter(|count| *count != 0)
}

/// Both.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) receive: Option<ReceiveBuffer>,
    pub(super) send: Option<SendBuffer>,
}
