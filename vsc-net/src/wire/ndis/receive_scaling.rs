//! Receive-side scaling: which queue a received frame goes to.

use core::fmt;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{ObjectHeader, ObjectType};
use crate::wire::{copy_prefix, window};

/// Bytes of a hash key.
pub const HASH_KEY_SIZE: usize = 40;

/// Bits of [`RssCapabilities::flags`].
pub mod capability_bits {
    /// The Toeplitz hash.
    pub const TOEPLITZ: u32 = 0x1;
    /// Of TCP over IPv4.
    pub const TCP_IPV4: u32 = 0x100;
    /// Of TCP over IPv6.
    pub const TCP_IPV6: u32 = 0x200;
    /// Of UDP over IPv4.
    pub const UDP_IPV4: u32 = 0x800;
    /// Of UDP over IPv6.
    pub const UDP_IPV6: u32 = 0x1000;
}

/// Bits of [`RssParameters::hash_information`], and of a hash in per-packet information.
pub mod hash_bits {
    /// Mask of the function; 0 is none.
    pub const FUNCTION: u32 = 0xFF;
    /// The Toeplitz function.
    pub const TOEPLITZ: u32 = 0x1;
    /// IPv4 addresses.
    pub const IPV4: u32 = 0x100;
    /// IPv4 addresses and TCP ports.
    pub const TCP_IPV4: u32 = 0x200;
    /// IPv6 addresses.
    pub const IPV6: u32 = 0x400;
    /// IPv6 addresses, those of extension headers first.
    pub const IPV6_EX: u32 = 0x800;
    /// IPv6 addresses and TCP ports.
    pub const TCP_IPV6: u32 = 0x1000;
    /// IPv6 addresses, those of extension headers first, and TCP ports.
    pub const TCP_IPV6_EX: u32 = 0x2000;
    /// IPv4 addresses and UDP ports.
    pub const UDP_IPV4: u32 = 0x4000;
    /// IPv6 addresses and UDP ports.
    pub const UDP_IPV6: u32 = 0x8000;
    /// IPv6 addresses, those of extension headers first, and UDP ports.
    pub const UDP_IPV6_EX: u32 = 0x1_0000;
}

bitflags::bitflags! {
    /// Which parameters are to stay as they are, and whether scaling ends.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct RssFlags: u16 {
        /// The base processor stays.
        const BASE_CPU_UNCHANGED = 0x1;
        /// What is hashed stays.
        const HASH_INFO_UNCHANGED = 0x2;
        /// The table stays.
        const TABLE_UNCHANGED = 0x4;
        /// The key stays.
        const KEY_UNCHANGED = 0x8;
        /// Scaling ends.
        const DISABLE = 0x10;
        /// The default processor stays.
        const DEFAULT_CPU_UNCHANGED = 0x20;
        const _ = !0;
    }
}

/// [`Oid::GEN_RECEIVE_SCALE_CAPABILITIES`](super::Oid::GEN_RECEIVE_SCALE_CAPABILITIES), revision 2.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct RssCapabilities {
    /// [`ObjectType::RSS_CAPABILITIES`].
    pub header: ObjectHeader,
    /// See [`capability_bits`].
    pub flags: U32,
    /// Interrupts.
    pub interrupts: U32,
    /// Queues, the primary channel's included.
    pub queues: U32,
    /// Most entries of the table.
    pub table_entries: U16,
}

const _: () = assert!(size_of::<RssCapabilities>() == RssCapabilities::SIZE as usize);

impl RssCapabilities {
    /// Bytes of the structure.
    pub const SIZE: u16 = 18;

    /// Capabilities with so many queues and table entries.
    #[must_use]
    pub const fn new(flags: u32, queues: u32, table_entries: u16) -> Self {
        Self {
            header: ObjectHeader::new(ObjectType::RSS_CAPABILITIES, 2, Self::SIZE),
            flags: U32::new(flags),
            interrupts: U32::new(1),
            queues: U32::new(queues),
            table_entries: U16::new(table_entries),
        }
    }
}

/// Fixed part of the parameters. Older guests send less of it: what is absent is zero.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Fixed {
    header: ObjectHeader,
    flags: U16,
    base_cpu: U16,
    hash_information: U32,
    table_size: U16,
    reserved0: U16,
    table_offset: U32,
    key_size: U16,
    reserved1: U16,
    key_offset: U32,
    processor_mask_offset: U32,
    processor_mask_count: U32,
    processor_mask_size: U32,
}

const FIXED_SIZE: usize = 40;
const _: () = assert!(size_of::<Fixed>() == FIXED_SIZE);
/// Bytes of revision 1's fixed part.
const LEAST_SIZE: usize = 28;

/// Why parameters are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RssError {
    /// Fewer bytes than the fixed part of revision 1.
    Length {
        /// Bytes present.
        available: usize,
    },
    /// The table lies outside of the structure, is empty, or no multiple of 4 bytes.
    Table {
        /// Where it begins.
        offset: u32,
        /// Its bytes.
        size: u16,
    },
    /// The key lies outside of the structure, or is not 40 bytes.
    Key {
        /// Where it begins.
        offset: u32,
        /// Its bytes.
        size: u16,
    },
}

