//! Control messages that hosts send.

use super::control::{
    self, ControlError, IndicateStatus, InitializeComplete, QueryComplete, ResetComplete,
    StatusComplete, fields, information,
};
use super::{MessageType, Status, parse_header};

/// A control message of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply<'a> {
    /// Answer to an initialisation.
    InitializeComplete(InitializeComplete),
    /// Answer to a query.
    QueryComplete {
        /// The request's.
        request_id: u32,
        /// Whether there is an answer.
        status: Status,
        /// The answer.
        information: &'a [u8],
    },
    /// Answer to a set.
    SetComplete {
        /// The request's.
        request_id: u32,
        /// Whether it was set.
        status: Status,
    },
    /// Answer to a reset.
    ResetComplete {
        /// Whether the adapter was reset.
        status: Status,
        /// The guest has to set its filters anew.
        addressing_reset: bool,
    },
    /// Answer to the question whether the host is there.
    KeepaliveComplete {
        /// The request's.
        request_id: u32,
        /// How it is.
        status: Status,
    },
    /// Something changed.
    Indicate {
        /// What.
        status: Status,
        /// To what.
        information: &'a [u8],
    },
}

const QUERY_FIELDS: u32 = size_of::<QueryComplete>() as u32;
const INDICATE_FIELDS: u32 = size_of::<IndicateStatus>() as u32;

impl<'a> Reply<'a> {
    /// Reads the message at the front of `bytes`, which are all that the host has sent in its range.
    ///
    /// # Errors
    /// It is none of a host's control messages, or its lengths and offsets are wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ControlError> {
        let (message_type, message) = parse_header(bytes)?;
        match message_type {
            MessageType::INITIALIZE_COMPLETE => {
                Ok(Self::InitializeComplete(fields(message_type, message)?))
            }
            MessageType::QUERY_COMPLETE => {
                let header: QueryComplete = fields(message_type, message)?;
                Ok(Self::QueryComplete {
                    request_id: header.request_id.get(),
                    status: Status(header.status.get()),
                    information: information(
                        message_type,
                        message,
                        QUERY_FIELDS,
                        header.information_offset.get(),
                        header.information_length.get(),
                    )?,
                })
            }
            MessageType::SET_COMPLETE | MessageType::KEEPALIVE_COMPLETE => {
                let complete: StatusComplete = fields(message_type, message)?;
                let request_id = complete.request_id.get();
                let status = Status(complete.status.get());
                Ok(if message_type == MessageType::SET_COMPLETE {
                    Self::SetComplete { request_id, status }
                } else {
                    Self::KeepaliveComplete { request_id, status }
                })
            }
            MessageType::RESET_COMPLETE => {
                let complete: ResetComplete = fields(message_type, message)?;
                Ok(Self::ResetComplete {
                    status: Status(complete.status.get()),
                    addressing_reset: complete.addressing_reset.get() != 0,
                })
            }
            MessageType::INDICATE_STATUS => {
                let header: IndicateStatus = fields(message_type, message)?;
                // Old hosts leave the information out of the message's length: the range bounds it.
                Ok(Self::Indicate {
                    status: Status(header.status.get()),
                    information: information(
                        message_type,
                        bytes,
                        INDICATE_FIELDS,
                        header.information_offset.get(),
                        header.information_length.get(),
                    )?,
                })
            }
            _ => Err(ControlError::Unexpected { message_type }),
        }
    }

    /// Lays the message out at the front of `into` and returns its bytes; `None` if they do not fit.
    pub fn emit<'b>(&self, into: &'b mut [u8]) -> Option<&'b [u8]> {
        let status_complete = |request_id: u32, status: Status| StatusComplete {
            request_id: request_id.into(),
            status: status.0.into(),
        };
        match *self {
            Self::InitializeComplete(fields) => {
                control::emit(into, MessageType::INITIALIZE_COMPLETE, &fields, &[])
            }
            Self::QueryComplete {
                request_id,
                status,
                information,
            } => {
                let fields = QueryComplete {
                    request_id: request_id.into(),
                    status: status.0.into(),
                    information_length: u32::try_from(information.len()).ok()?.into(),
                    information_offset: QUERY_FIELDS.into(),
                };
                control::emit(into, MessageType::QUERY_COMPLETE, &fields, information)
            }
            Self::SetComplete { request_id, status } => control::emit(
                into,
                MessageType::SET_COMPLETE,
                &status_complete(request_id, status),
                &[],
            ),
            Self::KeepaliveComplete { request_id, status } => control::emit(
                into,
                MessageType::KEEPALIVE_COMPLETE,
                &status_complete(request_id, status),
                &[],
            ),
            Self::ResetComplete {
                status,
                addressing_reset,
            } => {
                let fields = ResetComplete {
                    status: status.0.into(),
                    addressing_reset: u32::from(addressing_reset).into(),
                };
                control::emit(into, MessageType::RESET_COMPLETE, &fields, &[])
            }
            Self::Indicate {
                status,
                information,
            } => {
                let fields = IndicateStatus {
                    status: status.0.into(),
                    information_length: u32::try_from(information.len()).ok()?.into(),
                    information_offset: if information.is_empty() {
                        0
                    } else {
                        INDICATE_FIELDS
                    }
                    .into(),
                };
                control::emit(into, MessageType::INDICATE_STATUS, &fields, information)
            }
        }
    }
}
