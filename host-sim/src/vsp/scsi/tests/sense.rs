//! Outcomes, sense data, unit attentions, and the simple commands.

use vsc_storage::scsi::{AdditionalSense, Sense, SenseKey};

use super::*;
use crate::disk::{DiskError, FaultyDisk, faulty};

/// H14: the only combinations of statuses that are ever sent.
#[test]
fn fault_45_statuses_never_contradict_each_other() {
    let check = |key, code: AdditionalSense| Outcome::check(SenseKey(key), code);
    let none = AdditionalSense::NONE;
    for (outcome, scsi, srb, header, sense) in [
        (Outcome::DONE, 0x00, 0x01, 0, None),
        (Outcome::Good { transferred: 9 }, 0x00, 0x01, 0, None),
        (
            Outcome::BAD_FIELD,
            0x02,
            0x86,
            0xC000_0185,
            Some((5, 0x24, 0)),
        ),
        (
            Outcome::BAD_OPCODE,
            0x02,
            0x86,
            0xC000_0185,
            Some((5, 0x20, 0)),
        ),
        (check(2, none), 0x02, 0x84, 0xC000_0185, Some((2, 0, 0))),
        (check(3, none), 0x02, 0x84, 0xC000_0185, Some((3, 0, 0))),
        (check(4, none), 0x02, 0x84, 0xC000_0185, Some((4, 0, 0))),
        (check(6, none), 0x02, 0x84, 0xC000_0185, Some((6, 0, 0))),
        (
            Outcome::WRITE_PROTECTED,
            0x02,
            0x84,
            0xC000_0185,
            Some((7, 0x27, 0)),
        ),
        (check(0xE, none), 0x02, 0x84, 0xC000_0185, Some((0xE, 0, 0))),
        (Outcome::NoUnit, 0x02, 0x20, 0xC000_00C0, None),
        (Outcome::ReservationConflict, 0x18, 0x04, 0xC000_0185, None),
        (
            Outcome::Overrun,
            0x02,
            0x92,
            0x8000_0005,
            Some((5, 0x24, 0)),
        ),
        (Outcome::Busy, 0x08, 0x05, 0x8000_0011, None),
        (Outcome::Aborted, 0x40, 0x82, 0xC000_0120, Some((0xB, 0, 0))),
    ] {
        let statuses = outcome.statuses();
        assert_eq!(
            (statuses.scsi.0, statuses.srb.0, statuses.header.0),
            (scsi, srb, header),
            "{outcome:?}"
        );
        let found = statuses.sense.map(|sense| triple(Outcome::Check(sense)));
        assert_eq!(found, sense);
        assert_eq!(statuses.srb.has_autosense(), sense.is_some());
        assert_eq!(
            outcome.transferred() != 0,
            outcome == Outcome::Good { transferred: 9 }
        );
    }
}

/// H14, H38: failures of the image.
#[test]
fn failures_of_the_image_have_their_sense() {
    let io = DiskError::Io {
        operation: "test",
        offset: 0,
        kind: std::io::ErrorKind::Other,
        code: None,
    };
    for (error, on_read, on_write) in [
        (io, (3, 0x11, 0), (3, 0x0C, 0)),
        (DiskError::Poisoned, (3, 0x11, 0), (3, 0x0C, 0)),
        (DiskError::NoSpace, (3, 0x11, 0), (7, 0x27, 7)),
        (DiskError::ReadOnly, (3, 0x11, 0), (7, 0x27, 0)),
    ] {
        assert_eq!(triple(Outcome::from_read_error(&error)), on_read);
        assert_eq!(triple(Outcome::from_write_error(&error)), on_write);
    }
}

