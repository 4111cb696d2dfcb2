//! How a controller is to be used.

use vmbus_core::guid::Guid;

use super::time::SECOND;
use crate::disk::RetryLimits;
use crate::init::InitOptions;
use crate::queue::Address;
use crate::wire::Version;

/// Kind of a controller, by the interface that its offer names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControllerKind {
    /// Synthetic SCSI controller: any number of logical units.
    Scsi,
    /// Accelerated IDE: one disk. The target is the second field of the offer's instance GUID.
    Ide {
        /// SCSI target of the disk.
        target: u8,
    },
}

impl ControllerKind {
    /// The kind of an accelerated IDE disk with this instance GUID.
    #[must_use]
    pub const fn ide(instance: &Guid) -> Self {
        let [_, _, _, _, target, ..] = instance.to_bytes();
        Self::Ide { target }
    }

    pub(super) const fn address(self) -> Address {
        let target = match self {
            Self::Scsi => 0,
            Self::Ide { target } => target,
        };
        Address {
            path: 0,
            target,
            lun: 0,
        }
    }
}

/// How a controller is to be used. The default is right for most.
#[derive(Clone, Copy, Debug)]
pub struct ControllerOptions {
    /// Storage protocol version proposed first.
    pub newest: Version,
    /// Storage protocol version proposed last.
    pub oldest: Version,
    /// Sub-channels to ask for: 0 for none, at most one less than there are virtual processors.
    pub sub_channels: u16,
    /// Pages of each ring, its control page included.
    pub ring_pages: u32,
    /// Most requests in flight on one channel.
    pub queue_depth: usize,
    /// Virtual processor that the primary channel interrupts.
    pub target_vp: u32,
    /// Time that the host has to answer one message of the initialisation, in units of 100 ns.
    pub init_timeout: u64,
    /// Time that a command of a scan, or the requests in flight at a close, may take, in units of
    /// 100 ns. Reads and writes have no such limit: [`within`](super::within) gives them one.
    pub command_timeout: u64,
    /// How often commands are tried again.
    pub retries: RetryLimits,
}

impl Default for ControllerOptions {
    fn default() -> Self {
        Self {
            newest: Version::Win10,
            oldest: Version::Win6,
            sub_channels: 0,
            ring_pages: 32,
            queue_depth: 256,
            target_vp: 0,
            init_timeout: SECOND.saturating_mul(180),
            command_timeout: SECOND.saturating_mul(180),
            retries: RetryLimits::default(),
        }
    }
}

impl ControllerOptions {
    pub(super) const fn init(&self) -> InitOptions {
        InitOptions {
            newest: self.newest,
            oldest: self.oldest,
            sub_channels: self.sub_channels,
            fibre_channel: false,
        }
    }
}
