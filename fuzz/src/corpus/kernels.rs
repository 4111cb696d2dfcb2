//! Kernels that the loader takes, as small as they can be.

const KERNEL: &[u8] = &[0x90; 0x240];

pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    vec![
        ("bzimage-64".into(), bzimage(true)),
        ("bzimage-32".into(), bzimage(false)),
        ("elf-pvh".into(), elf(b"Xen\0", 18)),
        ("elf-linux".into(), elf(b"Linux\0\0\0", 0x100)),
    ]
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Two sectors of set-up, then the kernel.
fn bzimage(is_64_bit: bool) -> Vec<u8> {
    let mut file = vec![0; 1024];
    put(&mut file, 0x1F1, &[1]);
    put(&mut file, 0x1FE, &[0x55, 0xAA, 0xEB, 0x66]);
    put(&mut file, 0x202, b"HdrS\x0F\x02");
    put(&mut file, 0x211, &[1]);
    put(&mut file, 0x214, &0x10_0000_u32.to_le_bytes());
    put(&mut file, 0x22C, &0x7FFF_FFFF_u32.to_le_bytes());
    put(&mut file, 0x234, &[1, 0, u8::from(is_64_bit)]);
    put(&mut file, 0x238, &2047_u32.to_le_bytes());
    put(&mut file, 0x258, &0x20_0000_u64.to_le_bytes());
    put(&mut file, 0x260, &0x1_0000_u32.to_le_bytes());
    file.extend_from_slice(KERNEL);
    file
}

/// One segment at 1 MiB, and a note of this owner and type that names an entry point.
fn elf(owner: &[u8], kind: u32) -> Vec<u8> {
    const CONTENTS: usize = 64 + 2 * 56;
    const ADDRESS: u64 = 0x10_0000;
    let owner_bytes = owner
        .iter()
        .position(|byte| *byte == 0)
        .map_or(0, |at| at + 1);
    let mut note = Vec::new();
    for word in [owner_bytes as u32, 4, kind] {
        note.extend_from_slice(&word.to_le_bytes());
    }
    note.extend_from_slice(owner);
    note.extend_from_slice(&(ADDRESS as u32 + 16).to_le_bytes());
    let mut file = vec![0; CONTENTS];
    put(&mut file, 0, b"\x7FELF\x02\x01\x01");
    put(&mut file, 16, &[2, 0, 62, 0, 1]);
    put(&mut file, 24, &ADDRESS.to_le_bytes());
    put(&mut file, 32, &64_u64.to_le_bytes());
    put(&mut file, 52, &[64, 0, 56, 0, 2, 0]);
    let mut header = |at: usize, kind: u32, offset: u64, address: u64, size: u64| {
        put(&mut file, at, &kind.to_le_bytes());
        put(&mut file, at + 8, &offset.to_le_bytes());
        put(&mut file, at + 24, &address.to_le_bytes());
        put(&mut file, at + 32, &size.to_le_bytes());
        put(&mut file, at + 40, &size.to_le_bytes());
    };
    let contents = CONTENTS as u64;
    let kernel = KERNEL.len() as u64;
    header(64, 1, contents, ADDRESS, kernel);
    header(120, 4, contents + kernel, 0, note.len() as u64);
    file.extend_from_slice(KERNEL);
    file.extend_from_slice(&note);
    file
}
