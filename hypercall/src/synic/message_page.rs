//! The message page and the protocol to read it.

use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::call::{MESSAGE_PAYLOAD_SIZE, MessageType};
use crate::msr::{self, SINT_COUNT, SintIndex};
use crate::{MsrFault, PAGE_SIZE, Processor};

/// Size of a message slot in bytes.
pub const MESSAGE_SLOT_SIZE: usize = 256;

/// Bit of a slot's flags: another message waits for this slot.
pub const MESSAGE_PENDING: u8 = 1;

/// Byte offsets of the fields of a slot, and of the slots in the page.
pub mod slot {
    use crate::msr::SintIndex;

    /// Type, 32 bits; 0 while the slot is empty. Written last.
    pub const TYPE: usize = 0;
    /// Payload size, 8 bits.
    pub const PAYLOAD_SIZE: usize = 4;
    /// Flags, 8 bits; see [`MESSAGE_PENDING`](super::MESSAGE_PENDING).
    pub const FLAGS: usize = 5;
    /// Sending partition or port, 64 bits.
    pub const ORIGIN: usize = 8;
    /// Payload, 240 bytes.
    pub const PAYLOAD: usize = 16;

    /// Offset of a source's slot in the message page.
    #[must_use]
    pub const fn offset(sint: SintIndex) -> usize {
        sint.number() as usize * super::MESSAGE_SLOT_SIZE
    }
}

/// The first 16 bytes of a slot as they lie in memory.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct MessageHeader {
    /// [`MessageType`].
    pub message_type: U32,
    /// Bytes of the payload in use, 0 to 240.
    pub payload_size: u8,
    /// See [`MESSAGE_PENDING`].
    pub flags: u8,
    /// Zero.
    pub reserved: U16,
    /// Sending partition, or 24-bit port id; 0 for timers.
    pub origin: U64,
}

const _: () = assert!(size_of::<MessageHeader>() == slot::PAYLOAD);

/// One slot of the message page, shared with the other end.
#[repr(C)]
#[derive(Debug)]
pub struct MessageSlot {
    /// Type; 0 while the slot is empty.
    pub message_type: AtomicU32,
    /// Payload size in bytes.
    pub payload_size: AtomicU8,
    /// See [`MESSAGE_PENDING`].
    pub flags: AtomicU8,
    reserved: AtomicU16,
    /// Sending partition or port.
    pub origin: AtomicU64,
    /// Payload in memory order.
    pub payload: [AtomicU64; MESSAGE_PAYLOAD_SIZE / 8],
}

const _: () = {
    assert!(size_of::<MessageSlot>() == MESSAGE_SLOT_SIZE);
    assert!(core::mem::offset_of!(MessageSlot, payload_size) == slot::PAYLOAD_SIZE);
    assert!(core::mem::offset_of!(MessageSlot, flags) == slot::FLAGS);
    assert!(core::mem::offset_of!(MessageSlot, origin) == slot::ORIGIN);
    assert!(core::mem::offset_of!(MessageSlot, payload) == slot::PAYLOAD);
};

/// The message page of a virtual processor, shared with the other end.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct MessagePage {
    /// A slot for each interrupt source.
    pub slots: [MessageSlot; SINT_COUNT],
}

const _: () = assert!(size_of::<MessagePage>() == PAGE_SIZE);

/// A message in private memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Type.
    pub message_type: MessageType,
    /// Sending partition or port, as the slot says. VMBus ignores it.
    pub origin: u64,
    size: u8,
    payload: [u8; MESSAGE_PAYLOAD_SIZE],
}

impl Message {
    /// Payload, at most 240 bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.payload
            .get(..usize::from(self.size))
            .unwrap_or(&self.payload)
    }
}

/// A slot claimed a payload larger than a slot has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageSizeError {
    /// Type of the message.
    pub message_type: MessageType,
    /// Payload size that was claimed.
    pub payload_size: u8,
}

impl fmt::Display for MessageSizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "message of type {:#x} claims a payload of {} bytes, above {MESSAGE_PAYLOAD_SIZE}",
            self.message_type.0, self.payload_size
        )
    }
}

impl core::error::Error for MessageSizeError {}

/// What [`MessagePage::take`] found in a slot.
#[must_use = "the hypervisor must be told if another message waits"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenMessage {
    /// The message, or why it is none. The slot is free again in both cases.
    pub message: Result<Message, MessageSizeError>,
    /// Another message waits for the slot: [`end_of_message`] must follow.
    pub pending: bool,
}

/// Why [`read_message`] did not give a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMessageError {
    /// The message was malformed. It is gone; the next one can be read.
    Size(MessageSizeError),
    /// The end-of-message register could not be written. The message that was
    /// read is gone, and the hypervisor may hold back later ones.
    EndOfMessage(MsrFault),
}

impl fmt::Display for ReadMessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(error) => error.fmt(f),
            Self::EndOfMessage(fault) => fault.fmt(f),
        }
    }
}

impl core::error::Error for ReadMessageError {}

/// How far the taking of a message has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakeStep {
    /// The message is copied and the slot still full.
    Copied,
    /// The slot is empty and the flags are not read yet.
    Freed,
}

