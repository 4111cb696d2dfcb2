//! Connecting, negotiating, disconnecting.

use vmbus_core::protocol::{
    AllOffersDelivered, ConnectionState, ContactTarget, HostMessage, InitiateContact,
    ModifyConnection, ModifyConnectionResponse, MonitorPages, PauseResponse, UnloadResponse,
    VersionResponse, connection_id,
};
use vmbus_core::version::{FeatureFlags, ProtocolVersion};

use super::effect::Effect;
use super::{Server, VMBUS_SINT};

/// What both ends agreed on.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) version: ProtocolVersion,
    pub(super) features: FeatureFlags,
    pub(super) message_vp: u32,
    pub(super) message_sint: u8,
    pub(super) interrupt_page: Option<u64>,
    pub(super) offers_requested: bool,
    pub(super) paused: bool,
}

/// What follows when everything is closed.
#[derive(Clone, Debug)]
pub(super) enum Next {
    Nothing,
    Unloaded,
    /// A guest that never said goodbye connects anew; where from.
    Contact(InitiateContact, Reply),
}

/// Where the answer to INITIATE_CONTACT goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    vp: u32,
    sint: u8,
}

#[derive(Debug)]
pub(super) enum Connection {
    Disconnected,
    Connected(Session),
    Disconnecting { session: Session, next: Next },
}

impl Connection {
    /// The session, also while it ends.
    pub(super) fn session(&self) -> Option<&Session> {
        match self {
            Self::Disconnected => None,
            Self::Connected(session) | Self::Disconnecting { session, .. } => Some(session),
        }
    }

    pub(super) fn is_disconnecting(&self) -> bool {
        matches!(self, Self::Disconnecting { .. })
    }
}

impl Server {
    pub(super) fn initiate_contact(&mut self, connection_id: u32, contact: &InitiateContact) {
        let honours_vp = contact.version >= ProtocolVersion::V3_0.wire();
        let vp = if honours_vp {
            contact.target_message_vp
        } else {
            0
        };
        let mut reply = Reply {
            vp,
            sint: VMBUS_SINT,
        };
        if let ContactTarget::Signal {
            sint,
            vtl,
            features,
        } = contact.target
        {
            if features.contains(FeatureFlags::CLIENT_ID)
                && contact.version >= ProtocolVersion::V6_0.wire()
                && contact.client_id.is_none()
            {
                return self.unexpected("the client's id is missing");
            }
            if connection_id == connection_id::MESSAGE_MULTI_CLIENT {
                if vtl != 0 {
                    return self.unexpected("there is no server for this VTL");
                }
                if sint >= 16 {
                    return self.unexpected("there is no such interrupt source");
                }
                reply.sint = sint;
            }
        }
        match self.connection {
            Connection::Disconnected => self.connect(contact, reply),
            _ => self.disconnect(Next::Contact(*contact, reply)),
        }
    }

    /// Answers a request for a connection; everything of an earlier one is gone.
    fn connect(&mut self, contact: &InitiateContact, reply: Reply) {
        let answer = self.negotiate(contact, reply);
        let vp = if reply.vp < self.config.vp_count {
            reply.vp
        } else {
            0
        };
        self.effects.push_back(Effect::Message {
            vp,
            sint: reply.sint,
            message: HostMessage::VersionResponse(answer),
        });
    }

