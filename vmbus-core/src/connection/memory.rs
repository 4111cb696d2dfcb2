//! The GPADLs of a connection.

use super::requests::refused_unless;
use super::{ChannelKey, Connection, Event, Purpose, RequestError};
use crate::gpadl::{GpadlList, GpadlMessages};
use crate::protocol::{GpadlCreated, GpadlId, MessageError, MessageType};

#[derive(Clone, Copy, Debug)]
pub(super) enum GpadlState {
    /// Not answered yet. Without a deadline nobody waits for the answer any more, and the GPADL is to be
    /// torn down if the host establishes it.
    Creating { deadline: Option<u64> },
    /// Established.
    Live,
    /// GPADL_TEARDOWN has been asked for. Without a deadline nobody waits for the answer.
    TearingDown { deadline: Option<u64> },
    /// Given up; the owner was told.
    Leaked {
        /// GPADL_TEARDOWN was posted, so that an answer may yet come.
        asked: bool,
    },
}

#[derive(Debug)]
pub(super) struct GpadlRecord {
    pub(super) channel: ChannelKey,
    pub(super) state: GpadlState,
    /// Pages, if the list is one range of whole pages, as it must be for rings.
    pub(super) ring_pages: Option<u32>,
}

impl Connection {
    /// Lends memory to a channel. The outcome is [`Event::GpadlCreated`], at the latest when `deadline` has
    /// passed; after that, the memory is the guest's again at [`Event::GpadlReleased`] and not before.
    ///
    /// # Errors
    /// [`RequestError`] when the channel is gone, or the list is empty. There is no event then.
    pub fn create_gpadl(
        &mut self,
        channel: ChannelKey,
        list: GpadlList,
        deadline: u64,
    ) -> Result<GpadlId, RequestError> {
        self.live(channel)?;
        if list.range_count() == 0 {
            return Err(RequestError::InvalidArgument {
                argument: "GPADL list",
            });
        }
        let gpadl = self.unused_gpadl_id();
        let state = GpadlState::Creating {
            deadline: Some(deadline),
        };
        let record = GpadlRecord {
            channel,
            state,
            ring_pages: list.ring_pages(),
        };
        self.gpadls.insert(gpadl, record);
        let messages = GpadlMessages::new(channel.id, gpadl, list);
        self.queue
            .push_back(Purpose::Gpadl(channel, gpadl, messages));
        Ok(gpadl)
    }

    /// An id that no GPADL has, leaked ones included, and that has not been used for as long as possible.
    fn unused_gpadl_id(&mut self) -> GpadlId {
        loop {
            let id = GpadlId(self.next_gpadl_id);
            self.next_gpadl_id = self.next_gpadl_id.wrapping_add(1);
            if id.0 != 0 && !self.gpadls.contains_key(&id) {
                return id;
            }
        }
    }

    pub(super) fn handle_gpadl_created(
        &mut self,
        created: GpadlCreated,
    ) -> Result<(), MessageError> {
        let message_type = MessageType::GPADL_CREATED;
        let unexpected = MessageError::UnexpectedReply { message_type };
        let record = self.named(message_type, created.channel_id)?;
        let channel = record.key(created.channel_id);
        let channel_gone = record.gone;
        let gpadl = created.gpadl_id;
        // The host cannot have seen a list of which a part is still to be posted.
        let unsent = self
            .queue
            .iter()
            .any(|purpose| matches!(purpose, Purpose::Gpadl(_, id, _) if *id == gpadl));
        let success = !created.status.is_negative();
        let record = self
            .gpadls
            .get_mut(&gpadl)
            .filter(|record| record.channel == channel && !channel_gone)
            .ok_or(unexpected)?;
        let GpadlState::Creating { deadline } = record.state else {
            return Err(unexpected);
        };
        // A host may refuse as soon as it has the header.
        if unsent && success {
            return Err(unexpected);
        }
        if success {
            record.state = GpadlState::Live;
        } else {
            self.gpadls.remove(&gpadl);
            self.queue
                .retain(|purpose| !matches!(purpose, Purpose::Gpadl(_, id, _) if *id == gpadl));
        }
        if deadline.is_some() {
            let result = refused_unless(success, created.status);
            self.events.push_back(Event::GpadlCreated { gpadl, result });
        } else if success {
            self.teardown(gpadl, None);
        }
        if !success {
            self.events.push_back(Event::GpadlReleased(gpadl));
        }
        Ok(())
    }

    /// Takes the memory of a GPADL back: for one other than the rings' at any time, for the rings' by
    /// [`close`](Self::close) only. The outcome is [`Event::GpadlReleased`], or [`Event::GpadlLeaked`] when
    /// `deadline` has passed.
    ///
    /// # Errors
    /// [`RequestError`] when the channel is gone, or the GPADL is not an established one of this channel.
    /// There is no event then.
    pub fn teardown_gpadl(
        &mut self,
        channel: ChannelKey,
        gpadl: GpadlId,
        deadline: u64,
    ) -> Result<(), RequestError> {
        self.live(channel)?;
        self.established(channel, gpadl)?;
        self.teardown(gpadl, Some(deadline));
        Ok(())
    }

