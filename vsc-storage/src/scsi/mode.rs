//! MODE SENSE headers and the caching page.

use core::fmt;

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ModeForm;

/// Mode page codes.
pub mod mode_page {
    /// Read-write error recovery.
    pub const ERROR_RECOVERY: u8 = 0x01;
    /// Caching.
    pub const CACHING: u8 = 0x08;
    /// Control.
    pub const CONTROL: u8 = 0x0A;
    /// Power condition.
    pub const POWER_CONDITION: u8 = 0x1A;
    /// Timeout and protection, of optical drives.
    pub const TIMEOUT_AND_PROTECT: u8 = 0x1D;
    /// Capabilities of optical drives.
    pub const CAPABILITIES: u8 = 0x2A;
    /// All pages.
    pub const ALL: u8 = 0x3F;
}

/// Which values of a page MODE SENSE asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PageControl {
    /// In force now.
    Current,
    /// A mask of what can be changed.
    Changeable,
    /// Defaults.
    Default,
    /// Saved; not supported by synthetic disks.
    Saved,
}

impl PageControl {
    /// The field in its place: the top two bits of the page byte.
    #[must_use]
    pub const fn wire(self) -> u8 {
        match self {
            Self::Current => 0x00,
            Self::Changeable => 0x40,
            Self::Default => 0x80,
            Self::Saved => 0xC0,
        }
    }

    /// The field of a page byte.
    #[must_use]
    pub const fn from_wire(page_byte: u8) -> Self {
        match page_byte >> 6 {
            0 => Self::Current,
            1 => Self::Changeable,
            2 => Self::Default,
            _ => Self::Saved,
        }
    }
}

bitflags::bitflags! {
    /// The device-specific parameter in a mode header.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct DeviceParameter: u8 {
        /// Write protected.
        const WRITE_PROTECTED = 0x80;
        /// The DPO and FUA flags of commands are honoured.
        const DPO_FUA = 0x10;
        const _ = !0;
    }
}

/// Header of MODE SENSE(6) data.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct ModeHeader6 {
    /// Bytes after this one.
    pub length: u8,
    /// 0.
    pub medium_type: u8,
    /// See [`DeviceParameter`].
    pub device_parameter: u8,
    /// Bytes of block descriptors, 0.
    pub block_descriptor_length: u8,
}

/// Header of MODE SENSE(10) data.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct ModeHeader10 {
    /// Bytes after this field.
    pub length: U16,
    /// 0.
    pub medium_type: u8,
    /// See [`DeviceParameter`].
    pub device_parameter: u8,
    /// 0.
    pub reserved: [u8; 2],
    /// Bytes of block descriptors, 0.
    pub block_descriptor_length: U16,
}

/// The caching page, as far as synthetic disks have it: 12 bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct CachingPage {
    /// [`mode_page::CACHING`]; bit 7 says that it can be saved.
    pub code: u8,
    /// Bytes after this one: 10 here, 18 in the standard.
    pub length: u8,
    /// [`CachingPage::WRITE_CACHE_ENABLE`].
    pub flags: u8,
    /// 0.
    pub rest: [u8; 9],
}

const _: () = {
    assert!(size_of::<ModeHeader6>() == 4);
    assert!(size_of::<ModeHeader10>() == 8);
    assert!(size_of::<CachingPage>() == 12);
};

impl CachingPage {
    /// Flag: writes may be held in a volatile cache.
    pub const WRITE_CACHE_ENABLE: u8 = 0x04;

    /// The page of a synthetic disk.
    #[must_use]
    pub const fn new(write_cache: bool) -> Self {
        Self {
            code: mode_page::CACHING,
            length: 10,
            flags: if write_cache {
                Self::WRITE_CACHE_ENABLE
            } else {
                0
            },
            rest: [0; 9],
        }
    }
}

/// Why mode data makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ModeSenseError {
    /// Fewer bytes than the header.
    NoHeader {
        /// Bytes received.
        length: usize,
    },
    /// The block descriptors reach beyond the data.
    BlockDescriptors {
        /// Bytes that the header claims for them.
        length: usize,
    },
    /// A page reaches beyond the data.
    Page {
        /// The page's code.
        code: u8,
        /// Bytes that it claims.
        length: usize,
    },
}

impl fmt::Display for ModeSenseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader { length } => write!(f, "mode data of {length} bytes has no header"),
            Self::BlockDescriptors { length } => {
                write!(
                    f,
                    "{length} bytes of block descriptors exceed the mode data"
                )
            }
            Self::Page { code, length } => {
                write!(
                    f,
                    "mode page {code:#04x} of {length} bytes exceeds the mode data"
                )
            }
        }
    }
}

impl core::error::Error for ModeSenseError {}

/// What a guest takes from mode data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ModeSense {
    /// The device-specific parameter.
    pub device_parameter: DeviceParameter,
    /// Whether the write cache is on; `None` without a caching page.
    pub write_cache: Option<bool>,
}

impl ModeSense {
    /// Reads the bytes received.
    ///
    /// # Errors
    ///
    /// [`ModeSenseError`] if a length inside contradicts the bytes received. A page list cut
    /// between pages is no error: the header's own length isn't believed.
    pub fn parse(form: ModeForm, received: &[u8]) -> Result<Self, ModeSenseError> {
        let no_header = ModeSenseError::NoHeader {
            length: received.len(),
        };
        let (parameter, descriptors, rest) = match form {
            ModeForm::Six => {
                let (header, rest) =
                    ModeHeader6::read_from_prefix(received).map_err(|_| no_header)?;
                let descriptors = usize::from(header.block_descriptor_length);
                (header.device_parameter, descriptors, rest)
            }
            ModeForm::Ten => {
                let (header, rest) =
                    ModeHeader10::read_from_prefix(received).map_err(|_| no_header)?;
                let descriptors = usize::from(header.block_descriptor_length.get());
                (header.device_parameter, descriptors, rest)
            }
        };
        let mut sense = Self {
            device_parameter: DeviceParameter::from_bits_retain(parameter),
            write_cache: None,
        };
        // A header alone may be all that was asked for.
        if rest.is_empty() {
            return Ok(sense);
        }
        let mut pages = rest
            .get(descriptors..)
            .ok_or(ModeSenseError::BlockDescriptors {
                length: descriptors,
            })?;
        while let [code, length, body @ ..] = pages {
            let length = usize::from(*length);
            let Some((body, next)) = body.split_at_checked(length) else {
                return Err(ModeSenseError::Page {
                    code: *code,
                    length,
                });
            };
            if code & 0x3F == mode_page::CACHING
                && let Some(flags) = body.first()
            {
                sense.write_cache = Some(flags & CachingPage::WRITE_CACHE_ENABLE != 0);
            }
            pages = next;
        }
        Ok(sense)
    }
}
