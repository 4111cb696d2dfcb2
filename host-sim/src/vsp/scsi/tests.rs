//! Commands of disks, byte for byte. Numbers like H18 are those of the conformance checklist.

mod identity;
mod mode;
mod optical;
mod provisioning;
mod sense;
mod transfer;

use std::sync::Arc;

use vm_memory::VolatileSlice;
use vsc_storage::wire::DataDirection;

use super::*;
use crate::disk::{DiskImage, DiskInfo, ImageFormat};
use crate::vsp::storage::testing::MemoryDisk;

/// Largest transfer of the units under test.
const MAX_TRANSFER: u32 = 0x4_0000;

const IDENTITY: [u8; 16] = [
    0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF,
];

fn info() -> DiskInfo {
    DiskInfo {
        size: 1 << 20,
        logical_sector_size: 512,
        physical_sector_size: 4096,
        read_only: false,
        identity: IDENTITY,
        format: ImageFormat::Raw,
        discard: true,
        discard_reads_zero: true,
        volatile_cache: true,
    }
}

fn unit_of(image: Arc<dyn DiskImage>) -> LogicalUnit {
    LogicalUnit::new(image, MAX_TRANSFER).unwrap()
}

fn unit(info: DiskInfo) -> LogicalUnit {
    unit_of(Arc::new(MemoryDisk::with_info(info)))
}

fn cdb(bytes: &[u8]) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[..bytes.len()].copy_from_slice(bytes);
    cdb
}

/// Executes a command with a buffer of `room` bytes; returns what was moved into it. The rest of the buffer must
/// not have been touched.
fn read(unit: &LogicalUnit, command: &[u8], room: usize) -> Result<Vec<u8>, Outcome> {
    const UNTOUCHED: u8 = 0xE5;
    let mut buffer = vec![UNTOUCHED; room];
    let slices = [VolatileSlice::from(buffer.as_mut_slice())];
    let data = DataBuffer::new(&slices, Some(DataDirection::FromDevice));
    let outcome = unit.execute(&cdb(command), &data);
    let moved = outcome.transferred() as usize;
    assert!(buffer[moved..].iter().all(|&byte| byte == UNTOUCHED));
    buffer.truncate(moved);
    if outcome.is_good() {
        Ok(buffer)
    } else {
        Err(outcome)
    }
}

/// Executes a command that sends these bytes.
fn write(unit: &LogicalUnit, command: &[u8], bytes: &[u8]) -> Outcome {
    let mut buffer = bytes.to_vec();
    let slices = [VolatileSlice::from(buffer.as_mut_slice())];
    let data = DataBuffer::new(&slices, Some(DataDirection::ToDevice));
    let outcome = unit.execute(&cdb(command), &data);
    assert_eq!(buffer, bytes, "what is sent is not written to");
    outcome
}

fn run(unit: &LogicalUnit, command: &[u8]) -> Outcome {
    unit.execute(&cdb(command), &DataBuffer::NONE)
}

/// Key, code and qualifier.
fn triple(outcome: Outcome) -> (u8, u8, u8) {
    let Outcome::Check(sense) = outcome else {
        panic!("{outcome:?} carries no sense data");
    };
    (
        sense.key.0,
        sense.additional.code,
        sense.additional.qualifier,
    )
}
