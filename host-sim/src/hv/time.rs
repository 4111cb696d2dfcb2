//! Reference time and the reference TSC page.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use hypercall::time::{ReferenceTscPage, SEQUENCE_INVALID, TimeScale, next_sequence};

use super::HvError;
use super::clock::Clock;
use super::overlay::Overlay;
use super::shared_page;
use crate::memory::{GuestMemory, NotRam};

/// Reference time of a partition: 100 ns units since its creation, without a lock.
pub(super) struct ReferenceTime {
    clock: Arc<dyn Clock>,
    scale: u64,
    offset: AtomicI64,
}

impl ReferenceTime {
    /// Time 0 is now.
    pub(super) fn starting_now(clock: Arc<dyn Clock>) -> Result<Self, HvError> {
        let hertz = clock.tsc_frequency();
        let scale = TimeScale::from_frequency(hertz)
            .ok_or(HvError::ClockTooSlow { hertz })?
            .anchored(clock.tsc(), 0);
        Ok(Self {
            clock,
            scale: scale.scale,
            offset: AtomicI64::new(scale.offset),
        })
    }

    pub(super) fn now(&self) -> u64 {
        self.scale().time_at(self.clock.tsc())
    }

    pub(super) fn scale(&self) -> TimeScale {
        TimeScale {
            scale: self.scale,
            offset: self.offset.load(Ordering::Acquire),
        }
    }

    fn guest_reads_clock(&self) -> bool {
        self.clock.guest_reads_it()
    }

    /// Makes `reference` the time of this moment.
    fn rebase(&self, reference: u64) {
        let scale = self.scale().anchored(self.clock.tsc(), reference);
        self.offset.store(scale.offset, Ordering::Release);
    }
}

/// The reference TSC page of a partition.
pub(super) struct TscPage {
    overlay: Overlay,
    /// Last sequence published; kept here, since the guest can write the page.
    sequence: u32,
}

impl TscPage {
    pub(super) fn new() -> Self {
        Self {
            overlay: Overlay::new(),
            sequence: SEQUENCE_INVALID,
        }
    }

    /// Lays the page over guest memory. It is valid before this returns, unless the guest reads another counter: then it
    /// stays invalid and guests use the counter MSR.
    ///
    /// # Errors
    /// [`NotRam`] if the page is not RAM; nothing has changed then.
    pub(super) fn enable(
        &mut self,
        memory: &GuestMemory,
        page_frame: u64,
        time: &ReferenceTime,
    ) -> Result<(), NotRam> {
        if self.overlay.page_frame() == Some(page_frame) {
            return Ok(());
        }
        // A page that moves is invalid on its way, whatever the guest had written to it.
        self.overlay.place_cleared(memory, page_frame)?;
        self.publish(memory, time);
        Ok(())
    }

    pub(super) fn disable(&mut self, memory: &GuestMemory) {
        self.overlay.remove(memory);
    }

    /// Makes `reference` the reference time of this moment, for readers of the page and of the MSR alike. The page is
    /// invalid while both change: a reader falls back to the MSR or tries again.
    pub(super) fn rebase(&mut self, memory: &GuestMemory, time: &ReferenceTime, reference: u64) {
        if let Some(page) = self.page(memory) {
            page.invalidate();
        }
        time.rebase(reference);
        self.publish(memory, time);
    }

    fn publish(&mut self, memory: &GuestMemory, time: &ReferenceTime) {
        if time.guest_reads_clock()
            && let Some(page) = self.page(memory)
        {
            let sequence = next_sequence(self.sequence);
            page.publish_as(time.scale(), sequence);
            self.sequence = sequence;
        }
    }

    fn page<'m>(&self, memory: &'m GuestMemory) -> Option<&'m ReferenceTscPage> {
        shared_page::view(memory, self.overlay.page_frame()?).ok()
    }
}
