//! What a request queue counts.

use super::Dropped;

/// Counts of one request queue since it was made. They stop at their maximum.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Requests put into the ring.
    pub submitted: u64,
    /// Requests completed by the host.
    pub completed: u64,
    /// Completed commands that failed.
    pub failed: u64,
    /// Requests cancelled because the channel closed.
    pub cancelled: u64,
    /// Requests refused because the ring was full.
    pub ring_full: u64,
    /// Requests refused because every slot was taken.
    pub queue_full: u64,
    /// Messages that announced changed devices.
    pub events: u64,
    /// Completions that claimed more data than was asked for.
    pub clamped: u64,
    /// Completions with an id that wasn't in flight.
    pub unknown_ids: u64,
    /// Packets too short for the protocol version.
    pub short: u64,
    /// Packets of a type that the host may not send.
    pub wrong_types: u64,
    /// Completions of in-flight requests with a wrong operation.
    pub wrong_operations: u64,
    /// Unsolicited messages without meaning.
    pub unknown_events: u64,
    /// Packets that came after the queue was closed.
    pub late: u64,
}

impl Counters {
    /// Packets dropped for whatever reason.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.unknown_ids
            .saturating_add(self.short)
            .saturating_add(self.wrong_types)
            .saturating_add(self.wrong_operations)
            .saturating_add(self.unknown_events)
            .saturating_add(self.late)
    }

    pub(super) fn count_dropped(&mut self, dropped: Dropped) {
        let counter = match dropped {
            Dropped::UnknownId(_) => &mut self.unknown_ids,
            Dropped::Short { .. } => &mut self.short,
            Dropped::WrongType => &mut self.wrong_types,
            Dropped::WrongOperation(_) => &mut self.wrong_operations,
            Dropped::UnknownEvent(_) => &mut self.unknown_events,
            Dropped::Closed => &mut self.late,
        };
        *counter = counter.saturating_add(1);
    }
}
