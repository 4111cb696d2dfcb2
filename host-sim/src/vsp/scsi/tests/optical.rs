//! Optical drives, byte for byte.

mod media;

use super::*;

const DRIVE: [u8; 16] = [
    0xD0, 0xD1, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF,
];
/// Blocks of the medium.
const BLOCKS: u64 = 100;

const READY: [u8; 6] = [0; 6];
const EJECT: [u8; 6] = [0x1B, 0, 0, 0, 2, 0];
const LOAD: [u8; 6] = [0x1B, 0, 0, 0, 3, 0];
const LOCK: [u8; 6] = [0x1E, 0, 0, 0, 1, 0];
const UNLOCK: [u8; 6] = [0x1E, 0, 0, 0, 0, 0];
const EVENT: [u8; 10] = [0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8, 0];
const CAPACITY: [u8; 10] = [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A medium of which every block is full of its number, plus `first`.
fn medium(first: u8) -> Arc<dyn DiskImage> {
    let disk = MemoryDisk::with_info(DiskInfo {
        size: BLOCKS * 2048,
        logical_sector_size: 2048,
        physical_sector_size: 2048,
        ..info()
    });
    for block in 0..BLOCKS {
        disk.write_bytes(block * 2048, &[block as u8 + first; 2048])
            .unwrap();
    }
    Arc::new(disk)
}

fn loaded() -> OpticalDrive {
    OpticalDrive::new(DRIVE, Some(medium(0))).unwrap()
}

fn ask(drive: &OpticalDrive, command: &[u8], room: usize) -> Result<Vec<u8>, (u8, u8, u8)> {
    attempt(drive, command, room).map_err(triple)
}

/// As [`ask`], where the command may also end without sense data: a READ of more than there is room for.
fn attempt(drive: &OpticalDrive, command: &[u8], room: usize) -> Result<Vec<u8>, Outcome> {
    const UNTOUCHED: u8 = 0xE5;
    let mut buffer = vec![UNTOUCHED; room];
    let slices = [VolatileSlice::from(buffer.as_mut_slice())];
    let data = DataBuffer::new(&slices, Some(DataDirection::FromDevice));
    let outcome = drive.execute(&cdb(command), &data);
    let moved = outcome.transferred() as usize;
    assert!(buffer[moved..].iter().all(|&byte| byte == UNTOUCHED));
    buffer.truncate(moved);
    if outcome.is_good() {
        Ok(buffer)
    } else {
        Err(outcome)
    }
}

fn tell(drive: &OpticalDrive, command: &[u8]) -> Result<(), (u8, u8, u8)> {
    match drive.execute(&cdb(command), &DataBuffer::NONE) {
        Outcome::Good { transferred: 0 } => Ok(()),
        failed => Err(triple(failed)),
    }
}

fn send(drive: &OpticalDrive, command: &[u8], bytes: &[u8]) -> Outcome {
    let mut buffer = bytes.to_vec();
    let slices = [VolatileSlice::from(buffer.as_mut_slice())];
    let data = DataBuffer::new(&slices, Some(DataDirection::ToDevice));
    drive.execute(&cdb(command), &data)
}

/// Event code and status of GET EVENT STATUS NOTIFICATION.
fn event(drive: &OpticalDrive) -> (u8, u8) {
    let reply = ask(drive, &EVENT, 8).unwrap();
    assert_eq!(reply[..4], [0, 6, 4, 0x10]);
    assert_eq!(reply[6..], [0, 0]);
    (reply[4], reply[5])
}

const CLOSED: (u8, u8, u8) = (2, 0x3A, 1);
const OPEN: (u8, u8, u8) = (2, 0x3A, 2);
const CHANGED: (u8, u8, u8) = (6, 0x28, 0);

#[test]
fn a_drive_says_what_it_is() {
    let drive = loaded();
    let mut expected = vec![5, 0x80, 0, 2, 31, 0, 0, 0];
    expected.extend_from_slice(b"Msft    Virtual DVD-ROM 1.0 ");
    assert_eq!(ask(&drive, &[0x12, 0, 0, 0, 36, 0], 36).unwrap(), expected);
    assert_eq!(
        ask(&drive, &[0x12, 0, 0, 0, 255, 0], 255).unwrap(),
        expected
    );
    assert_eq!(
        ask(&drive, &[0x12, 0, 0, 0, 5, 0], 36).unwrap(),
        expected[..5]
    );
    assert_eq!(
        ask(&drive, &[0x12, 1, 0, 0, 255, 0], 255).unwrap(),
        [5, 0, 0, 2, 0, 0x83]
    );
    let mut identification = vec![5, 0x83, 0, 28, 1, 1, 0, 0x18];
    identification.extend_from_slice(b"Msft    ");
    identification.extend_from_slice(&DRIVE);
    assert_eq!(
        ask(&drive, &[0x12, 1, 0x83, 0, 255, 0], 255).unwrap(),
        identification
    );
    for refused in [
        [0x12, 1, 0xB0, 0, 255, 0],
        [0x12, 1, 0x80, 0, 255, 0],
        [0x12, 0, 0x83, 0, 255, 0],
        [0x12, 2, 0, 0, 255, 0],
        [0x12, 0, 0, 0, 4, 0],
    ] {
        assert_eq!(
            ask(&drive, &refused, 255),
            Err((5, 0x24, 0)),
            "{refused:x?}"
        );
    }
}

#[test]
fn blocks_are_read() {
    let drive = loaded();
    assert_eq!(tell(&drive, &READY), Ok(()));
    assert_eq!(
        ask(&drive, &CAPACITY, 8).unwrap(),
        [0, 0, 0, 99, 0, 0, 8, 0]
    );
    let long = ask(
        &drive,
        &[0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0],
        32,
    )
    .unwrap();
    assert_eq!(long[..12], [0, 0, 0, 0, 0, 0, 0, 99, 0, 0, 8, 0]);
    assert_eq!(long[12..], [0; 20]);
    for read in [
        &[0x28, 0, 0, 0, 0, 98, 0, 0, 2, 0][..],
        &[0xA8, 0, 0, 0, 0, 98, 0, 0, 0, 2, 0, 0],
        &[0x88, 0, 0, 0, 0, 0, 0, 0, 0, 98, 0, 0, 0, 2, 0, 0],
    ] {
        let bytes = ask(&drive, read, 8192).unwrap();
        assert_eq!(bytes, [[98; 2048], [99; 2048]].concat());
        // More than the buffer holds.
        assert_eq!(ask(&drive, read, 4095), Err((5, 0x24, 0)));
    }
    let read = |lba: u32, blocks: u16| {
        let mut command = [0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        command[2..6].copy_from_slice(&lba.to_be_bytes());
        command[7..9].copy_from_slice(&blocks.to_be_bytes());
        ask(&drive, &command, 4096).map(|bytes| bytes.len())
    };
    assert_eq!(read(100, 0), Ok(0));
    assert_eq!(read(100, 1), Err((5, 0x21, 0)));
    assert_eq!(read(99, 2), Err((5, 0x21, 0)));
    assert_eq!(read(u32::MAX, 1), Err((5, 0x21, 0)));
    assert_eq!(read(101, 0), Err((5, 0x21, 0)));
}

/// H24 for media: nothing writes, and what the drive doesn't know it says so.
#[test]
fn other_commands_are_unknown() {
    let drive = loaded();
    for command in [
        &[0x08, 0, 0, 0, 1, 0][..],
        &[0x0A, 0, 0, 0, 1, 0],
        &[0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x2E, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0xAA, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        &[0x8A, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        &[0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0],
        &[0x04, 0, 0, 0, 0, 0],
        &[0x2F, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x91],
        &[0x5E],
        &[0xBE],
        &[0xFF],
    ] {
        assert_eq!(
            triple(send(&drive, command, &[1; 2048])),
            (5, 0x20, 0),
            "{command:x?}"
        );
    }
    assert_eq!(tell(&drive, &[0x35]), Ok(()));
    // The other direction.
    assert_eq!(triple(send(&drive, &CAPACITY, &[0; 8])), (5, 0x24, 0));
    assert_eq!(triple(send(&drive, &EVENT, &[0; 8])), (5, 0x24, 0));
}

#[test]
fn the_table_of_contents_is_byte_exact() {
    let drive = loaded();
    let toc = |flags, format, track, allocation, control| {
        let command = [0x43, flags, format, 0, 0, 0, track, 0, allocation, control];
        ask(&drive, &command, 255)
    };
    let whole = [
        0, 0x12, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xAA, 0, 0, 0, 0, 100,
    ];
    assert_eq!(toc(0, 0, 0, 255, 0).unwrap(), whole);
    assert_eq!(toc(0, 0, 1, 255, 0).unwrap(), whole);
    assert_eq!(toc(0, 0, 0, 12, 0).unwrap(), whole[..12]);
    // 100 blocks behind 2 seconds: 3 seconds and 25 frames.
    let in_minutes = [
        0, 0x12, 1, 1, 0, 0x14, 1, 0, 0, 0, 2, 0, 0, 0x14, 0xAA, 0, 0, 0, 3, 25,
    ];
    assert_eq!(toc(2, 0, 0, 255, 0).unwrap(), in_minutes);
    let lead_out = [0, 0x0A, 1, 1, 0, 0x14, 0xAA, 0, 0, 0, 0, 100];
    assert_eq!(toc(0, 0, 0xAA, 255, 0).unwrap(), lead_out);
    let sessions = [0, 0x0A, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0];
    assert_eq!(toc(0, 1, 0, 255, 0).unwrap(), sessions);
    assert_eq!(toc(0, 0, 0, 255, 0x40).unwrap(), sessions);
    for (format, track) in [(0, 2), (0, 0xA9), (2, 0), (4, 0), (5, 0)] {
        assert_eq!(toc(0, format, track, 255, 0), Err((5, 0x24, 0)));
    }
}

#[test]
fn the_configuration_lists_features() {
    let drive = loaded();
    let configuration = |drive: &OpticalDrive, request, feature: u16, room: u16| {
        let [high, low] = feature.to_be_bytes();
        let [room_high, room_low] = room.to_be_bytes();
        let command = [0x46, request, high, low, 0, 0, 0, room_high, room_low, 0];
        ask(drive, &command, 512)
    };
    /// Numbers and current flags of the features.
    fn features(reply: &[u8]) -> Vec<(u16, bool)> {
        assert_eq!(reply[..4], (reply.len() as u32 - 4).to_be_bytes());
        let (mut rest, mut found) = (&reply[8..], Vec::new());
        while let [high, low, flags, length, after @ ..] = rest {
            found.push((u16::from_be_bytes([*high, *low]), flags & 1 != 0));
            rest = &after[usize::from(*length)..];
        }
        assert!(rest.is_empty());
        found
    }
    let all = configuration(&drive, 0, 0, 512).unwrap();
    assert_eq!(all[4..8], [0, 0, 0, 0x10]);
    // The list of profiles, the current one first.
    assert_eq!(all[8..20], [0, 0, 3, 8, 0, 0x10, 1, 0, 0, 8, 0, 0]);
    assert_eq!(
        features(&all),
        [
            (0, true),
            (1, true),
            (2, true),
            (3, true),
            (0x10, true),
            (0x1E, false),
            (0x1F, true),
            (0x100, true),
            (0x105, true),
            (0x107, true)
        ]
    );
    let current = configuration(&drive, 1, 0x10, 512).unwrap();
    assert_eq!(
        features(&current),
        [
            (0x10, true),
            (0x1F, true),
            (0x100, true),
            (0x105, true),
            (0x107, true)
        ]
    );
    let one = configuration(&drive, 2, 3, 512).unwrap();
    assert_eq!(one, [0, 0, 0, 12, 0, 0, 0, 0x10, 0, 3, 3, 4, 0x39, 0, 0, 0]);
    let readable = configuration(&drive, 2, 0x10, 512).unwrap();
    assert_eq!(readable[8..], [0, 0x10, 1, 8, 0, 0, 8, 0, 0, 16, 1, 0]);
    assert_eq!(
        configuration(&drive, 2, 4, 512).unwrap(),
        [0, 0, 0, 4, 0, 0, 0, 0x10]
    );
    assert_eq!(configuration(&drive, 3, 0, 512), Err((5, 0x24, 0)));
    // Cut, but with its full length in it.
    assert_eq!(configuration(&drive, 0, 0, 8).unwrap(), all[..8]);

    let empty = OpticalDrive::new(DRIVE, None).unwrap();
    let all = configuration(&empty, 0, 0, 512).unwrap();
    assert_eq!(all[4..8], [0, 0, 0, 0]);
    let current = features(&all).into_iter().filter(|feature| feature.1);
    let current: Vec<_> = current.map(|feature| feature.0).collect();
    assert_eq!(current, [0, 1, 2, 3, 0x100, 0x105]);
}

#[test]
fn media_and_tracks_are_described() {
    let drive = loaded();
    let mut disc = vec![0, 32, 0x0E, 1, 1, 1, 1, 0x20];
    disc.resize(16, 0);
    disc.extend_from_slice(&[0xFF; 8]);
    disc.resize(34, 0);
    assert_eq!(
        ask(&drive, &[0x51, 0, 0, 0, 0, 0, 0, 0, 255, 0], 255).unwrap(),
        disc
    );
    assert_eq!(
        ask(&drive, &[0x51, 1, 0, 0, 0, 0, 0, 0, 255, 0], 255),
        Err((5, 0x24, 0))
    );
    let mut track = vec![0, 46, 1, 1, 0, 4, 1, 0];
    track.resize(24, 0);
    track.extend_from_slice(&100u32.to_be_bytes());
    track.resize(48, 0);
    for (kind, address) in [(0, 0), (0, 99), (1, 1), (2, 1)] {
        let command = [0x52, kind, 0, 0, 0, address, 0, 0, 255, 0];
        assert_eq!(ask(&drive, &command, 255).unwrap(), track);
    }
    for (kind, address, code) in [(0, 100, 0x21), (1, 2, 0x24), (1, 0, 0x24), (3, 1, 0x24)] {
        let command = [0x52, kind, 0, 0, 0, address, 0, 0, 255, 0];
        assert_eq!(ask(&drive, &command, 255), Err((5, code, 0)));
    }
    assert_eq!(
        ask(&drive, &[0x5C, 0, 0, 0, 0, 0, 0, 0, 12, 0], 12).unwrap(),
        [0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(
        ask(&drive, &[0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8], 8).unwrap(),
        [0; 8]
    );
    let performance = [
        0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x56, 0x90, 0, 0, 0, 99, 0, 0, 0x56, 0x90,
    ];
    let ask_performance =
        |count, kind| ask(&drive, &[0xAC, 0, 0, 0, 0, 0, 0, 0, 0, count, kind, 0], 64);
    assert_eq!(ask_performance(5, 0).unwrap(), performance);
    assert_eq!(ask_performance(0, 0).unwrap(), performance[..8]);
    assert_eq!(ask_performance(1, 3), Err((5, 0x24, 0)));
    assert!(send(&drive, &[0xB6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 28, 0], &[0; 28]).is_good());
    let short = send(&drive, &[0xB6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 27, 0], &[0; 28]);
    assert_eq!(triple(short), (5, 0x1A, 0));
}

#[test]
fn dvd_structures_are_read() {
    let drive = loaded();
    let structure = |layer, format| {
        let command = [0xAD, 0, 0, 0, 0, 0, layer, format, 0x10, 0, 0, 0];
        ask(&drive, &command, 4096)
    };
    let physical = structure(0, 0).unwrap();
    assert_eq!(physical.len(), 2052);
    assert_eq!(
        physical[..20],
        [
            8, 2, 0, 0, 1, 0x0F, 1, 0, 0, 3, 0, 0, 0, 3, 0, 99, 0, 0, 0, 0
        ]
    );
    assert!(physical[20..].iter().all(|&byte| byte == 0));
    assert_eq!(structure(0, 1).unwrap(), [0, 6, 0, 0, 0, 0, 0, 0]);
    let manufacturer = structure(0, 4).unwrap();
    assert_eq!(
        (manufacturer.len(), &manufacturer[..4]),
        (2052, &[8, 2, 0, 0][..])
    );
    for (layer, format) in [(0, 2), (0, 3), (0, 0xFF), (1, 0)] {
        assert_eq!(structure(layer, format), Err((5, 0x24, 0)));
    }
}

#[test]
fn mode_pages_are_byte_exact() {
    let drive = loaded();
    let sense = |page, allocation| ask(&drive, &[0x5A, 0, page, 0, 0, 0, 0, 0, allocation, 0], 255);
    let capabilities = [
        0x2A, 20, 0x0B, 0, 0, 0, 0x29, 0, 0x56, 0x90, 0, 0, 1, 0, 0x56, 0x90, 0, 0, 0, 0, 0, 0,
    ];
    let mut expected = vec![0, 28, 0, 0, 0, 0, 0, 0];
    expected.extend_from_slice(&capabilities);
    assert_eq!(sense(0x2A, 128).unwrap(), expected);
    assert_eq!(sense(0x2A, 8).unwrap(), expected[..8]);
    let all = sense(0x3F, 255).unwrap();
    assert_eq!(all.len(), 8 + 3 * 12 + 22);
    assert_eq!(all[..2], [0, 64]);
    assert_eq!(
        [all[8], all[20], all[32], all[44]],
        [0x01, 0x1A, 0x1D, 0x2A]
    );
    let six = ask(&drive, &[0x1A, 0, 0x01, 0, 255, 0], 255).unwrap();
    assert_eq!(six, [15, 0, 0, 0, 1, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let changeable = sense(0x40 | 0x2A, 128).unwrap();
    assert_eq!(changeable[8..10], [0x2A, 20]);
    assert!(changeable[10..].iter().all(|&byte| byte == 0));
    assert_eq!(sense(0xC0 | 0x2A, 128), Err((5, 0x39, 0)));
    assert_eq!(sense(0x08, 128), Err((5, 0x24, 0)));
    // The lock shows.
    tell(&drive, &LOCK).unwrap();
    assert_eq!(sense(0x2A, 128).unwrap()[8 + 6], 0x2B);
    let select = [0x55, 0x10, 0, 0, 0, 0, 0, 0, 16, 0];
    assert!(send(&drive, &select, &[0; 16]).is_good());
    assert_eq!(triple(send(&drive, &select, &[0; 15])), (5, 0x1A, 0));
    assert_eq!(
        triple(send(
            &drive,
            &[0x55, 0x11, 0, 0, 0, 0, 0, 0, 16, 0],
            &[0; 16]
        )),
        (5, 0x24, 0)
    );
}
