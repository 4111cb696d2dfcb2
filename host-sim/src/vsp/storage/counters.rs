//! What a controller has done, for operators and tests.

use vsc_storage::scsi::Opcode;

use crate::vsp::counters::counters;
use crate::vsp::scsi::Outcome;

counters! {
    /// What a controller has done since it was made, over all its channels.
    StorageCounters {
        /// Commands completed, whatever their outcome.
        commands,
        /// READ commands completed successfully.
        reads,
        /// Bytes that they read.
        bytes_read,
        /// WRITE commands (WRITE AND VERIFY included) completed successfully.
        writes,
        /// Bytes that they wrote.
        bytes_written,
        /// SYNCHRONIZE CACHE commands completed successfully.
        flushes,
        /// Commands that failed.
        failures,
        /// Messages other than commands.
        control_messages,
        /// Commands refused because of their request block or buffer.
        malformed,
        /// Packets dropped without an answer.
        dropped,
        /// Commands that waited on a sub-channel for the initialisation.
        held,
        /// Times that requests had to wait because the guest left no room for completions.
        ring_full,
        /// Times that requests had to wait because too many were being executed.
        queue_full,
        /// Commands that had to wait because the host had no space for them.
        waited_for_space,
        /// Batches of completions written.
        batches,
        /// Times that a batch called for a signal to the guest.
        signals,
        /// Announcements that the set of disks changed.
        bus_changes,
        /// Channels opened, sub-channels included.
        channels_opened,
    }
}

impl ChannelCounters {
    /// Counts a command that has been executed.
    #[inline]
    pub(super) fn count(&self, opcode: u8, outcome: &Outcome) {
        self.commands.increment();
        let Outcome::Good { transferred } = *outcome else {
            self.failures.increment();
            return;
        };
        let (times, bytes) = match Opcode(opcode) {
            Opcode::READ_6 | Opcode::READ_10 | Opcode::READ_12 | Opcode::READ_16 => {
                (&self.reads, Some(&self.bytes_read))
            }
            Opcode::WRITE_6
            | Opcode::WRITE_10
            | Opcode::WRITE_12
            | Opcode::WRITE_16
            | Opcode::WRITE_AND_VERIFY_10
            | Opcode::WRITE_AND_VERIFY_12
            | Opcode::WRITE_AND_VERIFY_16 => (&self.writes, Some(&self.bytes_written)),
            Opcode::SYNCHRONIZE_CACHE_10 | Opcode::SYNCHRONIZE_CACHE_16 => (&self.flushes, None),
            _ => return,
        };
        times.increment();
        if let Some(bytes) = bytes {
            bytes.add(transferred.into());
        }
    }
}
