//! One VSTOR message in private memory.

use core::fmt;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    ChannelProperties, FibreChannelNames, HEADER_SIZE, Header, MAX_PACKET_SIZE, MAX_PAYLOAD_SIZE,
    NtStatus, Operation, PacketFlags, SHORT_PAYLOAD_SIZE, Srb, SubChannelCount, VersionPayload,
};

/// Why bytes from the peer are not the message that they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketError {
    /// Fewer bytes than a header.
    NoHeader {
        /// Bytes present.
        length: usize,
    },
    /// The payload is shorter than the operation needs.
    ShortPayload {
        /// The header's operation.
        operation: Operation,
        /// Bytes present after the header.
        length: usize,
        /// Bytes needed.
        needed: usize,
    },
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader { length } => {
                write!(f, "storage packet of {length} bytes has no 12-byte header")
            }
            Self::ShortPayload {
                operation,
                length,
                needed,
            } => write!(
                f,
                "payload of {operation:?} has {length} bytes and needs {needed}"
            ),
        }
    }
}

impl core::error::Error for PacketError {}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    header: Header,
    payload: [u8; MAX_PAYLOAD_SIZE],
}

const _: () = assert!(size_of::<Layout>() == MAX_PACKET_SIZE);

/// One message: 12 to 64 bytes, a private copy.
///
/// Bytes that the message doesn't have read as zero; bytes beyond 64 are dropped.
#[derive(Clone, Copy)]
pub struct Packet {
    layout: Layout,
    /// Bytes of the payload that are part of the message, at most [`MAX_PAYLOAD_SIZE`].
    payload_length: usize,
}

impl Packet {
    /// A message with an empty payload of `payload_length` zero bytes (at most 52; more is cut).
    #[must_use]
    #[inline]
    pub fn new(
        operation: Operation,
        flags: PacketFlags,
        status: NtStatus,
        payload_length: usize,
    ) -> Self {
        Self {
            layout: Layout {
                header: Header {
                    operation: U32::new(operation.0),
                    flags: U32::new(flags.bits()),
                    status: U32::new(status.0),
                },
                payload: [0; MAX_PAYLOAD_SIZE],
            },
            payload_length: payload_length.min(MAX_PAYLOAD_SIZE),
        }
    }

    /// Host: the completion of `self`, as long as `self` is, with a zero payload.
    #[must_use]
    pub fn completion(&self, status: NtStatus) -> Self {
        Self::new(
            Operation::COMPLETE_IO,
            PacketFlags::empty(),
            status,
            self.payload_length,
        )
    }

    /// Copies one message from `bytes`.
    ///
    /// # Errors
    ///
    /// [`PacketError::NoHeader`] if there are fewer than 12 bytes.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        let mut layout = Layout::new_zeroed();
        let length = bytes.len().min(MAX_PACKET_SIZE);
        let Some(payload_length) = length.checked_sub(HEADER_SIZE) else {
            return Err(PacketError::NoHeader { length });
        };
        copy_prefix(layout.as_mut_bytes(), bytes);
        Ok(Self {
            layout,
            payload_length,
        })
    }

    /// The message's bytes: header and payload.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        let bytes = self.layout.as_bytes();
        bytes
            .get(..HEADER_SIZE.saturating_add(self.payload_length))
            .unwrap_or(bytes)
    }

    /// What the message asks for or answers.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        Operation(self.layout.header.operation.get())
    }

    /// The header's flags; unknown bits are kept.
    #[must_use]
    pub const fn flags(&self) -> PacketFlags {
        PacketFlags::from_bits_retain(self.layout.header.flags.get())
    }

    /// The header's status.
    #[must_use]
    pub const fn status(&self) -> NtStatus {
        NtStatus(self.layout.header.status.get())
    }

    /// Sets the header's status.
    pub fn set_status(&mut self, status: NtStatus) {
        self.layout.header.status = U32::new(status.0);
    }

    /// Bytes of payload that the message has, 0 to 52.
    #[must_use]
    pub const fn payload_length(&self) -> usize {
        self.payload_length
    }

    /// Overwrites the first bytes of the payload; what does not fit the message's length is cut.
    #[inline]
    pub fn set_payload<T: IntoBytes + Immutable>(&mut self, payload: &T) {
        if let Some(room) = self.layout.payload.get_mut(..self.payload_length) {
            copy_prefix(room, payload.as_bytes());
        }
    }

    #[inline]
    fn payload<T: FromBytes>(&self, needed: usize) -> Result<T, PacketError> {
        let short = PacketError::ShortPayload {
            operation: self.operation(),
            length: self.payload_length,
            needed,
        };
        if self.payload_length < needed {
            return Err(short);
        }
        match T::read_from_prefix(&self.layout.payload) {
            Ok((payload, _)) => Ok(payload),
            Err(_) => Err(short),
        }
    }

    /// The payload as a version.
    ///
    /// # Errors
    ///
    /// [`PacketError::ShortPayload`] below 4 bytes.
    pub fn version(&self) -> Result<VersionPayload, PacketError> {
        self.payload(size_of::<VersionPayload>())
    }

    /// The payload as a controller's properties.
    ///
    /// # Errors
    ///
    /// [`PacketError::ShortPayload`] below 24 bytes.
    pub fn properties(&self) -> Result<ChannelProperties, PacketError> {
        self.payload(size_of::<ChannelProperties>())
    }

    /// The payload as a number of sub-channels.
    ///
    /// # Errors
    ///
    /// [`PacketError::ShortPayload`] below 2 bytes.
    pub fn sub_channels(&self) -> Result<SubChannelCount, PacketError> {
        self.payload(size_of::<SubChannelCount>())
    }

    /// The payload as a Fibre Channel adapter's names.
    ///
    /// # Errors
    ///
    /// [`PacketError::ShortPayload`] below 36 bytes.
    pub fn fibre_channel_names(&self) -> Result<FibreChannelNames, PacketError> {
        self.payload(size_of::<FibreChannelNames>())
    }

    /// The payload as a request block; the extension reads as zero where it is absent.
    ///
    /// # Errors
    ///
    /// [`PacketError::ShortPayload`] below 36 bytes.
    #[inline]
    pub fn srb(&self) -> Result<Srb, PacketError> {
        self.payload(SHORT_PAYLOAD_SIZE)
    }
}

/// Copies as many bytes as both have.
#[inline]
fn copy_prefix(to: &mut [u8], from: &[u8]) {
    let length = to.len().min(from.len());
    if let (Some(to), Some(from)) = (to.get_mut(..length), from.get(..length)) {
        to.copy_from_slice(from);
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("operation", &self.operation())
            .field("flags", &self.flags())
            .field("status", &self.status())
            .field("payload_length", &self.payload_length)
            .finish()
    }
}
