//! OPEN_CHANNEL.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout::{Body, take};
use super::{ChannelId, GpadlId, MessageBuffer, MessageError, MessageType, USER_DATA_SIZE};

bitflags::bitflags! {
    /// Flags in the long form of OPEN_CHANNEL. Unknown bits are kept.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct OpenFlags: u16 {
        /// The channel's interrupts are to be redirected.
        const REDIRECT_INTERRUPT = 0x1;

        const _ = !0;
    }
}

/// How the guest wants to be signalled: only in the long form of OPEN_CHANNEL (6.0 with
/// [`GUEST_SPECIFIED_SIGNAL_PARAMETERS`](crate::version::FeatureFlags::GUEST_SPECIFIED_SIGNAL_PARAMETERS)
/// or [`CHANNEL_INTERRUPT_REDIRECTION`](crate::version::FeatureFlags::CHANNEL_INTERRUPT_REDIRECTION)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenSignal {
    /// Connection to be used for signals to the host.
    pub connection_id: u32,
    /// Event flag to be used for signals to the guest, below 2048.
    pub event_flag: u16,
    /// Flags.
    pub flags: OpenFlags,
}

/// The guest opens a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenChannel {
    /// The channel.
    pub channel_id: ChannelId,
    /// A cookie that comes back in the answer.
    pub open_id: u32,
    /// GPADL of the two rings.
    pub ring_gpadl_id: GpadlId,
    /// Virtual processor to be interrupted; [`VP_NONE`](super::VP_NONE) for none.
    pub target_vp: u32,
    /// Where the ring from host to guest starts, in pages.
    pub downstream_page_offset: u32,
    /// For the device.
    pub user_data: [u8; USER_DATA_SIZE],
    /// Present in the 156-byte form.
    pub signal: Option<OpenSignal>,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Wire {
    channel_id: U32,
    open_id: U32,
    ring_gpadl_id: U32,
    target_vp: U32,
    downstream_page_offset: U32,
    user_data: [u8; USER_DATA_SIZE],
}

const _: () = assert!(size_of::<Wire>() + 8 == 148);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireSignal {
    connection_id: U32,
    event_flag: U16,
    flags: U16,
}

const _: () = assert!(size_of::<Wire>() + size_of::<WireSignal>() + 8 == 156);

impl Body<'_> for OpenChannel {
    const TYPE: MessageType = MessageType::OPEN_CHANNEL;

    fn read(body: &[u8]) -> Result<Self, MessageError> {
        let (wire, rest) = take::<Wire>(Self::TYPE, body)?;
        let signal = take::<WireSignal>(Self::TYPE, rest).ok();
        Ok(Self {
            channel_id: wire.channel_id.into(),
            open_id: wire.open_id.get(),
            ring_gpadl_id: wire.ring_gpadl_id.into(),
            target_vp: wire.target_vp.get(),
            downstream_page_offset: wire.downstream_page_offset.get(),
            user_data: wire.user_data,
            signal: signal.map(|(wire, _)| OpenSignal {
                connection_id: wire.connection_id.get(),
                event_flag: wire.event_flag.get(),
                flags: OpenFlags::from_bits_retain(wire.flags.get()),
            }),
        })
    }

    fn write(&self, buffer: &mut MessageBuffer) -> Result<(), MessageError> {
        buffer.append_wire(&Wire {
            channel_id: self.channel_id.into(),
            open_id: self.open_id.into(),
            ring_gpadl_id: self.ring_gpadl_id.into(),
            target_vp: self.target_vp.into(),
            downstream_page_offset: self.downstream_page_offset.into(),
            user_data: self.user_data,
        });
        if let Some(signal) = self.signal {
            buffer.append_wire(&WireSignal {
                connection_id: signal.connection_id.into(),
                event_flag: signal.event_flag.into(),
                flags: signal.flags.bits().into(),
            });
        }
        Ok(())
    }
}
