//! Control messages that guests send.

use super::control::{self, ControlError, InitializeRequest, RequestHeader, fields, information};
use super::{MessageType, parse_header};
use crate::wire::ndis::Oid;

/// A control message of the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// Begins.
    Initialize(InitializeRequest),
    /// Ends; not answered.
    Halt {
        /// Means nothing.
        request_id: u32,
    },
    /// Asks.
    Query {
        /// Comes back in the answer.
        request_id: u32,
        /// What is asked.
        oid: Oid,
        /// What the question comes with; its length is what the guest expects of an answer's.
        information: &'a [u8],
    },
    /// Sets.
    Set {
        /// Comes back in the answer.
        request_id: u32,
        /// What is set.
        oid: Oid,
        /// To what.
        information: &'a [u8],
    },
    /// Resets the adapter.
    Reset,
    /// Asks whether the host is there.
    Keepalive {
        /// Comes back in the answer.
        request_id: u32,
    },
}

/// Bytes of the fields of queries and sets.
const REQUEST_FIELDS: u32 = size_of::<RequestHeader>() as u32;

impl<'a> Request<'a> {
    /// Reads the message at the front of `bytes`.
    ///
    /// # Errors
    /// It is none of a guest's control messages, or its lengths and offsets are wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ControlError> {
        let (message_type, message) = parse_header(bytes)?;
        let request_id = || -> Result<u32, ControlError> {
            fields::<zerocopy::little_endian::U32>(message_type, message).map(|id| id.get())
        };
        let oid_request = || -> Result<(u32, Oid, &'a [u8]), ControlError> {
            let header: RequestHeader = fields(message_type, message)?;
            let information = information(
                message_type,
                message,
                REQUEST_FIELDS,
                header.information_offset.get(),
                header.information_length.get(),
            )?;
            Ok((header.request_id.get(), Oid(header.oid.get()), information))
        };
        match message_type {
            MessageType::INITIALIZE => Ok(Self::Initialize(fields(message_type, message)?)),
            MessageType::HALT => Ok(Self::Halt {
                request_id: request_id()?,
            }),
            MessageType::QUERY => {
                let (request_id, oid, information) = oid_request()?;
                Ok(Self::Query {
                    request_id,
                    oid,
                    information,
                })
            }
            MessageType::SET => {
                let (request_id, oid, information) = oid_request()?;
                Ok(Self::Set {
                    request_id,
                    oid,
                    information,
                })
            }
            MessageType::RESET => Ok(Self::Reset),
            MessageType::KEEPALIVE => Ok(Self::Keepalive {
                request_id: request_id()?,
            }),
            _ => Err(ControlError::Unexpected { message_type }),
        }
    }

    /// Lays the message out at the front of `into` and returns its bytes; `None` if they do not fit.
    pub fn emit<'b>(&self, into: &'b mut [u8]) -> Option<&'b [u8]> {
        use zerocopy::little_endian::U32;
        let oid_request = |request_id: u32, oid: Oid, information: &[u8]| {
            Some(RequestHeader {
                request_id: request_id.into(),
                oid: oid.0.into(),
                information_length: u32::try_from(information.len()).ok()?.into(),
                // Real hosts refuse 0, even where nothing follows.
                information_offset: REQUEST_FIELDS.into(),
                vc_handle: 0.into(),
            })
        };
        match *self {
            Self::Initialize(fields) => control::emit(into, MessageType::INITIALIZE, &fields, &[]),
            Self::Halt { request_id } => {
                control::emit(into, MessageType::HALT, &U32::new(request_id), &[])
            }
            Self::Query {
                request_id,
                oid,
                information,
            } => {
                let fields = oid_request(request_id, oid, information)?;
                control::emit(into, MessageType::QUERY, &fields, information)
            }
            Self::Set {
                request_id,
                oid,
                information,
            } => {
                let fields = oid_request(request_id, oid, information)?;
                control::emit(into, MessageType::SET, &fields, information)
            }
            Self::Reset => control::emit(into, MessageType::RESET, &U32::ZERO, &[]),
            Self::Keepalive { request_id } => {
                control::emit(into, MessageType::KEEPALIVE, &U32::new(request_id), &[])
            }
        }
    }
}
