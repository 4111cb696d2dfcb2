use super::super::header::tests::bzimage;
use super::*;
use crate::boot::address_space::HOLE;
use proptest::prelude::*;

const RAM: u64 = 64 << 20;

fn load(
    image: Vec<u8>,
    ram: u64,
    initrd: Option<&[u8]>,
    command_line: &str,
) -> Result<(GuestMemory, Loaded), LinuxError> {
    let memory = GuestMemory::with_hole(ram, HOLE).unwrap();
    let kernel = Kernel::new(image)?;
    let acpi = AcpiConfig::new(1, &memory);
    let boot = LinuxBoot {
        kernel: &kernel,
        initrd,
        command_line,
        acpi: &acpi,
        efi: true,
    };
    let loaded = boot.load(&memory)?;
    Ok((memory, loaded))
}

fn bytes<const N: usize>(memory: &GuestMemory, address: u64) -> [u8; N] {
    let mut bytes = [0; N];
    memory.read(address, &mut bytes).unwrap();
    bytes
}

fn word(memory: &GuestMemory, address: u64) -> u64 {
    u32::from_le_bytes(bytes(memory, address)).into()
}

/// An ELF64 kernel of one segment at 16 MiB, with a PVH note or without.
fn elf(pvh: bool) -> Vec<u8> {
    elf_with_note(pvh, b"Xen\0")
}

fn elf_with_note(pvh: bool, owner: &[u8; 4]) -> Vec<u8> {
    let mut image = vec![0; 64 + 2 * 56];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7FELF\x02\x01\x01");
    put(16, &2_u16.to_le_bytes());
    put(18, &62_u16.to_le_bytes());
    put(24, &0x100_0000_u64.to_le_bytes());
    put(32, &64_u64.to_le_bytes());
    put(54, &56_u16.to_le_bytes());
    put(56, &(1 + u16::from(pvh)).to_le_bytes());
    put(64, &1_u32.to_le_bytes());
    put(64 + 8, &0x1000_u64.to_le_bytes());
    put(64 + 24, &0x100_0000_u64.to_le_bytes());
    put(64 + 32, &8_u64.to_le_bytes());
    put(64 + 40, &0x10_0000_u64.to_le_bytes());
    put(120, &4_u32.to_le_bytes());
    put(120 + 8, &0x1100_u64.to_le_bytes());
    put(120 + 32, &20_u64.to_le_bytes());
    put(120 + 40, &20_u64.to_le_bytes());
    put(120 + 48, &4_u64.to_le_bytes());
    image.resize(0x1200, 0);
    image[0x1000..0x1008].copy_from_slice(b"kernel!!");
    let mut note = Vec::new();
    for word in [4, 4, 18] {
        note.extend_from_slice(&u32::to_le_bytes(word));
    }
    note.extend_from_slice(owner);
    note.extend_from_slice(&0x100_0040_u32.to_le_bytes());
    image[0x1100..0x1100 + note.len()].copy_from_slice(&note);
    image
}

#[test]
fn a_64_bit_bzimage_is_entered_in_64_bit_mode() {
    let kernel = [0xC3; 0x400];
    let (memory, loaded) = load(
        bzimage(true, &kernel),
        RAM,
        Some(b"initrd"),
        "console=ttyS0",
    )
    .unwrap();
    let entry = loaded.entry;
    assert!(matches!(entry.mode, EntryMode::Long { .. }));
    assert_eq!(entry.instruction, 0x10_0200);
    assert_eq!(bytes(&memory, 0x10_0000), kernel);
    let parameters = entry.boot_parameters;
    assert_eq!(bytes(&memory, parameters + 0x202), *b"HdrS");
    let (address, length) = loaded.initrd.unwrap();
    assert_eq!(word(&memory, parameters + 0x218), address);
    assert_eq!(word(&memory, parameters + 0x21C), length);
    assert_eq!(bytes(&memory, address), *b"initrd");
    assert_eq!(address, RAM - 4096);
    let line = word(&memory, parameters + 0x228);
    assert_eq!(bytes(&memory, line), *b"console=ttyS0\0");
    let root = u64::from_le_bytes(bytes(&memory, parameters + 0x70));
    assert_eq!(bytes(&memory, root), *b"RSD PTR ");
    assert_eq!(bytes::<1>(&memory, parameters + 0x1E8), [4]);
    let code = u64::from_le_bytes(bytes(&memory, entry.gdt_base + 0x10));
    assert_ne!(code & 1 << 53, 0, "a 64-bit segment");
}

#[test]
fn a_64_bit_kernel_is_told_of_a_firmware_and_a_32_bit_one_is_not() {
    for (is_64_bit, signature) in [(true, *b"EL64"), (false, [0; 4])] {
        let (memory, loaded) = load(bzimage(is_64_bit, &[0xC3; 0x240]), RAM, None, "").unwrap();
        let parameters = loaded.entry.boot_parameters;
        assert_eq!(bytes(&memory, parameters + 0x1C0), signature);
        if is_64_bit {
            let table = word(&memory, parameters + 0x1C4);
            assert_eq!(bytes(&memory, table), *b"IBI SYST");
        }
    }
}

