//! The keyboard's messages: the packet's payload, without a pipe header.

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::MessageError;

/// The only version, 1.0: major in the high half.
pub const VERSION: u32 = 0x0001_0000;
/// Most bytes of a message.
pub const MAX_MESSAGE_SIZE: usize = 256;
/// Largest scancode: seven bits.
pub const MAX_MAKE_CODE: u16 = 0x7F;

/// Guest: asks for a version.
pub const PROTOCOL_REQUEST: u32 = 1;
/// Host: accepts or rejects it.
pub const PROTOCOL_RESPONSE: u32 = 2;
/// Host: a key stroke.
pub const EVENT: u32 = 3;
/// Guest: which lights are on.
pub const SET_LED_INDICATORS: u32 = 4;

/// Bit of a response's status: accepted.
const STATUS_ACCEPTED: u32 = 1;

bitflags! {
    /// What a key stroke is.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct KeyFlags: u32 {
        /// The code is a unit of UTF-16, not a scancode.
        const UNICODE = 1;
        /// The key is released.
        const BREAK = 1 << 1;
        /// The scancode has the prefix E0.
        const E0 = 1 << 2;
        /// The scancode has the prefix E1: part of the Pause key.
        const E1 = 1 << 3;
        /// Future flags survive.
        const _ = !0;
    }

    /// The keyboard's lights.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Leds: u16 {
        /// Scroll Lock.
        const SCROLL_LOCK = 1;
        /// Num Lock.
        const NUM_LOCK = 1 << 1;
        /// Caps Lock.
        const CAPS_LOCK = 1 << 2;
        /// Future lights survive.
        const _ = !0;
    }
}

/// A key stroke.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeyEvent {
    /// Scancode of set 1, 1 to [`MAX_MAKE_CODE`], or a unit of UTF-16 with [`KeyFlags::UNICODE`].
    pub make_code: u16,
    /// What it is.
    pub flags: KeyFlags,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WordMessage {
    message_type: U32,
    value: U32,
}

const _: () = assert!(size_of::<WordMessage>() == 8);

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct EventMessage {
    message_type: U32,
    make_code: U16,
    reserved: U16,
    flags: U32,
}

const _: () = assert!(size_of::<EventMessage>() == 12);

/// A message from the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuestMessage {
    /// Asks for a version.
    ProtocolRequest(u32),
    /// Which lights are on.
    SetLeds(Leds),
}

/// A message from the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostMessage {
    /// Whether the version is accepted.
    ProtocolResponse {
        /// It is.
        accepted: bool,
    },
    /// A key stroke.
    Event(KeyEvent),
}

fn read<T: FromBytes>(bytes: &[u8]) -> Result<T, MessageError> {
    T::read_from_prefix(bytes)
        .map(|(message, _)| message)
        .map_err(|_| MessageError::Short {
            message_type: message_type(bytes).unwrap_or(0),
            length: bytes.len(),
            needed: size_of::<T>(),
        })
}

fn message_type(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_le_bytes)
}

fn checked_type(bytes: &[u8]) -> Result<u32, MessageError> {
    message_type(bytes).ok_or(MessageError::Short {
        message_type: 0,
        length: bytes.len(),
        needed: 4,
    })
}

impl GuestMessage {
    /// Reads a message from the private copy of a packet's payload. Bytes beyond the message are ignored.
    ///
    /// # Errors
    /// The message is too short or of a type that the guest doesn't send.
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        match checked_type(bytes)? {
            PROTOCOL_REQUEST => {
                let message: WordMessage = read(bytes)?;
                Ok(Self::ProtocolRequest(message.value.get()))
            }
            SET_LED_INDICATORS => {
                let message: WordMessage = read(bytes)?;
                // The upper half is padding.
                let leds = message.value.get() as u16;
                Ok(Self::SetLeds(Leds::from_bits_retain(leds)))
            }
            other => Err(MessageError::UnknownType(other)),
        }
    }

    /// The message's bytes.
    #[must_use]
    pub fn emit(self) -> [u8; 8] {
        let (message_type, value) = match self {
            Self::ProtocolRequest(version) => (PROTOCOL_REQUEST, version),
            Self::SetLeds(leds) => (SET_LED_INDICATORS, u32::from(leds.bits())),
        };
        zerocopy::transmute!(WordMessage {
            message_type: U32::new(message_type),
            value: U32::new(value),
        })
    }
}

