//! Media that come and go.

use super::*;
use crate::disk::{DiskError, faulty};

/// H28: an empty drive, with its tray closed and open.
#[test]
fn an_empty_drive_says_so() {
    let drive = OpticalDrive::new(DRIVE, None).unwrap();
    let depends_on_medium: [&[u8]; 10] = [
        &CAPACITY,
        &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0],
        &[0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0],
        &[0x51, 0, 0, 0, 0, 0, 0, 0, 34, 0],
        &[0x52, 1, 0, 0, 0, 1, 0, 0, 48, 0],
        &[0xAC, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        &[0xAD, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0],
        &READY,
        // Start.
        &[0x1B, 0, 0, 0, 1, 0],
    ];
    for command in depends_on_medium {
        assert_eq!(ask(&drive, command, 2048), Err(CLOSED), "{command:x?}");
    }
    assert_eq!(event(&drive), (0, 0));
    assert_eq!(tell(&drive, &EJECT), Ok(()));
    for command in depends_on_medium {
        assert_eq!(ask(&drive, command, 2048), Err(OPEN), "{command:x?}");
    }
    assert_eq!(event(&drive), (0, 1));
    let mechanism = ask(&drive, &[0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8], 8).unwrap();
    assert_eq!(mechanism[1], 0x10);
    // Nothing comes with an empty tray.
    assert_eq!(tell(&drive, &LOAD), Ok(()));
    assert_eq!((tell(&drive, &READY), event(&drive)), (Err(CLOSED), (0, 0)));
    tell(&drive, &LOCK).unwrap();
    assert_eq!(tell(&drive, &EJECT), Err((2, 0x53, 2)));
    // It still answers about itself, remembers what it said, and stops and sleeps when told to.
    assert_eq!(
        ask(&drive, &[0x03, 0, 0, 0, 18, 0], 18).unwrap()[12..14],
        [0x53, 2]
    );
    assert_eq!(ask(&drive, &[0x12, 0, 0, 0, 36, 0], 36).unwrap().len(), 36);
    assert_eq!(tell(&drive, &[0x1B, 0, 0, 0, 0, 0]), Ok(()));
    assert_eq!(tell(&drive, &[0x1B, 0, 0, 0, 0x32, 0]), Ok(()));
}

/// H28: a swap is a removal, then a new medium, then one unit attention.
#[test]
fn a_swapped_medium_is_reported() {
    let drive = loaded();
    assert_eq!((tell(&drive, &READY), event(&drive)), (Ok(()), (0, 2)));
    let old = drive.insert(medium(100), false).unwrap();
    assert!(old.is_some());
    // An event that is only looked at is not lost.
    assert_eq!(
        ask(&drive, &[0x4A, 1, 0, 0, 0x10, 0, 0, 0, 4, 0], 8)
            .unwrap()
            .len(),
        4
    );
    assert_eq!(event(&drive), (3, 2));
    assert_eq!(event(&drive), (2, 2));
    assert_eq!(event(&drive), (0, 2));
    let read = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    assert_eq!(ask(&drive, &read, 2048), Err(CHANGED));
    assert_eq!(ask(&drive, &read, 2048).unwrap(), [100; 2048]);

    // Taken out before the guest has looked: that it had changed is old news.
    drive.insert(medium(1), false).unwrap();
    assert!(drive.eject(false).unwrap().is_some());
    assert_eq!(tell(&drive, &READY), Err(CLOSED));
    assert_eq!((event(&drive), event(&drive)), ((3, 0), (0, 0)));
    assert!(drive.eject(false).unwrap().is_none());
    assert_eq!(event(&drive), (0, 0));
    assert!(drive.insert(medium(7), false).unwrap().is_none());
    assert_eq!((event(&drive), event(&drive)), ((2, 2), (0, 2)));
    // REQUEST SENSE tells of a change, too, and of each one once.
    assert_eq!(
        ask(&drive, &[0x03, 0, 0, 0, 18, 0], 18).unwrap()[12..14],
        [0x28, 0]
    );
    assert_eq!(ask(&drive, &read, 2048).unwrap(), [7; 2048]);
    // A guest that never asks costs nothing.
    for _ in 0..1000 {
        drive.insert(medium(1), false).unwrap();
    }
    assert_eq!(
        (event(&drive), event(&drive), event(&drive).0),
        ((3, 2), (2, 2), 0)
    );
}

