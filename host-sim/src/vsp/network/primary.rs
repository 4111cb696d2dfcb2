//! What only the primary channel does: negotiation, control, the link.

use vsc_net::wire::nvsp::{INDIRECTION_ENTRIES, IndirectionTable, Message, Status, Version};

use super::SEND_SECTION_SIZE;
use super::buffers::{ReceiveBuffer, SendBuffer};
use super::control::{self, Control};
use super::counters::ChannelCounters;
use super::distribute::Distributor;
use super::outbox::{MAX_REPLIES, Outbox};
use super::protocol::Protocol;
use super::shared::Shared;
use crate::vmbus::vsp::LentMemory;

/// Least receive sections for each channel.
const SECTIONS_PER_CHANNEL: u32 = 8;

/// More control messages wait for the guest than it may let wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyReplies;

/// What only the primary channel does.
pub(super) struct Primary {
    pub(super) protocol: Protocol,
    pub(super) control: Control,
    pub(super) distributor: Distributor,
    /// Sub-channels to be offered when all answers are written.
    pub(super) to_offer: Option<u16>,
    /// The guest is to be told how to spread what it sends.
    owes_table: bool,
}

/// Which of an adapter's channels.
pub(super) enum Role {
    /// The one that negotiates.
    Primary(Box<Primary>),
    /// A sub-channel, by its number.
    Sub(u16),
}

impl Role {
    pub(super) fn primary(protocol: Protocol, shared: &Shared) -> Self {
        Self::Primary(Box::new(Primary::new(protocol, shared)))
    }

    pub(super) fn index(&self) -> u16 {
        match self {
            Self::Primary(_) => 0,
            Self::Sub(index) => *index,
        }
    }
}

impl Primary {
    pub(super) fn lend_receive_buffer(
        &mut self,
        memory: Option<LentMemory>,
        shared: &Shared,
    ) -> Message {
        let mtu = self.protocol.mtu();
        let buffer = memory.and_then(|memory| ReceiveBuffer::new(memory, mtu));
        let sections = buffer
            .as_ref()
            .map(|buffer| (buffer.section_size, buffer.section_count));
        shared.buffers_mut().receive = buffer;
        self.protocol.receive_buffer_lent(sections)
    }

    pub(super) fn lend_send_buffer(
        &mut self,
        memory: Option<LentMemory>,
        shared: &Shared,
    ) -> Message {
        let buffer = memory.and_then(SendBuffer::new);
        let size = buffer.as_ref().map(|_| SEND_SECTION_SIZE);
        shared.buffers_mut().send = buffer;
        self.protocol.send_buffer_lent(size)
    }

    pub(super) fn revoke_receive_buffer(&mut self, shared: &Shared) {
        self.control.halt();
        shared.publish(self.control.settings.clone());
        // Waits until no other channel uses it.
        let buffer = shared.buffers_mut().receive.take();
        drop(buffer);
    }

    pub(super) fn grant_sub_channels(&mut self, count: u16, shared: &Shared) -> Message {
        let channels = count.saturating_add(1);
        let buffers = shared.buffers();
        let granted = buffers.receive.as_ref().and_then(|buffer| {
            let mut pool = buffer.pool();
            let least = SECTIONS_PER_CHANNEL * u32::from(channels);
            if count != 0 && pool.data_sections() < least {
                return None;
            }
            pool.set_channels(channels);
            Some(count)
        });
        drop(buffers);
        if granted.is_some() && count != 0 {
            self.control.channels = channels;
            self.to_offer = Some(count);
            self.owes_table = true;
        }
        self.protocol.sub_channels_granted(granted)
    }

    pub(super) fn new(protocol: Protocol, shared: &Shared) -> Self {
        Self {
            protocol,
            control: Control::new(shared),
            distributor: Distributor::default(),
            to_offer: None,
            owes_table: false,
        }
    }

    /// Takes a control message.
    pub(super) fn control(
        &mut self,
        bytes: &[u8],
        outbox: &mut Outbox,
        shared: &Shared,
        counters: &ChannelCounters,
    ) -> Result<Status, TooManyReplies> {
        counters.control_messages.increment();
        let control = &mut self.control;
        if !control.settings.is_operational {
            let protocol = &self.protocol;
            shared.set_state(Some(protocol.state()), protocol.version());
            let settings = &mut control.settings;
            settings.mtu = protocol.mtu();
            settings.capabilities = protocol.capabilities();
            if let Some(version) = protocol.version() {
                settings.version = version;
            }
            if let Some(version) = protocol.ndis_version() {
                control.ndis_version = version;
                settings.set_ndis(version.0);
            }
        }
        let Some(handled) = control.handle(bytes, shared) else {
            counters.malformed.increment();
            return Ok(Status::FAIL);
        };
        if outbox.replies() + handled.replies.len() > MAX_REPLIES {
            return Err(TooManyReplies);
        }
        for reply in handled.replies {
            outbox.reply(reply);
        }
        if handled.has_changed {
            shared.publish(control.settings.clone());
        }
        Ok(Status::SUCCESS)
    }

    /// Tells the guest of its link, if it is to be told; returns when it is to be told something later.
    pub(super) fn tell_link(
        &mut self,
        now: u64,
        outbox: &mut Outbox,
        shared: &Shared,
        counters: &ChannelCounters,
    ) -> Option<u64> {
        if !self.control.settings.is_operational {
            return None;
        }
        let link = &mut self.control.link;
        if shared.take_network_change() {
            link.note_change();
        }
        let is_up = shared.is_link_up();
        if let Some(indication) = link.due(is_up, now)
            && outbox.replies() < MAX_REPLIES
        {
            link.tell(indication, now);
            outbox.reply(control::indication(indication));
            counters.link_indications.increment();
        }
        link.deadline(is_up, now)
    }

    /// Tells the guest how to spread what it sends, once all of its channels are open.
    pub(super) fn tell_table(&mut self, outbox: &mut Outbox, shared: &Shared, version: Version) {
        if !self.owes_table || self.to_offer.is_some() {
            return;
        }
        let channels = u32::from(self.control.channels);
        if shared.open_channels().len() as u32 != channels {
            return;
        }
        self.owes_table = false;
        let mut queues = [0; INDIRECTION_ENTRIES];
        for (place, queue) in queues.iter_mut().enumerate() {
            *queue = place as u32 % channels;
        }
        let table = IndirectionTable::new(queues);
        outbox.send_in_band(Message::new(&table, version));
    }
}
