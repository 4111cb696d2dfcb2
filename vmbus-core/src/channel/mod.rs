//! Channels as device drivers use them.

mod event;
mod memory;
mod open;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use hypercall::Processor;

pub use event::{ChannelEvent, ChannelGone, ChannelWait};
pub use memory::{ChannelRing, LentMemory};

use crate::bus::{Offer, ReplyKey, Shared, SharedMemory};
use crate::connection::{ChannelKey, RequestError};
use crate::platform::Runtime;
use crate::protocol::{ChannelId, GpadlId};
use crate::ring::{IncomingRing, OutgoingRing, Signal};

/// How the host is signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// By the channel's own connection.
    Dedicated(u32),
    /// By the shared connection and the interrupt page.
    Shared,
    /// By the monitor page.
    Monitored(u8),
}

/// The parts of a channel that a driver works with at a time.
#[derive(Debug)]
pub struct Parts<'a, R: Runtime> {
    /// The ring to the host.
    pub outgoing: &'a mut OutgoingRing<ChannelRing<R>>,
    /// The ring from the host.
    pub incoming: &'a mut IncomingRing<ChannelRing<R>>,
    /// A private buffer for the largest packet that the host may send.
    pub buffer: &'a mut [u8],
}

/// An open channel.
///
/// Closing it gives the memory back in the order that the protocol demands. Dropping it does the same in
/// the background, as the bus is dispatched.
pub struct Channel<R: Runtime, C: Processor> {
    shared: Arc<Shared<R, C>>,
    key: ChannelKey,
    offer: Offer,
    event: Arc<ChannelEvent>,
    outgoing: OutgoingRing<ChannelRing<R>>,
    incoming: IncomingRing<ChannelRing<R>>,
    buffer: Box<[u8]>,
    ring_gpadl: GpadlId,
    route: Route,
    signals: AtomicU64,
    closed: bool,
}

impl<R: Runtime, C: Processor> fmt::Debug for Channel<R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("key", &self.key)
            .field("route", &self.route)
            .field("signals", &self.signals)
            .finish_non_exhaustive()
    }
}

impl<R: Runtime, C: Processor> Channel<R, C> {
    /// The offer that was opened.
    #[must_use]
    pub const fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Id of the channel on this connection.
    #[must_use]
    pub const fn id(&self) -> ChannelId {
        self.key.id()
    }

    /// The rings: to the host, from the host.
    pub const fn rings(
        &mut self,
    ) -> (
        &mut OutgoingRing<ChannelRing<R>>,
        &mut IncomingRing<ChannelRing<R>>,
    ) {
        (&mut self.outgoing, &mut self.incoming)
    }

    /// The rings and the receive buffer.
    pub const fn parts(&mut self) -> Parts<'_, R> {
        Parts {
            outgoing: &mut self.outgoing,
            incoming: &mut self.incoming,
            buffer: &mut self.buffer,
        }
    }

    /// The channel's interrupts.
    #[must_use]
    pub fn event(&self) -> Arc<ChannelEvent> {
        self.event.clone()
    }

    /// Whether the channel is gone; then only closing (or dropping) it is left.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.event.is_gone()
    }

    /// Signals the host if a ring says that this is needed.
    pub fn signal_host(&self, signal: Signal) {
        if !signal.is_needed() || self.event.is_gone() {
            return;
        }
        self.signals.fetch_add(1, Ordering::Relaxed);
        // A failure means that the channel is ending, of which the event tells.
        let _ = match self.route {
            Route::Dedicated(connection) => self.shared.signal_event(connection),
            Route::Shared => self.shared.signal_shared(self.key.id()),
            Route::Monitored(monitor_id) => {
                self.shared.signal_monitor(self.key.id(), monitor_id);
                Ok(())
            }
        };
    }

    /// Number of times that the host was signalled.
    #[must_use]
    pub fn signals_sent(&self) -> u64 {
        self.signals.load(Ordering::Relaxed)
    }

    /// The sub-channels of the device that are offered now, by index.
    #[must_use]
    pub fn sub_channels(&self) -> Vec<Offer> {
        sub_channels(&self.shared.state.lock(), &self.offer)
    }

    /// Waits until the device has offered at least `count` sub-channels, and gives the first `count` by
    /// index. A host that offers more than were asked for has the others ignored.
    ///
    /// # Errors
    /// [`RequestError::TimedOut`] when they do not come in the time for requests, and
    /// [`RequestError::Rescinded`] when the channel is gone.
    pub async fn wait_sub_channels(&self, count: usize) -> Result<Vec<Offer>, RequestError> {
        self.shared
            .wait_offers(|state| {
                if self.event.is_gone() {
                    return Some(Err(RequestError::Rescinded));
                }
                let mut offers = sub_channels(state, &self.offer);
                (offers.len() >= count).then(|| {
                    offers.truncate(count);
                    Ok(offers)
                })
            })
            .await?
    }

    /// Moves the channel's interrupts to another virtual processor (protocol 4.1 and later). Before 5.3,
    /// the old one may be interrupted for a while yet.
    ///
    /// # Errors
    /// [`RequestError`] with the reason.
    pub async fn set_target_vp(&self, vp_index: u32) -> Result<(), RequestError> {
        let shared = &*self.shared;
        let key = ReplyKey::Modified(self.key);
        let _waiting = shared.expect(key);
        shared.with(|state, now| {
            let deadline = Shared::<R, C>::request_deadline(state, now);
            state.connection.modify(self.key, vp_index, deadline)
        })?;
        shared.request_reply(key).await
    }

    /// Closes the channel and gives its memory back; sub-channels that are still open are closed first.
    /// The offer stays, and can be opened again. A channel that is gone is let go.
    ///
    /// # Errors
    /// [`RequestError`] when the host does not give the memory of the rings back: it is leaked.
    pub async fn close(mut self) -> Result<(), RequestError> {
        self.closed = true;
        let key = ReplyKey::Released(self.ring_gpadl);
        let shared = self.shared.clone();
        let _waiting = shared.expect(key);
        let gpadl = self.ring_gpadl;
        let awaited = shared.with(|state, now| {
            shared.forget_interrupts(state, self.key);
            let deadline = Shared::<R, C>::request_deadline(state, now);
            state.connection.close(self.key, deadline);
            state.connection.is_taking_back(gpadl)
        });
        drop(self);
        if awaited {
            return shared.request_reply(key).await;
        }
        // Given back with the end of the channel, or not to be hoped for after the end of the connection.
        let lent = shared.with(|state, _| state.memory.contains_key(&gpadl));
        if lent {
            Err(RequestError::Disconnected)
        } else {
            Ok(())
        }
    }
}

fn sub_channels<R: Runtime>(state: &crate::bus::State<R>, primary: &Offer) -> Vec<Offer> {
    let mut offers = state.offers(|view| view.primary == Some(primary.key));
    offers.sort_by_key(Offer::sub_channel_index);
    offers
}

impl<R: Runtime, C: Processor> Drop for Channel<R, C> {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        let shared = &*self.shared;
        shared.with(|state, now| {
            shared.forget_interrupts(state, self.key);
            let deadline = Shared::<R, C>::request_deadline(state, now);
            state.connection.close(self.key, deadline);
        });
    }
}

/// Memory of a bus that is lent to the host.
type Memory<R> = Arc<SharedMemory<R>>;