    /// Whether a GPADL is an established one of a channel.
    pub(super) fn established(
        &self,
        channel: ChannelKey,
        gpadl: GpadlId,
    ) -> Result<(), RequestError> {
        match self.gpadls.get(&gpadl) {
            Some(record) if record.channel == channel => match record.state {
                GpadlState::Live => Ok(()),
                GpadlState::Creating { .. } => Err(RequestError::Busy),
                _ => Err(RequestError::UnknownGpadl),
            },
            _ => Err(RequestError::UnknownGpadl),
        }
    }

    /// Whether somebody waits for the host to give the memory of a GPADL back, so that
    /// [`Event::GpadlReleased`] or [`Event::GpadlLeaked`] is sure to come.
    #[must_use]
    pub fn is_taking_back(&self, gpadl: GpadlId) -> bool {
        self.gpadls.get(&gpadl).is_some_and(|record| {
            matches!(record.state, GpadlState::TearingDown { deadline: Some(_) })
        })
    }

    fn teardown(&mut self, gpadl: GpadlId, deadline: Option<u64>) {
        if let Some(record) = self.gpadls.get_mut(&gpadl) {
            record.state = GpadlState::TearingDown { deadline };
            self.queue
                .push_back(Purpose::Teardown(record.channel, gpadl));
        }
    }

    /// Takes back all memory of a channel that is closed.
    pub(super) fn teardown_all(&mut self, channel: ChannelKey, deadline: Option<u64>) {
        let mut gpadls = alloc::vec::Vec::new();
        for (gpadl, record) in &mut self.gpadls {
            if record.channel != channel {
                continue;
            }
            match record.state {
                GpadlState::Live => gpadls.push(*gpadl),
                GpadlState::Creating {
                    deadline: Some(_), ..
                } => {
                    record.state = GpadlState::Creating { deadline: None };
                    self.events.push_back(Event::GpadlCreated {
                        gpadl: *gpadl,
                        result: Err(RequestError::Cancelled),
                    });
                }
                _ => {}
            }
        }
        for gpadl in gpadls {
            self.teardown(gpadl, deadline);
        }
    }

    pub(super) fn handle_gpadl_torndown(&mut self, gpadl: GpadlId) -> Result<(), MessageError> {
        let message_type = MessageType::GPADL_TORNDOWN;
        let unsent = self
            .queue
            .iter()
            .any(|purpose| matches!(purpose, Purpose::Teardown(_, id) if *id == gpadl));
        match self.gpadls.get(&gpadl).map(|record| record.state) {
            Some(GpadlState::TearingDown { .. } | GpadlState::Leaked { asked: true })
                if !unsent =>
            {
                self.gpadls.remove(&gpadl);
                self.events.push_back(Event::GpadlReleased(gpadl));
                Ok(())
            }
            _ => Err(MessageError::UnexpectedReply { message_type }),
        }
    }

    /// A message of a GPADL's list was not posted.
    pub(super) fn gpadl_not_posted(&mut self, gpadl: GpadlId, first: bool) {
        self.queue
            .retain(|purpose| !matches!(purpose, Purpose::Gpadl(_, id, _) if *id == gpadl));
        let Some(record) = self.gpadls.get_mut(&gpadl) else {
            return;
        };
        if let GpadlState::Creating { deadline: Some(_) } = record.state {
            self.events.push_back(Event::GpadlCreated {
                gpadl,
                result: Err(RequestError::NotPosted),
            });
        }
        if first {
            // The host has never heard of it.
            self.gpadls.remove(&gpadl);
            self.events.push_back(Event::GpadlReleased(gpadl));
        } else {
            self.leak_gpadl(gpadl, RequestError::NotPosted);
        }
    }

    /// Gives up the memory of a GPADL and says so, once.
    pub(super) fn leak_gpadl(&mut self, gpadl: GpadlId, reason: RequestError) {
        if let Some(record) = self.gpadls.get_mut(&gpadl)
            && !matches!(record.state, GpadlState::Leaked { .. })
        {
            let asked = matches!(record.state, GpadlState::TearingDown { .. })
                && reason != RequestError::NotPosted;
            record.state = GpadlState::Leaked { asked };
            self.events.push_back(Event::GpadlLeaked { gpadl, reason });
        }
    }

    /// The host has let go of everything.
    pub(super) fn release_all_memory(&mut self) {
        let gpadls = core::mem::take(&mut self.gpadls);
        self.events
            .extend(gpadls.into_keys().map(Event::GpadlReleased));
    }

    /// The host has not said that it lets go of anything.
    pub(super) fn leak_all_memory(&mut self) {
        let gpadls: alloc::vec::Vec<_> = self.gpadls.keys().copied().collect();
        for gpadl in gpadls {
            self.leak_gpadl(gpadl, RequestError::Disconnected);
        }
    }
}
