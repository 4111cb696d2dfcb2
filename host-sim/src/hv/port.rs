//! Ports: where the guest's PostMessage and SignalEvent hypercalls arrive.
//!
//! A guest names a port by a connection id of 24 bits. The tables are only locked to look a port up: a port is called
//! with no lock held and may call back into the [`Hv`](super::Hv).

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use hypercall::call::{CONNECTION_ID_MAX, Status};

/// Receiver of the messages that the guest posts to one connection id.
pub trait MessagePort: Send + Sync {
    /// A message whose size and type the hypervisor has checked: `message_type` is neither zero nor one of the
    /// hypervisor's own (bit 31), `payload` has at most 240 bytes.
    ///
    /// The status goes to the guest: `SUCCESS`, or `INSUFFICIENT_BUFFERS` to make it try again later.
    fn post(&self, message_type: u32, payload: &[u8]) -> Status;
}

/// Receiver of the events that the guest signals to one connection id.
pub trait EventPort: Send + Sync {
    /// The guest has signalled `flag`, which is below [`EventPort::flag_count`]. The status goes to the guest.
    fn signal(&self, flag: u16) -> Status;

    /// How many event flags the port has.
    fn flag_count(&self) -> u16 {
        1
    }
}

/// Why a port cannot be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Connection ids have 24 bits.
    #[error("connection id {0:#x} has more than 24 bits")]
    InvalidConnectionId(u32),
    /// The id already leads to a port of this kind.
    #[error("connection id {0:#x} is in use")]
    InUse(u32),
}

/// Ports of one kind by connection id.
pub(super) struct PortTable<P: ?Sized> {
    ports: RwLock<BTreeMap<u32, Arc<P>>>,
}

impl<P: ?Sized> Default for PortTable<P> {
    fn default() -> Self {
        Self {
            ports: RwLock::new(BTreeMap::new()),
        }
    }
}

impl<P: ?Sized> PortTable<P> {
    pub(super) fn connect(&self, connection_id: u32, port: Arc<P>) -> Result<(), PortError> {
        if connection_id > CONNECTION_ID_MAX {
            return Err(PortError::InvalidConnectionId(connection_id));
        }
        let mut ports = self.ports.write().unwrap_or_else(PoisonError::into_inner);
        if ports.contains_key(&connection_id) {
            return Err(PortError::InUse(connection_id));
        }
        ports.insert(connection_id, port);
        Ok(())
    }

    /// Returns the port that was connected. A call into it that began before may still be running.
    pub(super) fn disconnect(&self, connection_id: u32) -> Option<Arc<P>> {
        self.ports
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&connection_id)
    }

    pub(super) fn find(&self, connection_id: u32) -> Option<Arc<P>> {
        self.ports
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&connection_id)
            .cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.ports
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}
