//! A channel of small messages: what keyboard, mouse and video have in common.
//!
//! Answers go out before the next message is read, so a guest that leaves no room for them is not read from.
//! A guest that sends more nonsense than any mistake would is left alone for the rest of the second.

use std::collections::VecDeque;

use vmbus_core::packet::{IncomingKind, OutgoingKind, OutgoingPacket};
use vmbus_core::pipe;
use vmbus_core::ring::WriteError;

use crate::memory::GuestMemory;
use crate::vmbus::vsp::{ChannelFault, ChannelIo, NextPoll, VspChannel};

/// Packets read or written in one poll, about.
const BATCH: usize = 256;
/// Answers that wait for being sent before reading stops.
const MAX_ANSWERS: usize = 16;
/// Largest packet on any ring. Memory that no packet fills is never touched.
const MAX_PACKET: usize = 8 << 16;
/// Time between looks at the ring of a guest that does not signal room, in 100 ns units: 10 ms.
const RETRY_INTERVAL: u64 = 100_000;
/// Bad messages in [`WINDOW`] after which the guest is left alone for the rest of it.
const MAX_BAD_MESSAGES: u32 = 1000;
/// 1 s in 100 ns units.
const WINDOW: u64 = 10_000_000;

/// What a device thinks of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Understood, whatever came of it.
    Good,
    /// Dropped: malformed, of no known type, or out of turn.
    Bad,
}

/// What a device may use while it takes a message.
pub(super) struct Turn<'a> {
    pub(super) memory: &'a GuestMemory,
    pub(super) answers: Vec<Vec<u8>>,
}

/// A device with a channel of messages.
pub(super) trait MessageDevice: Send {
    /// Whether messages lie in pipe frames.
    const IS_PIPE: bool;

    /// Takes the private copy of a message.
    fn receive(&mut self, message: &[u8], turn: &mut Turn<'_>) -> Verdict;

    /// A packet was no frame, or nothing that carries messages.
    fn malformed(&mut self);

    /// The next message that answers nothing, if one is due at `now` (100 ns units). It will be sent.
    fn unsolicited(&mut self, now: u64) -> Option<Vec<u8>>;

    /// When to ask for one again even if nothing happens.
    fn deadline(&mut self, now: u64) -> Option<u64>;
}

enum Outgoing {
    Message(Vec<u8>),
    Completion(u64),
}

/// A device's end of its channel.
pub(super) struct MessageChannel<D> {
    device: D,
    outbox: VecDeque<Outgoing>,
    buffer: Vec<u8>,
    bad_messages: u32,
    window_end: u64,
}

impl<D: MessageDevice> MessageChannel<D> {
    pub(super) fn new(device: D) -> Self {
        Self {
            device,
            outbox: VecDeque::new(),
            buffer: vec![0; MAX_PACKET],
            bad_messages: 0,
            window_end: 0,
        }
    }

    /// Reads while there is room for answers; `true` if it stopped for another reason than an empty ring.
    fn read(&mut self, io: &mut ChannelIo<'_>) -> Result<bool, ChannelFault> {
        let memory = io.memory;
        let mut batch = io.incoming.batch()?;
        let mut more = true;
        for _ in 0..BATCH {
            if self.outbox.len() >= MAX_ANSWERS || self.bad_messages >= MAX_BAD_MESSAGES {
                break;
            }
            let Some(packet) = batch.next(&mut self.buffer)? else {
                more = false;
                break;
            };
            let message = match packet.kind {
                // Nothing of ours asks for a completion.
                IncomingKind::Completion => continue,
                IncomingKind::InBand if D::IS_PIPE => pipe::parse(packet.payload).ok(),
                IncomingKind::InBand => Some(packet.payload),
                _ => None,
            };
            let mut turn = Turn {
                memory,
                answers: Vec::new(),
            };
            let verdict = match message {
                Some(message) => self.device.receive(message, &mut turn),
                None => {
                    self.device.malformed();
                    Verdict::Bad
                }
            };
            if verdict == Verdict::Bad {
                self.bad_messages += 1;
            }
            if packet.completion_requested {
                let completion = Outgoing::Completion(packet.transaction_id);
                self.outbox.push_back(completion);
            }
            let answers = turn.answers.into_iter().map(Outgoing::Message);
            self.outbox.extend(answers);
        }
        let signal = batch.commit();
        io.notify(signal);
        Ok(more)
    }

    /// Sends what waits and what the device has to say; `false` if the ring has no room, in which case the
    /// guest will signal.
    fn flush(&mut self, io: &mut ChannelIo<'_>) -> Result<bool, ChannelFault> {
        for _ in 0..BATCH {
            if self.outbox.is_empty()
                && let Some(message) = self.device.unsolicited(io.now)
            {
                self.outbox.push_back(Outgoing::Message(message));
            }
            let Some(next) = self.outbox.front() else {
                break;
            };
            if !send::<D>(io, next)? {
                return Ok(false);
            }
            self.outbox.pop_front();
        }
        Ok(true)
    }
}

/// Sends one packet; `false` if the ring has no room.
fn send<D: MessageDevice>(
    io: &mut ChannelIo<'_>,
    outgoing: &Outgoing,
) -> Result<bool, ChannelFault> {
    let header;
    let (transaction_id, kind, parts): (_, _, [&[u8]; 2]) = match outgoing {
        Outgoing::Completion(id) => (*id, OutgoingKind::Completion, [&[], &[]]),
        Outgoing::Message(message) if D::IS_PIPE => {
            header = pipe::emit(message.len()).map_err(|error| ChannelFault::Protocol {
                device: "message pipe",
                reason: error.to_string(),
            })?;
            (0, OutgoingKind::InBand, [&header, message])
        }
        Outgoing::Message(message) => (0, OutgoingKind::InBand, [message, &[]]),
    };
    let packet = OutgoingPacket {
        transaction_id,
        completion_requested: false,
        kind,
        payload: &parts,
    };
    loop {
        match io.outgoing.send(&packet) {
            Ok(signal) => {
                io.outgoing.withdraw_blocked();
                io.notify(signal);
                return Ok(true);
            }
            Err(WriteError::Full { needed }) => {
                if !io.outgoing.announce_blocked(needed)? {
                    return Ok(false);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl<D: MessageDevice> VspChannel for MessageChannel<D> {
    fn poll(&mut self, io: &mut ChannelIo<'_>) -> Result<NextPoll, ChannelFault> {
        if io.now >= self.window_end {
            self.bad_messages = 0;
            self.window_end = io.now.saturating_add(WINDOW);
        }
        let more = self.read(io)?;
        if !self.flush(io)? {
            io.hold_input();
            return Ok(if io.incoming.peer_announces_blocked() {
                NextPoll::OnSignal
            } else {
                NextPoll::At(io.now.saturating_add(RETRY_INTERVAL))
            });
        }
        let deadline = self.device.deadline(io.now);
        if self.bad_messages >= MAX_BAD_MESSAGES {
            io.hold_input();
            let until = deadline.unwrap_or(u64::MAX).min(self.window_end);
            return Ok(NextPoll::At(until));
        }
        if more || !self.outbox.is_empty() {
            return Ok(NextPoll::Now);
        }
        Ok(match deadline {
            None => NextPoll::OnSignal,
            Some(at) if at <= io.now => NextPoll::Now,
            Some(at) => NextPoll::At(at),
        })
    }
}
