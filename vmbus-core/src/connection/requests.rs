//! Opening, closing and moving channels.

use super::channels::{Link, Modifying};
use super::memory::GpadlState;
use super::outgoing::Token;
use super::{ChannelKey, ConnectError, Connection, Event, Outgoing, Phase, Purpose, RequestError};
use crate::protocol::{
    GpadlId, MessageError, MessageType, ModifyChannelResponse, OpenChannel, OpenChannelResult,
    OpenFlags, OpenSignal, ReplyStatus, USER_DATA_SIZE, VP_NONE,
};
use crate::version::{FeatureFlags, ProtocolVersion};

/// How to open a channel.
#[derive(Clone, Copy, Debug)]
pub struct OpenRequest {
    /// The established GPADL of the two rings: one range of whole pages.
    pub ring_gpadl: GpadlId,
    /// Where the ring from host to guest starts, in pages: neither 0 nor beyond the GPADL.
    pub downstream_page_offset: u32,
    /// Virtual processor to be interrupted; [`VP_NONE`] for none. Before 2.4 all interrupts go to virtual
    /// processor 0, whatever is asked for.
    pub target_vp: u32,
    /// For the device.
    pub user_data: [u8; USER_DATA_SIZE],
}

impl Connection {
    /// Opens a channel. The rings must be initialised. The outcome is [`Event::Opened`], at the latest when
    /// `deadline` has passed.
    ///
    /// # Errors
    /// [`RequestError`] when the channel is gone, is not closed, or the GPADL is not an established one of
    /// this channel. There is no event then.
    pub fn open(
        &mut self,
        key: ChannelKey,
        request: &OpenRequest,
        deadline: u64,
    ) -> Result<(), RequestError> {
        let record = self.live(key)?;
        match record.link {
            Link::Closed => {}
            Link::Abandoned { .. } => return Err(RequestError::Busy),
            Link::Opening { .. } | Link::Open => return Err(RequestError::WrongState),
        }
        let Phase::Connected { agreement, .. } = self.phase else {
            return Err(RequestError::Disconnected);
        };
        let connection_id = record.offer.connection_id;
        self.established(key, request.ring_gpadl)?;
        let ring_pages = self
            .gpadls
            .get(&request.ring_gpadl)
            .and_then(|record| record.ring_pages);
        if !ring_pages.is_some_and(|pages| (1..pages).contains(&request.downstream_page_offset)) {
            return Err(RequestError::InvalidArgument {
                argument: "ring layout",
            });
        }
        let open_id = self.next_open_id;
        self.next_open_id = open_id.wrapping_add(1);
        // With the feature the form is the long one; we ask for what we would get anyway.
        let signal = agreement
            .features
            .contains(FeatureFlags::GUEST_SPECIFIED_SIGNAL_PARAMETERS)
            .then_some(OpenSignal {
                connection_id,
                event_flag: u16::try_from(key.id.0).unwrap_or_default(),
                flags: OpenFlags::empty(),
            });
        let target_vp = match request.target_vp {
            VP_NONE => VP_NONE,
            _ if !agreement.version.has_channel_event_flags() => 0,
            vp => vp,
        };
        if let Some(record) = self.record_mut(key) {
            record.link = Link::Opening { open_id, deadline };
        }
        self.queue.push_back(Purpose::Open(
            key,
            OpenChannel {
                channel_id: key.id,
                open_id,
                ring_gpadl_id: request.ring_gpadl,
                target_vp,
                downstream_page_offset: request.downstream_page_offset,
                user_data: request.user_data,
                signal,
            },
        ));
        Ok(())
    }

    pub(super) fn handle_open_result(
        &mut self,
        result: OpenChannelResult,
    ) -> Result<(), MessageError> {
        let message_type = MessageType::OPEN_CHANNEL_RESULT;
        let record = self.named(message_type, result.channel_id)?;
        let key = record.key(result.channel_id);
        match record.link {
            Link::Opening { open_id, .. } if open_id == result.open_id && !record.gone => {
                let outcome = if result.status.is_success() {
                    record.link = Link::Open;
                    Ok(())
                } else {
                    record.link = Link::Closed;
                    Err(RequestError::Refused {
                        status: result.status,
                    })
                };
                self.events.push_back(Event::Opened {
                    channel: key,
                    result: outcome,
                });
                Ok(())
            }
            Link::Abandoned { open_id } if open_id == result.open_id && !record.gone => {
                record.link = Link::Closed;
                if result.status.is_success() {
                    self.queue.push_back(Purpose::Close(key));
                }
                self.teardown_all(key, None);
                Ok(())
            }
            _ => Err(MessageError::UnexpectedReply { message_type }),
        }
    }

