//! The pages that a connection shares with the host: interrupt page and monitor pages.

use alloc::sync::Arc;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use super::memory::SharedMemory;
use crate::platform::Platform;
use crate::protocol::{ChannelId, MonitorPages};

/// 32-bit words of one direction of the interrupt page that hold flags of channels.
const FLAG_WORDS: usize = 2048 / 32;
/// Where the guest's direction of the interrupt page starts, in bytes.
const SEND_OFFSET: usize = 2048;
/// Where the trigger groups of a monitor page start, in bytes.
const TRIGGER_GROUPS: usize = 8;
/// Bytes of a trigger group: pending word, armed word.
const TRIGGER_GROUP_SIZE: usize = 8;
/// Trigger groups of a monitor page.
const TRIGGER_GROUP_COUNT: usize = 4;

/// The pages. Allocated once for a bus.
#[derive(Debug)]
pub(super) struct BusPages<R: Platform> {
    /// The page that hosts before 2.4 use for interrupts.
    interrupt: SharedMemory<R>,
    /// Parent to child, child to parent.
    monitor: SharedMemory<R>,
}

impl<R: Platform> BusPages<R> {
    pub(super) fn allocate(platform: &Arc<R>) -> Option<Self> {
        Some(Self {
            interrupt: SharedMemory::allocate(platform.clone(), 1)?,
            monitor: SharedMemory::allocate(platform.clone(), 2)?,
        })
    }

    pub(super) fn interrupt_page(&self) -> u64 {
        self.interrupt.address(0)
    }

    pub(super) fn monitor_pages(&self) -> MonitorPages {
        MonitorPages {
            parent_to_child: self.monitor.address(0),
            child_to_parent: self.monitor.address(1),
        }
    }

    pub(super) fn set_host_sees(&self, sees: bool) {
        self.interrupt.set_host_sees(sees);
        self.monitor.set_host_sees(sees);
    }

    /// A word of a page, by its offset in bytes: a multiple of 4 within the memory.
    fn word(memory: &SharedMemory<R>, offset: usize) -> Option<&AtomicU32> {
        let limit = memory.page_count().saturating_mul(4096);
        if !offset.is_multiple_of(4) || offset >= limit {
            return None;
        }
        let base: NonNull<u8> = memory.base();
        // SAFETY: the offset lies within the pages, which live as long as `memory`; they are page-aligned
        // and the offset is a multiple of 4; shared memory is only accessed through atomics.
        Some(unsafe { base.add(offset).cast::<AtomicU32>().as_ref() })
    }

    /// Takes the interrupts that the host has put into the interrupt page.
    pub(super) fn scan_interrupt_page(&self, mut handle: impl FnMut(ChannelId)) {
        for index in 0..FLAG_WORDS {
            let Some(word) = Self::word(&self.interrupt, index * 4) else {
                return;
            };
            if word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut set = word.swap(0, Ordering::SeqCst);
            while set != 0 {
                handle(ChannelId(index as u32 * 32 + set.trailing_zeros()));
                set &= set - 1;
            }
        }
    }

    /// Sets a channel's bit in the guest's half of the interrupt page.
    pub(super) fn set_send_bit(&self, channel: ChannelId) {
        let id = channel.0 as usize;
        if let Some(word) = Self::word(&self.interrupt, SEND_OFFSET + id / 32 * 4) {
            word.fetch_or(1 << (id % 32), Ordering::SeqCst);
        }
    }

    /// Sets a monitor bit in the page that the guest writes.
    pub(super) fn trigger_monitor(&self, monitor_id: u8) {
        let group = usize::from(monitor_id) / 32 % TRIGGER_GROUP_COUNT;
        let offset = crate::platform::PAGE_SIZE + TRIGGER_GROUPS + group * TRIGGER_GROUP_SIZE;
        if let Some(word) = Self::word(&self.monitor, offset) {
            word.fetch_or(1 << (monitor_id % 32), Ordering::SeqCst);
        }
    }
}
