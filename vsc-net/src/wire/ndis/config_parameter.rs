//! Named parameters of an adapter.

use core::fmt;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::wire::{read_prefix, window};

/// Longest name and value, in UTF-16 units.
const MAX_UNITS: usize = 255;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Fixed {
    name_offset: U32,
    name_length: U32,
    value_type: U32,
    value_offset: U32,
    value_length: U32,
}

const FIXED_SIZE: usize = 20;
const _: () = assert!(size_of::<Fixed>() == FIXED_SIZE);

/// Why a parameter is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigParameterError {
    /// Fewer bytes than the fixed part.
    Length {
        /// Bytes present.
        available: usize,
    },
    /// Name or value lie outside of the structure, are no whole number of UTF-16 units, or are too long.
    Text {
        /// Where it begins.
        offset: u32,
        /// Its bytes.
        length: u32,
    },
}

impl fmt::Display for ConfigParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { available } => write!(f, "parameter of {available} bytes"),
            Self::Text { offset, length } => {
                write!(f, "text of a parameter at {offset} of {length} bytes")
            }
        }
    }
}

impl core::error::Error for ConfigParameterError {}

/// [`Oid::GEN_RNDIS_CONFIG_PARAMETER`](super::Oid::GEN_RNDIS_CONFIG_PARAMETER).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConfigParameter<'a> {
    /// Name, UTF-16.
    name: &'a [U16],
    /// See [`STRING`](Self::STRING).
    pub value_type: u32,
    /// Value, UTF-16 for texts.
    value: &'a [U16],
}

fn text(bytes: &[u8], offset: u32, length: u32) -> Result<&[U16], ConfigParameterError> {
    let invalid = ConfigParameterError::Text { offset, length };
    let text = window(bytes, offset, length).ok_or(invalid)?;
    let units = <[U16]>::ref_from_bytes(text).map_err(|_| invalid)?;
    if units.len() > MAX_UNITS || (offset as usize) < FIXED_SIZE {
        return Err(invalid);
    }
    Ok(units)
}

impl<'a> ConfigParameter<'a> {
    /// [`value_type`](Self::value_type) of a text.
    pub const STRING: u32 = 2;
    /// Name of the parameter that changes the adapter's address, to 12 hexadecimal digits.
    pub const NETWORK_ADDRESS: &'static str = "NetworkAddress";

    /// Reads a parameter.
    ///
    /// # Errors
    /// Name or value are not sound.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ConfigParameterError> {
        let fixed: Fixed = read_prefix(bytes).ok_or(ConfigParameterError::Length {
            available: bytes.len(),
        })?;
        Ok(Self {
            name: text(bytes, fixed.name_offset.get(), fixed.name_length.get())?,
            value_type: fixed.value_type.get(),
            value: text(bytes, fixed.value_offset.get(), fixed.value_length.get())?,
        })
    }

    /// Whether the parameter has this name, ASCII.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        let units = self.name.iter().map(|unit| unit.get());
        units.eq(name.bytes().map(u16::from))
    }

    /// Units of the value.
    pub fn value(&self) -> impl ExactSizeIterator<Item = u16> + 'a {
        self.value.iter().map(|unit| unit.get())
    }

    /// The value as an Ethernet address: exactly 12 hexadecimal digits.
    #[must_use]
    pub fn address(&self) -> Option<[u8; 6]> {
        if self.value.len() != 12 || self.value_type != Self::STRING {
            return None;
        }
        let mut address = [0u8; 6];
        let (pairs, _) = self.value.as_chunks::<2>();
        for (byte, pair) in address.iter_mut().zip(pairs) {
            for unit in pair {
                let digit = char::from_u32(unit.get().into())?.to_digit(16)?;
                *byte = *byte << 4 | u8::try_from(digit).ok()?;
            }
        }
        Some(address)
    }

    /// Lays out the parameter that changes the adapter's address: 72 bytes.
    #[must_use]
    pub fn emit_address(address: [u8; 6]) -> [u8; 72] {
        const NAME_LENGTH: usize = 28;
        let mut bytes = [0; 72];
        let fixed = Fixed {
            name_offset: (FIXED_SIZE as u32).into(),
            name_length: (NAME_LENGTH as u32).into(),
            value_type: Self::STRING.into(),
            value_offset: ((FIXED_SIZE + NAME_LENGTH) as u32).into(),
            value_length: 24.into(),
        };
        let digits = address.iter().flat_map(|byte| [byte >> 4, byte & 0xF]);
        let digits = digits.map(|digit| match digit {
            0..=9 => b'0' + digit,
            _ => b'A' + digit - 10,
        });
        let text = Self::NETWORK_ADDRESS
            .bytes()
            .chain(digits)
            .flat_map(|unit| [unit, 0]);
        let all = fixed.as_bytes().iter().copied().chain(text);
        for (into, byte) in bytes.iter_mut().zip(all) {
            *into = byte;
        }
        bytes
    }
}
