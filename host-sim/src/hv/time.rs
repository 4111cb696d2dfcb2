//! Reference time and the reference TSC page.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::HvError;
use super::clock::{Clock, ReferenceFormula};
use super::overlay::Overlay;
use crate::memory::{GuestMemory, PAGE_SIZE};

/// Offsets of the fields of the reference TSC page (TLFS "Reference TSC page").
mod field {
    pub(super) const SEQUENCE: usize = 0;
    pub(super) const SCALE: usize = 8;
    pub(super) const OFFSET: usize = 16;
}

/// Sequence of an invalid page: guests use the counter MSR.
const INVALID: u32 = 0;
/// Sequence that older guests take for invalid too; never published.
const ALSO_INVALID: u32 = u32::MAX;

/// Reference time of a partition: 100 ns units since its creation, without a lock.
pub(super) struct ReferenceTime {
    clock: Arc<dyn Clock>,
    scale: u64,
    offset: AtomicU64,
}

impl ReferenceTime {
    /// Time 0 is now.
    pub(super) fn starting_now(clock: Arc<dyn Clock>) -> Result<Self, HvError> {
        let hertz = clock.tsc_frequency();
        let scale = ReferenceFormula::scale_for(hertz).ok_or(HvError::ClockTooSlow { hertz })?;
        let offset = ReferenceFormula::through(scale, clock.tsc(), 0).offset;
        Ok(Self {
            clock,
            scale,
            offset: AtomicU64::new(offset),
        })
    }

    pub(super) fn now(&self) -> u64 {
        // The offset is read first: a rebase that comes between the two reads is then as if it came after both.
        let formula = self.formula();
        formula.at(self.clock.tsc())
    }

    pub(super) fn formula(&self) -> ReferenceFormula {
        ReferenceFormula {
            scale: self.scale,
            offset: self.offset.load(Ordering::Acquire),
        }
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// Makes `reference` the time of this moment.
    fn rebase(&self, reference: u64) {
        let formula = ReferenceFormula::through(self.scale, self.clock.tsc(), reference);
        self.offset.store(formula.offset, Ordering::Release);
    }
}

/// The REFERENCE_TSC register and its page.
pub(super) struct TscPage {
    overlay: Overlay,
    /// Last sequence published; the next valid one differs from it.
    sequence: u32,
}

impl TscPage {
    pub(super) fn new() -> Self {
        Self {
            overlay: Overlay::new(),
            sequence: INVALID,
        }
    }

    /// Lays a page that is valid at once over guest memory, or one with sequence 0 if the guest reads another counter.
    ///
    /// # Errors
    /// [`crate::memory::NotRam`] if the page is not RAM; nothing has changed then.
    pub(super) fn enable(
        &mut self,
        memory: &GuestMemory,
        page_frame: u64,
        time: &ReferenceTime,
    ) -> Result<(), crate::memory::NotRam> {
        if self.overlay.page_frame() == Some(page_frame) {
            return Ok(());
        }
        if !memory.is_ram_page(page_frame) {
            return Err(crate::memory::NotRam {
                address: page_frame.saturating_mul(PAGE_SIZE),
                length: PAGE_SIZE,
            });
        }
        self.overlay.remove(memory);
        let sequence = if time.clock().guest_reads_it() {
            self.next_sequence()
        } else {
            INVALID
        };
        let mut page = [0; PAGE_SIZE as usize];
        let formula = time.formula();
        page[field::SEQUENCE..][..4].copy_from_slice(&sequence.to_le_bytes());
        page[field::SCALE..][..8].copy_from_slice(&formula.scale.to_le_bytes());
        page[field::OFFSET..][..8].copy_from_slice(&formula.offset.to_le_bytes());
        self.overlay.set_contents(&page);
        self.overlay.place(memory, page_frame)
    }

    pub(super) fn disable(&mut self, memory: &GuestMemory) {
        self.overlay.remove(memory);
    }

    /// Makes `reference` the reference time of this moment, for readers of the page and of the MSR alike.
    ///
    /// The page is invalid while both change: a reader falls back to the MSR or tries again.
    pub(super) fn rebase(&mut self, memory: &GuestMemory, time: &ReferenceTime, reference: u64) {
        let address = self.overlay.address();
        if let Some(address) = address {
            store_sequence(memory, address, INVALID);
            fence(Ordering::SeqCst);
        }
        time.rebase(reference);
        let Some(address) = address else { return };
        let formula = time.formula();
        let mut fields = [0; 16];
        fields[..8].copy_from_slice(&formula.scale.to_le_bytes());
        fields[8..].copy_from_slice(&formula.offset.to_le_bytes());
        // An overlay only ever lies in RAM, which never goes away.
        let _ = memory.write(address + field::SCALE as u64, &fields);
        fence(Ordering::SeqCst);
        if time.clock().guest_reads_it() {
            let sequence = self.next_sequence();
            store_sequence(memory, address, sequence);
        }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = match self.sequence.wrapping_add(1) {
            INVALID | ALSO_INVALID => 1,
            next => next,
        };
        self.sequence
    }
}

fn store_sequence(memory: &GuestMemory, page: u64, sequence: u32) {
    if let Ok(word) = memory.atomic_u32(page + field::SEQUENCE as u64) {
        word.store(sequence.to_le(), Ordering::Release);
    }
}
