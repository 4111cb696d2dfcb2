//! The kernel loader: any file into a small PC.

use host_sim::boot::acpi::AcpiConfig;
use host_sim::boot::address_space::{HIGH_MEMORY, HOLE};
use host_sim::boot::linux::{EntryMode, Kernel, KernelKind, LinuxBoot};
use host_sim::memory::GuestMemory;

/// The guest's RAM in bytes.
pub(crate) const RAM: u64 = 4 << 20;
const INITRD: &[u8] = b"initial RAM disk";
const COMMAND_LINE: &str = "console=ttyS0";

pub(crate) fn run(bytes: &[u8]) {
    let Ok(kernel) = Kernel::new(bytes.to_vec()) else {
        return;
    };
    let memory = GuestMemory::with_hole(RAM, HOLE).expect("a small mapping");
    let acpi = AcpiConfig::new(1, &memory);
    let boot = LinuxBoot {
        kernel: &kernel,
        initrd: Some(INITRD),
        command_line: COMMAND_LINE,
        acpi: &acpi,
        efi: true,
    };
    let Ok(loaded) = boot.load(&memory) else {
        return;
    };
    let entry = loaded.entry;
    assert!((HIGH_MEMORY..RAM).contains(&entry.instruction));
    match kernel.kind() {
        KernelKind::BzImage32 => assert_eq!(entry.mode, EntryMode::Protected),
        KernelKind::BzImage64 => assert_ne!(entry.mode, EntryMode::Protected),
        KernelKind::Elf => {}
    }
    assert_eq!(entry.boot_parameters == 0, entry.start_info != 0);
    let (address, length) = loaded.initrd.expect("there is one");
    assert!(address > entry.instruction && address + length <= RAM);
    let mut initrd = [0; INITRD.len()];
    memory.read(address, &mut initrd).expect("RAM");
    assert_eq!(initrd, INITRD, "nothing was laid over it");
    let mut root = [0; 8];
    memory.read(0xE_0000, &mut root).expect("RAM");
    assert_eq!(&root, b"RSD PTR ");
}