/// A flush that fails is reported, and so is every later one: no false success.
#[test]
fn fault_52_a_failed_flush_stays_failed() {
    let disk = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::with_info(info())), 1));
    let unit = unit_of(disk.clone());
    let write_command = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    assert!(write(&unit, &write_command, &[1; 512]).is_good());
    disk.add(faulty::Rule::new(
        faulty::Operation::Flush,
        faulty::When::Nth(1),
        faulty::Fault::Fail(DiskError::NoSpace),
    ));
    let flush = [0x35];
    assert_eq!(triple(run(&unit, &flush)), (7, 0x27, 7));
    for _ in 0..3 {
        assert_eq!(triple(run(&unit, &flush)), (3, 0x0C, 0));
        assert_eq!(
            triple(write(&unit, &write_command, &[1; 512])),
            (3, 0x0C, 0)
        );
    }
    assert!(read(&unit, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512).is_ok());
}

/// A write that is torn reports failure; each sector is old or new.
#[test]
fn fault_52_a_torn_write_is_reported() {
    let disk = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::with_info(info())), 1));
    let unit = unit_of(disk.clone());
    disk.add(faulty::Rule::new(
        faulty::Operation::Write,
        faulty::When::Nth(1),
        faulty::Fault::TornPrefix(1, DiskError::NoSpace),
    ));
    let outcome = write(&unit, &[0x2A, 0, 0, 0, 0, 0, 0, 0, 2, 0], &[1; 1024]);
    assert_eq!(triple(outcome), (7, 0x27, 7));
    let content = read(&unit, &[0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0], 1024).unwrap();
    assert_eq!(content, [[1; 512], [0; 512]].concat());
    assert!(write(&unit, &[0x2A, 0, 0, 0, 0, 0, 0, 0, 2, 0], &[1; 1024]).is_good());
}

/// H29: each attention is reported once, by the first command that may.
#[test]
fn attentions_are_reported_once() {
    let unit = unit(info());
    let ready = [0; 6];
    for (attention, expected) in [
        (UnitAttention::CapacityChanged, (6, 0x2A, 9)),
        (UnitAttention::ParametersChanged, (6, 0x3F, 1)),
        (UnitAttention::ReportedLunsChanged, (6, 0x3F, 0x0E)),
    ] {
        for command in [
            &ready[..],
            &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            &[0x35],
            &[0xFF],
        ] {
            unit.raise(attention);
            unit.raise(attention);
            assert!(read(&unit, &[0x12, 0, 0, 0, 36, 0], 36).is_ok());
            assert_eq!(triple(read(&unit, command, 512).unwrap_err()), expected);
            assert_eq!(run(&unit, &ready), Outcome::DONE);
        }
        // A request that makes no sense does not use it up.
        unit.raise(attention);
        let mut buffer = [0; 512];
        let slices = [VolatileSlice::from(buffer.as_mut_slice())];
        let wrong = DataBuffer::new(&slices, Some(DataDirection::ToDevice));
        let refused = unit.execute(&cdb(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), &wrong);
        assert_eq!(triple(refused), (5, 0x24, 0));
        let sense = read(&unit, &[0x03, 0, 0, 0, 18, 0], 18).unwrap();
        assert_eq!((sense[2], sense[12], sense[13]), expected);
        assert_eq!(run(&unit, &ready), Outcome::DONE);
    }
    unit.raise(UnitAttention::ReportedLunsChanged);
    unit.raise(UnitAttention::CapacityChanged);
    assert_eq!(triple(run(&unit, &ready)), (6, 0x2A, 9));
    assert_eq!(triple(run(&unit, &ready)), (6, 0x3F, 0x0E));
    assert_eq!(run(&unit, &ready), Outcome::DONE);
}

#[test]
fn request_sense_reports_the_last_failure_once() {
    let unit = unit(info());
    let ask = |length: u8, room| read(&unit, &[0x03, 0, 0, 0, length, 0], room);
    let nothing = Sense::NONE.to_bytes().to_vec();
    assert_eq!(ask(18, 18).unwrap(), nothing);
    assert_eq!(triple(run(&unit, &[0xFF])), (5, 0x20, 0));
    let expected = [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0];
    assert_eq!(ask(252, 252).unwrap(), expected);
    assert_eq!(ask(18, 18).unwrap(), nothing);
    assert_eq!(run(&unit, &[0x25]), Outcome::Overrun);
    assert_eq!(ask(8, 64).unwrap().len(), 8);
    for (length, room) in [(7, 18), (19, 18)] {
        assert_eq!(triple(ask(length, room).unwrap_err()), (5, 0x24, 0));
    }
    let descriptor = read(&unit, &[0x03, 1, 0, 0, 18, 0], 18).unwrap_err();
    assert_eq!(triple(descriptor), (5, 0x24, 0));
}

