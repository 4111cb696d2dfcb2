//! The least firmware that makes a kernel believe in a machine started by UEFI, as Hyper-V's of generation 2 are: a
//! system table, a memory map, and runtime services of which each says that it is not supported.
//!
//! Linux's frame buffer driver asks a machine of generation 1 for a PCI device; one of generation 2 has none, and no PCI
//! either. Kernels for 32 bits would need a firmware for 32 bits, and are told of none.

use vmbus_core::guid::Guid;
use zerocopy::{Immutable, IntoBytes};

use super::memory_map::{self, Range};
use crate::boot::address_space::EFI_FIRMWARE;
use crate::memory::PAGE_SIZE;

const CODE: u64 = EFI_FIRMWARE.start;
const TABLES: u64 = CODE + PAGE_SIZE;

const SYSTEM_TABLE_SIGNATURE: u64 = u64::from_le_bytes(*b"IBI SYST");
const RUNTIME_SIGNATURE: u64 = u64::from_le_bytes(*b"RUNTSERV");
/// UEFI 2.7.
const REVISION: u32 = 2 << 16 | 70;
const VENDOR: &str = "Viridian";

const ACPI_2: Guid = Guid::from_fields(
    0x8868_e871,
    0xe4f1,
    0x11d3,
    [0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81],
);
const RUNTIME_PROPERTIES: Guid = Guid::from_fields(
    0xeb66_918a,
    0x7eef,
    0x402a,
    [0x84, 0x2e, 0x93, 0x1d, 0x21, 0xc3, 0x8a, 0xe9],
);

/// `xor eax, eax; ret`: success.
const SUCCEED: &[u8] = &[0x31, 0xC0, 0xC3];
/// `mov rax, 0x8000000000000003; ret`: not supported.
const REFUSE: &[u8] = &[0x48, 0xB8, 3, 0, 0, 0, 0, 0, 0, 0x80, 0xC3];
const SUCCEED_AT: u64 = 0;
const REFUSE_AT: u64 = 16;

const SERVICES: usize = 14;
/// The one service that kernels call without asking whether it is there: the firmware's pointers are used as they are.
const SET_VIRTUAL_ADDRESS_MAP: usize = 4;

const RESERVED: u32 = 0;
const RUNTIME_CODE: u32 = 5;
const RUNTIME_DATA: u32 = 6;
const CONVENTIONAL: u32 = 7;
const ACPI_RECLAIM: u32 = 9;
const WRITE_BACK: u64 = 1 << 3;
const NEEDED_AT_RUN_TIME: u64 = 1 << 63;

#[repr(C)]
#[derive(Clone, Copy, IntoBytes, Immutable)]
struct TableHeader {
    signature: u64,
    revision: u32,
    header_bytes: u32,
    checksum: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, IntoBytes, Immutable)]
struct SystemTable {
    header: TableHeader,
    vendor: u64,
    vendor_revision: u32,
    padding: u32,
    /// Console input, output and error: a handle and a protocol each.
    consoles: [u64; 6],
    runtime_services: u64,
    boot_services: u64,
    table_count: u64,
    tables: u64,
}

#[repr(C)]
#[derive(Clone, Copy, IntoBytes, Immutable)]
struct RuntimeServices {
    header: TableHeader,
    services: [u64; SERVICES],
}

#[repr(C)]
#[derive(Clone, Copy, IntoBytes, Immutable)]
struct ConfigurationTable {
    kind: [u8; 16],
    address: u64,
}

/// Which runtime services there are: none.
#[repr(C)]
#[derive(Clone, Copy, IntoBytes, Immutable)]
struct RuntimeProperties {
    version: u16,
    bytes: u16,
    supported: u32,
}

#[repr(C)]
#[derive(Clone, Copy, IntoBytes, Immutable)]
struct MemoryDescriptor {
    kind: u32,
    padding: u32,
    physical: u64,
    virtual_: u64,
    pages: u64,
    attributes: u64,
}

const _: () = {
    assert!(size_of::<TableHeader>() == 24);
    assert!(size_of::<SystemTable>() == 120);
    assert!(size_of::<RuntimeServices>() == 136);
    assert!(size_of::<ConfigurationTable>() == 24);
    assert!(size_of::<RuntimeProperties>() == 8);
    assert!(size_of::<MemoryDescriptor>() == 40);
    assert!(REFUSE_AT as usize >= SUCCEED.len());
};