    fn negotiate(&mut self, contact: &InitiateContact, reply: Reply) -> VersionResponse {
        let Some(version) = ProtocolVersion::try_from(contact.version)
            .ok()
            .filter(|version| (self.config.oldest..=self.config.newest).contains(version))
        else {
            return VersionResponse::UNSUPPORTED;
        };
        if reply.sint != VMBUS_SINT {
            return VersionResponse::UNSUPPORTED;
        }
        if contact.monitor_pages.is_incomplete() || reply.vp >= self.config.vp_count {
            // Guests before 2.4 don't know of the state.
            return if version.has_channel_event_flags() {
                VersionResponse {
                    supported: true,
                    connection_state: ConnectionState::UNKNOWN_FAILURE,
                    ..VersionResponse::UNSUPPORTED
                }
            } else {
                VersionResponse::UNSUPPORTED
            };
        }
        let (mut features, mut interrupt_page) = (FeatureFlags::empty(), None);
        match contact.target {
            ContactTarget::InterruptPage(page) => interrupt_page = (page != 0).then_some(page),
            ContactTarget::Signal {
                features: asked, ..
            } if version.has_feature_flags() => {
                features = asked & self.config.features;
            }
            ContactTarget::Signal { .. } => {}
        }
        self.counters.connections += 1;
        tracing::debug!(%version, ?features, vp = reply.vp, "guest connected");
        self.connection = Connection::Connected(Session {
            version,
            features,
            message_vp: reply.vp,
            message_sint: reply.sint,
            interrupt_page,
            offers_requested: false,
            paused: false,
        });
        VersionResponse {
            supported: true,
            connection_state: ConnectionState::SUCCESS,
            version_or_connection_id: if version.has_message_connection() {
                connection_id::MESSAGE
            } else {
                version.wire()
            },
            features: version.has_feature_flags().then_some(features),
            monitor_pages: None,
        }
    }

    /// Closes everything; `next` follows when the last channel is closed.
    pub(super) fn disconnect(&mut self, next: Next) {
        self.connection = match std::mem::replace(&mut self.connection, Connection::Disconnected) {
            Connection::Disconnected => return,
            Connection::Connected(session) | Connection::Disconnecting { session, .. } => {
                Connection::Disconnecting {
                    session: Session {
                        paused: false,
                        ..session
                    },
                    next,
                }
            }
        };
        self.held.clear();
        self.close_all();
        self.finish_disconnect();
    }

    /// Completes a disconnection if no channel is left.
    pub(super) fn finish_disconnect(&mut self) {
        if !self.connection.is_disconnecting() || !self.channels.is_empty() {
            return;
        }
        self.gpadls.clear();
        let Connection::Disconnecting { session, next } =
            std::mem::replace(&mut self.connection, Connection::Disconnected)
        else {
            return;
        };
        match next {
            Next::Nothing => {}
            Next::Unloaded => {
                if session.version >= ProtocolVersion::V1_1 {
                    self.effects.push_back(Effect::Message {
                        vp: session.message_vp,
                        sint: session.message_sint,
                        message: UnloadResponse {}.into(),
                    });
                }
            }
            Next::Contact(contact, reply) => self.connect(&contact, reply),
        }
    }

    pub(super) fn request_offers(&mut self) {
        let Connection::Connected(session) = &mut self.connection else {
            return;
        };
        if std::mem::replace(&mut session.offers_requested, true) {
            return self.unexpected("offers are sent once");
        }
        // By class, then in the order of configuration: ids are stable over reconnects, which some guests
        // rely on after hibernation.
        let mut devices: Vec<_> = self
            .devices
            .iter()
            .map(|(id, device)| (device.description.interface, *id))
            .collect();
        devices.sort_unstable();
        for (_, device) in devices {
            self.offer(device, 0);
        }
        self.send(AllOffersDelivered {});
    }

    pub(super) fn pause(&mut self) {
        self.send(PauseResponse {});
        if let Connection::Connected(session) = &mut self.connection {
            session.paused = true;
        }
    }

    pub(super) fn resume(&mut self) {
        match &mut self.connection {
            Connection::Connected(session) if session.paused => session.paused = false,
            _ => return self.unexpected("the connection is not paused"),
        }
        self.effects.append(&mut self.held);
    }

    pub(super) fn modify_connection(&mut self, modify: &ModifyConnection) {
        let pages = MonitorPages {
            parent_to_child: modify.parent_to_child_page,
            child_to_parent: modify.child_to_parent_page,
        };
        // No channel is offered with monitored notification, so the pages are checked and not used.
        let connection_state = if pages.is_incomplete() {
            ConnectionState::UNKNOWN_FAILURE
        } else {
            ConnectionState::SUCCESS
        };
        self.send(ModifyConnectionResponse { connection_state });
    }
}