impl HostMessage {
    /// Reads a message from the private copy of a packet's payload. Bytes beyond the message are ignored.
    ///
    /// # Errors
    /// The message is too short, of a type that the host doesn't send, or a scancode has more than seven bits
    /// or is 0.
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        match checked_type(bytes)? {
            PROTOCOL_RESPONSE => {
                let message: WordMessage = read(bytes)?;
                Ok(Self::ProtocolResponse {
                    accepted: message.value.get() & STATUS_ACCEPTED != 0,
                })
            }
            EVENT => {
                let message: EventMessage = read(bytes)?;
                let event = KeyEvent {
                    make_code: message.make_code.get(),
                    flags: KeyFlags::from_bits_retain(message.flags.get()),
                };
                let is_code = (1..=MAX_MAKE_CODE).contains(&event.make_code);
                if !is_code && !event.flags.contains(KeyFlags::UNICODE) {
                    return Err(MessageError::OutOfRange {
                        field: "make_code",
                        value: u32::from(event.make_code),
                        minimum: 1,
                        maximum: u32::from(MAX_MAKE_CODE),
                    });
                }
                Ok(Self::Event(event))
            }
            other => Err(MessageError::UnknownType(other)),
        }
    }

    /// Appends the message to `into`.
    pub fn emit(self, into: &mut alloc::vec::Vec<u8>) {
        match self {
            Self::ProtocolResponse { accepted } => {
                let message = WordMessage {
                    message_type: U32::new(PROTOCOL_RESPONSE),
                    value: U32::new(if accepted { STATUS_ACCEPTED } else { 0 }),
                };
                into.extend_from_slice(message.as_bytes());
            }
            Self::Event(event) => {
                let message = EventMessage {
                    message_type: U32::new(EVENT),
                    make_code: U16::new(event.make_code),
                    reserved: U16::ZERO,
                    flags: U32::new(event.flags.bits()),
                };
                into.extend_from_slice(message.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn emitted(message: HostMessage) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.emit(&mut bytes);
        bytes
    }

    fn event(make_code: u16, flags: KeyFlags) -> HostMessage {
        HostMessage::Event(KeyEvent { make_code, flags })
    }

    // KG1, KG7
    #[test]
    fn messages_have_their_layouts() {
        assert_eq!(
            GuestMessage::ProtocolRequest(VERSION).emit(),
            [1, 0, 0, 0, 0, 0, 1, 0]
        );
        let leds = Leds::NUM_LOCK | Leds::CAPS_LOCK;
        assert_eq!(GuestMessage::SetLeds(leds).emit(), [4, 0, 0, 0, 6, 0, 0, 0]);
        assert_eq!(
            emitted(HostMessage::ProtocolResponse { accepted: true }),
            [2, 0, 0, 0, 1, 0, 0, 0]
        );
        assert_eq!(
            emitted(event(0x1D, KeyFlags::E0 | KeyFlags::BREAK)),
            [3, 0, 0, 0, 0x1D, 0, 0, 0, 6, 0, 0, 0]
        );
    }

    // KG5
    #[test]
    fn fault_68_events_that_are_none_are_refused() {
        let short = emitted(event(1, KeyFlags::empty()));
        for length in 0..12 {
            assert!(matches!(
                HostMessage::parse(&short[..length]),
                Err(MessageError::Short { .. })
            ));
        }
        for code in [0, 0x80, 0xE01D, u16::MAX] {
            assert!(HostMessage::parse(&emitted(event(code, KeyFlags::E1))).is_err());
            let text = event(code, KeyFlags::UNICODE);
            assert_eq!(HostMessage::parse(&emitted(text)), Ok(text));
        }
        for message_type in [0u32, 1, 4, 77, u32::MAX] {
            let mut bytes = short.clone();
            bytes[..4].copy_from_slice(&message_type.to_le_bytes());
            assert_eq!(
                HostMessage::parse(&bytes),
                Err(MessageError::UnknownType(message_type))
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes(kind in 0u32..6, body in prop::collection::vec(any::<u8>(), 0..20)) {
            let mut bytes = kind.to_le_bytes().to_vec();
            bytes.extend(&body);
            if let Ok(message) = GuestMessage::parse(&bytes) {
                prop_assert_eq!(GuestMessage::parse(&message.emit()), Ok(message));
            }
            if let Ok(message) = HostMessage::parse(&bytes) {
                prop_assert_eq!(HostMessage::parse(&emitted(message)), Ok(message));
            }
            let _ = GuestMessage::parse(&body);
        }
    }
}