/// The firmware, and what the boot parameters say about it.
pub(super) struct Firmware {
    /// The bytes that lie from [`EFI_FIRMWARE`]'s start on.
    pub(super) bytes: Vec<u8>,
    /// Address of the system table.
    pub(super) system_table: u64,
    /// Address of the memory map.
    pub(super) memory_map: u64,
    /// Bytes of the memory map.
    pub(super) memory_map_bytes: u32,
}

/// Bytes of a descriptor in the memory map.
pub(super) const DESCRIPTOR_BYTES: u32 = size_of::<MemoryDescriptor>() as u32;
/// Version of the descriptors.
pub(super) const DESCRIPTOR_VERSION: u32 = 1;

impl Firmware {
    /// A firmware that leads to these ACPI tables and tells this memory map.
    pub(super) fn new(acpi_root_pointer: u64, map: &[Range]) -> Self {
        let mut image = Image(vec![0; (TABLES - EFI_FIRMWARE.start) as usize]);
        image.put(CODE + SUCCEED_AT, SUCCEED);
        image.put(CODE + REFUSE_AT, REFUSE);

        let vendor: Vec<u8> = VENDOR
            .encode_utf16()
            .chain([0])
            .flat_map(u16::to_le_bytes)
            .collect();
        let vendor = image.append(&vendor);
        let properties = image.append(
            RuntimeProperties {
                version: 1,
                bytes: size_of::<RuntimeProperties>() as u16,
                supported: 0,
            }
            .as_bytes(),
        );
        let tables = [
            (ACPI_2, acpi_root_pointer),
            (RUNTIME_PROPERTIES, properties),
        ];
        let table_count = tables.len() as u64;
        let tables = tables.map(|(kind, address)| ConfigurationTable {
            kind: kind.to_bytes(),
            address,
        });
        let tables = image.append(tables.as_bytes());
        let mut services = [CODE + REFUSE_AT; SERVICES];
        services[SET_VIRTUAL_ADDRESS_MAP] = CODE + SUCCEED_AT;
        let header = |signature, bytes: usize| TableHeader {
            signature,
            revision: REVISION,
            header_bytes: bytes as u32,
            checksum: 0,
            reserved: 0,
        };
        let runtime_services = image.append_table(RuntimeServices {
            header: header(RUNTIME_SIGNATURE, size_of::<RuntimeServices>()),
            services,
        });
        let system_table = image.append_table(SystemTable {
            header: header(SYSTEM_TABLE_SIGNATURE, size_of::<SystemTable>()),
            vendor,
            vendor_revision: 1,
            padding: 0,
            consoles: [0; 6],
            runtime_services,
            // They have ended.
            boot_services: 0,
            table_count,
            tables,
        });
        let descriptors = descriptors(map);
        let memory_map_bytes = descriptors.as_bytes().len() as u32;
        let memory_map = image.append(descriptors.as_bytes());
        Self {
            bytes: image.0,
            system_table,
            memory_map,
            memory_map_bytes,
        }
    }
}

/// The firmware's own memory, then that of the map without it.
fn descriptors(map: &[Range]) -> Vec<MemoryDescriptor> {
    let descriptor = |kind, start: u64, end: u64, attributes| MemoryDescriptor {
        kind,
        padding: 0,
        physical: start,
        virtual_: 0,
        pages: end.saturating_sub(start) / PAGE_SIZE,
        attributes,
    };
    let runtime = WRITE_BACK | NEEDED_AT_RUN_TIME;
    let own = [
        descriptor(RUNTIME_CODE, CODE, TABLES, runtime),
        descriptor(RUNTIME_DATA, TABLES, EFI_FIRMWARE.end, runtime),
    ];
    let others = map.iter().flat_map(|range| {
        let (start, end) = (range.start, range.start + range.bytes);
        let kind = match range.kind {
            memory_map::RAM => CONVENTIONAL,
            memory_map::ACPI => ACPI_RECLAIM,
            _ => RESERVED,
        };
        let before = (start, end.min(EFI_FIRMWARE.start));
        let after = (start.max(EFI_FIRMWARE.end), end);
        [before, after].map(|(start, end)| {
            let (start, end) = (start.next_multiple_of(PAGE_SIZE), end & !(PAGE_SIZE - 1));
            descriptor(kind, start, end, WRITE_BACK)
        })
    });
    let mut all: Vec<_> = own
        .into_iter()
        .chain(others)
        .filter(|descriptor| descriptor.pages != 0)
        .collect();
    all.sort_unstable_by_key(|descriptor| descriptor.physical);
    all.dedup_by_key(|descriptor| descriptor.physical);
    all
}

