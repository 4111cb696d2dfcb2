//! OFFER_CHANNEL.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout::{Body, take};
use super::{ChannelId, MessageBuffer, MessageError, MessageType};
use crate::guid::Guid;

/// Bytes that a device may add to its offer, and a driver to its open request.
pub const USER_DATA_SIZE: usize = 120;

bitflags::bitflags! {
    /// Properties of an offer. Unknown bits are kept and mean nothing.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct OfferFlags: u16 {
        /// A device interface is to be enumerated.
        const ENUMERATE_DEVICE_INTERFACE = 0x1;
        /// The ring is to be confidential. Means so only where
        /// [`CONFIDENTIAL_CHANNELS`](crate::version::FeatureFlags::CONFIDENTIAL_CHANNELS) was granted.
        const CONFIDENTIAL_RING_BUFFER = 0x2;
        /// External memory is to be confidential. Means so only where
        /// [`CONFIDENTIAL_CHANNELS`](crate::version::FeatureFlags::CONFIDENTIAL_CHANNELS) was granted.
        const CONFIDENTIAL_EXTERNAL_MEMORY = 0x4;
        /// External memory is to be pinned. Means so only where
        /// [`GPA_PINNING`](crate::version::FeatureFlags::GPA_PINNING) was granted.
        const PINNED_EXTERNAL_MEMORY = 0x8;
        /// Packets have pipe headers.
        const NAMED_PIPE_MODE = 0x10;
        /// A loopback.
        const LOOPBACK_OFFER = 0x100;
        /// Offered by the parent.
        const PARENT_OFFER = 0x200;
        /// Signals are wanted through the monitor page.
        const REQUEST_MONITORED_NOTIFICATION = 0x400;
        /// A socket.
        const TLNPI_PROVIDER_OFFER = 0x2000;

        const _ = !0;
    }
}

/// The host offers a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OfferChannel {
    /// Class of the device.
    pub interface: Guid,
    /// The device.
    pub instance: Guid,
    /// Properties.
    pub flags: OfferFlags,
    /// Device memory that the device needs, in MiB.
    pub mmio_megabytes: u16,
    /// Data for the driver.
    pub user_data: [u8; USER_DATA_SIZE],
    /// 0 for a device's primary channel, else the number of the sub-channel.
    pub sub_channel_index: u16,
    /// Device memory that the device could use besides, in MiB.
    pub optional_mmio_megabytes: u16,
    /// Id of the channel.
    pub channel_id: ChannelId,
    /// Bit in the monitor page through which the host may be signalled, if one is allocated. As sent by
    /// the host: valid below 128.
    pub monitor_id: Option<u8>,
    /// [`connection_id`](Self::connection_id) belongs to this channel alone (1.1 and later).
    pub dedicated_interrupt: bool,
    /// Connection for signals to the host.
    pub connection_id: u32,
}

impl OfferChannel {
    /// Mode of a pipe that carries messages: first word of a pipe's user data.
    pub const PIPE_MODE_MESSAGE: u32 = 4;
    /// Mode of a pipe that carries bytes.
    pub const PIPE_MODE_BYTE: u32 = 0;

    /// Mode of the pipe; `None` when the channel is none.
    #[must_use]
    pub fn pipe_mode(&self) -> Option<u32> {
        let (mode, _) = U32::read_from_prefix(&self.user_data).ok()?;
        self.flags
            .contains(OfferFlags::NAMED_PIPE_MODE)
            .then_some(mode.get())
    }
}

/// `monitor_id` of an offer without one.
const NO_MONITOR: u8 = 0xFF;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Wire {
    interface: Guid,
    instance: Guid,
    reserved: [u8; 16],
    flags: U16,
    mmio_megabytes: U16,
    user_data: [u8; USER_DATA_SIZE],
    sub_channel_index: U16,
    optional_mmio_megabytes: U16,
    channel_id: U32,
    monitor_id: u8,
    monitor_allocated: u8,
    dedicated_interrupt: U16,
    connection_id: U32,
}

const _: () = assert!(size_of::<Wire>() + 8 == 196);

impl Body<'_> for OfferChannel {
    const TYPE: MessageType = MessageType::OFFER_CHANNEL;

    fn read(body: &[u8]) -> Result<Self, MessageError> {
        let (wire, _) = take::<Wire>(Self::TYPE, body)?;
        Ok(Self {
            interface: wire.interface,
            instance: wire.instance,
            flags: OfferFlags::from_bits_retain(wire.flags.get()),
            mmio_megabytes: wire.mmio_megabytes.get(),
            user_data: wire.user_data,
            sub_channel_index: wire.sub_channel_index.get(),
            optional_mmio_megabytes: wire.optional_mmio_megabytes.get(),
            channel_id: wire.channel_id.into(),
            monitor_id: (wire.monitor_allocated & 1 != 0).then_some(wire.monitor_id),
            dedicated_interrupt: wire.dedicated_interrupt.get() & 1 != 0,
            connection_id: wire.connection_id.get(),
        })
    }

    fn write(&self, buffer: &mut MessageBuffer) -> Result<(), MessageError> {
        buffer.append_wire(&Wire {
            interface: self.interface,
            instance: self.instance,
            reserved: [0; 16],
            flags: self.flags.bits().into(),
            mmio_megabytes: self.mmio_megabytes.into(),
            user_data: self.user_data,
            sub_channel_index: self.sub_channel_index.into(),
            optional_mmio_megabytes: self.optional_mmio_megabytes.into(),
            channel_id: self.channel_id.into(),
            monitor_id: self.monitor_id.unwrap_or(NO_MONITOR),
            monitor_allocated: self.monitor_id.is_some().into(),
            dedicated_interrupt: u16::from(self.dedicated_interrupt).into(),
            connection_id: self.connection_id.into(),
        });
        Ok(())
    }
}
