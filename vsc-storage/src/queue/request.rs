//! What is asked of a device.

use vmbus_core::packet::GpaRange;
use zerocopy::little_endian::{U16, U32};

use crate::scsi::Cdb;
use crate::wire::{DataDirection, Operation, Srb, SrbFlags, Version};

/// Where a command goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct Address {
    /// SCSI bus, 0 on synthetic controllers.
    pub path: u8,
    /// SCSI target, 0 on synthetic SCSI controllers.
    pub target: u8,
    /// Logical unit.
    pub lun: u8,
}

/// The data of a command: one range of guest memory, given by its page frames.
///
/// The range's interior boundaries are page boundaries; scatter lists that aren't so are bounced by
/// their owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Data<'a> {
    /// No data.
    None,
    /// The device writes into the range.
    In(GpaRange<'a>),
    /// The device reads from the range.
    Out(GpaRange<'a>),
}

impl<'a> Data<'a> {
    /// Bytes of data.
    #[must_use]
    pub const fn length(&self) -> u32 {
        match self {
            Self::None => 0,
            Self::In(range) | Self::Out(range) => range.byte_count,
        }
    }

    pub(super) const fn range(&self) -> Option<GpaRange<'a>> {
        match self {
            Self::None => None,
            Self::In(range) | Self::Out(range) => Some(*range),
        }
    }
}

/// One command for a device.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where it goes.
    pub address: Address,
    /// The command.
    pub command: Cdb,
    /// Its data.
    pub data: Data<'a>,
    /// Seconds that the device may take. Hosts are free to ignore it.
    pub timeout_seconds: u32,
}

impl<'a> Request<'a> {
    /// Seconds that a command may take if nothing else is said.
    pub const DEFAULT_TIMEOUT: u32 = 60;

    /// A command with the default timeout.
    #[must_use]
    pub const fn new(address: Address, command: Cdb, data: Data<'a>) -> Self {
        Self {
            address,
            command,
            data,
            timeout_seconds: Self::DEFAULT_TIMEOUT,
        }
    }

    #[inline]
    pub(super) fn srb(&self, version: Version) -> Srb {
        let (direction, flag) = match self.data {
            Data::None => (DataDirection::None, SrbFlags::empty()),
            Data::In(_) => (DataDirection::FromDevice, SrbFlags::DATA_IN),
            Data::Out(_) => (DataDirection::ToDevice, SrbFlags::DATA_OUT),
        };
        let flags = flag
            | SrbFlags::DISABLE_SYNCH_TRANSFER
            | SrbFlags::QUEUE_ACTION_ENABLE
            | SrbFlags::NO_QUEUE_FREEZE;
        let mut srb = Srb {
            cdb_length: self.command.length(),
            data_in: direction.wire(),
            data_transfer_length: U32::new(self.data.length()),
            queue_tag: Srb::UNTAGGED,
            queue_action: Srb::SIMPLE_TAG,
            srb_flags: U32::new(flags.bits()),
            time_out_value: U32::new(self.timeout_seconds),
            ..addressed(self.address, version)
        };
        for (to, from) in srb.command_or_sense.iter_mut().zip(self.command.bytes()) {
            *to = *from;
        }
        srb
    }
}

/// What a reset is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reset {
    /// One logical unit.
    LogicalUnit(Address),
    /// The bus of this address.
    Bus(Address),
    /// The whole adapter.
    Adapter,
}

impl Reset {
    pub(super) const fn operation(self) -> Operation {
        match self {
            Self::LogicalUnit(_) => Operation::RESET_LUN,
            Self::Bus(_) => Operation::RESET_BUS,
            Self::Adapter => Operation::RESET_ADAPTER,
        }
    }

    pub(super) fn srb(self, version: Version) -> Srb {
        match self {
            Self::LogicalUnit(address) => addressed(address, version),
            Self::Bus(address) => addressed(
                Address {
                    path: address.path,
                    ..Address::default()
                },
                version,
            ),
            Self::Adapter => Srb::ZERO,
        }
    }
}

#[inline]
fn addressed(address: Address, version: Version) -> Srb {
    // Both sizes are small constants.
    let length = u16::try_from(version.srb_size()).unwrap_or(0);
    let sense = u8::try_from(version.sense_size()).unwrap_or(0);
    Srb {
        length: U16::new(length),
        path_id: address.path,
        target_id: address.target,
        lun: address.lun,
        sense_info_length: sense,
        ..Srb::ZERO
    }
}
