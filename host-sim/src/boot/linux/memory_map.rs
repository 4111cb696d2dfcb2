//! The memory map that the guest is told, the same for both boot protocols.

use crate::boot::address_space::{ACPI_TABLES, BASE_MEMORY_END, HIGH_MEMORY};
use crate::memory::GuestMemory;

/// RAM that the guest may use.
pub(super) const RAM: u32 = 1;
/// Addresses that it must leave alone.
const RESERVED: u32 = 2;
/// ACPI tables, which it may overwrite once it has read them.
pub(super) const ACPI: u32 = 3;

/// A range of guest-physical addresses with its e820 type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) bytes: u64,
    pub(super) kind: u32,
}

/// The map of a guest's memory, by ascending address.
pub(super) fn map(memory: &GuestMemory) -> Vec<Range> {
    let range = |start: u64, end: u64, kind| Range {
        start,
        bytes: end.saturating_sub(start),
        kind,
    };
    let mut map = vec![
        range(0, BASE_MEMORY_END, RAM),
        range(BASE_MEMORY_END, ACPI_TABLES.start, RESERVED),
        range(ACPI_TABLES.start, ACPI_TABLES.end, ACPI),
    ];
    map.extend(
        memory
            .ranges()
            .map(|ram| range(ram.start.max(HIGH_MEMORY), ram.end, RAM))
            .filter(|range| range.bytes != 0),
    );
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::address_space::HOLE;

    #[test]
    fn the_map_is_ascending_without_overlap_and_holds_all_ram() {
        for size in [2 << 20, 512 << 20, 3 << 30, (3 << 30) + (1 << 20)] {
            let memory = GuestMemory::with_hole(size, HOLE).unwrap();
            let map = map(&memory);
            for pair in map.windows(2) {
                assert!(pair[0].start + pair[0].bytes <= pair[1].start);
            }
            let ram: u64 = map.iter().filter(|r| r.kind == RAM).map(|r| r.bytes).sum();
            assert_eq!(ram, size - (HIGH_MEMORY - BASE_MEMORY_END));
        }
    }
}
