//! The bus as an operating system uses it: `async`, over the [`Connection`] core.
//!
//! A [`Bus`] is made of a [`Runtime`] (shared memory, time, idling) and the processors whose SynIC serves
//! it. Its futures make no progress by themselves: after each interrupt of the SynIC's vector, and
//! whenever a processor has idled, call [`Bus::dispatch`] for that processor, outside the interrupt
//! handler. That takes messages and event flags, repeats posts that the hypervisor did not take, ends waits
//! whose time is over, and wakes tasks.
//!
//! Inside are spinning locks. Never call anything here from a handler that may have interrupted it on the
//! same processor; kernels that want to work in their handlers drive the cores themselves.

mod crash;
mod memory;
mod offer;
mod options;
mod pages;
mod processors;
mod pump;
mod reply;
mod state;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::{Future, poll_fn};
use core::task::Poll;

use hypercall::Processor;

pub use crash::unload_after_crash;
pub use offer::{BusEvent, Offer};
pub use options::{BusError, BusOptions, BusProcessor, OpenOptions, SECOND};

pub(crate) use memory::SharedMemory;
pub(crate) use reply::{Reply, ReplyKey};
pub(crate) use state::{Shared, State};

use crate::channel::Channel;
use crate::connection::{Agreement, Connection, Counters, RequestError};
use crate::platform::Runtime;
use crate::version::ProtocolVersion;

/// A connection to a VMBus host and its channels. Clones are the same bus.
pub struct Bus<R: Runtime, C: Processor> {
    shared: Arc<Shared<R, C>>,
}

impl<R: Runtime, C: Processor> Clone for Bus<R, C> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<R: Runtime, C: Processor> fmt::Debug for Bus<R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("connection", &self.shared.state.lock().connection)
            .finish_non_exhaustive()
    }
}

impl<R: Runtime, C: Processor> Bus<R, C> {
    /// A bus that is not connected. `processor` is the one that gets the host's messages; before protocol
    /// 3.0, hosts send them to virtual processor 0.
    ///
    /// # Errors
    /// [`BusError::OutOfMemory`] when the platform does not give the four pages for the connection.
    pub fn new(
        runtime: Arc<R>,
        processor: BusProcessor<C>,
        options: BusOptions,
    ) -> Result<Self, BusError> {
        let shared = Shared::new(runtime, processor, options).ok_or(BusError::OutOfMemory)?;
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Makes and connects a bus.
    ///
    /// The future takes the messages of its processor itself, so it must run there (or where the
    /// processor's SynIC can be served from), and it must be polled again after each interrupt or idle
    /// time, woken or not: [`block_on`](crate::executor::block_on) does so.
    ///
    /// # Errors
    /// [`BusError::OutOfMemory`], or [`BusError::Connect`] with the reason.
    pub async fn connect(
        runtime: Arc<R>,
        processor: BusProcessor<C>,
        options: BusOptions,
    ) -> Result<Self, BusError> {
        let vp_index = processor.vp_index;
        let bus = Self::new(runtime, processor, options)?;
        {
            let mut connecting = core::pin::pin!(bus.reconnect());
            poll_fn(|context| {
                if let Poll::Ready(result) = connecting.as_mut().poll(context) {
                    return Poll::Ready(result);
                }
                bus.dispatch(vp_index);
                connecting.as_mut().poll(context)
            })
            .await?;
        }
        Ok(bus)
    }

    /// Connects, or connects anew after the end of a connection: a [`disconnect`](Self::disconnect), a
    /// restart of the host, a resume from hibernation. All earlier channels are gone; devices come back as
    /// new offers with the same instance GUID.
    ///
    /// # Errors
    /// [`BusError::Connect`] with the reason, or [`RequestError::Busy`] when somebody else is connecting.
    pub async fn reconnect(&self) -> Result<Agreement, BusError> {
        let shared = &*self.shared;
        let _waiting = shared
            .expect_alone(ReplyKey::Connected)
            .ok_or(RequestError::Busy)?;
        shared.pages.set_host_sees(true);
        shared.with(|state, now| {
            let deadline = now.saturating_add(state.options.connect_timeout);
            state.connection.connect(deadline);
        });
        match shared.reply(ReplyKey::Connected).await {
            Reply::Connected(result) => Ok(result?),
            _ => Err(RequestError::Cancelled.into()),
        }
    }

    /// As [`reconnect`](Self::reconnect), with one version only, which a guest that resumes from
    /// hibernation must do.
    ///
    /// # Errors
    /// [`BusError::Connect`] with the reason.
    pub async fn reconnect_with(&self, version: ProtocolVersion) -> Result<Agreement, BusError> {
        self.shared.with(|state, _| {
            let options = state.connection.options_mut();
            options.newest = version;
            options.oldest = version;
        });
        self.reconnect().await
    }

    /// Adds a processor, so that channels can interrupt it.
    pub fn add_processor(&self, processor: BusProcessor<C>) {
        self.shared.processors.add(processor);
    }

    /// Removes a processor. No channel may target it any more; the one that gets the messages cannot be
    /// removed.
    pub fn remove_processor(&self, vp_index: u32) -> Option<Arc<BusProcessor<C>>> {
        self.shared.processors.remove(vp_index)
    }

    /// Serves a processor: see [the module](self). To be called on that processor, or where its SynIC can
    /// be served from.
    pub fn dispatch(&self, vp_index: u32) {
        self.shared.dispatch(vp_index);
    }

    /// Ends waits whose time is over and repeats posts, as [`dispatch`](Self::dispatch) does, but for no
    /// processor. For timers.
    pub fn run_timers(&self) {
        self.shared.with(|_, _| {});
    }

    /// When [`run_timers`](Self::run_timers) or [`dispatch`](Self::dispatch) should be called at the
    /// latest, in the unit of [`Runtime::now`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.shared.state.lock().next_deadline()
    }

