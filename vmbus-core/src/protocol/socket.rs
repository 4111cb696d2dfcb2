//! Connection requests of sockets between guest and host.

use zerocopy::little_endian::U32;

use super::layout::{Body, messages, take};
use super::{MessageBuffer, MessageError, MessageType, ReplyStatus};
use crate::guid::Guid;

messages! {
    /// The host answers a socket request that failed.
    TlConnectResult = TL_CONNECT_RESULT, 44 {
        /// The guest's endpoint.
        endpoint_id: Guid => Guid,
        /// The host's service.
        service_id: Guid => Guid,
        /// Why.
        status: ReplyStatus => U32,
    }
}

/// The guest asks for a socket to a service of the host. Success is an offer, failure a
/// [`TlConnectResult`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TlConnectRequest {
    /// The guest's endpoint: fresh for each request.
    pub endpoint_id: Guid,
    /// The host's service.
    pub service_id: Guid,
    /// The silo, in the 56-byte form that 5.2 and later use.
    pub silo_id: Option<Guid>,
}

impl Body<'_> for TlConnectRequest {
    const TYPE: MessageType = MessageType::TL_CONNECT_REQUEST;

    fn read(body: &[u8]) -> Result<Self, MessageError> {
        let ([endpoint_id, service_id], rest) = take::<[Guid; 2]>(Self::TYPE, body)?;
        Ok(Self {
            endpoint_id,
            service_id,
            silo_id: take::<Guid>(Self::TYPE, rest).ok().map(|(silo, _)| silo),
        })
    }

    fn write(&self, buffer: &mut MessageBuffer) -> Result<(), MessageError> {
        buffer.append_wire(&[self.endpoint_id, self.service_id]);
        if let Some(silo_id) = self.silo_id {
            buffer.append_wire(&silo_id);
        }
        Ok(())
    }
}
