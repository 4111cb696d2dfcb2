//! The channels of a connection.

use super::{ChannelKey, Connection, Phase, RequestError};
use crate::protocol::{ChannelId, MessageError, MessageType, OfferChannel};

/// Whether a channel is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Link {
    Closed,
    /// OPEN_CHANNEL has been asked for.
    Opening {
        open_id: u32,
        deadline: u64,
    },
    /// Nobody waits for the answer any more; if the host opens the channel, it is to be closed at once.
    Abandoned {
        open_id: u32,
    },
    Open,
}

/// A MODIFY_CHANNEL that has not been answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Modifying {
    /// `None` when nobody waits any more.
    pub(super) deadline: Option<u64>,
}

#[derive(Debug)]
pub(super) struct ChannelRecord {
    pub(super) generation: u64,
    pub(super) offer: OfferChannel,
    pub(super) link: Link,
    pub(super) modifying: Option<Modifying>,
    /// The host has taken it back.
    pub(super) gone: bool,
    /// The owner has seen that it is gone.
    pub(super) departure_seen: bool,
    /// RELID_RELEASED has been asked for.
    pub(super) releasing: bool,
}

impl ChannelRecord {
    pub(super) const fn new(generation: u64, offer: OfferChannel) -> Self {
        Self {
            generation,
            offer,
            link: Link::Closed,
            modifying: None,
            gone: false,
            departure_seen: false,
            releasing: false,
        }
    }

    pub(super) const fn key(&self, id: ChannelId) -> ChannelKey {
        ChannelKey {
            id,
            generation: self.generation,
        }
    }

    pub(super) fn is_same_device(&self, offer: &OfferChannel) -> bool {
        self.offer.interface == offer.interface && self.offer.instance == offer.instance
    }
}

/// State of a channel, for people and monitors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelPhase {
    /// Offered, not open.
    Offered,
    /// Being opened.
    Opening,
    /// Open.
    Open,
    /// Taken back by the host, not yet released.
    Rescinded,
}

/// A channel as it stands.
#[derive(Clone, Copy, Debug)]
pub struct ChannelView<'a> {
    /// The channel.
    pub key: ChannelKey,
    /// Its offer.
    pub offer: &'a OfferChannel,
    /// Its state.
    pub phase: ChannelPhase,
    /// For a sub-channel: the device's primary channel, if that still exists.
    pub primary: Option<ChannelKey>,
}

impl Connection {
    /// The channels, by id.
    pub fn channels(&self) -> impl Iterator<Item = ChannelView<'_>> {
        self.channels
            .iter()
            .map(|(id, record)| self.view(*id, record))
    }

    /// A channel; `None` when it is gone for good.
    #[must_use]
    pub fn channel(&self, key: ChannelKey) -> Option<ChannelView<'_>> {
        Some(self.view(key.id, self.record(key)?))
    }

    /// The offer of a channel.
    #[must_use]
    pub fn offer(&self, key: ChannelKey) -> Option<&OfferChannel> {
        Some(&self.record(key)?.offer)
    }

    fn view<'a>(&'a self, id: ChannelId, record: &'a ChannelRecord) -> ChannelView<'a> {
        ChannelView {
            key: record.key(id),
            offer: &record.offer,
            phase: match record.link {
                _ if record.gone => ChannelPhase::Rescinded,
                Link::Closed | Link::Abandoned { .. } => ChannelPhase::Offered,
                Link::Opening { .. } => ChannelPhase::Opening,
                Link::Open => ChannelPhase::Open,
            },
            primary: if record.offer.sub_channel_index == 0 {
                None
            } else {
                self.primary_of(&record.offer)
            },
        }
    }

    /// The primary channel of a device.
    pub(super) fn primary_of(&self, offer: &OfferChannel) -> Option<ChannelKey> {
        self.channels
            .iter()
            .find(|(_, record)| {
                !record.gone && record.offer.sub_channel_index == 0 && record.is_same_device(offer)
            })
            .map(|(id, record)| record.key(*id))
    }

    pub(super) fn record(&self, key: ChannelKey) -> Option<&ChannelRecord> {
        self.channels
            .get(&key.id)
            .filter(|record| record.generation == key.generation)
    }

    pub(super) fn record_mut(&mut self, key: ChannelKey) -> Option<&mut ChannelRecord> {
        self.channels
            .get_mut(&key.id)
            .filter(|record| record.generation == key.generation)
    }

    /// The record of a channel that requests can be made for.
    pub(super) fn live(&self, key: ChannelKey) -> Result<&ChannelRecord, RequestError> {
        if !matches!(self.phase, Phase::Connected { .. }) {
            return Err(RequestError::Disconnected);
        }
        let record = self.record(key).ok_or(RequestError::UnknownChannel)?;
        if record.gone {
            return Err(RequestError::Rescinded);
        }
        Ok(record)
    }

    pub(super) fn is_opening(&self, key: ChannelKey) -> bool {
        self.record(key).is_some_and(|record| {
            !record.gone && matches!(record.link, Link::Opening { .. } | Link::Abandoned { .. })
        })
    }

    /// The record of a channel that the host names.
    pub(super) fn named(
        &mut self,
        message_type: MessageType,
        id: ChannelId,
    ) -> Result<&mut ChannelRecord, MessageError> {
        if !id.is_valid() {
            return Err(MessageError::InvalidChannel {
                message_type,
                channel_id: id,
            });
        }
        self.channels
            .get_mut(&id)
            .filter(|record| !record.releasing)
            .ok_or(MessageError::UnknownChannel {
                message_type,
                channel_id: id,
            })
    }
}