    /// What was agreed on; `None` without a connection.
    #[must_use]
    pub fn agreement(&self) -> Option<Agreement> {
        self.shared.state.lock().connection.agreement().copied()
    }

    /// The agreed version; `None` without a connection.
    #[must_use]
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.agreement().map(|agreement| agreement.version)
    }

    /// What has come from the host, and what of it was of no use.
    #[must_use]
    pub fn counters(&self) -> Counters {
        *self.shared.state.lock().connection.counters()
    }

    /// Looks at the state machine: for monitors.
    pub fn inspect<T>(&self, look: impl FnOnce(&Connection) -> T) -> T {
        look(&self.shared.state.lock().connection)
    }

    /// The offers that exist now, sub-channels included, by channel id.
    #[must_use]
    pub fn offers(&self) -> Vec<Offer> {
        self.shared.state.lock().offers(|_| true)
    }

    /// Waits until the host has offered all devices that existed at the start, and gives the
    /// [`offers`](Self::offers).
    ///
    /// # Errors
    /// [`RequestError::TimedOut`] when the host does not finish in the time for requests,
    /// [`RequestError::Disconnected`] without a connection.
    pub async fn enumerate(&self) -> Result<Vec<Offer>, RequestError> {
        self.shared
            .wait_offers(|state| state.all_offers_delivered.then(|| state.offers(|_| true)))
            .await
    }

    /// The next event about offers. Each event is given once, to one of those who ask.
    pub async fn next_event(&self) -> BusEvent {
        let shared = &*self.shared;
        poll_fn(|context| {
            shared.with(|state, _| match state.bus_events.pop_front() {
                Some(event) => Poll::Ready(event),
                None => {
                    state.wait_for_events(context.waker());
                    Poll::Pending
                }
            })
        })
        .await
    }

    /// Opens an offered channel: allocates the rings, lends them to the host, opens. Sub-channels are
    /// opened in the same way as primary channels.
    ///
    /// Dropping the future gives the opening up, and so does a rescind.
    ///
    /// # Errors
    /// [`BusError`] with the reason; what was done is undone.
    pub async fn open(
        &self,
        offer: &Offer,
        options: OpenOptions,
    ) -> Result<Channel<R, C>, BusError> {
        Channel::open(&self.shared, offer, &options).await
    }

    /// Ends the connection (UNLOAD). All channels are gone, and whatever memory the host has had is the
    /// guest's again.
    ///
    /// # Errors
    /// [`BusError::NotConfirmed`] when the host did not answer in time (hosts of version 0.13 never do): the
    /// memory is then leaked. [`BusError::Request`] without a connection.
    pub async fn disconnect(&self) -> Result<(), BusError> {
        let shared = &*self.shared;
        let _waiting = shared
            .expect_alone(ReplyKey::Unloaded)
            .ok_or(RequestError::Busy)?;
        shared.with(|state, now| {
            let deadline = now.saturating_add(state.options.disconnect_timeout);
            state.connection.unload(deadline)
        })?;
        match shared.reply(ReplyKey::Unloaded).await {
            Reply::Unloaded { confirmed: true } => Ok(()),
            _ => Err(BusError::NotConfirmed),
        }
    }
}
