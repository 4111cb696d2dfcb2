//! Sense data: why a command failed.

use core::fmt;

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use vmbus_core::open_enum;

/// Bytes of sense data in the fixed format.
pub const FIXED_SENSE_SIZE: usize = 18;

open_enum! {
    /// The rough kind of a failure.
    SenseKey: u8 {
        /// Nothing to report.
        NO_SENSE = 0x0,
        /// Done after recovery.
        RECOVERED_ERROR = 0x1,
        /// Not ready, for instance without a medium.
        NOT_READY = 0x2,
        /// The medium failed.
        MEDIUM_ERROR = 0x3,
        /// The device failed.
        HARDWARE_ERROR = 0x4,
        /// The command or its parameters are wrong.
        ILLEGAL_REQUEST = 0x5,
        /// Something changed; try again.
        UNIT_ATTENTION = 0x6,
        /// Protected against the access.
        DATA_PROTECT = 0x7,
        /// Blank medium.
        BLANK_CHECK = 0x8,
        /// Vendor specific.
        VENDOR_SPECIFIC = 0x9,
        /// A copy was aborted.
        COPY_ABORTED = 0xA,
        /// The command was aborted.
        ABORTED_COMMAND = 0xB,
        /// Data did not fit the medium.
        VOLUME_OVERFLOW = 0xD,
        /// The data compared differs.
        MISCOMPARE = 0xE,
    }
}

/// Additional sense code and its qualifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AdditionalSense {
    /// Additional sense code (ASC).
    pub code: u8,
    /// Additional sense code qualifier (ASCQ).
    pub qualifier: u8,
}

macro_rules! additional_senses {
    ($( $(#[$attribute:meta])* $name:ident = $code:literal / $qualifier:literal, )+) => {
        impl AdditionalSense {
            $( $(#[$attribute])* pub const $name: Self = Self { code: $code, qualifier: $qualifier }; )+

            /// The constant's name, or `None` for a pair without one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match (self.code, self.qualifier) {
                    $( ($code, $qualifier) => Some(stringify!($name)), )+
                    _ => None,
                }
            }
        }
    };
}

additional_senses! {
    /// No additional information.
    NONE = 0x00 / 0x00,
    /// The unit is becoming ready.
    BECOMING_READY = 0x04 / 0x01,
    /// A write failed.
    WRITE_ERROR = 0x0C / 0x00,
    /// Protection information: guard check failed.
    GUARD_CHECK_FAILED = 0x10 / 0x01,
    /// Protection information: reference tag check failed.
    REFERENCE_TAG_CHECK_FAILED = 0x10 / 0x03,
    /// A read failed and was not recovered.
    UNRECOVERED_READ_ERROR = 0x11 / 0x00,
    /// The parameter list has a wrong length.
    PARAMETER_LIST_LENGTH_ERROR = 0x1A / 0x00,
    /// VERIFY found a difference.
    MISCOMPARE_DURING_VERIFY = 0x1D / 0x00,
    /// Unknown operation code.
    INVALID_COMMAND_OPERATION_CODE = 0x20 / 0x00,
    /// Block address beyond the end.
    LBA_OUT_OF_RANGE = 0x21 / 0x00,
    /// A field of the command is wrong.
    INVALID_FIELD_IN_CDB = 0x24 / 0x00,
    /// No such logical unit.
    LOGICAL_UNIT_NOT_SUPPORTED = 0x25 / 0x00,
    /// A field of the parameter list is wrong.
    INVALID_FIELD_IN_PARAMETER_LIST = 0x26 / 0x00,
    /// The medium is write protected.
    WRITE_PROTECTED = 0x27 / 0x00,
    /// No space for a write.
    SPACE_ALLOCATION_FAILED = 0x27 / 0x07,
    /// The medium may have changed.
    MEDIUM_MAY_HAVE_CHANGED = 0x28 / 0x00,
    /// Power on, reset, or bus device reset occurred.
    POWER_ON_OR_RESET = 0x29 / 0x00,
    /// Parameters changed.
    PARAMETERS_CHANGED = 0x2A / 0x00,
    /// Mode parameters changed.
    MODE_PARAMETERS_CHANGED = 0x2A / 0x01,
    /// The capacity changed.
    CAPACITY_DATA_CHANGED = 0x2A / 0x09,
    /// Saved mode pages are not supported.
    SAVING_PARAMETERS_NOT_SUPPORTED = 0x39 / 0x00,
    /// No medium.
    MEDIUM_NOT_PRESENT = 0x3A / 0x00,
    /// No medium, tray closed.
    MEDIUM_NOT_PRESENT_TRAY_CLOSED = 0x3A / 0x01,
    /// No medium, tray open.
    MEDIUM_NOT_PRESENT_TRAY_OPEN = 0x3A / 0x02,
    /// Operating conditions changed.
    TARGET_OPERATING_CONDITIONS_CHANGED = 0x3F / 0x00,
    /// Microcode changed; limits of the device may have too.
    MICROCODE_CHANGED = 0x3F / 0x01,
    /// INQUIRY data changed.
    INQUIRY_DATA_CHANGED = 0x3F / 0x03,
    /// The set of logical units changed.
    REPORTED_LUNS_DATA_CHANGED = 0x3F / 0x0E,
    /// Removal of the medium is prevented.
    MEDIUM_REMOVAL_PREVENTED = 0x53 / 0x02,
    /// Illegal mode for this track.
    ILLEGAL_MODE_FOR_THIS_TRACK = 0x64 / 0x00,
}

impl fmt::Debug for AdditionalSense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:02X}/{:02X}", self.code, self.qualifier),
        }
    }
}

