//! The setup header of a bzImage, from untrusted bytes.

use super::LinuxError;

const SETUP_SECTORS: usize = 0x1F1;
const BOOT_FLAG: usize = 0x1FE;
const JUMP_OFFSET: usize = 0x201;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const LOAD_FLAGS: usize = 0x211;
const CODE32_START: usize = 0x214;
const INITRD_ADDRESS_MAX: usize = 0x22C;
const RELOCATABLE: usize = 0x234;
const EXTENDED_LOAD_FLAGS: usize = 0x236;
const COMMAND_LINE_SIZE: usize = 0x238;
const PREFERRED_ADDRESS: usize = 0x258;
const INIT_SIZE: usize = 0x260;
/// End of the fields that are read here; protocol 2.10 has them all.
const FIELDS_END: usize = 0x264;

/// Where the header begins in file and boot parameters.
pub(super) const HEADER_START: usize = SETUP_SECTORS;
/// Where it ends at the latest: boot parameters hold other things from here on.
const HEADER_END: usize = 0x290;

const MAGIC_VALUE: &[u8; 4] = b"HdrS";
const BOOT_FLAG_VALUE: u16 = 0xAA55;
const LOADED_HIGH: u8 = 1;
const KERNEL_64: u16 = 1;
const OLDEST_PROTOCOL: u16 = 0x020A;
const SECTOR: usize = 512;

/// What the loader needs to know of a bzImage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The header's own bytes, to be copied to [`HEADER_START`] of the boot parameters.
    pub(super) bytes: Vec<u8>,
    /// Bytes of the file before the protected-mode kernel.
    pub(super) setup_bytes: usize,
    /// Whether it can be entered in 64-bit mode.
    pub(super) is_64_bit: bool,
    /// Where to load the protected-mode kernel.
    pub(super) load_address: u64,
    /// The memory that the kernel unpacks itself to.
    pub(super) run_address: u64,
    /// Bytes of memory that it needs there.
    pub(super) run_bytes: u64,
    /// Longest command line without its final zero.
    pub(super) command_line_max: usize,
    /// Last address that the initial RAM disk may occupy.
    pub(super) initrd_address_max: u64,
}

fn field<const N: usize>(image: &[u8], at: usize) -> Option<[u8; N]> {
    image.get(at..at + N)?.try_into().ok()
}

/// Whether this looks like a bzImage at all.
pub(super) fn is_bzimage(image: &[u8]) -> bool {
    image.get(MAGIC..MAGIC + 4) == Some(MAGIC_VALUE)
}

