//! Making and ending the connection.

use super::{Agreement, ConnectError, Connection, Departure, Event, Purpose, RequestError};
use crate::connection::channels::Link;
use crate::connection::memory::GpadlState;
use crate::protocol::{ConnectionState, VersionResponse, connection_id};
use crate::version::{FeatureFlags, ProtocolVersion};

/// Where the connection stands.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    Disconnected,
    Negotiating {
        proposed: ProtocolVersion,
        deadline: u64,
    },
    Connected {
        agreement: Agreement,
        offers_delivered: bool,
    },
    Unloading {
        deadline: u64,
        /// The host's version has an answer to UNLOAD.
        answered: bool,
    },
}

impl Connection {
    /// Connects, or connects anew: what there was of an earlier connection is gone, as for the host.
    ///
    /// Proposes the versions of the options one by one, the newest first. The outcome is
    /// [`Event::Connected`] or [`Event::ConnectFailed`], the latter at the latest when `deadline` has
    /// passed. An earlier attempt is given up without an event. Offers are asked for as soon as the
    /// connection stands.
    pub fn connect(&mut self, deadline: u64) {
        self.abandon_session();
        let (newest, oldest) = (self.options.newest, self.options.oldest);
        match ProtocolVersion::between(newest, oldest).next() {
            Some(version) => self.propose(version, deadline),
            None => self.connect_failed(ConnectError::NoVersions),
        }
    }

    fn propose(&mut self, version: ProtocolVersion, deadline: u64) {
        self.phase = Phase::Negotiating {
            proposed: version,
            deadline,
        };
        self.queue.push_back(Purpose::Contact(version));
    }

    /// The proposed version was refused: the next one.
    pub(super) fn propose_next(&mut self) {
        let Phase::Negotiating { proposed, deadline } = self.phase else {
            return;
        };
        let mut older =
            ProtocolVersion::between(proposed, self.options.oldest).filter(|v| *v < proposed);
        match older.next() {
            Some(version) => self.propose(version, deadline),
            None => self.connect_failed(ConnectError::Refused { oldest: proposed }),
        }
    }

    pub(super) fn connect_failed(&mut self, error: ConnectError) {
        self.phase = Phase::Disconnected;
        self.queue.clear();
        self.events.push_back(Event::ConnectFailed(error));
    }

    /// Features to ask for.
    pub(super) fn wanted_features(&self) -> FeatureFlags {
        let mut features = self.options.features & Self::IMPLEMENTED_FEATURES;
        features.set(FeatureFlags::CLIENT_ID, self.options.client_id.is_some());
        features
    }

    pub(super) fn handle_version_response(&mut self, response: &VersionResponse) {
        let Phase::Negotiating { proposed, .. } = self.phase else {
            return;
        };
        if !response.supported {
            self.propose_next();
            return;
        }
        match self.check_response(proposed, response) {
            Ok(agreement) => self.connected(agreement),
            Err(error) => self.connect_failed(error),
        }
    }

    fn check_response(
        &self,
        version: ProtocolVersion,
        response: &VersionResponse,
    ) -> Result<Agreement, ConnectError> {
        let invalid = |field, value| ConnectError::InvalidResponse {
            version,
            field,
            value,
        };
        // Before 2.4 the byte was reserved, whatever it holds.
        let state = if version >= ProtocolVersion::V2_4 {
            response.connection_state
        } else {
            ConnectionState::SUCCESS
        };
        if !state.is_success() {
            return Err(ConnectError::Failed { version, state });
        }
        let value = response.version_or_connection_id;
        let message_connection = if version.has_message_connection() {
            if value == 0 || value & !connection_id::MASK != 0 {
                return Err(invalid("message connection id", value.into()));
            }
            value
        } else {
            if value != version.wire() {
                return Err(invalid("version", value.into()));
            }
            connection_id::MESSAGE
        };
        let mut features = FeatureFlags::empty();
        if version.has_feature_flags() {
            features = response.features.unwrap_or_default();
            if !self.wanted_features().contains(features) {
                return Err(invalid("feature flags", features.bits().into()));
            }
        }
        Ok(Agreement {
            version,
            features,
            message_connection,
        })
    }

    fn connected(&mut self, agreement: Agreement) {
        self.phase = Phase::Connected {
            agreement,
            offers_delivered: false,
        };
        self.message_connection = agreement.message_connection;
        // By its answer the host says that it is done with everything of earlier connections.
        self.release_all_memory();
        self.events.push_back(Event::Connected(agreement));
        self.queue.push_back(Purpose::RequestOffers);
    }

    /// Ends the connection: everything is closed. The outcome is [`Event::Unloaded`], at the latest when
    /// `deadline` has passed.
    ///
    /// # Errors
    /// [`RequestError::Disconnected`] without a connection.
    pub fn unload(&mut self, deadline: u64) -> Result<(), RequestError> {
        let Phase::Connected { agreement, .. } = self.phase else {
            return Err(RequestError::Disconnected);
        };
        self.abandon_session();
        self.phase = Phase::Unloading {
            deadline,
            answered: agreement.version >= ProtocolVersion::V1_1,
        };
        self.queue.push_back(Purpose::Unload);
        Ok(())
    }

    pub(super) fn unload_posted(&mut self) {
        // Hosts of version 0.13 have no answer.
        if let Phase::Unloading {
            answered: false, ..
        } = self.phase
        {
            self.unload_ended(false);
        }
    }

    pub(super) fn unload_confirmed(&mut self) {
        self.release_all_memory();
        self.unload_ended(true);
    }

    pub(super) fn unload_ended(&mut self, confirmed: bool) {
        self.phase = Phase::Disconnected;
        self.events.push_back(Event::Unloaded { confirmed });
        if !confirmed {
            self.leak_all_memory();
        }
    }

    /// Forgets everything of this connection and tells those who wait.
    ///
    /// GPADLs stay: the host may still see the memory.
    fn abandon_session(&mut self) {
        self.session = self.session.wrapping_add(1);
        self.late.clear();
        // A GPADL of which the host has not heard is not its to see.
        let unsent: alloc::vec::Vec<_> = self
            .queue
            .drain(..)
            .filter_map(|purpose| match purpose {
                Purpose::Gpadl(_, gpadl, messages) if messages.is_unstarted() => Some(gpadl),
                _ => None,
            })
            .collect();
        for (gpadl, record) in &mut self.gpadls {
            if let GpadlState::Creating { deadline: Some(_) } = record.state {
                record.state = GpadlState::Creating { deadline: None };
                self.events.push_back(Event::GpadlCreated {
                    gpadl: *gpadl,
                    result: Err(RequestError::Disconnected),
                });
            }
        }
        for gpadl in unsent {
            self.gpadls.remove(&gpadl);
            self.events.push_back(Event::GpadlReleased(gpadl));
        }
        for (id, record) in core::mem::take(&mut self.channels) {
            let channel = record.key(id);
            if record
                .modifying
                .is_some_and(|waiting| waiting.deadline.is_some())
            {
                self.events.push_back(Event::Modified {
                    channel,
                    result: Err(RequestError::Disconnected),
                });
            }
            if let Link::Opening { .. } = record.link {
                self.events.push_back(Event::Opened {
                    channel,
                    result: Err(RequestError::Disconnected),
                });
            }
            if !record.gone {
                self.events.push_back(Event::Gone {
                    channel,
                    departure: Departure::Disconnected,
                });
            }
        }
    }
}