/// Sense data in the fixed format, 18 bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct FixedSense {
    /// 0x70 (current) or 0x71 (deferred) in the low bits; bit 7: the information is valid.
    pub response_code: u8,
    /// Obsolete.
    pub segment: u8,
    /// Key in the low four bits.
    pub key: u8,
    /// Failing block address, for instance.
    pub information: U32,
    /// Bytes after this one: 10.
    pub additional_length: u8,
    /// Specific to the command.
    pub command_specific: U32,
    /// Additional sense code.
    pub code: u8,
    /// Additional sense code qualifier.
    pub qualifier: u8,
    /// Replaceable unit.
    pub unit: u8,
    /// Specific to the key.
    pub key_specific: [u8; 3],
}

const _: () = assert!(size_of::<FixedSense>() == FIXED_SENSE_SIZE);

/// What sense data says.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sense {
    /// The kind of the failure.
    pub key: SenseKey,
    /// Its details.
    pub additional: AdditionalSense,
    /// The information field if it is marked valid, for instance the failing block address.
    pub information: Option<u32>,
    /// The failure belongs to an earlier command.
    pub deferred: bool,
}

impl Sense {
    /// Nothing to report.
    pub const NONE: Self = Self::new(SenseKey::NO_SENSE, AdditionalSense::NONE);

    /// Sense data of the current command without an information field.
    #[must_use]
    pub const fn new(key: SenseKey, additional: AdditionalSense) -> Self {
        Self {
            key,
            additional,
            information: None,
            deferred: false,
        }
    }

    /// The same with an information field.
    #[must_use]
    pub const fn with_information(mut self, information: u32) -> Self {
        self.information = Some(information);
        self
    }

    /// The fixed format.
    #[must_use]
    pub fn to_fixed(&self) -> FixedSense {
        let response = if self.deferred { 0x71 } else { 0x70 };
        let valid = if self.information.is_some() { 0x80 } else { 0 };
        FixedSense {
            response_code: response | valid,
            segment: 0,
            key: self.key.0 & 0xF,
            information: U32::new(self.information.unwrap_or(0)),
            additional_length: 10,
            command_specific: U32::ZERO,
            code: self.additional.code,
            qualifier: self.additional.qualifier,
            unit: 0,
            key_specific: [0; 3],
        }
    }

    /// The 18 bytes of the fixed format.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; FIXED_SENSE_SIZE] {
        zerocopy::transmute!(self.to_fixed())
    }

    /// Reads sense data in fixed or descriptor format. Missing bytes at the end read as zero;
    /// `None` if there is no key or the format is unknown.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let at = |index: usize| bytes.get(index).copied();
        let response = at(0)? & 0x7F;
        match response {
            0x70 | 0x71 => {
                let mut padded = [0; FIXED_SENSE_SIZE];
                let _ = at(2)?;
                for (to, from) in padded.iter_mut().zip(bytes) {
                    *to = *from;
                }
                let fixed: FixedSense = zerocopy::transmute!(padded);
                Some(Self {
                    key: SenseKey(fixed.key & 0xF),
                    additional: AdditionalSense {
                        code: fixed.code,
                        qualifier: fixed.qualifier,
                    },
                    information: (fixed.response_code & 0x80 != 0)
                        .then_some(fixed.information.get()),
                    deferred: response == 0x71,
                })
            }
            0x72 | 0x73 => Some(Self {
                key: SenseKey(at(1)? & 0xF),
                additional: AdditionalSense {
                    code: at(2).unwrap_or(0),
                    qualifier: at(3).unwrap_or(0),
                },
                information: None,
                deferred: response == 0x73,
            }),
            _ => None,
        }
    }
}

impl fmt::Debug for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}", self.key, self.additional)?;
        if self.deferred {
            f.write_str(" (deferred)")?;
        }
        Ok(())
    }
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sense {:X}/{:02X}/{:02X} ({self:?})",
            self.key.0, self.additional.code, self.additional.qualifier
        )
    }
}
