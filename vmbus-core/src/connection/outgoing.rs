//! Messages on their way to the host.

use super::{ChannelKey, Connection, Phase};
use crate::gpadl::GpadlMessages;
use crate::protocol::{
    CloseChannel, ContactTarget, GpadlId, GpadlTeardown, GuestMessage, InitiateContact,
    MessageBuffer, ModifyChannel, OpenChannel, RelIdReleased, RequestOffers, Unload, connection_id,
};
use crate::version::{FeatureFlags, ProtocolVersion};

/// Interrupt source of VMBus.
const VMBUS_SINT: u8 = 2;

/// What a message is for, in the order in which messages were asked for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    Contact(ProtocolVersion),
    RequestOffers,
    Open(ChannelKey, OpenChannel),
    Close(ChannelKey),
    Gpadl(ChannelKey, GpadlId, GpadlMessages),
    Teardown(ChannelKey, GpadlId),
    Modify(ChannelKey, u32),
    Release(ChannelKey),
    Unload,
}

impl Purpose {
    /// The channel that the message is about.
    pub(super) fn channel(&self) -> Option<ChannelKey> {
        match self {
            Self::Contact(_) | Self::RequestOffers | Self::Unload => None,
            Self::Open(key, _)
            | Self::Close(key)
            | Self::Gpadl(key, ..)
            | Self::Teardown(key, _)
            | Self::Modify(key, _)
            | Self::Release(key) => Some(*key),
        }
    }
}

/// What is left to do when a message could not be posted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token {
    Contact(ProtocolVersion),
    RequestOffers,
    Open(ChannelKey),
    Close(ChannelKey),
    Gpadl {
        channel: ChannelKey,
        gpadl: GpadlId,
        /// The host knows nothing of the GPADL yet.
        first: bool,
    },
    Teardown(ChannelKey, GpadlId),
    Modify(ChannelKey),
    Release(ChannelKey),
    Unload,
}

/// A message to be posted.
///
/// Messages must be posted in the order in which they were given out. One that the hypervisor does not
/// take is tried again, or given back to [`Connection::post_failed`].
#[derive(Clone, Debug)]
#[must_use = "a message that is neither posted nor given back is missed"]
pub struct Outgoing {
    pub(super) message: MessageBuffer,
    pub(super) connection_id: u32,
    pub(super) token: Token,
    pub(super) session: u64,
}

impl Outgoing {
    /// The connection to post to.
    #[must_use]
    pub const fn connection_id(&self) -> u32 {
        self.connection_id
    }

    /// The message.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.message.as_bytes()
    }

    /// Whether this is INITIATE_CONTACT: an unknown connection id then means that the host is too old for
    /// the proposed version, and is no reason to try again.
    #[must_use]
    pub fn is_initiate_contact(&self) -> bool {
        matches!(self.token, Token::Contact(_))
    }
}

impl Connection {
    /// The next message to be posted, if there is one.
    pub fn poll_outgoing(&mut self) -> Option<Outgoing> {
        loop {
            let outgoing = self.next_outgoing()?;
            if outgoing.is_some() {
                return outgoing;
            }
        }
    }

    /// Takes the next step of the queue; `None` at its end, `Some(None)` when the step gives no message.
    fn next_outgoing(&mut self) -> Option<Option<Outgoing>> {
        let mut purpose = self.queue.pop_front()?;
        let connection_id = match &purpose {
            Purpose::Contact(version) if version.has_message_connection() => {
                self.options.contact_connection
            }
            Purpose::Contact(_) => connection_id::MESSAGE,
            _ => self.message_connection,
        };
        let mut message = MessageBuffer::new();
        let (token, emitted) = match &mut purpose {
            Purpose::Contact(version) => {
                let contact = self.contact(*version);
                (
                    Token::Contact(*version),
                    GuestMessage::from(contact).emit(&mut message),
                )
            }
            Purpose::RequestOffers => (
                Token::RequestOffers,
                GuestMessage::from(RequestOffers {}).emit(&mut message),
            ),
            Purpose::Open(key, open) => (
                Token::Open(*key),
                GuestMessage::from(*open).emit(&mut message),
            ),
            Purpose::Close(key) => (
                Token::Close(*key),
                GuestMessage::from(CloseChannel { channel_id: key.id }).emit(&mut message),
            ),
            Purpose::Gpadl(channel, gpadl, messages) => {
                let token = Token::Gpadl {
                    channel: *channel,
                    gpadl: *gpadl,
                    first: messages.is_unstarted(),
                };
                let Some(next) = messages.next() else {
                    return Some(None);
                };
                (token, next.emit(&mut message))
            }
            Purpose::Teardown(key, gpadl_id) => (
                Token::Teardown(*key, *gpadl_id),
                GuestMessage::from(GpadlTeardown {
                    channel_id: key.id,
                    gpadl_id: *gpadl_id,
                })
                .emit(&mut message),
            ),
            Purpose::Modify(key, target_vp) => (
                Token::Modify(*key),
                GuestMessage::from(ModifyChannel {
                    channel_id: key.id,
                    target_vp: *target_vp,
                })
                .emit(&mut message),
            ),
            Purpose::Release(key) => (
                Token::Release(*key),
                GuestMessage::from(RelIdReleased { channel_id: key.id }).emit(&mut message),
            ),
            Purpose::Unload => (
                Token::Unload,
                GuestMessage::from(Unload {}).emit(&mut message),
            ),
        };
        debug_assert!(emitted.is_ok(), "GPADL lists are cut to fit");
        self.posting(&token);
        if matches!(&purpose, Purpose::Gpadl(_, _, messages) if !messages.is_finished()) {
            self.queue.push_front(purpose);
        }
        Some(Some(Outgoing {
            message,
            connection_id,
            token,
            session: self.session,
        }))
    }

    /// What follows from a message being given out.
    fn posting(&mut self, token: &Token) {
        match *token {
            // The host may use the id again from the moment it reads the message.
            Token::Release(key) => {
                self.channels.remove(&key.id);
            }
            Token::Unload => self.unload_posted(),
            _ => {}
        }
    }

    fn contact(&self, version: ProtocolVersion) -> InitiateContact {
        let options = &self.options;
        let features = if version.has_feature_flags() {
            self.wanted_features()
        } else {
            FeatureFlags::empty()
        };
        InitiateContact {
            version: version.wire(),
            target_message_vp: options.message_vp,
            target: if version.has_message_connection() {
                ContactTarget::Signal {
                    sint: VMBUS_SINT,
                    vtl: 0,
                    features,
                }
            } else {
                ContactTarget::InterruptPage(options.interrupt_page)
            },
            monitor_pages: options.monitor_pages,
            client_id: options
                .client_id
                .filter(|_| features.contains(FeatureFlags::CLIENT_ID)),
        }
    }

    /// Whether a message that was given out has lost its sense, because the connection or the channel that
    /// it is about has gone meanwhile: it must not be posted (again).
    #[must_use]
    pub fn is_obsolete(&self, outgoing: &Outgoing) -> bool {
        if outgoing.session != self.session {
            return true;
        }
        match outgoing.token {
            Token::Contact(version) => !matches!(
                self.phase,
                Phase::Negotiating { proposed, .. } if proposed == version
            ),
            Token::Open(key) => !self.is_opening(key),
            Token::Gpadl { channel, .. } => self.live(channel).is_err(),
            Token::Teardown(key, _) | Token::Modify(key) | Token::Close(key) => {
                self.live(key).is_err()
            }
            Token::RequestOffers | Token::Release(_) | Token::Unload => false,
        }
    }
}
