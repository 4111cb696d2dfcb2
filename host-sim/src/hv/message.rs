//! Messages that wait for a virtual processor, and how one gets into its slot of the message page.

use std::collections::VecDeque;
use std::sync::atomic::{Ordering, fence};

use hypercall::call::{MESSAGE_PAYLOAD_SIZE, MessageType};
use hypercall::msr::TimerIndex;
use hypercall::stimer::TimerMessage;
use hypercall::synic::{MESSAGE_PENDING, MessageSlot};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

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
        let mut message = Self {
            message_type: MessageType::TIMER_EXPIRED,
            length: size_of::<TimerMessage>() as u8,
            payload: [0; MESSAGE_PAYLOAD_SIZE],
            timer: Some(timer),
            parked: false,
        };
        let payload = TimerMessage {
            timer_index: U32::new(u32::from(timer.number())),
            reserved: U32::ZERO,
            expiration_time: U64::new(due),
            delivery_time: U64::ZERO,
        };
        message.payload[..size_of::<TimerMessage>()].copy_from_slice(payload.as_bytes());
        message
    }

    /// Notes when the message gets into its slot, if it is one that tells.
    fn stamp(&mut self, now: u64) {
        if self.timer.is_some() {
            let field = std::mem::offset_of!(TimerMessage, delivery_time);
            self.payload[field..][..8].copy_from_slice(&now.to_le_bytes());
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
        // With the memory: another guest may never need as much.
        self.messages = VecDeque::new();
        self.timers = 0;
    }

    /// Tries to put the first message into its slot of the message page.
    ///
    /// A taken slot gets its pending flag set, so that the guest writes EOM once it has emptied it.
    pub(super) fn deliver(&mut self, slot: &MessageSlot, now: impl FnOnce() -> u64) -> Delivery {
        let Some(message) = self.messages.front_mut() else {
            return Delivery::Empty;
        };
        if !is_free_or_marked_pending(slot) {
            let newly = !message.parked;
            message.parked = true;
            return Delivery::SlotTaken { newly };
        }
        let Some(mut message) = self.messages.pop_front() else {
            return Delivery::Empty;
        };
        self.timers -= usize::from(message.timer.is_some());
        message.stamp(now());
        fill(slot, &message, !self.messages.is_empty());
        Delivery::Delivered {
            timer: message.timer,
        }
    }
}

/// Whether the slot is free. If not, its pending flag is set: the guest either sees the flag after it has cleared the
/// type, or has cleared the type before the second look here.
fn is_free_or_marked_pending(slot: &MessageSlot) -> bool {
    look_twice(slot, || ())
}

/// The two looks, with a place between the first and the mark for tests, which put the guest's steps there.
fn look_twice(slot: &MessageSlot, between: impl FnOnce()) -> bool {
    // Acquire: what is written to a free slot comes after the guest has read what was there.
    if slot.message_type.load(Ordering::Acquire) == MessageType::NONE.0 {
        return true;
    }
    between();
    slot.flags.fetch_or(MESSAGE_PENDING, Ordering::SeqCst);
    fence(Ordering::SeqCst);
    slot.message_type.load(Ordering::SeqCst) == MessageType::NONE.0
}

/// Writes a message into the free slot, its type last. A stale pending flag goes with the old message.
fn fill(slot: &MessageSlot, message: &Message, more: bool) {
    let flags = if more { MESSAGE_PENDING } else { 0 };
    slot.payload_size.store(message.length, Ordering::Relaxed);
    slot.flags.store(flags, Ordering::Relaxed);
    slot.origin.store(0, Ordering::Relaxed);
    let words = slot
        .payload
        .iter()
        .take(usize::from(message.length).div_ceil(8));
    for (word, bytes) in words.zip(message.payload.as_chunks::<8>().0) {
        word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
    slot.message_type
        .store(message.message_type.0, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_slot() -> MessageSlot {
        let slot = MessageSlot::new();
        let message = Message::new(MessageType::VMBUS, b"first").unwrap();
        fill(&slot, &message, false);
        slot
    }

    /// The guest empties the slot just before it is marked, sees no mark, and so will write no EOM: the message that
    /// waits must not rely on one.
    #[test]
    fn fault_32_a_slot_that_is_emptied_before_the_mark_is_seen_to_be_free() {
        let slot = taken_slot();
        let free = look_twice(&slot, || assert!(!slot.take().unwrap().pending));
        assert!(free, "the guest would sleep on a message");
        let slot = taken_slot();
        assert!(!look_twice(&slot, || ()));
        assert!(slot.take().unwrap().pending, "the guest will write EOM");
    }

    #[test]
    fn a_mark_of_an_earlier_message_does_not_stay() {
        let slot = taken_slot();
        let mut queue = MessageQueue::default();
        for payload in [b"second", b"third "] {
            queue.push(Message::new(MessageType::VMBUS, payload).unwrap());
        }
        for (left, pending) in [(2, true), (1, true), (0, false)] {
            assert_eq!(queue.len(), left);
            let _ = queue.deliver(&slot, || 0);
            assert_eq!(slot.take().unwrap().pending, pending, "{left} left");
            let _ = queue.deliver(&slot, || 0);
        }
    }
}
