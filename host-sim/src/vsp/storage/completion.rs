//! From an outcome to a packet.

use vsc_storage::wire::{
    NtStatus, Operation, Packet, PacketFlags, SENSE_SIZE, Srb, SrbStatus, Version,
};

use super::request::{Command, Malformed};
use crate::vsp::scsi::Outcome;

/// What an answer repeats from its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReplyTo {
    pub(super) transaction_id: u64,
    /// Bytes of payload in the request, and so in the answer: at most 52.
    pub(super) payload_length: u8,
    /// Whether an answer is wanted at all.
    pub(super) wanted: bool,
}

/// Length field of every reply's request block.
const REPLY_BLOCK_LENGTH: u16 = size_of::<Srb>() as u16;
/// Command length field of every reply.
const REPLY_CDB_LENGTH: u8 = 16;

/// A command that has been executed.
#[derive(Debug)]
pub struct Completion {
    /// To be repeated, if the outcome is not final.
    pub(super) command: Command,
    pub(super) outcome: Outcome,
}

impl ReplyTo {
    fn packet(self, status: NtStatus, srb: &Srb) -> Packet {
        let mut packet = Packet::new(
            Operation::COMPLETE_IO,
            PacketFlags::empty(),
            status,
            self.payload_length.into(),
        );
        packet.set_payload(srb);
        packet
    }

    /// The answer to a command that ended so.
    pub(super) fn complete(self, outcome: &Outcome, version: Version) -> Packet {
        let statuses = outcome.statuses();
        let mut srb = Srb {
            length: REPLY_BLOCK_LENGTH.into(),
            srb_status: statuses.srb.0,
            scsi_status: statuses.scsi.0,
            cdb_length: REPLY_CDB_LENGTH,
            data_transfer_length: outcome.transferred().into(),
            ..Srb::ZERO
        };
        if let Some(sense) = statuses.sense {
            // 18 bytes of sense data, zero padded to the dialect's room.
            let (head, _) = srb.command_or_sense.split_at_mut(sense.to_bytes().len());
            head.copy_from_slice(&sense.to_bytes());
            srb.sense_info_length = version.sense_size().min(SENSE_SIZE) as u8;
        }
        self.packet(statuses.header, &srb)
    }

    /// The answer to a command that makes no sense.
    pub(super) fn refuse(self, malformed: Malformed, version: Version) -> Packet {
        if malformed == Malformed::ShortBlock {
            let srb = Srb {
                length: REPLY_BLOCK_LENGTH.into(),
                srb_status: SrbStatus::BAD_SRB_BLOCK_LENGTH.0,
                // An unknown code beside a good SCSI status would count as success with some guests.
                scsi_status: vsc_storage::scsi::ScsiStatus::CHECK_CONDITION.0,
                cdb_length: REPLY_CDB_LENGTH,
                ..Srb::ZERO
            };
            return self.packet(malformed.status(), &srb);
        }
        let mut packet = self.complete(&malformed.into(), version);
        packet.set_status(malformed.status());
        packet
    }
}
