//! What a device (a virtual service provider) and the VMBus server expect of each other.
//!
//! The server owns offers, rings and threads; a device sees neither. It describes itself as an
//! [`OfferDescription`], and for each channel that the guest opens it gives the server a [`VspChannel`], which
//! the server polls: always from one thread at a time, never concurrently with itself, with the rings lent for
//! the duration of the call. A channel that has nothing to do says when it wants to be polled next; something
//! outside (a disk that has finished, an operator's command) asks for a poll through its [`PollWaker`].
//!
//! # Who wakes whom
//! [`drive`] is one turn of a channel, and both of the server's runners use it. It masks the incoming ring's
//! interrupts while the device is awake, and before the channel sleeps unmasks them and looks once more, so a
//! device just reads until the ring is empty. Only a device that leaves packets unread on purpose (its answers
//! would find no room) has to say so with [`ChannelIo::hold_input`].
//!
//! # Faults
//! A guest that breaks a channel breaks that channel alone: [`VspChannel::poll`] returns a [`ChannelFault`], the
//! server stops polling that channel, counts the fault and goes on.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use vmbus_core::guid::Guid;
use vmbus_core::ring::{IncomingRing, OutgoingRing, RingError, Signal, WriteError};
use vmbus_core::version::ProtocolVersion;

pub use super::guest_ring::{GuestRing, GuestRingError};
pub use super::lent::{GpadlLookup, LentMemory, OutsideLent};
use crate::memory::GuestMemory;

/// Bytes of user-defined data in offers and in open requests.
pub const USER_DATA_SIZE: usize = 120;

/// Offer flag: the guest creates a device interface for the channel.
pub const OFFER_ENUMERATE_DEVICE_INTERFACE: u16 = 0x1;
/// Offer flag: packets carry pipe framing, and the user-defined data begins with the pipe's mode.
pub const OFFER_NAMED_PIPE_MODE: u16 = 0x10;

/// Pipe mode in the user-defined data: one packet is one message.
const PIPE_MODE_MESSAGE: u32 = 4;

/// What a device's offer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferDescription {
    /// The device's class.
    pub interface: Guid,
    /// This device; stable across reboots of the guest.
    pub instance: Guid,
    /// Offer flags ([`OFFER_ENUMERATE_DEVICE_INTERFACE`] and the like).
    pub flags: u16,
    /// Meaning depends on the class.
    pub user_data: [u8; USER_DATA_SIZE],
    /// MiB of address space that the device needs, 0 for most.
    pub mmio_megabytes: u16,
    /// Most sub-channels that the device ever asks for.
    pub max_sub_channels: u16,
}

impl OfferDescription {
    /// A device without flags, user data, address space or sub-channels.
    #[must_use]
    pub const fn new(interface: Guid, instance: Guid) -> Self {
        Self {
            interface,
            instance,
            flags: 0,
            user_data: [0; USER_DATA_SIZE],
            mmio_megabytes: 0,
            max_sub_channels: 0,
        }
    }

    /// A message pipe: an integration service, a keyboard.
    #[must_use]
    pub const fn message_pipe(interface: Guid, instance: Guid) -> Self {
        let mut offer = Self::new(interface, instance);
        offer.flags = OFFER_NAMED_PIPE_MODE;
        let mode = PIPE_MODE_MESSAGE.to_le_bytes();
        offer.user_data[0] = mode[0];
        offer.user_data[1] = mode[1];
        offer.user_data[2] = mode[2];
        offer.user_data[3] = mode[3];
        offer
    }
}

/// How the guest opens a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// 0 for the primary channel, else the sub-channel's number.
    pub sub_channel_index: u16,
    /// User-defined data of the open message.
    pub user_data: [u8; USER_DATA_SIZE],
    /// Negotiated version of the bus.
    pub vmbus_version: ProtocolVersion,
    /// Virtual processor that the guest wants its interrupts on.
    pub vp: u32,
}

/// The device refuses to open a channel; the guest's open fails.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the device refuses to open the channel: {reason}")]
pub struct OpenRefused {
    /// Why, for the host's log.
    pub reason: String,
}

impl OpenRefused {
    /// A refusal with this reason.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }
}

/// The guest broke the channel's protocol beyond repair; the channel is polled no more.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChannelFault {
    /// A ring or a packet in it is inconsistent.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A packet for the guest can never be written: its ring is too small.
    #[error("cannot answer the guest: {0}")]
    Write(WriteError),
    /// The device's own protocol is violated.
    #[error("{device}: {reason}")]
    Protocol {
        /// Which kind of device.
        device: &'static str,
        /// What the guest did, with field and value.
        reason: String,
    },
}

impl From<WriteError> for ChannelFault {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Ring(error) => Self::Ring(error),
            error => Self::Write(error),
        }
    }
}

/// A device.
pub trait Vsp: Send {
    /// What the device's offer says. The same each time.
    fn offer(&self) -> OfferDescription;

    /// The guest opens the primary channel, or a sub-channel that the device has asked for.
    ///
    /// A channel is closed by dropping what this returned.
    ///
    /// # Errors
    /// The device cannot serve the channel.
    fn open(
        &mut self,
        request: OpenRequest,
        services: ChannelServices,
    ) -> Result<Box<dyn VspChannel>, OpenRefused>;
}