    /// Closes a channel and takes all its memory back; gives up an opening; lets go of a channel that is
    /// gone. Sub-channels that are open are closed first, with their memory. For each GPADL,
    /// [`Event::GpadlReleased`] follows, or [`Event::GpadlLeaked`] at the latest when `deadline` has passed.
    ///
    /// For a channel that no longer exists, this does nothing.
    pub fn close(&mut self, key: ChannelKey, deadline: u64) {
        let Some(record) = self.record(key) else {
            return;
        };
        if record.offer.sub_channel_index == 0 && !record.gone {
            let offer = &record.offer;
            let subs: alloc::vec::Vec<_> = self
                .channels
                .iter()
                .filter(|(_, sub)| {
                    sub.offer.sub_channel_index != 0 && !sub.gone && sub.is_same_device(offer)
                })
                .map(|(id, sub)| sub.key(*id))
                .collect();
            for sub in subs {
                if self
                    .record(sub)
                    .is_some_and(|sub| matches!(sub.link, Link::Open))
                {
                    self.events.push_back(Event::ClosedWithPrimary(sub));
                }
                self.close_one(sub, deadline);
            }
        }
        self.close_one(key, deadline);
    }

    fn close_one(&mut self, key: ChannelKey, deadline: u64) {
        let Some(record) = self.record_mut(key) else {
            return;
        };
        if record.gone {
            record.link = Link::Closed;
            self.release_if_unused(key);
            return;
        }
        match record.link {
            Link::Open => {
                record.link = Link::Closed;
                self.queue.push_back(Purpose::Close(key));
                self.teardown_all(key, Some(deadline));
            }
            Link::Closed => self.teardown_all(key, Some(deadline)),
            Link::Opening { .. } => self.abandon_open(key, RequestError::Cancelled),
            // Goes on when the host answers.
            Link::Abandoned { .. } => {}
        }
    }

    /// Nobody waits any more for a channel that is being opened.
    pub(super) fn abandon_open(&mut self, key: ChannelKey, reason: RequestError) {
        let Some(record) = self.record_mut(key) else {
            return;
        };
        let Link::Opening { open_id, .. } = record.link else {
            return;
        };
        record.link = Link::Abandoned { open_id };
        self.events.push_back(Event::Opened {
            channel: key,
            result: Err(reason),
        });
        let queued = self.queue.len();
        self.queue
            .retain(|purpose| !matches!(purpose, Purpose::Open(open, _) if *open == key));
        if self.queue.len() < queued {
            // The host has not heard of it.
            if let Some(record) = self.record_mut(key) {
                record.link = Link::Closed;
            }
            self.teardown_all(key, None);
        }
    }

    /// Moves an open channel's interrupts to another virtual processor (4.1 and later). The outcome is
    /// [`Event::Modified`]: from 5.3 on when the host has answered, at the latest when `deadline` has
    /// passed; before that at once, and the old virtual processor may be interrupted for a while yet.
    ///
    /// # Errors
    /// [`RequestError`] when the channel is gone or not open, the version has no such request, an earlier
    /// one has not been answered, or the virtual processor is [`VP_NONE`]. There is no event then.
    pub fn modify(
        &mut self,
        key: ChannelKey,
        target_vp: u32,
        deadline: u64,
    ) -> Result<(), RequestError> {
        let record = self.live(key)?;
        if !matches!(record.link, Link::Open) {
            return Err(RequestError::WrongState);
        }
        if record.modifying.is_some() {
            return Err(RequestError::Busy);
        }
        let Phase::Connected { agreement, .. } = self.phase else {
            return Err(RequestError::Disconnected);
        };
        if agreement.version < ProtocolVersion::V4_1 {
            return Err(RequestError::NotSupported {
                version: agreement.version,
            });
        }
        if target_vp == VP_NONE {
            return Err(RequestError::InvalidArgument {
                argument: "target virtual processor",
            });
        }
        self.queue.push_back(Purpose::Modify(key, target_vp));
        if agreement.version >= ProtocolVersion::V5_3 {
            if let Some(record) = self.record_mut(key) {
                record.modifying = Some(Modifying {
                    deadline: Some(deadline),
                });
            }
        } else {
            self.events.push_back(Event::Modified {
                channel: key,
                result: Ok(()),
            });
        }
        Ok(())
    }

