//! What the front needs from an open channel.

use core::future::Future;
use core::task::Waker;

use vmbus_core::ring::{IncomingRing, OutgoingRing, RingMemory, Signal};

/// An open channel to a storage controller.
///
/// The channels of [`vmbus_core::bus`] are transports; so are a test's rings.
pub trait Transport: Send + 'static {
    /// Memory under the rings.
    type Memory: RingMemory;

    /// The guest's ends of both rings.
    fn rings(
        &mut self,
    ) -> (
        &mut OutgoingRing<Self::Memory>,
        &mut IncomingRing<Self::Memory>,
    );

    /// Interrupts the host if that is needed.
    fn signal_host(&mut self, signal: Signal);

    /// Whether the host has withdrawn the channel: no completion will come any more and the host
    /// no longer touches memory named by requests.
    fn is_rescinded(&self) -> bool;

    /// Has `waker` woken at the next interrupt of this channel and when it is rescinded. Each
    /// registration is good for one call at least. The waker must be called without locks held
    /// that the other methods take.
    fn register(&self, waker: &Waker);

    /// Closes the channel. `true`: the host has acknowledged it (or had rescinded the channel) and
    /// touches no memory of this channel any more.
    fn close(self) -> impl Future<Output = bool> + Send;
}
