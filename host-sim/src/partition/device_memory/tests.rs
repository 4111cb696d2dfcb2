//! The rules of placement, and the double that obeys them.

use super::*;

const MIB: u64 = 1 << 20;
const WINDOW: Range<u64> = 0xF800_0000..0xFEC0_0000;

fn mapper() -> RecordingMapper {
    RecordingMapper::new(
        vec![WINDOW, 1 << 36..1 << 37],
        std::iter::once(0..0x8000_0000).collect(),
    )
}

#[test]
fn sizes_are_checked() {
    for size in [0, 1, 4095, 4097, MOST_DEVICE_MEMORY + PAGE_SIZE, u64::MAX] {
        assert!(DeviceMemory::new(size).is_err(), "{size}");
    }
    let memory = DeviceMemory::new(2 * PAGE_SIZE).unwrap();
    assert_eq!(memory.size(), 8192);
    assert_eq!(memory.host_address().addr().get() % 4096, 0);
}

#[test]
fn copies_are_bounded() {
    let memory = DeviceMemory::new(PAGE_SIZE).unwrap();
    let mut bytes = [0xFF; 4];
    memory.read(4092, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 4], "new memory is zeroed");
    memory.write(4092, &[1, 2, 3, 4]).unwrap();
    memory.read(4092, &mut bytes).unwrap();
    assert_eq!(bytes, [1, 2, 3, 4]);
    memory.read(4096, &mut []).unwrap();
    for offset in [4093, 4096, u64::MAX - 1, u64::MAX] {
        let outside = OutsideDeviceMemory {
            offset,
            length: 4,
            size: 4096,
        };
        assert_eq!(memory.write(offset, &[9; 4]), Err(outside));
        assert_eq!(memory.read(offset, &mut bytes), Err(outside));
    }
}

#[test]
fn the_rules_of_placement() {
    let mapper = mapper();
    let memory = DeviceMemory::new(8 * MIB).unwrap();
    let refused = |address| mapper.map(address, &memory).unwrap_err();
    assert!(matches!(
        refused(WINDOW.start + 1),
        MapError::Misaligned { .. }
    ));
    for address in [
        WINDOW.start - PAGE_SIZE,
        WINDOW.end - 8 * MIB + PAGE_SIZE,
        u64::MAX - PAGE_SIZE + 1,
        (1 << 37) - 4 * MIB,
    ] {
        assert!(matches!(refused(address), MapError::OutsideWindows { .. }));
    }
    for address in [0, 0x7000_0000, 0x8000_0000 - PAGE_SIZE] {
        assert!(matches!(refused(address), MapError::OverlapsRam { .. }));
    }
    mapper.map(WINDOW.start + 8 * MIB, &memory).unwrap();
    assert!(matches!(
        refused(WINDOW.start),
        MapError::AlreadyMapped { at } if at == WINDOW.start + 8 * MIB
    ));
    let other = DeviceMemory::new(8 * MIB).unwrap();
    for address in [PAGE_SIZE, 8 * MIB, 16 * MIB - PAGE_SIZE] {
        let error = mapper.map(WINDOW.start + address, &other).unwrap_err();
        assert!(matches!(
            error,
            MapError::OverlapsMapping { other, .. } if other == WINDOW.start + 8 * MIB
        ));
    }
    mapper.map(WINDOW.start, &other).unwrap();
    mapper.unmap(WINDOW.start).unwrap();
    assert!(matches!(
        mapper.unmap(WINDOW.start),
        Err(MapError::NotMapped { .. })
    ));
    mapper.map(WINDOW.start + 16 * MIB, &other).unwrap();
}

#[test]
fn contents_stay_when_the_mapping_moves() {
    let mapper = mapper();
    let memory = DeviceMemory::new(MIB).unwrap();
    assert!(!mapper.guest_write(WINDOW.start, &[1]));
    mapper.map(WINDOW.start, &memory).unwrap();
    assert!(mapper.guest_write(WINDOW.start + MIB - 2, &[7, 8]));
    assert!(!mapper.guest_write(WINDOW.start + MIB - 1, &[7, 8]));
    mapper.unmap(WINDOW.start).unwrap();
    mapper.map(1 << 36, &memory).unwrap();
    let mut bytes = [0; 2];
    assert!(!mapper.guest_read(WINDOW.start, &mut bytes));
    assert!(mapper.guest_read((1 << 36) + MIB - 2, &mut bytes));
    assert_eq!(bytes, [7, 8]);
    mapper.set_failing(true);
    assert!(matches!(
        mapper.unmap(1 << 36),
        Err(MapError::Hypervisor(_))
    ));
    assert!(
        mapper.guest_read(1 << 36, &mut bytes),
        "the mapping is still there"
    );
    let (address, size) = (WINDOW.start, MIB);
    assert_eq!(
        mapper.take_events(),
        [
            MapEvent::Map { address, size },
            MapEvent::Unmap { address },
            MapEvent::Map {
                address: 1 << 36,
                size
            }
        ]
    );
}
