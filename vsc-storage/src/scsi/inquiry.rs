//! Standard INQUIRY data.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use vmbus_core::open_enum;

open_enum! {
    /// Kind of a device: low five bits of the first INQUIRY byte.
    PeripheralType: u8 {
        /// Disk.
        DIRECT_ACCESS = 0x00,
        /// Optical drive.
        OPTICAL = 0x05,
        /// Enclosure.
        ENCLOSURE = 0x0D,
        /// Unknown or none.
        NONE = 0x1F,
    }
}

open_enum! {
    /// Whether there is a device: high three bits of the first INQUIRY byte.
    PeripheralQualifier: u8 {
        /// A device is connected.
        CONNECTED = 0,
        /// The logical unit may exist, but no device is connected.
        NOT_CONNECTED = 1,
        /// No logical unit is possible here.
        NOT_CAPABLE = 3,
    }
}

/// Standard INQUIRY data as far as it is used, 36 bytes. A disk sends 104, the rest zero.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct StandardInquiry {
    /// Qualifier in the high three bits, type in the low five.
    pub peripheral: u8,
    /// Bit 7: the medium is removable.
    pub removable: u8,
    /// Version of the standard: 5 is SPC-3, 4 is SPC-2.
    pub version: u8,
    /// Response data format, 2.
    pub response_format: u8,
    /// Bytes after this one.
    pub additional_length: u8,
    /// Protection, third-party copy, access controls.
    pub flags0: u8,
    /// Enclosure services, multi-port.
    pub flags1: u8,
    /// Bit 1: commands are queued.
    pub flags2: u8,
    /// Vendor, ASCII padded with spaces.
    pub vendor: [u8; 8],
    /// Product, ASCII padded with spaces.
    pub product: [u8; 16],
    /// Revision, ASCII padded with spaces.
    pub revision: [u8; 4],
}

const _: () = assert!(size_of::<StandardInquiry>() == 36);

impl StandardInquiry {
    /// Bytes of the whole data that a disk sends.
    pub const DISK_SIZE: usize = 104;
    /// First byte for a logical unit that isn't there.
    pub const ABSENT: u8 = 0x7F;
    /// The removable flag's bit.
    pub const REMOVABLE: u8 = 0x80;
    /// The command-queueing flag's bit in `flags2`.
    pub const COMMAND_QUEUEING: u8 = 0x02;
    /// Fewest bytes that say anything.
    pub const MINIMUM_SIZE: usize = 5;
}

/// What a guest takes from INQUIRY data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InquiryData {
    /// Whether there is a device.
    pub qualifier: PeripheralQualifier,
    /// Its kind.
    pub peripheral_type: PeripheralType,
    /// The data's fields; those beyond the bytes received are zero.
    pub fields: StandardInquiry,
}

impl InquiryData {
    /// Reads the first bytes of INQUIRY data; `None` if fewer than five were received, which is
    /// how a host refuses.
    #[must_use]
    pub fn parse(received: &[u8]) -> Option<Self> {
        if received.len() < StandardInquiry::MINIMUM_SIZE {
            return None;
        }
        let mut fields = StandardInquiry::new_zeroed();
        // Bytes beyond the stated additional length mean nothing.
        let additional = received.get(4).copied().unwrap_or(0);
        let valid = usize::from(additional).saturating_add(StandardInquiry::MINIMUM_SIZE);
        let from = received.iter().take(valid);
        for (to, from) in fields.as_mut_bytes().iter_mut().zip(from) {
            *to = *from;
        }
        Some(Self {
            qualifier: PeripheralQualifier(fields.peripheral >> 5),
            peripheral_type: PeripheralType(fields.peripheral & 0x1F),
            fields,
        })
    }

    /// Whether a device is connected.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.qualifier == PeripheralQualifier::CONNECTED
            && self.peripheral_type != PeripheralType::NONE
    }

    /// Whether the medium can be removed.
    #[must_use]
    pub const fn is_removable(&self) -> bool {
        self.fields.removable & StandardInquiry::REMOVABLE != 0
    }
}
