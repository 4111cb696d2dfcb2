//! Messages that wait for a virtual processor, and how one gets into its slot of the message page.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use hypercall::call::{MESSAGE_PAYLOAD_SIZE, MessageType};
use hypercall::msr::TimerIndex;

use crate::memory::GuestMemory;

/// Layout of a slot (TLFS "SIM page").
mod slot {
    pub(super) const SIZE: u64 = 256;
    pub(super) const TYPE: u64 = 0;
    /// Payload size in bits 7:0, flags in bits 15:8.
    pub(super) const SIZE_AND_FLAGS: u64 = 4;
    pub(super) const ORIGIN: u64 = 8;
    pub(super) const PAYLOAD: u64 = 16;
    /// "Another message waits", as a bit of the word [`SIZE_AND_FLAGS`].
    pub(super) const PENDING: u32 = 1 << 8;
}

/// Offset of the delivery time in the payload of a timer message.
const TIMER_DELIVERY_TIME: usize = 16;
/// Payload size of a timer message.
const TIMER_PAYLOAD: u8 = 24;

/// A message on its way to one SINT of one virtual processor.
#[derive(Clone, Debug)]
pub(super) struct Message {
    message_type: MessageType,
    length: u8,
    payload: [u8; MESSAGE_PAYLOAD_SIZE],
    /// The timer whose expiry it tells, if it is a timer message.
    pub(super) timer: Option<TimerIndex>,
    parked: bool,
}

impl Message {
    /// A message from a port; `None` if the type is 0 (an empty slot) or the payload exceeds 240 bytes.
    pub(super) fn new(message_type: MessageType, payload: &[u8]) -> Option<Self> {
        if message_type == MessageType::NONE {
            return None;
        }
        let mut buffer = [0; MESSAGE_PAYLOAD_SIZE];
        buffer.get_mut(..payload.len())?.copy_from_slice(payload);
        Some(Self {
            message_type,
            length: u8::try_from(payload.len()).ok()?,
            payload: buffer,
            timer: None,
            parked: false,
        })
    }

    /// The message that a timer has expired. Its delivery time is filled in on delivery.
    pub(super) fn timer_expired(timer: TimerIndex, due: u64) -> Self {
        let mut payload = [0; MESSAGE_PAYLOAD_SIZE];
        payload[..4].copy_from_slice(&u32::from(timer.number()).to_le_bytes());
        payload[8..16].copy_from_slice(&due.to_le_bytes());
        Self {
            message_type: MessageType::TIMER_EXPIRED,
            length: TIMER_PAYLOAD,
            payload,
            timer: Some(timer),
            parked: false,
        }
    }
}

/// What became of an attempt to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Nothing waits.
    Empty,
    /// The slot holds an older message; `newly` says that this message had not waited before.
    SlotTaken { newly: bool },
    /// The first message is in the slot. `timer` is set if it was that timer's.
    Delivered { timer: Option<TimerIndex> },
}

/// First in, first out: the messages for one SINT of one virtual processor.
#[derive(Debug, Default)]
pub(super) struct MessageQueue {
    messages: VecDeque<Message>,
    /// How many of them are timer messages, which have buffers of their own.
    timers: usize,
}

impl MessageQueue {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Messages that count towards the limit.
    pub(super) fn limited_len(&self) -> usize {
        self.messages.len() - self.timers
    }

    pub(super) fn push(&mut self, message: Message) {
        self.timers += usize::from(message.timer.is_some());
        self.messages.push_back(message);
    }

    /// Takes back a timer's message. Returns whether there was one.
    pub(super) fn cancel(&mut self, timer: TimerIndex) -> bool {
        let before = self.messages.len();
        self.messages.retain(|message| message.timer != Some(timer));
        let cancelled = before - self.messages.len();
        self.timers -= cancelled;
        cancelled != 0
    }

    pub(super) fn clear(&mut self) {
        self.messages.clear();
        self.timers = 0;
    }

    /// Tries to put the first message into the slot of `sint` in the message page at `page`.
    ///
    /// A taken slot gets its pending flag set, so that the guest writes EOM once it has emptied it.
    pub(super) fn deliver(
        &mut self,
        memory: &GuestMemory,
        page: u64,
        sint: usize,
        now: u64,
    ) -> Delivery {
        let Some(message) = self.messages.front_mut() else {
            return Delivery::Empty;
        };
        let address = page + slot::SIZE * sint as u64;
        let Some(words) = SlotWords::at(memory, address) else {
            // The page register only ever names RAM; a page that is not cannot be written to.
            return Delivery::SlotTaken { newly: false };
        };
        if !words.is_free_or_marked_pending() {
            let newly = !message.parked;
            message.parked = true;
            return Delivery::SlotTaken { newly };
        }
        let Some(mut message) = self.messages.pop_front() else {
            return Delivery::Empty;
        };
        self.timers -= usize::from(message.timer.is_some());
        if message.timer.is_some() {
            message.payload[TIMER_DELIVERY_TIME..][..8].copy_from_slice(&now.to_le_bytes());
        }
        words.fill(memory, address, &message, !self.messages.is_empty());
        Delivery::Delivered {
            timer: message.timer,
        }
    }
}

/// The two words of a slot that host and guest meet in.
struct SlotWords<'m> {
    message_type: &'m AtomicU32,
    size_and_flags: &'m AtomicU32,
}

impl<'m> SlotWords<'m> {
    fn at(memory: &'m GuestMemory, address: u64) -> Option<Self> {
        Some(Self {
            message_type: memory.atomic_u32(address + slot::TYPE).ok()?,
            size_and_flags: memory.atomic_u32(address + slot::SIZE_AND_FLAGS).ok()?,
        })
    }

    /// Whether the slot is free. If not, its pending flag is set: the guest either sees the flag after it has cleared
    /// the type, or has cleared the type before the second look here.
    fn is_free_or_marked_pending(&self) -> bool {
        if self.message_type.load(Ordering::Acquire) == 0 {
            return true;
        }
        self.size_and_flags
            .fetch_or(slot::PENDING.to_le(), Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.message_type.load(Ordering::SeqCst) == 0
    }

    /// Writes a message into the free slot, its type last.
    fn fill(&self, memory: &GuestMemory, address: u64, message: &Message, more: bool) {
        let payload = &message.payload[..usize::from(message.length)];
        let mut flags = u32::from(message.length);
        if more {
            flags |= slot::PENDING;
        }
        // Both ranges lie in the slot, whose first words were just found to be RAM.
        let _ = memory.write(address + slot::ORIGIN, &[0; 8]);
        let _ = memory.write(address + slot::PAYLOAD, payload);
        self.size_and_flags.store(flags.to_le(), Ordering::SeqCst);
        self.message_type
            .store(message.message_type.0.to_le(), Ordering::Release);
    }
}
