//! Controllers on the channels of a bus.

use core::fmt;
use core::future::poll_fn;
use core::task::{Poll, Waker};

use alloc::sync::Arc;
use alloc::vec::Vec;

use hypercall::Processor;
use vmbus_core::bus::{Bus, BusError, Offer, OpenOptions};
use vmbus_core::channel::{Channel, ChannelRing};
use vmbus_core::class;
use vmbus_core::guid::Guid;
use vmbus_core::platform::Runtime;
use vmbus_core::ring::{IncomingRing, OutgoingRing, Signal};

use super::{
    BringUpError, ControllerKind, ControllerOptions, SECOND, StorageController, Transport,
};

/// Bytes of the largest packet that a host sends: a completion of 64 bytes, with room for longer ones, whose end is
/// ignored.
const MAX_PACKET: usize = 256;

impl<R, C> Transport for Channel<R, C>
where
    R: Runtime + Send + Sync + 'static,
    C: Processor + Send + Sync + 'static,
{
    type Memory = ChannelRing<R>;

    fn rings(
        &mut self,
    ) -> (
        &mut OutgoingRing<ChannelRing<R>>,
        &mut IncomingRing<ChannelRing<R>>,
    ) {
        Self::rings(self)
    }

    fn signal_host(&mut self, signal: Signal) {
        Self::signal_host(self, signal);
    }

    fn is_rescinded(&self) -> bool {
        self.is_gone()
    }

    fn register(&self, waker: &Waker) {
        self.event().register(waker);
    }

    async fn close(self) -> bool {
        Self::close(self).await.is_ok()
    }
}

/// Why a controller could not be opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// The offer is of another class.
    NotStorage(Guid),
    /// The channel could not be opened.
    Channel(BusError),
    /// The controller did not come up on its channel.
    BringUp(BringUpError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStorage(interface) => {
                write!(f, "{interface} is not a class of storage controllers")
            }
            Self::Channel(error) => error.fmt(f),
            Self::BringUp(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for OpenError {}

impl StorageController {
    /// Opens an offered controller, SCSI or accelerated IDE: its channel, then the controller, then as many of the
    /// sub-channels that the options ask for as the host grants. Those get the virtual processors that follow the
    /// primary channel's.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. A missing sub-channel is none: the controller then works with fewer channels.
    pub async fn open<R, C>(
        bus: &Bus<R, C>,
        runtime: Arc<R>,
        offer: &Offer,
        options: ControllerOptions,
    ) -> Result<Self, OpenError>
    where
        R: Runtime + Send + Sync + 'static,
        C: Processor + Send + Sync + 'static,
    {
        let kind = match offer.interface() {
            class::SCSI => ControllerKind::Scsi,
            class::IDE => ControllerKind::ide(&offer.instance()),
            other => return Err(OpenError::NotStorage(other)),
        };
        let ring = |target_vp| OpenOptions {
            outgoing_pages: options.ring_pages,
            incoming_pages: options.ring_pages,
            target_vp,
            max_packet: MAX_PACKET,
            ..OpenOptions::default()
        };
        let channel = bus
            .open(offer, ring(options.target_vp))
            .await
            .map_err(OpenError::Channel)?;
        let controller = Self::start(channel, runtime, kind, options)
            .await
            .map_err(OpenError::BringUp)?;
        let granted = usize::from(controller.info().granted_sub_channels);
        let sub_channels = offered_sub_channels(bus, &**controller.runtime(), offer, granted).await;
        for (sub_channel, vp) in sub_channels
            .iter()
            .zip(options.target_vp.saturating_add(1)..)
        {
            match bus.open(sub_channel, ring(vp)).await {
                Ok(channel) => {
                    if let Err(channel) = controller.add_sub_channel(channel) {
                        let _ = channel.close().await;
                    }
                }
                Err(error) => log::warn!("storage sub-channel: {error}"),
            }
        }
        Ok(controller)
    }
}

/// Time that a host has to offer the sub-channels that it has granted.
const SUB_CHANNEL_TIMEOUT: u64 = SECOND.saturating_mul(10);

/// Waits for the sub-channels of a device; gives those that have come when the time is over or the device gone.
async fn offered_sub_channels<R: Runtime, C: Processor>(
    bus: &Bus<R, C>,
    runtime: &dyn Runtime,
    primary: &Offer,
    count: usize,
) -> Vec<Offer> {
    let deadline = runtime.now().saturating_add(SUB_CHANNEL_TIMEOUT);
    poll_fn(|context| {
        let mut offers = bus.offers();
        let is_there = offers.iter().any(|offer| offer.key() == primary.key());
        offers.retain(|offer| !offer.is_primary() && offer.instance() == primary.instance());
        if is_there && offers.len() < count && runtime.now() < deadline {
            // Offers come within moments, and wake nobody but those who take the bus's events.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        offers.sort_by_key(Offer::sub_channel_index);
        // A host that offers more than it was asked for has the others ignored.
        offers.truncate(count);
        Poll::Ready(offers)
    })
    .await
}