    pub(super) fn handle_modified(
        &mut self,
        response: ModifyChannelResponse,
    ) -> Result<(), MessageError> {
        let message_type = MessageType::MODIFY_CHANNEL_RESPONSE;
        let record = self.named(message_type, response.channel_id)?;
        let channel = record.key(response.channel_id);
        let modifying = record
            .modifying
            .take()
            .ok_or(MessageError::UnexpectedReply { message_type })?;
        if modifying.deadline.is_some() {
            self.events.push_back(Event::Modified {
                channel,
                result: refused_unless(response.status.is_success(), response.status),
            });
        }
        Ok(())
    }

    /// Takes back a message that the hypervisor finally did not take. What depends on it fails.
    pub fn post_failed(&mut self, outgoing: &Outgoing) {
        self.counters.not_posted = self.counters.not_posted.saturating_add(1);
        if outgoing.session != self.session {
            return;
        }
        let error = RequestError::NotPosted;
        match outgoing.token {
            // Too late: the host has answered all the same, or time is up.
            Token::Contact(version) if !matches!(self.phase, Phase::Negotiating { proposed, .. } if proposed == version) =>
                {}
            // Hosts that do not know the version need not know its connection.
            Token::Contact(version) if version.has_message_connection() => self.propose_next(),
            Token::Contact(_) => self.connect_failed(ConnectError::NotPosted),
            Token::RequestOffers => self.connect_failed(ConnectError::NotPosted),
            Token::Open(channel) => {
                if let Some(record) = self.record_mut(channel) {
                    let waiting = matches!(record.link, Link::Opening { .. });
                    let abandoned = matches!(record.link, Link::Abandoned { .. });
                    if waiting || abandoned {
                        record.link = Link::Closed;
                    }
                    if waiting {
                        self.events.push_back(Event::Opened {
                            channel,
                            result: Err(error),
                        });
                    }
                    if abandoned {
                        self.teardown_all(channel, None);
                    }
                }
            }
            // The host goes on using the rings, so their memory must not be taken back.
            Token::Close(channel) => self.leak_channel(channel, error),
            Token::Gpadl { gpadl, first, .. } => self.gpadl_not_posted(gpadl, first),
            Token::Teardown(_, gpadl) => self.leak_gpadl(gpadl, error),
            Token::Modify(channel) => {
                if let Some(record) = self.record_mut(channel)
                    && let Some(modifying) = record.modifying.take()
                    && modifying.deadline.is_some()
                {
                    self.events.push_back(Event::Modified {
                        channel,
                        result: Err(error),
                    });
                }
            }
            // The host keeps the id; there is nothing else to it.
            Token::Release(_) => {}
            // A host may have answered all the same.
            Token::Unload if !matches!(self.phase, Phase::Unloading { .. }) => {}
            Token::Unload => self.unload_ended(false),
        }
    }

    /// The memory of a channel stays with the host.
    fn leak_channel(&mut self, channel: ChannelKey, reason: RequestError) {
        self.queue
            .retain(|purpose| !matches!(purpose, Purpose::Teardown(key, _) if *key == channel));
        let gpadls: alloc::vec::Vec<_> = self
            .gpadls
            .iter()
            .filter(|(_, record)| {
                record.channel == channel && matches!(record.state, GpadlState::TearingDown { .. })
            })
            .map(|(gpadl, _)| *gpadl)
            .collect();
        for gpadl in gpadls {
            self.leak_gpadl(gpadl, reason);
        }
    }
}

/// Success, or the host's status as an error.
pub(super) const fn refused_unless(success: bool, status: ReplyStatus) -> Result<(), RequestError> {
    if success {
        Ok(())
    } else {
        Err(RequestError::Refused { status })
    }
}