impl fmt::Display for RssError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { available } => write!(f, "RSS parameters of {available} bytes"),
            Self::Table { offset, size } => write!(f, "RSS table at {offset} of {size} bytes"),
            Self::Key { offset, size } => write!(f, "RSS key at {offset} of {size} bytes"),
        }
    }
}

impl core::error::Error for RssError {}

/// [`Oid::GEN_RECEIVE_SCALE_PARAMETERS`](super::Oid::GEN_RECEIVE_SCALE_PARAMETERS).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RssParameters<'a> {
    /// What stays.
    pub flags: RssFlags,
    /// Function and what is hashed; see [`hash_bits`].
    pub hash_information: u32,
    /// The table: little-endian queue numbers of 4 bytes each, at least one. `None` if the old one stays.
    pub table: Option<&'a [u8]>,
    /// The key. `None` if the old one stays.
    pub key: Option<&'a [u8; HASH_KEY_SIZE]>,
}

impl<'a> RssParameters<'a> {
    /// Whether scaling ends: nothing else then means anything.
    #[must_use]
    pub const fn disables(&self) -> bool {
        self.flags.contains(RssFlags::DISABLE) || self.hash_information & hash_bits::FUNCTION == 0
    }

    /// Queue numbers of the table, in order.
    pub fn queues(&self) -> impl Iterator<Item = u32> + Clone + 'a {
        let (entries, _) = self.table.unwrap_or_default().as_chunks::<4>();
        entries.iter().map(|entry| u32::from_le_bytes(*entry))
    }

    /// Reads parameters of any revision. The header is not looked at, as hosts don't.
    ///
    /// # Errors
    /// Table or key are not sound, unless scaling ends or they stay as they are.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RssError> {
        let available = bytes.len();
        if available < LEAST_SIZE {
            return Err(RssError::Length { available });
        }
        let mut fixed = Fixed::new_zeroed();
        copy_prefix(fixed.as_mut_bytes(), bytes);
        let mut parameters = Self {
            flags: RssFlags::from_bits_retain(fixed.flags.get()),
            hash_information: fixed.hash_information.get(),
            table: None,
            key: None,
        };
        if parameters.disables() {
            return Ok(parameters);
        }
        if !parameters.flags.contains(RssFlags::TABLE_UNCHANGED) {
            let (offset, size) = (fixed.table_offset.get(), fixed.table_size.get());
            let sound = offset as usize >= LEAST_SIZE && size != 0 && size.is_multiple_of(4);
            let table = window(bytes, offset, size.into()).filter(|_| sound);
            parameters.table = Some(table.ok_or(RssError::Table { offset, size })?);
        }
        if !parameters.flags.contains(RssFlags::KEY_UNCHANGED) {
            let (offset, size) = (fixed.key_offset.get(), fixed.key_size.get());
            let sound = offset as usize >= LEAST_SIZE && usize::from(size) == HASH_KEY_SIZE;
            let key = window(bytes, offset, size.into()).filter(|_| sound);
            let key = key.and_then(|key| key.first_chunk());
            parameters.key = Some(key.ok_or(RssError::Key { offset, size })?);
        }
        Ok(parameters)
    }

    /// Lays parameters out with the fixed part first, then the table, then the key; returns the bytes, `None` if they
    /// do not fit.
    pub fn emit<'b>(&self, into: &'b mut [u8]) -> Option<&'b [u8]> {
        let table = self.table.unwrap_or_default();
        let key = self
            .key
            .map(<[u8; HASH_KEY_SIZE]>::as_slice)
            .unwrap_or_default();
        let table_end = FIXED_SIZE.checked_add(table.len())?;
        let end = table_end.checked_add(key.len())?;
        let fixed = Fixed {
            header: ObjectHeader::new(ObjectType::RSS_PARAMETERS, 2, FIXED_SIZE as u16),
            flags: self.flags.bits().into(),
            base_cpu: 0.into(),
            hash_information: self.hash_information.into(),
            table_size: u16::try_from(table.len()).ok()?.into(),
            reserved0: 0.into(),
            table_offset: (FIXED_SIZE as u32).into(),
            key_size: u16::try_from(key.len()).ok()?.into(),
            reserved1: 0.into(),
            key_offset: u32::try_from(table_end).ok()?.into(),
            processor_mask_offset: 0.into(),
            processor_mask_count: 0.into(),
            processor_mask_size: 0.into(),
        };
        let message = into.get_mut(..end)?;
        message
            .get_mut(..FIXED_SIZE)?
            .copy_from_slice(fixed.as_bytes());
        message
            .get_mut(FIXED_SIZE..table_end)?
            .copy_from_slice(table);
        message.get_mut(table_end..)?.copy_from_slice(key);
        Some(message)
    }
}
