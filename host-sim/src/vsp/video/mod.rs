//! The synthetic screen, host end.
//!
//! The device owns video RAM and maps it into the guest's address space where the guest wants it. Pixels don't
//! pass through the channel: whoever looks (a screenshot, a VNC client) copies them out of video RAM, and the
//! guest's messages say when and where it is worth looking.
//!
//! | File | Holds |
//! |---|---|
//! | `options` | what the device is made with |
//! | `mode` | which modes are sound |
//! | `memory` | where video RAM is |
//! | `pointer` | shapes that come in pieces |
//! | `state` | what channel and handles share |
//! | `channel` | the protocol |
//! | `handle` | what looks at the screen |

mod channel;
mod handle;
mod memory;
mod mode;
mod options;
mod pointer;
mod state;

pub use handle::{SnapshotError, VideoHandle};
pub use mode::{Mode, ModeError};
pub use options::{OptionsError, ResolutionList, VideoOptions};
pub use pointer::PointerError;
pub use state::{PointerState, VideoCounters, VideoStatus};
pub use vsc_video::wire::ProtocolVersion;

use std::io;
use std::sync::Arc;

use thiserror::Error;
use vmbus_core::class;

use self::channel::VideoEnd;
use self::memory::VideoMemory;
use self::state::Shared;
use super::message_channel::MessageChannel;
use crate::partition::device_memory::{DeviceMemory, DeviceMemoryMapper};
use crate::vmbus::vsp::{
    ChannelServices, OfferDescription, OpenRefused, OpenRequest, Vsp, VspChannel,
};

/// Why there is no screen.
#[derive(Debug, Error)]
pub enum VideoError {
    /// The options make no sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The host has no memory for video RAM.
    #[error("no video RAM: {0}")]
    Memory(#[from] io::Error),
}

/// The device on the bus.
pub struct Video {
    shared: Arc<Shared>,
}

impl Video {
    /// A screen, and the handle that looks at it. Video RAM is taken from the host now and shown to the guest
    /// through `mapper` when it asks for it.
    ///
    /// # Errors
    /// [`VideoError`].
    pub fn new(
        options: VideoOptions,
        mapper: Arc<dyn DeviceMemoryMapper>,
    ) -> Result<(Self, VideoHandle), VideoError> {
        options.check()?;
        let memory = DeviceMemory::new(options.vram_bytes())?;
        let shared = Arc::new(Shared::new(options, mapper, memory));
        let handle = VideoHandle::new(Arc::clone(&shared));
        Ok((Self { shared }, handle))
    }
}

impl Vsp for Video {
    fn offer(&self) -> OfferDescription {
        let mut offer = OfferDescription::message_pipe(class::VIDEO, class::instance::VIDEO);
        offer.mmio_megabytes = self.shared.options.vram_megabytes;
        offer
    }

    fn open(
        &mut self,
        request: OpenRequest,
        services: ChannelServices,
    ) -> Result<Box<dyn VspChannel>, OpenRefused> {
        if request.sub_channel_index != 0 {
            return Err(OpenRefused::new("a screen has no sub-channels"));
        }
        let end = VideoEnd::new(Arc::clone(&self.shared), services.waker);
        Ok(Box::new(MessageChannel::new(end)))
    }
}
