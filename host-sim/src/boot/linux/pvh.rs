//! PVH start information, for ELF kernels with a PVH note.

use zerocopy::{Immutable, IntoBytes};

use super::layout::{COMMAND_LINE, START_INFO};
use super::memory_map::Range;

const MAGIC: u32 = 0x336E_C578;
const VERSION: u32 = 1;

#[repr(C)]
#[derive(Clone, Copy, IntoBytes, Immutable)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    module_count: u32,
    modules: u64,
    command_line: u64,
    acpi_root_pointer: u64,
    memory_map: u64,
    memory_map_count: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, IntoBytes, Immutable)]
struct Module {
    address: u64,
    bytes: u64,
    command_line: u64,
    reserved: u64,
}

#[repr(C)]
#[derive(Clone, Copy, IntoBytes, Immutable)]
struct MemoryMapEntry {
    address: u64,
    bytes: u64,
    kind: u32,
    reserved: u32,
}

const _: () = {
    assert!(size_of::<StartInfo>() == 56);
    assert!(size_of::<Module>() == 32);
    assert!(size_of::<MemoryMapEntry>() == 24);
};

/// The bytes to lie at [`START_INFO`]: start information, module, memory map.
pub(super) fn start_info(
    initrd: Option<(u64, u64)>,
    acpi_root_pointer: u64,
    map: &[Range],
) -> Vec<u8> {
    let modules = START_INFO + size_of::<StartInfo>() as u64;
    let memory_map = modules + size_of::<Module>() as u64;
    let (address, bytes) = initrd.unwrap_or_default();
    let info = StartInfo {
        magic: MAGIC,
        version: VERSION,
        flags: 0,
        module_count: u32::from(initrd.is_some()),
        modules: if initrd.is_some() { modules } else { 0 },
        command_line: COMMAND_LINE,
        acpi_root_pointer,
        memory_map,
        memory_map_count: map.len() as u32,
        reserved: 0,
    };
    let module = Module {
        address,
        bytes,
        command_line: 0,
        reserved: 0,
    };
    let mut image = info.as_bytes().to_vec();
    image.extend_from_slice(module.as_bytes());
    for range in map {
        let entry = MemoryMapEntry {
            address: range.start,
            bytes: range.bytes,
            kind: range.kind,
            reserved: 0,
        };
        image.extend_from_slice(entry.as_bytes());
    }
    image
}
