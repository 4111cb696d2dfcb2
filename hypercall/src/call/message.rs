//! Inputs of PostMessage and SignalEvent.

use core::fmt;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{CallCode, Control, Status};

/// Most bytes of a message's payload.
pub const MESSAGE_PAYLOAD_SIZE: usize = 240;

/// Largest connection id; ids have 24 bits.
pub const CONNECTION_ID_MAX: u32 = 0x00FF_FFFF;

/// Type of a message. Open: every 32-bit value may appear.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageType(pub u32);

impl MessageType {
    /// Not a message: the slot is empty.
    pub const NONE: Self = Self(0);
    /// A message of the VMBus protocol.
    pub const VMBUS: Self = Self(1);
    /// An access to a guest physical address that is not mapped.
    pub const UNMAPPED_GPA: Self = Self(0x8000_0000);
    /// An intercepted access to a guest physical address.
    pub const GPA_INTERCEPT: Self = Self(0x8000_0001);
    /// A synthetic timer has expired.
    pub const TIMER_EXPIRED: Self = Self(0x8000_0010);
    /// A register of a virtual processor has an invalid value.
    pub const INVALID_VP_REGISTER_VALUE: Self = Self(0x8000_0020);
    /// An exception from which a virtual processor cannot recover.
    pub const UNRECOVERABLE_EXCEPTION: Self = Self(0x8000_0021);
    /// A feature that the hypervisor does not support was used.
    pub const UNSUPPORTED_FEATURE: Self = Self(0x8000_0022);
    /// Buffers of the event log are complete.
    pub const EVENT_LOG_BUFFER_COMPLETE: Self = Self(0x8000_0040);
    /// Intercepted port access.
    pub const IO_PORT_INTERCEPT: Self = Self(0x8001_0000);
    /// Intercepted MSR access.
    pub const MSR_INTERCEPT: Self = Self(0x8001_0001);
    /// Intercepted CPUID.
    pub const CPUID_INTERCEPT: Self = Self(0x8001_0002);
    /// Intercepted exception.
    pub const EXCEPTION_INTERCEPT: Self = Self(0x8001_0003);
    /// End of interrupt at the APIC.
    pub const APIC_EOI: Self = Self(0x8001_0004);
    /// Legacy floating-point error.
    pub const LEGACY_FP_ERROR: Self = Self(0x8001_0005);

    const HYPERVISOR: u32 = 1 << 31;

    /// Whether only the hypervisor sends messages of this type.
    #[must_use]
    pub const fn is_hypervisor(self) -> bool {
        self.0 & Self::HYPERVISOR != 0
    }

    /// Whether a partition may post messages of this type: not
    /// [`NONE`](Self::NONE) and not the hypervisor's.
    #[must_use]
    pub const fn is_postable(self) -> bool {
        self.0 != Self::NONE.0 && !self.is_hypervisor()
    }
}

impl fmt::Debug for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageType({:#x})", self.0)
    }
}

/// Why a message cannot be posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// The payload is longer than [`MESSAGE_PAYLOAD_SIZE`].
    PayloadSize {
        /// Size in bytes that was given.
        size: usize,
    },
    /// The type is 0 or one of the hypervisor's own.
    Type {
        /// Type that was given.
        message_type: MessageType,
    },
    /// The connection id has more than 24 bits.
    ConnectionId {
        /// Id that was given.
        connection_id: u32,
    },
}

impl MessageError {
    /// Status with which a host answers.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::PayloadSize { .. } | Self::Type { .. } => Status::INVALID_PARAMETER,
            Self::ConnectionId { .. } => Status::INVALID_CONNECTION_ID,
        }
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PayloadSize { size } => write!(
                f,
                "message payload of {size} bytes exceeds {MESSAGE_PAYLOAD_SIZE}"
            ),
            Self::Type { message_type } => {
                write!(f, "message type {:#x} cannot be posted", message_type.0)
            }
            Self::ConnectionId { connection_id } => {
                write!(f, "connection id {connection_id:#x} exceeds 24 bits")
            }
        }
    }
}

impl core::error::Error for MessageError {}

/// Input of PostMessage, 256 bytes. The call has a memory form only.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct PostMessage {
    /// Connection to post to, 24 bits.
    pub connection_id: U32,
    /// Zero.
    pub reserved: U32,
    /// Type of the message; not 0, bit 31 clear.
    pub message_type: U32,
    /// Bytes of `payload` in use.
    pub payload_size: U32,
    /// Payload, zero behind its size.
    pub payload: [u8; MESSAGE_PAYLOAD_SIZE],
}

const _: () = assert!(size_of::<PostMessage>() == 256);

impl PostMessage {
    /// Control value of the call.
    pub const CONTROL: Control = Control::new(CallCode::POST_MESSAGE);

    /// A message for a connection.
    ///
    /// # Errors
    ///
    /// [`MessageError`] for what the hypervisor would refuse.
    pub fn new(
        connection_id: u32,
        message_type: MessageType,
        payload: &[u8],
    ) -> Result<Self, MessageError> {
        let size = payload.len();
        let mut message = Self {
            connection_id: U32::new(connection_id),
            reserved: U32::ZERO,
            message_type: U32::new(message_type.0),
            payload_size: U32::new(u32::try_from(size).unwrap_or(u32::MAX)),
            payload: [0; MESSAGE_PAYLOAD_SIZE],
        };
        message
            .payload
            .get_mut(..size)
            .ok_or(MessageError::PayloadSize { size })?
            .copy_from_slice(payload);
        message.check()?;
        Ok(message)
    }

    /// Type of the message.
    #[must_use]
    pub fn message_type(&self) -> MessageType {
        MessageType(self.message_type.get())
    }

    /// Checks what a host checks before it looks for the connection.
    /// Returns the payload.
    ///
    /// # Errors
    ///
    /// [`MessageError`] with the first field that is wrong.
    pub fn check(&self) -> Result<&[u8], MessageError> {
        let size = self.payload_size.get() as usize;
        let payload = self
            .payload
            .get(..size)
            .ok_or(MessageError::PayloadSize { size })?;
        let message_type = self.message_type();
        if !message_type.is_postable() {
            return Err(MessageError::Type { message_type });
        }
        let connection_id = self.connection_id.get();
        if connection_id > CONNECTION_ID_MAX {
            return Err(MessageError::ConnectionId { connection_id });
        }
        Ok(payload)
    }
}

/// Input of SignalEvent, 8 bytes; normally in a register.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct SignalEvent {
    /// Connection to signal, 24 bits.
    pub connection_id: U32,
    /// Flag number, counted from the port's first flag.
    pub flag_number: U16,
    /// Zero.
    pub reserved: U16,
}

const _: () = assert!(size_of::<SignalEvent>() == 8);

impl SignalEvent {
    /// Control value of the fast call.
    pub const CONTROL: Control = Control::new(CallCode::SIGNAL_EVENT).with_fast();

    /// A signal to a connection.
    #[must_use]
    pub const fn new(connection_id: u32, flag_number: u16) -> Self {
        Self {
            connection_id: U32::new(connection_id),
            flag_number: U16::new(flag_number),
            reserved: U16::ZERO,
        }
    }

    /// First register of the fast call. The second one is zero.
    #[must_use]
    pub fn to_register(self) -> u64 {
        zerocopy::transmute!(self)
    }

    /// The input of a fast call.
    #[must_use]
    pub fn from_register(register: u64) -> Self {
        zerocopy::transmute!(register)
    }
}
