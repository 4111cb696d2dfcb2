//! Storage: initialisations, SCSI commands of every kind, completions, scans.

use host_sim::memory::{GuestMemory, PAGE_SIZE};
use host_sim::vsp::scsi::{Address as HostAddress, Addressing, DataBuffer, LogicalUnit, UnitTable};
use vsc_storage::disk::{RetryLimits, Scan, ScanProgress};
use vsc_storage::queue::{Address, Outcome};
use vsc_storage::scsi::ScsiStatus;
use vsc_storage::wire::{DataDirection, Operation, Srb, SrbStatus, Version};

use super::writer::Writer;
use crate::vstor_guest::{init_op, part, queue_op};
use crate::vstor_host::{self, IDE, SUB_CHANNEL, op};

/// Selects the primary channel, transaction 1, answer wanted.
const PRIMARY: u8 = 1 << 2;
const SUB: u8 = 1 << 2 | 1;
const IN: u8 = DataDirection::FromDevice.wire();
const OUT: u8 = DataDirection::ToDevice.wire();
const NONE: u8 = DataDirection::None.wire();

pub(super) fn host() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (index, version) in Version::ALL_NEWEST_FIRST.into_iter().enumerate() {
        let mut writer = Writer::new();
        writer.put(&[0, op::INITIALISE, PRIMARY, index as u8, 2]);
        work(&mut writer, PRIMARY);
        seeds.push((format!("initialise-{version}"), writer.finish()));
    }
    let mut step_by_step = Writer::new();
    step_by_step.put(&[0]);
    for (operation, payload) in [
        (Operation::BEGIN_INIT, 0),
        (Operation::QUERY_PROTOCOL_VERSION, 0x0700),
        (Operation::QUERY_PROTOCOL_VERSION, Version::Win8.wire()),
        (Operation::QUERY_PROPERTIES, 0),
        (Operation::CREATE_SUB_CHANNELS, 3),
        (Operation::END_INIT, 0),
        (Operation::RESET_ADAPTER, 0),
        (Operation::FCHBA_DATA, 0),
    ] {
        step_by_step.put(&[op::CONTROL, PRIMARY, 0, operation.0 as u8]);
        step_by_step.u32(payload.into());
        work(&mut step_by_step, PRIMARY);
    }
    seeds.push(("step-by-step".into(), step_by_step.finish()));
    for (name, commands) in command_sets() {
        for (kind, suffix) in [(0, ""), (IDE, "-ide")] {
            let mut writer = ready(kind);
            for (lun, direction, cdb, blocks, more) in &commands {
                command(&mut writer, PRIMARY, *lun, *direction, cdb, *blocks, *more);
            }
            work(&mut writer, PRIMARY);
            seeds.push((format!("{name}{suffix}"), writer.finish()));
        }
    }
    seeds.push(("unmap".into(), unmap()));
    seeds.push(("sub-channel".into(), sub_channel()));
    seeds.push(("units-change".into(), units_change()));
    seeds.push(("many".into(), many()));
    seeds.push(("raw".into(), raw()));
    seeds
}

fn work(writer: &mut Writer, select: u8) {
    writer.put(&[op::WORK, select]).u16(100);
    writer.put(&[op::RECEIVE, select]);
}

/// A controller that has been initialised.
fn ready(kind: u8) -> Writer {
    let mut writer = Writer::new();
    writer.put(&[kind, op::INITIALISE, PRIMARY, 0, 0]);
    work(&mut writer, PRIMARY);
    writer
}

/// A command for `blocks * 512 + more` bytes in one range.
fn command(
    writer: &mut Writer,
    select: u8,
    lun: u8,
    direction: u8,
    cdb: &[u8],
    blocks: u8,
    more: u8,
) {
    let mut bytes = [0; 16];
    bytes[..cdb.len()].copy_from_slice(cdb);
    writer
        .put(&[op::COMMAND, select, 0, lun, direction])
        .put(&bytes);
    writer.put(&[blocks, more]);
    if (blocks, more) != (0, 0) {
        // One range, from the start of a page, of pages one after the other.
        writer.put(&[0, 0, 20, 1]);
    }
}

