//! Counters of what a device does: each of its channels counts by itself, and their sums are what operators see.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread counts and others read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds without a locked operation: nobody else writes.
    #[inline]
    pub(crate) fn add(&self, amount: u64) {
        let sum = self.read().wrapping_add(amount);
        self.0.store(sum, Ordering::Relaxed);
    }

    /// Adds one.
    #[inline]
    pub(crate) fn increment(&self) {
        self.add(1);
    }

    /// The number now.
    #[inline]
    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes the sums of a device, and beside them `ChannelCounters`, the counters of one of its channels.
macro_rules! counters {
    (
        $(#[$attribute:meta])*
        $sums:ident {
            $( $(#[$doc:meta])* $name:ident, )+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct $sums {
            $( $(#[$doc])* pub $name: u64, )+
        }

        impl $sums {
            pub(super) fn add(&mut self, other: &Self) {
                $( self.$name = self.$name.wrapping_add(other.$name); )+
            }
        }

        /// Counters of one channel. Only the channel writes them, so adding takes no locked operation.
        #[derive(Debug, Default)]
        pub(super) struct ChannelCounters {
            $( pub(super) $name: $crate::vsp::counters::Counter, )+
        }

        impl ChannelCounters {
            pub(super) fn read(&self) -> $sums {
                $sums {
                    $( $name: self.$name.read(), )+
                }
            }
        }
    };
}
pub(crate) use counters;
