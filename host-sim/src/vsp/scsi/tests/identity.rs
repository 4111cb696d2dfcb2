//! INQUIRY, REPORT LUNS, READ CAPACITY.

use super::*;

/// A disk of any size without content.
struct Sized(DiskInfo);

impl DiskImage for Sized {
    fn info(&self) -> &DiskInfo {
        &self.0
    }

    fn read(&self, _: u64, _: &[VolatileSlice<'_>]) -> Result<(), crate::disk::DiskError> {
        Ok(())
    }

    fn write(
        &self,
        _: u64,
        _: &[VolatileSlice<'_>],
        _: crate::disk::Durability,
    ) -> Result<(), crate::disk::DiskError> {
        Ok(())
    }

    fn flush(&self) -> Result<(), crate::disk::DiskError> {
        Ok(())
    }

    fn discard(&self, _: u64, _: u64) -> Result<(), crate::disk::DiskError> {
        Ok(())
    }

    fn next_data(&self, _: u64) -> Result<Option<std::ops::Range<u64>>, crate::disk::DiskError> {
        Ok(None)
    }
}

fn standard() -> Vec<u8> {
    let mut expected = vec![0x00, 0x00, 0x05, 0x02, 0x63, 0x00, 0x00, 0x02];
    expected.extend_from_slice(b"Msft    Virtual Disk    1.0 ");
    expected.resize(104, 0);
    expected
}

#[test]
fn standard_inquiry_is_byte_exact() {
    let unit = unit(info());
    assert_eq!(read(&unit, &[0x12, 0, 0, 0, 255, 0], 255), Ok(standard()));
    // Cut to the allocation length, and to the buffer.
    for (allocation, room) in [(36u8, 255), (255, 36), (5, 5), (96, 96)] {
        let expected = &standard()[..usize::from(allocation).min(room)];
        assert_eq!(
            read(&unit, &[0x12, 0, 0, 0, allocation, 0], room).unwrap(),
            expected
        );
    }
    assert_eq!(read(&unit, &[0x12, 0, 0, 0, 0, 0], 16), Ok(Vec::new()));
}

/// H15: INQUIRY that fails leaves the buffer alone and moves nothing.
#[test]
fn fault_51_inquiry_too_short_is_refused() {
    let unit = unit(info());
    for command in [
        [0x12, 0, 0, 0, 4, 0],
        [0x12, 1, 0x83, 0, 3, 0],
        [0x12, 2, 0, 0, 255, 0],
        [0x12, 3, 0x83, 0, 255, 0],
        [0x12, 0, 0x83, 0, 255, 0],
        [0x12, 1, 0x80, 0, 255, 0],
        [0x12, 1, 0x89, 0, 255, 0],
    ] {
        let outcome = read(&unit, &command, 255).unwrap_err();
        assert_eq!(triple(outcome), (5, 0x24, 0), "{command:x?}");
        assert_eq!(outcome.transferred(), 0);
    }
}

/// H18: the pages, byte for byte.
#[test]
fn vital_product_data_is_byte_exact() {
    let unit = unit(info());
    let page = |code| read(&unit, &[0x12, 1, code, 0, 255, 0], 255).unwrap();
    assert_eq!(
        page(0x00),
        [0, 0, 0, 7, 0x00, 0x83, 0xB0, 0xB1, 0xB2, 0xCE, 0xCF]
    );
    let mut identification = vec![0, 0x83, 0, 48, 0x01, 0x01, 0x00, 0x18];
    identification.extend_from_slice(b"Msft    ");
    identification.extend_from_slice(&IDENTITY);
    identification.extend_from_slice(&[0x01, 0x03, 0x00, 0x10, 0x60, 0x02, 0x24, 0x80]);
    identification.extend_from_slice(&IDENTITY[..6]);
    identification.extend_from_slice(&IDENTITY[10..]);
    assert_eq!(page(0x83), identification);
    let mut limits = vec![0u8; 64];
    limits[..4].copy_from_slice(&[0, 0xB0, 0, 60]);
    limits[4] = 1;
    limits[6..8].copy_from_slice(&8u16.to_be_bytes());
    limits[8..12].copy_from_slice(&512u32.to_be_bytes());
    limits[12..16].copy_from_slice(&512u32.to_be_bytes());
    limits[20..24].copy_from_slice(&u32::MAX.to_be_bytes());
    limits[24..28].copy_from_slice(&256u32.to_be_bytes());
    limits[28..32].copy_from_slice(&8u32.to_be_bytes());
    limits[32..36].copy_from_slice(&0x8000_0000u32.to_be_bytes());
    limits[36..44].copy_from_slice(&512u64.to_be_bytes());
    assert_eq!(page(0xB0), limits);
    let mut characteristics = vec![0, 0xB1, 0, 60, 0, 1];
    characteristics.resize(64, 0);
    assert_eq!(page(0xB1), characteristics);
    assert_eq!(page(0xB2), [0, 0xB2, 0, 4, 1, 0xC0, 2, 0]);
    assert_eq!(page(0xCE), [0, 0xCE, 0, 4, 1, 1, 0, 0]);
    assert_eq!(
        page(0xCF),
        [
            0, 0xCF, 0, 20, 1, 1, 0, 0, 0x15, 0x8f, 0xa9, 0x89, 0x28, 0xc9, 0x8b, 0x4d, 0x94, 0xcd,
            0xef, 0x51, 0xfa, 0xa9, 0x9d, 0x33
        ]
    );
    assert_eq!(
        read(&unit, &[0x12, 1, 0x83, 0, 4, 0], 255).unwrap(),
        &identification[..4]
    );
}

#[test]
fn disks_without_discard_promise_none() {
    for limited in [
        DiskInfo {
            discard: false,
            ..info()
        },
        DiskInfo {
            read_only: true,
            ..info()
        },
    ] {
        let unit = unit(limited);
        let pages = read(&unit, &[0x12, 1, 0, 0, 255, 0], 255).unwrap();
        assert_eq!(pages, [0, 0, 0, 6, 0x00, 0x83, 0xB0, 0xB1, 0xCE, 0xCF]);
        let limits = read(&unit, &[0x12, 1, 0xB0, 0, 255, 0], 255).unwrap();
        assert_eq!(limits.len(), 64);
        assert_eq!(&limits[20..36], &[0; 16]);
        assert!(read(&unit, &[0x12, 1, 0xB2, 0, 255, 0], 255).is_err());
        let capacity = read(&unit, &capacity_16(32), 32).unwrap();
        assert_eq!(capacity[14], 0);
    }
}

/// H19: the identification follows the disk's identity alone, and tells disks apart.
#[test]
fn identification_is_the_disks_own() {
    let page = |info| read(&unit(info), &[0x12, 1, 0x83, 0, 255, 0], 255).unwrap();
    assert_eq!(
        page(info()),
        page(DiskInfo {
            size: 4096,
            ..info()
        })
    );
    let other = DiskInfo {
        identity: [7; 16],
        ..info()
    };
    assert_ne!(page(info()), page(other));
}

fn capacity_16(allocation: u8) -> [u8; 16] {
    [
        0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, allocation, 0, 0,
    ]
}

/// H20: capacities at the limits, sector sizes.
#[test]
fn capacities_at_the_limits() {
    const TIB: u64 = 1 << 40;
    for (size, last_10) in [
        (2 * TIB - 512, 0xFFFF_FFFE_u32),
        (2 * TIB, 0xFFFF_FFFF),
        (2 * TIB + 512, 0xFFFF_FFFF),
        (64 * TIB, 0xFFFF_FFFF),
        (512, 0),
    ] {
        let unit = unit_of(Arc::new(Sized(DiskInfo { size, ..info() })));
        let ten = read(&unit, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8).unwrap();
        let mut expected = last_10.to_be_bytes().to_vec();
        expected.extend_from_slice(&512u32.to_be_bytes());
        assert_eq!(ten, expected);
        let mut expected = (size / 512 - 1).to_be_bytes().to_vec();
        expected.extend_from_slice(&512u32.to_be_bytes());
        expected.extend_from_slice(&[0, 3, 0xC0, 0]);
        expected.resize(32, 0);
        assert_eq!(read(&unit, &capacity_16(32), 64).unwrap(), expected);
        assert_eq!(read(&unit, &capacity_16(12), 64).unwrap(), expected[..12]);
        assert_eq!(read(&unit, &capacity_16(64), 12).unwrap(), expected[..12]);
        // Threshold sets of the provisioning page are counted in 32 bits.
        let provisioning = read(&unit, &[0x12, 1, 0xB2, 0, 8, 0], 8).unwrap();
        assert!((size / 512 - 1) >> provisioning[4] <= u64::from(u32::MAX));
        assert!(provisioning[4] >= 1);
    }
    for (logical, physical, exponent) in [(512, 512, 0), (512, 4096, 3), (4096, 4096, 0)] {
        let unit = unit(DiskInfo {
            logical_sector_size: logical,
            physical_sector_size: physical,
            ..info()
        });
        let capacity = read(&unit, &capacity_16(32), 32).unwrap();
        assert_eq!(capacity[8..12], logical.to_be_bytes());
        assert_eq!(capacity[13], exponent);
    }
    let unit = unit(info());
    for (command, room) in [(vec![0x25; 1], 7), (capacity_16(32).to_vec(), 11)] {
        let outcome = read(&unit, &command, room).unwrap_err();
        assert_eq!(outcome, Outcome::Overrun);
    }
}

fn table(luns: &[u8]) -> UnitTable {
    let mut units = UnitTable::new(Addressing::Scsi);
    for &lun in luns {
        units.set(lun, Some(unit(info()).into()));
    }
    units
}

fn ask(
    units: &UnitTable,
    address: (u8, u8, u8),
    command: &[u8],
    room: usize,
) -> (Outcome, Vec<u8>) {
    let mut buffer = vec![0xE5; room];
    let slices = [VolatileSlice::from(buffer.as_mut_slice())];
    let data = DataBuffer::new(&slices, Some(DataDirection::FromDevice));
    let (path, target, lun) = address;
    let address = Address { path, target, lun };
    let outcome = units.execute(address, &cdb(command), &data);
    buffer.truncate(outcome.transferred() as usize);
    (outcome, buffer)
}

fn report_luns(allocation: u16) -> [u8; 12] {
    let [high, low] = allocation.to_be_bytes();
    [0xA0, 0, 0, 0, 0, 0, 0, 0, high, low, 0, 0]
}

/// H17: the list of units, byte for byte, and cut. The length in it is that of the whole list.
#[test]
fn fault_50_the_list_of_units_is_exact_and_never_cut_wrongly() {
    let units = table(&[0, 3, 63]);
    let mut expected = vec![0, 0, 0, 24, 0, 0, 0, 0];
    for lun in [0, 3, 63] {
        expected.extend_from_slice(&[0, lun, 0, 0, 0, 0, 0, 0]);
    }
    for address in [(0, 0, 0), (0, 0, 7), (0, 0, 255)] {
        for (allocation, room) in [(8, 4096), (16, 4096), (4096, 4096), (4096, 16), (31, 31)] {
            let (outcome, reply) = ask(&units, address, &report_luns(allocation), room);
            assert!(outcome.is_good());
            let count = expected.len().min(usize::from(allocation)).min(room);
            assert_eq!(reply, expected[..count]);
        }
    }
    assert_eq!(
        ask(&units, (0, 0, 0), &report_luns(7), 4096),
        (Outcome::DONE, Vec::new())
    );
    // Elsewhere, and among the well-known units, there are none.
    let none = vec![0; 8];
    assert_eq!(ask(&units, (1, 0, 0), &report_luns(64), 64).1, none);
    assert_eq!(ask(&units, (0, 1, 0), &report_luns(64), 64).1, none);
    let mut well_known = report_luns(64);
    well_known[2] = 1;
    assert_eq!(ask(&units, (0, 0, 0), &well_known, 64).1, none);
}

/// H16: what is not there says so to INQUIRY, and is INVALID_LUN to everything else.
#[test]
fn absent_units_answer_inquiry_only() {
    let units = table(&[1]);
    let mut empty = standard();
    empty[0] = 0x7F;
    empty[7] = 0;
    let inquiry = [0x12, 0, 0, 0, 255, 0];
    assert_eq!(ask(&units, (0, 0, 0), &inquiry, 255).1, empty);
    assert_eq!(ask(&units, (0, 1, 0), &inquiry, 255).1, empty);
    empty[8..].fill(0);
    assert_eq!(ask(&units, (0, 0, 2), &inquiry, 255).1, empty);
    assert_eq!(ask(&units, (0, 0, 64), &inquiry, 255).1, empty);
    assert_eq!(ask(&units, (0, 0, 1), &inquiry, 255).1, standard());
    let (outcome, reply) = ask(&units, (0, 0, 0), &[0x12, 1, 0x83, 0, 255, 0], 255);
    assert_eq!((triple(outcome), reply.len()), ((5, 0x24, 0), 0));
    for address in [(0, 0, 0), (0, 0, 2), (0, 0, 255), (0, 1, 1), (3, 0, 1)] {
        for command in [&[0u8; 6][..], &[0x28; 10], &[0x25; 10], &[0xFF; 16]] {
            assert_eq!(ask(&units, address, command, 512).0, Outcome::NoUnit);
        }
    }
}

/// Guests name IDE disks by different paths; the disk is the same, and alone.
#[test]
fn ide_disks_are_found_at_every_address() {
    let mut units = UnitTable::new(Addressing::Ide {
        channel: 1,
        device: 0,
    });
    units.set(0, Some(unit(info()).into()));
    assert!(units.set(1, Some(unit(info()).into())).is_none());
    for address in [(0, 0, 0), (0, 1, 0), (1, 0, 0)] {
        assert_eq!(ask(&units, address, &[0; 6], 0).0, Outcome::DONE);
    }
    assert_eq!(ask(&units, (1, 0, 1), &[0; 6], 0).0, Outcome::NoUnit);
    let list = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(ask(&units, (1, 0, 0), &report_luns(64), 64).1, list);
    assert_eq!(ask(&units, (0, 0, 0), &report_luns(64), 64).1, [0; 8]);
}

/// Images that no guest could use never become disks.
#[test]
fn fault_49_impossible_sizes_are_refused() {
    for (logical, physical) in [
        (0, 512),
        (513, 513),
        (1 << 31, 1 << 31),
        (2048, 2048),
        (1, 1),
    ] {
        let image = Sized(DiskInfo {
            logical_sector_size: logical,
            physical_sector_size: physical,
            ..info()
        });
        assert_eq!(
            LogicalUnit::new(Arc::new(image), MAX_TRANSFER).unwrap_err(),
            UnsuitableImage::LogicalSectorSize { size: logical }
        );
    }
    for physical in [0, 256, 513, 6144, 1 << 30] {
        let image = Sized(DiskInfo {
            physical_sector_size: physical,
            ..info()
        });
        assert_eq!(
            LogicalUnit::new(Arc::new(image), MAX_TRANSFER).unwrap_err(),
            UnsuitableImage::PhysicalSectorSize {
                physical,
                logical: 512
            }
        );
    }
    for size in [0, 1, 513, u64::MAX] {
        let image = Sized(DiskInfo { size, ..info() });
        assert_eq!(
            LogicalUnit::new(Arc::new(image), MAX_TRANSFER).unwrap_err(),
            UnsuitableImage::Size { size }
        );
    }
}