/// A device's end of an open channel. Dropped when the channel is closed or rescinded, or its guest reset.
///
/// After the drop has returned nothing of the channel may touch guest memory any more: the server then tells
/// the guest that its memory is its own again.
pub trait VspChannel: Send {
    /// Does what there is to do: reads what the guest sent, answers, and says when to be called again.
    ///
    /// Bounded: a guest that keeps the ring filled doesn't keep the call from returning ([`NextPoll::Now`]).
    ///
    /// # Errors
    /// The guest broke the channel.
    fn poll(&mut self, io: &mut ChannelIo<'_>) -> Result<NextPoll, ChannelFault>;
}

/// When a channel wants to be polled again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextPoll {
    /// When the guest signals or somebody calls the channel's waker.
    OnSignal,
    /// As `OnSignal`, and at this time at the latest (100 ns units of [`ChannelIo::now`]).
    At(u64),
    /// As soon as others have had their turn: there is more to do.
    Now,
}

/// What a channel may use during one poll.
#[derive(Debug)]
pub struct ChannelIo<'a> {
    /// From the guest.
    pub incoming: &'a mut IncomingRing<GuestRing>,
    /// To the guest.
    pub outgoing: &'a mut OutgoingRing<GuestRing>,
    /// The guest's memory.
    pub memory: &'a GuestMemory,
    /// Reference time, 100 ns units, monotonic.
    pub now: u64,
    signal: Signal,
    input_held: bool,
}

impl<'a> ChannelIo<'a> {
    /// Lends a channel's rings for one turn.
    #[must_use]
    pub const fn new(
        incoming: &'a mut IncomingRing<GuestRing>,
        outgoing: &'a mut OutgoingRing<GuestRing>,
        memory: &'a GuestMemory,
        now: u64,
    ) -> Self {
        Self {
            incoming,
            outgoing,
            memory,
            now,
            signal: Signal::NotNeeded,
            input_held: false,
        }
    }

    /// Notes what a ring said about interrupting the guest. The server interrupts it once, after the poll.
    #[inline]
    pub fn notify(&mut self, signal: Signal) {
        self.signal |= signal;
    }

    /// Says that packets stay unread until the guest makes room in the outgoing ring, for which the device has
    /// [announced](OutgoingRing::announce_blocked) itself, or until the waker is called or a deadline passes:
    /// unread packets alone are then no reason to poll.
    #[inline]
    pub fn hold_input(&mut self) {
        self.input_held = true;
    }

    /// Whether the device holds its input back.
    #[must_use]
    pub const fn is_input_held(&self) -> bool {
        self.input_held
    }

    /// Whether the guest must be interrupted for what happened during the poll.
    pub const fn signal(&self) -> Signal {
        self.signal
    }
}

/// One turn of a channel: polls it with the incoming ring's interrupts masked and, if it then wants to sleep,
/// unmasks them and looks once more. [`NextPoll::Now`] is returned when that look finds more packets.
///
/// The caller interrupts the guest if [`ChannelIo::signal`] says so, also after an error.
///
/// # Errors
/// The guest broke the channel.
#[inline]
pub fn drive(
    channel: &mut (impl VspChannel + ?Sized),
    io: &mut ChannelIo<'_>,
) -> Result<NextPoll, ChannelFault> {
    let next = drive_awake(channel, io)?;
    // With input held back, only the outgoing ring's room is waited for, and its signal ignores the mask.
    if next != NextPoll::Now && !io.input_held && io.incoming.unmask_interrupts()? {
        return Ok(NextPoll::Now);
    }
    Ok(next)
}

/// The first half of [`drive`]: leaves the incoming ring's interrupts masked, for a caller that wants to look for
/// packets by itself before it unmasks them and looks once more. Not unmasked when the device
/// [holds its input](ChannelIo::hold_input).
///
/// # Errors
/// The guest broke the channel.
#[inline]
pub fn drive_awake(
    channel: &mut (impl VspChannel + ?Sized),
    io: &mut ChannelIo<'_>,
) -> Result<NextPoll, ChannelFault> {
    io.incoming.mask_interrupts();
    channel.poll(io)
}

/// What a channel may ask of the server at any time, from any thread.
#[derive(Clone, Debug)]
pub struct ChannelServices {
    /// Asks for a poll.
    pub waker: PollWaker,
    /// Asks for sub-channels.
    pub sub_channels: SubChannelRequest,
    /// Finds memory that the guest has lent to the channel.
    pub gpadls: GpadlLookup,
}

impl ChannelServices {
    /// Services that do nothing, for tests that poll by themselves.
    #[must_use]
    pub fn inert() -> Self {
        Self {
            waker: PollWaker::new(|| {}),
            sub_channels: SubChannelRequest::new(|_| {}),
            gpadls: GpadlLookup::new(|_| None),
        }
    }
}

/// Makes the server poll one channel soon. Cheap to clone; waking a closed channel does nothing.
#[derive(Clone)]
pub struct PollWaker(Arc<dyn Fn() + Send + Sync>);

impl PollWaker {
    /// A waker that calls `wake`, which must not block.
    #[must_use]
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Asks for a poll.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for PollWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PollWaker")
    }
}

/// Makes the server offer sub-channels of one device.
#[derive(Clone)]
pub struct SubChannelRequest(Arc<dyn Fn(u16) + Send + Sync>);

impl SubChannelRequest {
    /// A request that calls `offer` with the number of sub-channels wanted; it must not block.
    #[must_use]
    pub fn new(offer: impl Fn(u16) + Send + Sync + 'static) -> Self {
        Self(Arc::new(offer))
    }

    /// Asks that sub-channels 1 to `count` be offered. Those that are already are left alone; a smaller number
    /// than before takes none away. More than [`OfferDescription::max_sub_channels`] are never offered.
    pub fn request(&self, count: u16) {
        (self.0)(count);
    }
}

impl fmt::Debug for SubChannelRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubChannelRequest")
    }
}