#[test]
fn a_32_bit_bzimage_is_entered_in_protected_mode() {
    let (memory, loaded) = load(bzimage(false, &[0xC3]), RAM, None, "").unwrap();
    let entry = loaded.entry;
    assert_eq!(entry.mode, EntryMode::Protected);
    assert_eq!((entry.instruction, loaded.initrd), (0x10_0000, None));
    let code = u64::from_le_bytes(bytes(&memory, entry.gdt_base + 0x10));
    assert_eq!(code >> 53 & 0b11, 0b10, "a 32-bit segment");
}

#[test]
fn memory_that_an_elf_kernel_clears_is_its_own() {
    // A second segment, of which nothing is in the file, up to a page before the end of RAM.
    let with_bss = |size: u64| {
        let mut image = elf(false);
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(56, &2_u16.to_le_bytes());
        put(120, &1_u32.to_le_bytes());
        put(120 + 24, &0x110_0000_u64.to_le_bytes());
        put(120 + 32, &0_u64.to_le_bytes());
        put(120 + 40, &size.to_le_bytes());
        image
    };
    let room = RAM - 0x110_0000;
    let initrd = [0x5A; 4 * 4096];
    assert!(load(with_bss(room - 5 * 4096), RAM, Some(&initrd), "").is_ok());
    for size in [room - 4096, room] {
        assert!(matches!(
            load(with_bss(size), RAM, Some(&initrd), ""),
            Err(LinuxError::TooLittleMemory { .. })
        ));
    }
    for size in [room + 1, u64::MAX] {
        assert!(matches!(
            load(with_bss(size), RAM, None, ""),
            Err(LinuxError::Placement { .. })
        ));
    }
}

#[test]
fn an_elf_kernel_is_entered_by_its_note_or_in_64_bit_mode() {
    let (memory, loaded) = load(elf(true), RAM, Some(b"ramdisk"), "quiet").unwrap();
    let entry = loaded.entry;
    assert_eq!(
        (entry.mode, entry.instruction, entry.boot_parameters),
        (EntryMode::Protected, 0x100_0040, 0)
    );
    let info = entry.start_info;
    assert_eq!(word(&memory, info), 0x336E_C578);
    assert_eq!(word(&memory, info + 12), 1);
    let module = u64::from_le_bytes(bytes(&memory, info + 16));
    let (address, _) = loaded.initrd.unwrap();
    assert_eq!(u64::from_le_bytes(bytes(&memory, module)), address);
    assert_eq!(bytes(&memory, 0x100_0000), *b"kernel!!");

    let (_, loaded) = load(elf(false), RAM, None, "quiet").unwrap();
    assert!(matches!(loaded.entry.mode, EntryMode::Long { .. }));
    assert_eq!(loaded.entry.instruction, 0x100_0000);
}

#[test]
fn what_does_not_fit_is_refused() {
    let image = || bzimage(true, &[0xC3; 0x240]);
    let too_little = |result: Result<_, LinuxError>| {
        assert!(matches!(
            result.map(|_| ()),
            Err(LinuxError::TooLittleMemory { .. })
        ));
    };
    too_little(load(image(), 16 << 20, None, ""));
    let initrd = vec![1; 48 << 20];
    too_little(load(image(), RAM, Some(&initrd), ""));
    assert!(load(image(), 2 * RAM, Some(&initrd), "").is_ok());
    let longest = "x".repeat(2047);
    assert!(load(image(), RAM, None, &longest).is_ok());
    for line in [longest + "x", "a\0b".to_owned()] {
        let error = load(image(), RAM, None, &line).map(|_| ()).unwrap_err();
        assert!(matches!(
            error,
            LinuxError::CommandLine { .. } | LinuxError::CommandLineZero
        ));
    }
    assert_eq!(
        load(bzimage(true, &[0xC3; 0x200]), RAM, None, "").map(|_| ()),
        Err(LinuxError::Truncated(0x600)),
        "no entry point"
    );
    let mut elf32 = elf(false);
    elf32[4] = 1;
    assert_eq!(Kernel::new(elf32).map(|_| ()), Err(LinuxError::Elf32));
    for bytes in [&b""[..], b"MZ", b"\x7FELF"] {
        let error = Kernel::new(bytes.to_vec()).map(|_| ());
        assert_eq!(error, Err(LinuxError::UnknownFormat));
    }
}

#[test]
fn an_initial_ram_disk_stays_below_what_the_kernel_can_reach() {
    let mut image = bzimage(true, &[0xC3; 0x240]);
    image[0x22C..0x230].copy_from_slice(&0x2FF_FFFF_u32.to_le_bytes());
    let (_, loaded) = load(image, RAM, Some(&[1; 4097]), "").unwrap();
    assert_eq!(loaded.initrd, Some(((48 << 20) - 8192, 4097)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_header_is_loaded_or_refused(
        changes in prop::collection::vec((0x1F1..0x290_usize, any::<u8>()), 0..16),
        is_64_bit: bool,
    ) {
        let mut image = bzimage(is_64_bit, &[0x90; 1500]);
        for (at, byte) in changes {
            image[at] = byte;
        }
        let _ = load(image, 32 << 20, Some(&[7; 100]), "quiet");
    }

    #[test]
    fn any_elf_is_loaded_or_refused(
        changes in prop::collection::vec((4..0x1200_usize, any::<u8>()), 0..16),
        length in 0..0x1201_usize,
    ) {
        let mut image = elf(true);
        for (at, byte) in changes {
            image[at] = byte;
        }
        image.truncate(length);
        let _ = load(image, 32 << 20, None, "quiet");
    }
}
