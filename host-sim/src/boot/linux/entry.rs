//! How the boot processor enters the kernel.

/// The boot protocols' flat segments: code.
pub const CODE_SELECTOR: u16 = 0x10;
/// The boot protocols' flat segments: data.
pub const DATA_SELECTOR: u16 = 0x18;

/// The mode that the boot processor is in at the kernel's first instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryMode {
    /// 64-bit mode; everything below 4 GiB is mapped onto itself.
    Long {
        /// Address of the top page table, for CR3.
        page_map: u64,
    },
    /// 32-bit protected mode without paging.
    Protected,
}

/// The boot processor's state at the kernel's first instruction: flat segments with selectors 0x10 and 0x18, interrupts
/// off, other general registers zero. Other processors wait for their start-up message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinuxEntry {
    /// Processor mode.
    pub mode: EntryMode,
    /// Address of the first instruction.
    pub instruction: u64,
    /// RSI: the boot parameters, for the Linux boot protocol.
    pub boot_parameters: u64,
    /// RBX: the start information, for PVH.
    pub start_info: u64,
    /// Address of the segment descriptors.
    pub gdt_base: u64,
    /// Offset of their last byte.
    pub gdt_limit: u16,
}

/// Two unused descriptors, then flat code and data for the mode.
pub(super) fn descriptors(mode: EntryMode) -> [u64; 4] {
    const DATA: u64 = 0x00CF_9300_0000_FFFF;
    let code = match mode {
        EntryMode::Long { .. } => 0x00AF_9B00_0000_FFFF,
        EntryMode::Protected => 0x00CF_9B00_0000_FFFF,
    };
    [0, 0, code, DATA]
}
