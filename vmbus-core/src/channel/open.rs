//! Opening a channel.

use alloc::sync::Arc;
use alloc::vec;
use core::sync::atomic::AtomicU64;

use hypercall::Processor;

use super::memory::lend;
use super::{Channel, ChannelEvent, ChannelRing, Route};
use crate::bus::{BusError, Offer, OpenOptions, ReplyKey, Shared, SharedMemory};
use crate::connection::{ChannelKey, OpenRequest, RequestError};
use crate::gpadl::PAGES_MAX;
use crate::platform::Runtime;
use crate::protocol::GpadlId;
use crate::ring::{IncomingRing, OutgoingRing};

/// Undoes an opening that comes to nothing, be it by an error or because nobody waits any more.
struct Undo<'a, R: Runtime, C: Processor> {
    shared: &'a Shared<R, C>,
    key: ChannelKey,
    armed: bool,
}

impl<R: Runtime, C: Processor> Drop for Undo<'_, R, C> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        self.shared.with(|state, now| {
            self.shared.forget_interrupts(state, self.key);
            let deadline = Shared::<R, C>::request_deadline(state, now);
            state.connection.close(self.key, deadline);
        });
    }
}

impl<R: Runtime, C: Processor> Channel<R, C> {
    pub(crate) async fn open(
        shared: &Arc<Shared<R, C>>,
        offer: &Offer,
        options: &OpenOptions,
    ) -> Result<Self, BusError> {
        let ring_size = BusError::RingSize {
            outgoing_pages: options.outgoing_pages,
            incoming_pages: options.incoming_pages,
        };
        let pages = (options.outgoing_pages as usize)
            .checked_add(options.incoming_pages as usize)
            .filter(|pages| *pages <= PAGES_MAX)
            .filter(|_| options.outgoing_pages >= 2 && options.incoming_pages >= 2)
            .ok_or(ring_size)?;
        let key = offer.key;
        // Reserves the channel, so that an attempt to open it twice undoes nothing of the first.
        let event = Arc::new(ChannelEvent::new());
        shared.with(|state, _| {
            let view = state
                .connection
                .channel(key)
                .ok_or(RequestError::UnknownChannel)?;
            if view.phase == crate::connection::ChannelPhase::Rescinded {
                return Err(RequestError::Rescinded);
            }
            if state.is_in_use(key) {
                return Err(RequestError::WrongState);
            }
            shared.begin_interrupts(state, key, &event);
            Ok(())
        })?;
        let mut undo = Undo {
            shared,
            key,
            armed: true,
        };
        let memory = SharedMemory::allocate(shared.runtime.clone(), pages)
            .map(Arc::new)
            .ok_or(BusError::OutOfMemory)?;
        let rings = (
            ChannelRing::new(&memory, 0, options.outgoing_pages).ok_or(ring_size)?,
            ChannelRing::new(&memory, options.outgoing_pages, options.incoming_pages)
                .ok_or(ring_size)?,
        );
        let ring_gpadl = lend(shared, key, &memory).await?;
        let outgoing = OutgoingRing::initialise(rings.0);
        let incoming = IncomingRing::initialise(rings.1);
        Self::ask(shared, key, ring_gpadl, options).await?;
        undo.armed = false;
        Ok(Self {
            shared: shared.clone(),
            key,
            offer: *offer,
            event,
            outgoing,
            incoming,
            buffer: vec![0; options.max_packet].into_boxed_slice(),
            ring_gpadl,
            route: Self::route(shared, offer, options),
            signals: AtomicU64::new(0),
            closed: false,
        })
    }

    /// Sends OPEN_CHANNEL and waits for the answer.
    async fn ask(
        shared: &Shared<R, C>,
        key: ChannelKey,
        ring_gpadl: GpadlId,
        options: &OpenOptions,
    ) -> Result<(), RequestError> {
        let reply = ReplyKey::Opened(key);
        let _waiting = shared.expect(reply);
        shared.with(|state, now| {
            let deadline = Shared::<R, C>::request_deadline(state, now);
            let request = OpenRequest {
                ring_gpadl,
                downstream_page_offset: options.outgoing_pages,
                target_vp: options.target_vp,
                user_data: options.user_data,
            };
            state.connection.open(key, &request, deadline)
        })?;
        shared.request_reply(reply).await
    }

    /// How the host wants to be signalled.
    fn route(shared: &Shared<R, C>, offer: &Offer, options: &OpenOptions) -> Route {
        let description = offer.description();
        let dedicated = shared
            .state
            .lock()
            .connection
            .agreement()
            .is_some_and(|agreement| agreement.version.has_dedicated_signals());
        match description.monitor_id {
            Some(monitor_id) if options.monitored => Route::Monitored(monitor_id),
            _ if dedicated && description.dedicated_interrupt => {
                Route::Dedicated(description.connection_id)
            }
            _ => Route::Shared,
        }
    }
}
