//! Where the loader leaves what Linux reads at its start; all below `LINUX_LOW_END`.

/// Boot parameters ("zero page"), 4096 bytes.
pub(super) const BOOT_PARAMETERS: u64 = 0x7000;
/// PVH's start information, its module list and memory map.
pub(super) const START_INFO: u64 = 0x6000;
/// Segment descriptors.
pub(super) const GDT: u64 = 0x5000;
/// The command line, with its final zero.
pub(super) const COMMAND_LINE: u64 = 0x2_0000;
/// Most bytes of a command line, its final zero included.
pub(super) const COMMAND_LINE_ROOM: usize = 0x1_0000;

/// The BIOS's words for the segment of its data area and the KiB of base memory, which old kernels look at.
pub(super) const BIOS_DATA_AREA_SEGMENT: u64 = 0x40E;
pub(super) const BIOS_BASE_MEMORY_KIB: u64 = 0x413;