/// Who holds the medium back is asked for it; force overrules.
#[test]
fn a_locked_door_holds_the_medium() {
    let drive = loaded();
    tell(&drive, &LOCK).unwrap();
    assert_eq!(tell(&drive, &EJECT), Err((5, 0x53, 2)));
    assert_eq!(drive.eject(false).err(), Some(MediumError::Locked));
    assert_eq!(event(&drive), (1, 2));
    assert_eq!(
        drive.insert(medium(9), false).err(),
        Some(MediumError::Locked)
    );
    assert_eq!(event(&drive), (1, 2));
    assert_eq!(tell(&drive, &READY), Ok(()));
    // The guest gives it back, and takes it again.
    tell(&drive, &UNLOCK).unwrap();
    tell(&drive, &EJECT).unwrap();
    assert_eq!((event(&drive), tell(&drive, &READY)), ((3, 1), Err(OPEN)));
    assert!(drive.state().has_medium && drive.state().tray_open);
    tell(&drive, &LOAD).unwrap();
    assert_eq!(event(&drive), (2, 2));
    assert_eq!(
        (tell(&drive, &READY), tell(&drive, &READY)),
        (Err(CHANGED), Ok(()))
    );
    // Or has it taken away.
    tell(&drive, &LOCK).unwrap();
    assert!(drive.insert(medium(9), true).unwrap().is_some());
    assert!(drive.eject(true).unwrap().is_some());
    assert_eq!(tell(&drive, &READY), Err(CLOSED));
    // An empty drive takes a medium also when it is locked.
    assert!(drive.insert(medium(9), false).unwrap().is_none());
    assert!(drive.eject(false).is_err());
    // A guest that has gone holds nothing.
    drive.release();
    assert!(drive.eject(false).unwrap().is_some());
    // With the tray open the operator may change what lies on it; that closes it.
    drive.insert(medium(1), false).unwrap();
    tell(&drive, &[0x03, 0, 0, 0, 18, 0]).unwrap_err();
    ask(&drive, &[0x03, 0, 0, 0, 18, 0], 18).unwrap();
    tell(&drive, &EJECT).unwrap();
    assert!(drive.insert(medium(2), false).unwrap().is_some());
    assert!(!drive.state().tray_open);
    assert_eq!(
        (tell(&drive, &READY), tell(&drive, &READY)),
        (Err(CHANGED), Ok(()))
    );
}

#[test]
fn other_classes_of_events_are_none() {
    let drive = loaded();
    drive.insert(medium(1), false).unwrap();
    assert_eq!(
        ask(&drive, &[0x4A, 1, 0, 0, 0x6E, 0, 0, 0, 8, 0], 8).unwrap(),
        [0, 2, 0x80, 0x10]
    );
    assert_eq!(
        ask(&drive, &[0x4A, 0, 0, 0, 0x10, 0, 0, 0, 8, 0], 8),
        Err((5, 0x24, 0)),
        "events are not waited for"
    );
    assert_eq!(event(&drive), (3, 2));
}

#[test]
fn fault_53_a_medium_that_fails() {
    let drive = loaded();
    drive.faults().unwrap().add(faulty::Rule {
        range: Some(10 * 2048..11 * 2048),
        ..faulty::Rule::new(
            faulty::Operation::Read,
            faulty::When::Always,
            faulty::Fault::Fail(DiskError::Io {
                operation: "read",
                offset: 10 * 2048,
                kind: std::io::ErrorKind::Other,
                code: None,
            }),
        )
    });
    let read = |lba| ask(&drive, &[0x28, 0, 0, 0, 0, lba, 0, 0, 1, 0], 2048);
    assert_eq!(read(10), Err((3, 0x11, 0)));
    assert_eq!((read(9), read(11)), (Ok(vec![9; 2048]), Ok(vec![11; 2048])));
    drive.faults().unwrap().clear();
    assert_eq!(read(10), Ok(vec![10; 2048]));
}

#[test]
fn unsuitable_media_are_refused() {
    let with = |size, sector| {
        let disk = MemoryDisk::with_info(DiskInfo {
            size,
            logical_sector_size: sector,
            ..info()
        });
        OpticalDrive::new(DRIVE, Some(Arc::new(disk))).err()
    };
    assert_eq!(with(4096, 512), None);
    assert_eq!(
        with(1024, 512),
        Some(UnsuitableImage::MediumSize { size: 1024 })
    );
    assert_eq!(
        with(8192, 4096),
        Some(UnsuitableImage::MediumSectorSize { size: 4096 })
    );
    let drive = loaded();
    let odd = MemoryDisk::with_info(DiskInfo {
        size: 4096,
        logical_sector_size: 4096,
        ..info()
    });
    assert!(matches!(
        drive.insert(Arc::new(odd), true),
        Err(MediumError::Unsuitable(_))
    ));
    assert_eq!(tell(&drive, &READY), Ok(()), "the old one stays");
}

proptest::proptest! {
    /// Any command in any state of the drive: as much data as there is room for, nothing behind it, and a failure
    /// leaves the buffer alone.
    #[test]
    fn any_command_ends(
        commands in proptest::collection::vec(
            (0usize..24, proptest::prelude::any::<[u8; 16]>(), 0usize..5000, 0u8..4),
            1..60,
        ),
    ) {
        const OPCODES: [u8; 24] = [
            0x00, 0x03, 0x12, 0x1A, 0x1B, 0x1E, 0x25, 0x28, 0xA8, 0x88, 0x35, 0x43, 0x46, 0x4A, 0x51,
            0x52, 0x55, 0x5A, 0x5C, 0x9E, 0xAC, 0xAD, 0xBD, 0xB6,
        ];
        let drive = loaded();
        for (opcode, mut command, room, act) in commands {
            command[0] = OPCODES[opcode];
            match act {
                0 => drop(drive.eject(room % 2 == 0)),
                1 => drop(drive.insert(medium(3), room % 2 == 0)),
                _ => {}
            }
            if command[0] == 0x55 || command[0] == 0xB6 {
                let _ = send(&drive, &command, &vec![0; room]);
            } else if let Ok(reply) = attempt(&drive, &command, room) {
                assert!(reply.len() <= room);
            }
        }
        let _ = drive.eject(true);
        drive.release();
        drive.insert(medium(5), false).unwrap();
        let _ = tell(&drive, &READY);
        tell(&drive, &[0x1B, 0, 0, 0, 1, 0]).unwrap();
        assert_eq!(ask(&drive, &CAPACITY, 8).unwrap()[..4], [0, 0, 0, 99]);
    }
}