/// Unit, direction, command, blocks and bytes more of its buffer.
type CommandOf = (u8, u8, &'static [u8], u8, u8);

fn command_sets() -> Vec<(&'static str, Vec<CommandOf>)> {
    vec![
        (
            "identify",
            vec![
                (0, NONE, &[0x00], 0, 0),
                (0, IN, &[0x12, 0, 0, 0, 96], 0, 96),
                (0, IN, &[0x12, 1, 0x00, 0, 255], 0, 255),
                (0, IN, &[0x12, 1, 0x80, 0, 255], 0, 255),
                (0, IN, &[0x12, 1, 0x83, 0, 255], 0, 255),
                (0, IN, &[0x12, 1, 0xB0, 0, 255], 0, 255),
                (1, IN, &[0x12, 1, 0xB1, 0, 255], 0, 255),
                (1, IN, &[0x12, 1, 0xB2, 0, 255], 0, 255),
                (7, IN, &[0x12, 0, 0, 0, 36], 0, 36),
                (0, IN, &[0xA0, 0, 0, 0, 0, 0, 0, 0, 2], 1, 0),
            ],
        ),
        (
            "size-and-modes",
            vec![
                (0, IN, &[0x25], 0, 8),
                (
                    1,
                    IN,
                    &[0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32],
                    0,
                    32,
                ),
                (0, IN, &[0x9E, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 1, 0),
                (0, IN, &[0x1A, 0, 0x3F, 0, 192], 0, 192),
                (2, IN, &[0x5A, 8, 0x08, 0, 0, 0, 0, 0, 64], 0, 64),
                (0, IN, &[0x03, 0, 0, 0, 18], 0, 18),
                (0, IN, &[0xA3, 0x0C, 0, 0, 0, 0, 0, 0, 2], 1, 0),
            ],
        ),
        (
            "read-and-write",
            vec![
                (0, OUT, &[0x2A, 0, 0, 0, 0, 8, 0, 0, 8], 8, 0),
                (0, OUT, &[0x2A, 8, 0, 0, 0, 127, 0, 0, 1], 1, 0),
                (0, IN, &[0x28, 0, 0, 0, 0, 8, 0, 0, 8], 8, 0),
                (0, IN, &[0x08, 0, 0, 1, 1], 1, 0),
                (
                    1,
                    OUT,
                    &[0x8A, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 16],
                    16,
                    0,
                ),
                (
                    1,
                    IN,
                    &[0x88, 0, 0, 0, 0, 0, 0, 0, 0, 30, 0, 0, 0, 16],
                    16,
                    0,
                ),
                (1, IN, &[0xA8, 0, 0, 0, 0, 0, 0, 0, 0, 2], 2, 0),
                (0, NONE, &[0x35], 0, 0),
                (1, NONE, &[0x91], 0, 0),
                (2, OUT, &[0x2A, 0, 0, 0, 0, 0, 0, 0, 1], 1, 0),
                (0, IN, &[0x28, 0, 0, 0, 0, 127, 0, 0, 2], 2, 0),
            ],
        ),
        (
            "verify-and-same",
            vec![
                (0, NONE, &[0x2F, 0, 0, 0, 0, 0, 0, 0, 8], 0, 0),
                (0, OUT, &[0x2F, 2, 0, 0, 0, 0, 0, 0, 1], 1, 0),
                (0, OUT, &[0x2E, 0, 0, 0, 0, 4, 0, 0, 1], 1, 0),
                (0, OUT, &[0x41, 0, 0, 0, 0, 4, 0, 0, 8], 1, 0),
                (0, OUT, &[0x93, 8, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8], 1, 0),
                (
                    0,
                    NONE,
                    &[0x93, 9, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8],
                    0,
                    0,
                ),
            ],
        ),
        (
            "administer",
            vec![
                (0, NONE, &[0x1B, 0, 0, 0, 1], 0, 0),
                (0, NONE, &[0x1E, 0, 0, 0, 1], 0, 0),
                (0, NONE, &[0x1D, 4], 0, 0),
                (0, NONE, &[0x16], 0, 0),
                (0, NONE, &[0x17], 0, 0),
                (0, OUT, &[0x15, 0x10, 0, 0, 24], 0, 24),
                (0, OUT, &[0x55, 0x10, 0, 0, 0, 0, 0, 0, 28], 0, 28),
                (0, NONE, &[0x04], 0, 0),
                (0, IN, &[0x5E, 0, 0, 0, 0, 0, 0, 1], 1, 0),
                (0, OUT, &[0x5F, 0, 0, 0, 0, 0, 0, 0, 24], 0, 24),
                (0, NONE, &[0xFF], 0, 0),
            ],
        ),
    ]
}

fn unmap() -> Vec<u8> {
    let mut list = Vec::new();
    list.extend(38_u16.to_be_bytes());
    list.extend(32_u16.to_be_bytes());
    list.extend([0; 4]);
    for (lba, blocks) in [(8_u64, 8_u32), (100, 28)] {
        list.extend(lba.to_be_bytes());
        list.extend(blocks.to_be_bytes());
        list.extend([0; 4]);
    }
    let mut writer = ready(0);
    // Into the page that the command's buffer begins with.
    writer.put(&[op::DATA, 20]).bytes(&list);
    let cdb = [0x42, 0, 0, 0, 0, 0, 0, 0, 40];
    command(&mut writer, PRIMARY, 0, OUT, &cdb, 0, 40);
    work(&mut writer, PRIMARY);
    writer.finish()
}

fn sub_channel() -> Vec<u8> {
    let read = [0x28, 0, 0, 0, 0, 0, 0, 0, 4];
    let mut writer = Writer::new();
    writer.put(&[SUB_CHANNEL]);
    // Waits until the primary channel is ready.
    command(&mut writer, SUB, 0, IN, &read, 4, 0);
    work(&mut writer, SUB);
    writer.put(&[op::INITIALISE, PRIMARY, 0, 1]);
    work(&mut writer, PRIMARY);
    work(&mut writer, SUB);
    command(&mut writer, SUB, 1, IN, &read, 4, 0);
    work(&mut writer, SUB);
    writer.finish()
}

fn units_change() -> Vec<u8> {
    let mut writer = ready(0);
    for (lun, change) in [(3, 0), (0, 1), (1, 2), (2, 3), (0, 4)] {
        writer.put(&[op::UNITS, lun, change]);
        command(&mut writer, PRIMARY, lun, NONE, &[0], 0, 0);
        work(&mut writer, PRIMARY);
    }
    writer.finish()
}

/// More commands than one ring of answers holds.
fn many() -> Vec<u8> {
    let mut writer = ready(0);
    for _ in 0..3 {
        for _ in 0..45 {
            command(&mut writer, PRIMARY, 0, NONE, &[0], 0, 0);
        }
        writer.put(&[op::WORK, PRIMARY]).u16(10_000);
    }
    writer.put(&[op::RECEIVE, PRIMARY]);
    work(&mut writer, PRIMARY);
    writer.finish()
}

fn raw() -> Vec<u8> {
    let mut writer = ready(0);
    let mut packet = Writer::new();
    packet.u32(Operation::EXECUTE_SRB.0).u32(1).u32(0);
    packet
        .u16(52)
        .put(&[0, 0, 0, 0, 0, 0, 10, 20, IN, 0])
        .u32(512);
    packet.put(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1]).put(&[0; 27]);
    let packet = packet.finish();
    writer.put(&[op::RAW, PRIMARY, 0]).bytes(&packet);
    writer
        .put(&[op::RAW_WITH_RANGES, PRIMARY, 0])
        .u16(512)
        .u16(256);
    writer.put(&[30, 1]).bytes(&packet);
    work(&mut writer, PRIMARY);
    // The guest's read index, in its incoming ring, unaligned.
    writer
        .put(&[op::FORGE, PRIMARY])
        .u32(3 * 4096 + 4)
        .bytes(&[4]);
    work(&mut writer, PRIMARY);
    writer.finish()
}

pub(super) fn guest() -> Vec<(String, Vec<u8>)> {
    vec![
        ("initialise".into(), initialise(0, 0)),
        ("initialise-fibre-channel".into(), initialise(0, 1)),
        ("initialise-with-refusals".into(), initialise(3, 0)),
        ("queue".into(), queue()),
        ("queue-failures".into(), queue_failures()),
        ("scan".into(), scan()),
    ]
}

/// Answers to all messages; the first proposals may be refused.
fn initialise(refusals: u8, fibre_channel: u8) -> Vec<u8> {
    const SUCCESS: u8 = 0;
    const REFUSED: u8 = 201;
    let mut writer = Writer::new();
    writer.put(&[part::INITIALISATION, 0, 4, 4, fibre_channel]);
    let plain = |writer: &mut Writer, status| {
        writer.put(&[init_op::ANSWER, status, 0]).bytes(&[]);
    };
    plain(&mut writer, SUCCESS);
    for _ in 0..refusals {
        plain(&mut writer, REFUSED);
    }
    plain(&mut writer, SUCCESS);
    // Properties: four sub-channels, 256 KiB.
    writer.put(&[init_op::ANSWER, SUCCESS, 1, 4]).u32(0x4_0000);
    for _ in 0..3 {
        plain(&mut writer, SUCCESS);
    }
    writer.put(&[init_op::RAW, 1, 0]).bytes(&[1; 64]);
    writer.put(&[init_op::TIME_OUT]).finish()
}

fn complete(writer: &mut Writer, index: u8, srb: SrbStatus, scsi: ScsiStatus, moved: u32) {
    writer
        .put(&[queue_op::COMPLETE, index, srb.0, scsi.0, 18])
        .u32(moved);
    // Fixed sense data: unit attention, capacity changed.
    let mut sense = [0; 18];
    (sense[0], sense[2], sense[7], sense[12], sense[13]) = (0x70, 6, 10, 0x2A, 0x09);
    writer.bytes(&sense);
}

fn queue() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.put(&[part::QUEUE, 0]);
    for (blocks, direction) in [(0, 0), (8, 0), (16, 1), (128, 0)] {
        writer.put(&[queue_op::SUBMIT, blocks, 0, 3, direction]);
    }
    for index in [3, 1, 0, 2, 2] {
        complete(
            &mut writer,
            index,
            SrbStatus::SUCCESS,
            ScsiStatus::GOOD,
            4096,
        );
    }
    writer.put(&[queue_op::CONSUME, 0, queue_op::RESET, 0, 0]);
    complete(&mut writer, 0, SrbStatus::SUCCESS, ScsiStatus::GOOD, 0);
    writer.put(&[queue_op::RESET, 1, 1]);
    writer.put(&[queue_op::EVENT, Operation::ENUMERATE_BUS.0 as u8, 0]);
    writer.put(&[queue_op::SUBMIT, 8, 0, 3, 0, queue_op::CLOSE, 1]);
    writer.finish()
}