#[test]
fn simple_commands() {
    let unit = unit(info());
    for command in [
        &[0x00, 0, 0, 0, 0, 0][..],
        &[0x16, 0, 0, 0, 0, 0],
        &[0x17, 0, 0, 0, 0, 0],
        &[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x1E, 0, 0, 0, 1, 0],
        &[0x1D, 4, 0, 0, 0, 0],
        &[0x04, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(run(&unit, command), Outcome::DONE, "{command:x?}");
    }
    for command in [
        &[0x1D, 0x20, 0, 0, 0, 0][..],
        &[0x1D, 0x10, 0, 0, 0, 0],
        &[0x1D, 4, 0, 0, 1, 0],
    ] {
        assert_eq!(triple(run(&unit, command)), (5, 0x24, 0), "{command:x?}");
    }
    for opcode in [0x3B, 0x3C, 0x5E, 0x5F, 0xA3, 0xA4, 0x24, 0xC0, 0xFF] {
        assert_eq!(triple(run(&unit, &[opcode])), (5, 0x20, 0), "{opcode:x}");
    }
    assert_eq!(triple(run(&unit, &[0x9E, 0x12])), (5, 0x20, 0));
    assert_eq!(triple(run(&unit, &[0x9E, 0x1F])), (5, 0x20, 0));
    // FORMAT UNIT with a list of defaults, with other wishes, and with less than a list.
    assert!(write(&unit, &[0x04, 0x10, 0, 0, 0, 0], &[0; 4]).is_good());
    assert!(write(&unit, &[0x04, 0x30, 0, 0, 0, 0], &[0; 8]).is_good());
    let wish = write(&unit, &[0x04, 0x10, 0, 0, 0, 0], &[0, 2, 0, 0]);
    assert_eq!(triple(wish), (5, 0x24, 0));
    let short = write(&unit, &[0x04, 0x10, 0, 0, 0, 0], &[0; 3]);
    assert_eq!(triple(short), (5, 0x1A, 0));
}

/// Any command with any buffer ends in an outcome, and never writes beyond the buffer.
#[test]
fn any_command_ends() {
    use proptest::prelude::*;
    let unit = unit(info());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(20_000));
    let strategy = (
        any::<[u8; 16]>(),
        proptest::collection::vec(any::<u8>(), 0..2048),
        0u8..4,
    );
    runner
        .run(&strategy, |(cdb, mut bytes, direction)| {
            let before = bytes.clone();
            let slices = [VolatileSlice::from(bytes.as_mut_slice())];
            let data = DataBuffer::new(&slices, DataDirection::from_wire(direction));
            let outcome = unit.execute(&cdb, &data);
            prop_assert!(outcome.transferred() as usize <= before.len());
            if !outcome.is_good() {
                prop_assert_eq!(bytes, before);
            }
            Ok(())
        })
        .unwrap();
}

/// A guest that cannot see MODE SENSE fail is told by the next command.
#[test]
fn mode_sense_leaves_attentions_to_others() {
    let unit = unit(info());
    unit.raise(UnitAttention::CapacityChanged);
    assert!(read(&unit, &[0x1A, 0, 0x3F, 0, 255, 0], 255).is_ok());
    assert!(read(&unit, &[0x5A, 0, 8, 0, 0, 0, 0, 0, 255, 0], 255).is_ok());
    assert_eq!(triple(run(&unit, &[0; 6])), (6, 0x2A, 9));
    assert!(run(&unit, &[0; 6]).is_good());
}
