//! What a controller has done, for operators and tests.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use vsc_storage::scsi::Opcode;

use crate::vsp::scsi::Outcome;

macro_rules! counters {
    ($( $(#[$doc:meta])* $name:ident, )+) => {
        /// What a controller has done since it was made, over all its channels.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct StorageCounters {
            $( $(#[$doc])* pub $name: u64, )+
        }

        impl StorageCounters {
            pub(super) fn add(&mut self, other: &Self) {
                $( self.$name = self.$name.wrapping_add(other.$name); )+
            }
        }

        /// Counters of one channel. Only the channel writes them, so adding takes no locked operation.
        #[derive(Debug, Default)]
        pub(super) struct ChannelCounters {
            $( pub(super) $name: Counter, )+
        }

        impl ChannelCounters {
            pub(super) fn read(&self) -> StorageCounters {
                StorageCounters {
                    $( $name: self.$name.0.load(Ordering::Relaxed), )+
                }
            }
        }
    };
}

counters! {
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

/// A number that one thread counts and others read.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(super) fn add(&self, amount: u64) {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(amount);
        self.0.store(sum, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn increment(&self) {
        self.add(1);
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