impl Header {
    pub(super) fn parse(image: &[u8]) -> Result<Self, LinuxError> {
        if !is_bzimage(image) {
            return Err(LinuxError::UnknownFormat);
        }
        let truncated = LinuxError::Truncated(image.len());
        let fields = image.get(..FIELDS_END).ok_or(truncated.clone())?;
        let byte = |at| field::<1>(fields, at).map_or(0, u8::from_le_bytes);
        let half = |at| field::<2>(fields, at).map_or(0, u16::from_le_bytes);
        let word = |at| u64::from(field::<4>(fields, at).map_or(0, u32::from_le_bytes));
        let wrong = |field, value| Err(LinuxError::Header { field, value });

        if half(BOOT_FLAG) != BOOT_FLAG_VALUE {
            return wrong("boot_flag", half(BOOT_FLAG).into());
        }
        let version = half(VERSION);
        if version < OLDEST_PROTOCOL {
            let [minor, major] = version.to_le_bytes();
            return Err(LinuxError::Protocol { major, minor });
        }
        if byte(LOAD_FLAGS) & LOADED_HIGH == 0 {
            return wrong("loadflags", byte(LOAD_FLAGS).into());
        }
        let header_end = MAGIC + usize::from(byte(JUMP_OFFSET));
        if !(FIELDS_END..=HEADER_END).contains(&header_end) {
            return wrong("jump", byte(JUMP_OFFSET).into());
        }
        let bytes = image
            .get(HEADER_START..header_end)
            .ok_or(truncated.clone())?
            .to_vec();
        let sectors = match byte(SETUP_SECTORS) {
            0 => 4,
            sectors => usize::from(sectors),
        };
        let setup_bytes = (sectors + 1) * SECTOR;
        if image.len() <= setup_bytes || setup_bytes < header_end {
            return Err(truncated);
        }
        let load_address = word(CODE32_START);
        let run_bytes = word(INIT_SIZE);
        if run_bytes == 0 {
            return wrong("init_size", run_bytes);
        }
        let preferred = field::<8>(fields, PREFERRED_ADDRESS).map_or(0, u64::from_le_bytes);
        // A kernel that cannot be moved runs where it prefers to; one that can does so too, unless it is loaded above.
        let run_address = if byte(RELOCATABLE) == 0 {
            preferred
        } else {
            preferred.max(load_address)
        };
        Ok(Self {
            bytes,
            setup_bytes,
            is_64_bit: half(EXTENDED_LOAD_FLAGS) & KERNEL_64 != 0,
            load_address,
            run_address,
            run_bytes,
            command_line_max: usize::try_from(word(COMMAND_LINE_SIZE)).unwrap_or(usize::MAX),
            initrd_address_max: word(INITRD_ADDRESS_MAX),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A bzImage whose kernel is `kernel`, as small as one can be.
    pub(in super::super) fn bzimage(is_64_bit: bool, kernel: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 2 * SECTOR];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(SETUP_SECTORS, &[1]);
        put(BOOT_FLAG, &BOOT_FLAG_VALUE.to_le_bytes());
        put(JUMP_OFFSET, &[0x66]);
        put(MAGIC, MAGIC_VALUE);
        put(VERSION, &0x020F_u16.to_le_bytes());
        put(LOAD_FLAGS, &[LOADED_HIGH]);
        put(CODE32_START, &0x10_0000_u32.to_le_bytes());
        put(INITRD_ADDRESS_MAX, &0x7FFF_FFFF_u32.to_le_bytes());
        put(RELOCATABLE, &[1]);
        put(EXTENDED_LOAD_FLAGS, &u16::from(is_64_bit).to_le_bytes());
        put(COMMAND_LINE_SIZE, &2047_u32.to_le_bytes());
        put(PREFERRED_ADDRESS, &0x100_0000_u64.to_le_bytes());
        put(INIT_SIZE, &0x10_0000_u32.to_le_bytes());
        image.extend_from_slice(kernel);
        image
    }

    fn with(at: usize, bytes: &[u8]) -> Result<Header, LinuxError> {
        let mut image = bzimage(true, &[0x90; 64]);
        image[at..at + bytes.len()].copy_from_slice(bytes);
        Header::parse(&image)
    }

    #[test]
    fn a_good_header_is_read() {
        let header = Header::parse(&bzimage(true, &[1])).unwrap();
        assert!(header.is_64_bit);
        assert_eq!(header.setup_bytes, 1024);
        assert_eq!(
            (header.load_address, header.run_address),
            (1 << 20, 16 << 20)
        );
        assert_eq!(header.bytes.len(), 0x268 - HEADER_START);
        assert!(!Header::parse(&bzimage(false, &[1])).unwrap().is_64_bit);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(with(MAGIC, b"Hdrs"), Err(LinuxError::UnknownFormat));
        assert_eq!(
            with(VERSION, &[9, 2]),
            Err(LinuxError::Protocol { major: 2, minor: 9 })
        );
        for (at, field) in [
            (BOOT_FLAG, "boot_flag"),
            (LOAD_FLAGS, "loadflags"),
            (JUMP_OFFSET, "jump"),
            (INIT_SIZE, "init_size"),
        ] {
            let error = with(at, &[0; 4][..if at == INIT_SIZE { 4 } else { 1 }]).unwrap_err();
            assert!(
                matches!(error, LinuxError::Header { field: name, .. } if name == field),
                "{error}"
            );
        }
        assert!(matches!(
            with(SETUP_SECTORS, &[200]),
            Err(LinuxError::Truncated(_))
        ));
        let image = bzimage(true, &[]);
        for length in 0..=image.len() {
            assert!(Header::parse(&image[..length]).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            changes in prop::collection::vec((HEADER_START..0x290, any::<u8>()), 0..32),
            length in 0..3000_usize,
        ) {
            let mut image = bzimage(true, &[0x90; 1500]);
            for (at, byte) in changes {
                image[at] = byte;
            }
            image.truncate(length);
            if let Ok(header) = Header::parse(&image) {
                prop_assert!(header.setup_bytes < image.len());
                prop_assert!(HEADER_START + header.bytes.len() <= HEADER_END);
            }
        }
    }
}