struct Image(Vec<u8>);

impl Image {
    fn put(&mut self, address: u64, bytes: &[u8]) {
        let at = (address - EFI_FIRMWARE.start) as usize;
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn append(&mut self, bytes: &[u8]) -> u64 {
        let start = self.0.len().next_multiple_of(16);
        self.0.resize(start, 0);
        self.0.extend_from_slice(bytes);
        EFI_FIRMWARE.start + start as u64
    }

    /// Appends a table with its checksum.
    fn append_table(&mut self, table: impl IntoBytes + Immutable) -> u64 {
        const CHECKSUM_AT: usize = 16;
        let mut bytes = table.as_bytes().to_vec();
        let checksum = crc32(&bytes).to_le_bytes();
        bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum);
        self.append(&bytes)
    }
}

/// The checksum of UEFI's tables: CRC-32 as Ethernet has it.
fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 != 0 { POLYNOMIAL } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::address_space::HOLE;
    use crate::memory::GuestMemory;

    fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(&bytes[at..at + N]);
        u64::from_le_bytes(wide)
    }

    fn at(firmware: &Firmware, address: u64) -> &[u8] {
        &firmware.bytes[(address - EFI_FIRMWARE.start) as usize..]
    }

    fn checked(firmware: &Firmware, address: u64, bytes: usize) -> Vec<u8> {
        let table = at(firmware, address)[..bytes].to_vec();
        let mut without = table.clone();
        without[16..20].fill(0);
        assert_eq!(u64::from(crc32(&without)), number::<4>(&table, 16));
        table
    }

    #[test]
    fn a_kernel_finds_its_way() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        let memory = GuestMemory::with_hole(64 << 20, HOLE).unwrap();
        let firmware = Firmware::new(0xE_0000, &memory_map::map(&memory));
        assert!(firmware.bytes.len() as u64 <= EFI_FIRMWARE.end - EFI_FIRMWARE.start);
        let table = checked(&firmware, firmware.system_table, 120);
        assert_eq!(&table[..8], b"IBI SYST");
        let runtime = checked(&firmware, number::<8>(&table, 88), 136);
        assert_eq!(&runtime[..8], b"RUNTSERV");
        for service in 0..SERVICES {
            let code = at(&firmware, number::<8>(&runtime, 24 + 8 * service));
            let expected = match service {
                SET_VIRTUAL_ADDRESS_MAP => SUCCEED,
                _ => REFUSE,
            };
            assert_eq!(&code[..expected.len()], expected);
        }
        assert_eq!(number::<8>(&table, 104), 2);
        let tables = at(&firmware, number::<8>(&table, 112));
        assert_eq!(tables[..16], ACPI_2.to_bytes());
        assert_eq!(number::<8>(tables, 16), 0xE_0000);
    }

    #[test]
    fn the_memory_map_is_ascending_and_has_the_firmware_apart() {
        for size in [2 << 20, 64 << 20, (3 << 30) + (1 << 20)] {
            let memory = GuestMemory::with_hole(size, HOLE).unwrap();
            let descriptors = descriptors(&memory_map::map(&memory));
            for pair in descriptors.windows(2) {
                assert!(pair[0].physical + pair[0].pages * PAGE_SIZE <= pair[1].physical);
            }
            let own: Vec<_> = descriptors
                .iter()
                .filter(|descriptor| descriptor.attributes & NEEDED_AT_RUN_TIME != 0)
                .map(|descriptor| (descriptor.kind, descriptor.physical))
                .collect();
            assert_eq!(own, [(RUNTIME_CODE, CODE), (RUNTIME_DATA, TABLES)]);
        }
    }
}