impl MessageSlot {
    /// An empty slot.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            message_type: AtomicU32::new(0),
            payload_size: AtomicU8::new(0),
            flags: AtomicU8::new(0),
            reserved: AtomicU16::new(0),
            origin: AtomicU64::new(0),
            payload: [const { AtomicU64::new(0) }; MESSAGE_PAYLOAD_SIZE / 8],
        }
    }

    fn clear(&self) {
        self.message_type.store(0, Ordering::Relaxed);
        self.payload_size.store(0, Ordering::Relaxed);
        self.flags.store(0, Ordering::Relaxed);
        self.reserved.store(0, Ordering::Relaxed);
        self.origin.store(0, Ordering::Relaxed);
        for word in &self.payload {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Copies the message that the slot holds, each field once.
    fn copy(&self, message_type: MessageType) -> Result<Message, MessageSizeError> {
        let size = self.payload_size.load(Ordering::Relaxed);
        if usize::from(size) > MESSAGE_PAYLOAD_SIZE {
            return Err(MessageSizeError {
                message_type,
                payload_size: size,
            });
        }
        let mut message = Message {
            message_type,
            origin: self.origin.load(Ordering::Relaxed),
            size,
            payload: [0; MESSAGE_PAYLOAD_SIZE],
        };
        let words = self.payload.iter().take(usize::from(size).div_ceil(8));
        for (bytes, word) in message.payload.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        Ok(message)
    }

    /// Takes the message out of the slot: copies it, frees the slot, and only
    /// then looks whether another one waits. `None` if the slot is empty, or if
    /// someone else took the message first.
    ///
    /// The other end has no say in how long this takes.
    pub fn take(&self) -> Option<TakenMessage> {
        self.take_in_steps(|_| ())
    }

    /// Takes the message, with a look in between for tests, which put the other
    /// end's steps there.
    pub(super) fn take_in_steps(&self, between: impl Fn(TakeStep)) -> Option<TakenMessage> {
        // Acquire: the type is written last, so what it announces is there.
        let message_type = self.message_type.load(Ordering::Acquire);
        if message_type == MessageType::NONE.0 {
            return None;
        }
        let message = self.copy(MessageType(message_type));
        between(TakeStep::Copied);
        // Exactly one of several readers (the crash path polls the slots of all
        // processors) owns the message. Release: the copy is complete before
        // the slot can be seen empty.
        self.message_type
            .compare_exchange(
                message_type,
                MessageType::NONE.0,
                Ordering::SeqCst,
                Ordering::Relaxed,
            )
            .ok()?;
        between(TakeStep::Freed);
        // The hypervisor sets the flag, then looks at the type once more. Were
        // the flag read here before the empty slot is visible there, both ends
        // could wait for the other.
        fence(Ordering::SeqCst);
        let pending = self.flags.load(Ordering::Relaxed) & MESSAGE_PENDING != 0;
        Some(TakenMessage { message, pending })
    }
}

impl Default for MessageSlot {
    fn default() -> Self {
        Self::new()
    }
}

impl MessagePage {
    /// A page of empty slots.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slots: [const { MessageSlot::new() }; SINT_COUNT],
        }
    }

    /// The slot of an interrupt source.
    #[must_use]
    pub fn slot(&self, sint: SintIndex) -> &MessageSlot {
        let [first, ..] = &self.slots;
        // The number is below the length, so the first slot is never meant.
        self.slots.get(usize::from(sint.number())).unwrap_or(first)
    }

    /// Takes the message of an interrupt source; see [`MessageSlot::take`].
    pub fn take(&self, sint: SintIndex) -> Option<TakenMessage> {
        self.slot(sint).take()
    }

    pub(super) fn clear(&self) {
        for slot in &self.slots {
            slot.clear();
        }
    }
}

impl Default for MessagePage {
    fn default() -> Self {
        Self::new()
    }
}

/// Tells the hypervisor to look for queued messages for this virtual processor.
///
/// # Errors
///
/// [`MsrFault`] if the partition has no access to the SynIC.
pub fn end_of_message<P: Processor + ?Sized>(processor: &P) -> Result<(), MsrFault> {
    // SAFETY: the register only makes the hypervisor write messages to slots
    // that were given to it and are empty.
    unsafe { processor.write_msr(msr::EOM, 0) }
}

/// Reads the message of an interrupt source of this virtual processor, if
/// there is one: takes it out of the slot, and asks for the next one if one
/// waits. Interrupts without a message are normal.
///
/// One call reads one message, so a handler calls it until it gives `None`, or
/// returns and is interrupted again. The interrupt itself is the caller's to
/// end, unless the source ends it automatically.
///
/// # Errors
///
/// [`ReadMessageError`]; the slot is free again in any case.
pub fn read_message<P: Processor + ?Sized>(
    processor: &P,
    page: &MessagePage,
    sint: SintIndex,
) -> Result<Option<Message>, ReadMessageError> {
    let Some(taken) = page.take(sint) else {
        return Ok(None);
    };
    if taken.pending {
        end_of_message(processor).map_err(ReadMessageError::EndOfMessage)?;
    }
    taken.message.map(Some).map_err(ReadMessageError::Size)
}
