//! A guest that can lie, with a disk and data pages whose content is known.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test program uses a part"
)]

use std::sync::Arc;

use host_sim::disk::DiskImage;
use host_sim::vsp::storage::StorageOptions;
use host_sim::vsp::storage::testing::{Data, Machine, MemoryDisk, TestChannel};
use vmbus_core::guid::Guid;
use vmbus_core::packet::{GpaRange, OutgoingKind};
use vsc_storage::scsi::Sense;
use vsc_storage::wire::{NtStatus, Packet, Srb};

pub const READ_10: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0];
pub const WRITE_10: [u8; 10] = [0x2A, 0, 0, 0, 0, 0, 0, 0, 8, 0];
pub const TEST_UNIT_READY: [u8; 6] = [0; 6];

pub fn scsi() -> StorageOptions {
    StorageOptions::scsi(Guid::ZERO)
}

pub struct Setup {
    pub machine: Machine,
    pub disk: Arc<MemoryDisk>,
    pub channel: TestChannel,
}

/// A disk full of 0xD5, an initialised channel, data pages full of 0xEE.
pub fn setup() -> Setup {
    let mut machine = Machine::new(scsi());
    let disk = Arc::new(MemoryDisk::new(1 << 20));
    disk.write_bytes(0, &vec![0xD5; 1 << 20]).unwrap();
    machine.handle.add_lun(0, disk.clone()).unwrap();
    let channel = machine.open_ready();
    for frame in TestChannel::data_frames(16 * 4096) {
        machine.memory.write(frame * 4096, &[0xEE; 4096]).unwrap();
    }
    Setup {
        machine,
        disk,
        channel,
    }
}

impl Setup {
    /// Sends a command with this range, changed by `change`; returns the answer.
    pub fn send(
        &mut self,
        cdb: &[u8],
        data: Data<'_>,
        ranges: &[GpaRange<'_>],
        change: impl FnOnce(&mut Srb),
    ) -> Packet {
        let mut message = self.channel.command_message(0, cdb, data);
        let mut srb = message.srb().unwrap();
        change(&mut srb);
        message.set_payload(&srb);
        let kind = if ranges.is_empty() {
            OutgoingKind::InBand
        } else {
            OutgoingKind::GpaDirect(ranges)
        };
        let id = self.channel.fresh_id();
        self.channel.send(id, kind, message.as_bytes()).unwrap();
        self.channel.poll().unwrap();
        self.channel.answer(id)
    }

    /// Neither disk nor data pages have changed, and the next good command works.
    pub fn assert_unharmed(&mut self) {
        let mut content = vec![0; 1 << 20];
        self.disk.read_bytes(0, &mut content).unwrap();
        assert!(content.iter().all(|byte| *byte == 0xD5));
        for frame in TestChannel::data_frames(16 * 4096) {
            let mut page = vec![0; 4096];
            self.machine.memory.read(frame * 4096, &mut page).unwrap();
            assert!(page.iter().all(|byte| *byte == 0xEE));
        }
        let reply = self.channel.command(0, &TEST_UNIT_READY, Data::None);
        assert!(reply.is_good());
    }
}

/// Asserts that the answer is the one for a malformed buffer.
pub fn assert_bad_buffer(answer: &Packet) {
    let srb = answer.srb().unwrap();
    assert_eq!(answer.status(), NtStatus::INVALID_PARAMETER);
    assert_eq!((srb.srb_status, srb.scsi_status), (0x86, 0x02));
    let sense = Sense::parse(&srb.command_or_sense).unwrap();
    assert_eq!((sense.key.0, sense.additional.code), (5, 0x24));
    assert_eq!(srb.data_transfer_length.get(), 0);
}
