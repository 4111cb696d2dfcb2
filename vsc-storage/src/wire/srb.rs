//! The SCSI request block inside a message.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{MAX_PAYLOAD_SIZE, SENSE_SIZE, SrbFlags, SrbStatus};
use crate::scsi::ScsiStatus;

/// Which way a request's data moves; the value of [`Srb::data_in`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DataDirection {
    /// The host reads guest memory: a write command.
    ToDevice,
    /// The host writes guest memory: a read command.
    FromDevice,
    /// No data. With a buffer attached, hosts take it as "either way".
    None,
}

impl DataDirection {
    /// The byte on the wire.
    #[must_use]
    pub const fn wire(self) -> u8 {
        match self {
            Self::ToDevice => 0,
            Self::FromDevice => 1,
            Self::None => 2,
        }
    }

    /// The meaning of a byte from the wire; `None` above 2.
    #[must_use]
    pub const fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::ToDevice),
            1 => Some(Self::FromDevice),
            2 => Some(Self::None),
            _ => None,
        }
    }
}

/// SCSI request block with the Windows 8 extension, 52 bytes. The Windows 6 and 7 dialects carry
/// only the first 36 of them; the rest then reads as zero.
///
/// The command and the sense data share [`command_or_sense`](Self::command_or_sense): whoever
/// needs the command later keeps a copy of it.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Srb {
    /// Bytes of this structure: 52 or 36.
    pub length: U16,
    /// See [`SrbStatus`]; 0 in a request.
    pub srb_status: u8,
    /// See [`ScsiStatus`]; 0 in a request.
    pub scsi_status: u8,
    /// The guest's own number for the controller; hosts ignore it.
    pub port_number: u8,
    /// SCSI bus.
    pub path_id: u8,
    /// SCSI target.
    pub target_id: u8,
    /// Logical unit.
    pub lun: u8,
    /// Bytes of the command: 6, 10, 12 or 16; 16 in a reply.
    pub cdb_length: u8,
    /// Room for sense data in a request, valid sense bytes in a reply.
    pub sense_info_length: u8,
    /// See [`DataDirection`].
    pub data_in: u8,
    /// 0.
    pub properties: u8,
    /// Bytes offered in a request, bytes moved in a reply.
    pub data_transfer_length: U32,
    /// The command (16 bytes, zero padded) in a request, sense data in a reply.
    pub command_or_sense: [u8; SENSE_SIZE],
    /// 0. The Windows 8 extension begins here.
    pub reserved: U16,
    /// [`Srb::UNTAGGED`] as a placeholder.
    pub queue_tag: u8,
    /// [`Srb::SIMPLE_TAG`], [`Srb::HEAD_OF_QUEUE_TAG`] or [`Srb::ORDERED_TAG`].
    pub queue_action: u8,
    /// See [`SrbFlags`].
    pub srb_flags: U32,
    /// Seconds that the command may take.
    pub time_out_value: U32,
    /// 0.
    pub queue_sort_key: U32,
}

const _: () = assert!(size_of::<Srb>() == MAX_PAYLOAD_SIZE);

impl Srb {
    /// Queue tag that names no tag.
    pub const UNTAGGED: u8 = 0xFF;
    /// Queue action: execute in any order.
    pub const SIMPLE_TAG: u8 = 0x20;
    /// Queue action: execute next.
    pub const HEAD_OF_QUEUE_TAG: u8 = 0x21;
    /// Queue action: execute in order.
    pub const ORDERED_TAG: u8 = 0x22;

    /// A block of zeros.
    pub const ZERO: Self = Self {
        length: U16::ZERO,
        srb_status: 0,
        scsi_status: 0,
        port_number: 0,
        path_id: 0,
        target_id: 0,
        lun: 0,
        cdb_length: 0,
        sense_info_length: 0,
        data_in: 0,
        properties: 0,
        data_transfer_length: U32::ZERO,
        command_or_sense: [0; SENSE_SIZE],
        reserved: U16::ZERO,
        queue_tag: 0,
        queue_action: 0,
        srb_flags: U32::ZERO,
        time_out_value: U32::ZERO,
        queue_sort_key: U32::ZERO,
    };

    /// The SRB status.
    #[must_use]
    pub const fn srb_status(&self) -> SrbStatus {
        SrbStatus(self.srb_status)
    }

    /// The SCSI status.
    #[must_use]
    pub const fn scsi_status(&self) -> ScsiStatus {
        ScsiStatus(self.scsi_status)
    }

    /// The direction; `None` for a byte without meaning.
    #[must_use]
    pub const fn direction(&self) -> Option<DataDirection> {
        DataDirection::from_wire(self.data_in)
    }

    /// The flags; unknown bits are kept.
    #[must_use]
    pub const fn flags(&self) -> SrbFlags {
        SrbFlags::from_bits_retain(self.srb_flags.get())
    }

    /// The command's 16 bytes, in a request.
    #[must_use]
    pub const fn command(&self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = self.command_or_sense;
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}

impl Default for Srb {
    fn default() -> Self {
        Self::ZERO
    }
}