fn queue_failures() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.put(&[part::QUEUE, 4]);
    for (srb, scsi) in [
        (SrbStatus(0x84), ScsiStatus::CHECK_CONDITION),
        (SrbStatus::BUSY, ScsiStatus::GOOD),
        (SrbStatus::NO_DEVICE, ScsiStatus::GOOD),
        (SrbStatus::DATA_OVERRUN, ScsiStatus::GOOD),
        (SrbStatus::SUCCESS, ScsiStatus::CHECK_CONDITION),
        (SrbStatus::ABORTED, ScsiStatus::GOOD),
    ] {
        writer.put(&[queue_op::SUBMIT, 4, 0, 0, 0]);
        complete(&mut writer, 0, srb, scsi, u32::MAX);
    }
    writer.put(&[queue_op::SUBMIT, 4, 0, 0, 0]);
    writer.put(&[queue_op::RAW, 0, 1, 0]).bytes(&[1; 48]);
    writer.put(&[queue_op::RAW, 1, 0]).u64(0).bytes(&[11; 12]);
    writer.finish()
}

/// What our own host's disks answer to a scan.
fn scan() -> Vec<u8> {
    let mut units = UnitTable::new(Addressing::Scsi);
    for (lun, disk) in [vstor_host::raw_disk(false), vstor_host::dynamic_disk()]
        .into_iter()
        .enumerate()
    {
        let unit = LogicalUnit::new(disk, 0x1_0000).expect("a suitable image");
        units.set(lun as u8, Some(unit.into()));
    }
    let memory = GuestMemory::new(PAGE_SIZE).expect("a small mapping");
    let mut writer = Writer::new();
    writer.put(&[part::SCAN, 0]);
    let mut scan = Scan::new(Address::default(), false, RetryLimits::default());
    while let Some(command) = scan.command() {
        let length = command.length as usize;
        let slices = [memory.slice(0, length).expect("at most a page")];
        let buffer = DataBuffer::new(&slices, Some(DataDirection::FromDevice));
        let address = HostAddress {
            path: 0,
            target: 0,
            lun: command.address.lun,
        };
        let outcome = units.execute(address, command.command.bytes(), &buffer);
        let statuses = outcome.statuses();
        let moved = outcome.transferred();
        let mut data = vec![0; moved as usize];
        memory.read(0, &mut data).expect("at most a page");
        writer
            .put(&[statuses.srb.0, statuses.scsi.0])
            .u16(moved as u16);
        let mut sense = [0; 20];
        if let Some(found) = statuses.sense {
            sense[..18].copy_from_slice(&found.to_bytes());
        }
        (sense[0], sense[7]) = (0x70, 10);
        writer.put(&[sense[2], sense[12], sense[13], 0]);
        writer.long_bytes(&data);
        let srb = Srb {
            srb_status: statuses.srb.0,
            scsi_status: statuses.scsi.0,
            sense_info_length: 20,
            data_transfer_length: moved.into(),
            command_or_sense: sense,
            ..Srb::ZERO
        };
        let outcome = Outcome::read(&srb, command.length, Version::Win10);
        if let ScanProgress::Failed(error) = scan.answer(&outcome, &data) {
            panic!("our own host's disk: {error}");
        }
    }
    assert_eq!(scan.into_units().len(), 2);
    writer.finish()
}
