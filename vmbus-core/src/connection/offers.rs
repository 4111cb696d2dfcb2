//! Offers and their end.

use super::channels::{ChannelRecord, Link};
use super::{ChannelKey, Connection, Departure, Event, Phase, Purpose, RequestError};
use crate::connection::memory::GpadlState;
use crate::protocol::{ChannelId, MessageError, MessageType, OfferChannel, connection_id};
use crate::version::ProtocolVersion;

/// Number of bits in the monitor page.
const MONITOR_IDS: u8 = 128;

impl Connection {
    pub(super) fn handle_offer(&mut self, offer: OfferChannel) -> Result<(), MessageError> {
        let id = offer.channel_id;
        if !id.is_valid() {
            return Err(MessageError::InvalidChannel {
                message_type: MessageType::OFFER_CHANNEL,
                channel_id: id,
            });
        }
        if self.channels.contains_key(&id) {
            return Err(MessageError::DuplicateChannel { channel_id: id });
        }
        self.check_offer(&offer)?;
        let record = ChannelRecord::new(self.next_generation, offer);
        self.next_generation = self.next_generation.wrapping_add(1);
        self.events.push_back(Event::Offered(record.key(id)));
        self.channels.insert(id, record);
        Ok(())
    }

    fn check_offer(&self, offer: &OfferChannel) -> Result<(), MessageError> {
        let invalid = |field, value| MessageError::InvalidOffer { field, value };
        if let Some(monitor_id) = offer.monitor_id
            && monitor_id >= MONITOR_IDS
        {
            return Err(invalid("monitor id", monitor_id.into()));
        }
        let version = match &self.phase {
            Phase::Connected { agreement, .. } => agreement.version,
            _ => ProtocolVersion::OLDEST,
        };
        if version.has_dedicated_signals()
            && offer.dedicated_interrupt
            && offer.connection_id & connection_id::MASK == 0
        {
            return Err(invalid("connection id", offer.connection_id.into()));
        }
        let index = offer.sub_channel_index;
        let invalid_index = invalid("sub-channel index", index.into());
        let has_primary = || version >= ProtocolVersion::V2_4 && self.primary_of(offer).is_some();
        if index != 0 && !has_primary() {
            return Err(invalid_index);
        }
        let exists = self.channels.values().any(|record| {
            !record.gone && record.offer.sub_channel_index == index && record.is_same_device(offer)
        });
        match (exists, index) {
            (false, _) => Ok(()),
            (true, 0) => Err(MessageError::DuplicateDevice {
                instance: offer.instance,
            }),
            (true, _) => Err(invalid_index),
        }
    }

    pub(super) fn handle_all_offers(&mut self) -> Result<(), MessageError> {
        match &mut self.phase {
            Phase::Connected {
                offers_delivered, ..
            } if !*offers_delivered => {
                *offers_delivered = true;
                self.events.push_back(Event::AllOffersDelivered);
                Ok(())
            }
            _ => Err(MessageError::UnexpectedReply {
                message_type: MessageType::ALL_OFFERS_DELIVERED,
            }),
        }
    }

    pub(super) fn handle_rescind(&mut self, id: ChannelId) -> Result<(), MessageError> {
        let message_type = MessageType::RESCIND_CHANNEL_OFFER;
        let record = self.named(message_type, id)?;
        if record.gone {
            return Err(MessageError::UnexpectedReply { message_type });
        }
        let key = record.key(id);
        self.remember_late(key);
        let record = self.named(message_type, id)?;
        record.gone = true;
        let modifying = record.modifying.take();
        if let Link::Opening { .. } | Link::Abandoned { .. } = record.link {
            let waiting = matches!(record.link, Link::Opening { .. });
            record.link = Link::Closed;
            if waiting {
                self.events.push_back(Event::Opened {
                    channel: key,
                    result: Err(RequestError::Rescinded),
                });
            }
        }
        if modifying.is_some_and(|modifying| modifying.deadline.is_some()) {
            self.events.push_back(Event::Modified {
                channel: key,
                result: Err(RequestError::Rescinded),
            });
        }
        // Nothing more is said about the channel, but for its release.
        self.queue.retain(|purpose| purpose.channel() != Some(key));
        for (gpadl, record) in &mut self.gpadls {
            if let GpadlState::Creating { deadline: Some(_) } = record.state
                && record.channel == key
            {
                record.state = GpadlState::Creating { deadline: None };
                self.events.push_back(Event::GpadlCreated {
                    gpadl: *gpadl,
                    result: Err(RequestError::Rescinded),
                });
            }
        }
        self.events.push_back(Event::Gone {
            channel: key,
            departure: Departure::Rescinded,
        });
        Ok(())
    }

    /// The owner knows that a channel is gone.
    pub(super) fn departure_seen(&mut self, key: ChannelKey) {
        if let Some(record) = self.record_mut(key) {
            record.departure_seen = true;
            self.release_if_unused(key);
        }
    }

    /// Gives the id of a channel back once the host has taken the channel back, the owner knows it, and
    /// does not use the channel any more.
    pub(super) fn release_if_unused(&mut self, key: ChannelKey) {
        let Some(record) = self.record_mut(key) else {
            return;
        };
        if !record.gone
            || !record.departure_seen
            || record.releasing
            || !matches!(record.link, Link::Closed)
        {
            return;
        }
        record.releasing = true;
        // Before it took the channel back, the host stopped using the memory.
        let events = &mut self.events;
        self.gpadls.retain(|gpadl, record| {
            let ended = record.channel == key;
            if ended {
                events.push_back(Event::GpadlReleased(*gpadl));
            }
            !ended
        });
        self.queue.push_back(Purpose::Release(key));
    }
}
